package assessment

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// draft is what an author made of a quiz, checked by itself and in the form that is
// kept.
type draft struct {
	settings *assessmentpb.QuizSettings
	bytes    []byte
	count    int32                                  // of the questions of an attempt
	fixed    map[string]*assessmentpb.FixedQuestion // by question
	at       map[string]string                      // the path to each of them, and to each category
}

// quizFields collects what is wrong with a quiz.
type quizFields []fault.Field

func (f *quizFields) add(path, code, hint string, args ...any) {
	if len(*f) < 20 {
		*f = append(*f, fault.Field{Path: path, Code: code, Hint: fmt.Sprintf(hint, args...)})
	}
}

// err is the error that names them, nil without any.
func (f quizFields) err() error {
	if len(f) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: "quiz.invalid", Message: "The quiz has something that can't be.", Fields: f}
}

// eachSlot calls fn for the slots of a quiz in their order.
func eachSlot(settings *assessmentpb.QuizSettings, fn func(path string, section int, slot *assessmentpb.QuizSlot)) {
	for i, section := range settings.GetSections() {
		for j, slot := range section.GetSlots() {
			fn("settings.sections["+strconv.Itoa(i)+"].slots["+strconv.Itoa(j)+"]", i, slot)
		}
	}
}

// newDraft checks settings as far as they can be checked by themselves. What only
// published versions have is left out.
func newDraft(settings *assessmentpb.QuizSettings) (draft, error) {
	d := draft{settings: &assessmentpb.QuizSettings{}, fixed: map[string]*assessmentpb.FixedQuestion{}, at: map[string]string{}}
	if settings != nil {
		d.settings = proto.CloneOf(settings)
	}
	var bad quizFields
	eachSlot(d.settings, func(path string, _ int, slot *assessmentpb.QuizSlot) {
		checkPoints(&bad, path+".points", slot.GetPoints(), true)
		if draw := slot.GetDraw(); draw != nil {
			draw.DrawnFrom, draw.Tags = nil, cleanTags(draw.GetTags())
			d.count += draw.GetCount()
			if d.at[draw.GetCategoryId()] == "" {
				d.at[draw.GetCategoryId()] = path + ".draw.category_id"
			}
			return
		}
		q := slot.GetQuestion()
		q.Points, q.Kind = "", ""
		d.count++
		if d.fixed[q.GetQuestionId()] != nil {
			bad.add(path+".question.question_id", "quiz.question_twice", "A quiz asks a question once. Copy the question to ask it again.")
			return
		}
		d.fixed[q.GetQuestionId()], d.at[q.GetQuestionId()] = q, path+".question.question_id"
	})
	if d.count > maxQuizQuestions {
		bad.add("settings.sections", "quiz.too_many_questions", "An attempt has at most %d questions; this would have %d.", maxQuizQuestions, d.count)
	}
	d.check(&bad)
	if err := bad.err(); err != nil {
		return draft{}, err
	}
	var err error
	d.bytes, err = proto.MarshalOptions{Deterministic: true}.Marshal(d.settings)
	return d, err
}

// check looks at what is said of the quiz as a whole.
func (d draft) check(bad *quizFields) {
	set := d.settings
	grace := set.GetOvertime() == "grace" || set.GetOvertime() == "abandon"
	if !grace && set.GetGraceSeconds() > 0 {
		bad.add("settings.grace_seconds", "quiz.no_grace", `It counts where overtime is "grace" or "abandon". Set that, or send 0.`)
	}
	if set.GetOvertime() == "grace" && set.GetGraceSeconds() == 0 {
		bad.add("settings.grace_seconds", "quiz.grace_missing", "Say how long the period of grace is.")
	}
	if !set.GetDoubleMarking() {
		set.TwoMarkers = nil
	} else {
		if set.GetTwoMarkers() == nil {
			set.TwoMarkers = &assessmentpb.TwoMarkers{}
		}
		two := set.GetTwoMarkers()
		two.TolerancePercent, two.Agreed = orElse(two.GetTolerancePercent(), defaultTolerance), orElse(two.GetAgreed(), "mean")
		if p, err := exact.Parse(two.GetTolerancePercent()); err != nil || p.Cmp(exact.Int(100)) > 0 {
			bad.add("settings.two_markers.tolerance_percent", "number.range", "It is from 0 to 100.")
		}
	}
	checkPoints(bad, "settings.max_points", set.GetMaxPoints(), false)
	if p, err := exact.Parse(set.GetPassPercent()); set.GetPassPercent() != "" && (err != nil || p.Cmp(exact.Int(100)) > 0) {
		bad.add("settings.pass_percent", "number.range", "It is from 0 to 100.")
	}
	for i, text := range set.GetAddressRanges() {
		if _, err := parseRange(text); err != nil {
			bad.add("settings.address_ranges["+strconv.Itoa(i)+"]", "address.invalid", "A network looks like 192.0.2.0/24 or 2001:db8::/32, an address like 192.0.2.7.")
		}
	}
}

// checkPoints looks at points, which may be empty.
func checkPoints(bad *quizFields, path, text string, zero bool) {
	if text == "" {
		return
	}
	switch n, err := exact.Parse(text); {
	case err != nil || n.Cmp(exact.Int(1_000_000)) > 0:
		bad.add(path, "number.range", "It is a decimal of at most 1,000,000.")
	case n.Sign() == 0 && !zero:
		bad.add(path, "number.range", "It is above 0; leave it out to count the points of the questions.")
	}
}

// parseRange reads a network or a single address. IPv4 written as IPv6 is IPv4.
func parseRange(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return netip.Prefix{}, fmt.Errorf("%q has addresses of both kinds", text)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no network", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// checkIn refuses a draft that names questions or categories that its course can't
// use. Questions stay until tx ends: who takes one out of the bank waits, and finds
// that it is used.
func (d draft) checkIn(ctx context.Context, tx *pg.Tx, courseID string) error {
	from, err := banks(ctx, tx, courseID)
	if err != nil {
		return err
	}
	var bad quizFields
	found, err := d.pin(ctx, tx, from)
	if err != nil {
		return err
	}
	for questionID := range d.fixed {
		if _, ok := found[questionID]; !ok {
			bad.add(d.at[questionID], "question.not_found", "Neither the course nor a bank that is shared with it has this question in this version.")
		}
	}
	categories := d.categories()
	rows, err := tx.Query(ctx, `SELECT id FROM question_category WHERE id = ANY ($1) AND course_id = ANY ($2) ORDER BY id FOR KEY SHARE`, categories, from)
	if err != nil {
		return fmt.Errorf("categories of quiz: %w", err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("categories of quiz: %w", err)
	}
	known := map[string]bool{}
	for _, categoryID := range there {
		known[categoryID] = true
	}
	for _, categoryID := range categories {
		if !known[categoryID] {
			bad.add(d.at[categoryID], "category.not_found", "Neither the course nor a bank that is shared with it has this category.")
		}
	}
	return bad.err()
}

// categories returns those that are drawn from.
func (d draft) categories() []string {
	seen := map[string]bool{}
	var out []string
	eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if c := slot.GetDraw().GetCategoryId(); c != "" && !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	})
	return out
}

// pinned is a question in an exact version.
type pinned struct {
	ID      string
	Version int32
	Kind    string
	Body    []byte
}

// pin returns the questions that the draft names, each in its version or the current
// one, as far as the banks have them.
func (d draft) pin(ctx context.Context, tx *pg.Tx, from []string) (map[string]pinned, error) {
	ids, versions := make([]string, 0, len(d.fixed)), make([]int32, 0, len(d.fixed))
	for questionID, q := range d.fixed {
		ids, versions = append(ids, questionID), append(versions, q.GetVersion())
	}
	rows, err := tx.Query(ctx, `
		SELECT q.id, v.version, v.kind, v.body FROM unnest($1::text[], $2::int[]) AS w (id, version)
		JOIN question q ON q.id = w.id AND q.deleted_at IS NULL AND q.course_id = ANY ($3)
		JOIN question_version v ON v.question_id = q.id AND v.version = CASE WHEN w.version = 0 THEN q.version ELSE w.version END
		ORDER BY q.id FOR SHARE OF q`, ids, versions, from)
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[pinned])
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	out := make(map[string]pinned, len(list))
	for _, p := range list {
		out[p.ID] = p
	}
	return out, nil
}

// storeUses notes what the draft of a quiz names.
func (d draft) storeUses(ctx context.Context, tx *pg.Tx, quizID string) error {
	ids := make([]string, 0, len(d.fixed))
	for questionID := range d.fixed {
		ids = append(ids, questionID)
	}
	for _, one := range []struct {
		sql  string
		list []string
	}{
		{`DELETE FROM quiz_question WHERE quiz_id = $1 AND published_version = 0 AND question_id <> ALL ($2)`, ids},
		{`UPDATE quiz_question SET draft = question_id = ANY ($2) WHERE quiz_id = $1 AND draft <> (question_id = ANY ($2))`, ids},
		{`INSERT INTO quiz_question (quiz_id, question_id, draft, published_version) SELECT $1, q, true, 0 FROM unnest($2::text[]) AS q ORDER BY q ON CONFLICT ON CONSTRAINT quiz_question_pkey DO NOTHING`, ids},
		{`DELETE FROM quiz_category WHERE quiz_id = $1 AND category_id <> ALL ($2)`, d.categories()},
		{`INSERT INTO quiz_category (quiz_id, category_id) SELECT $1, c FROM unnest($2::text[]) AS c ORDER BY c ON CONFLICT ON CONSTRAINT quiz_category_pkey DO NOTHING`, d.categories()},
	} {
		if one.list == nil {
			one.list = []string{} // ALL of NULL is not true
		}
		if _, err := tx.Exec(ctx, one.sql, quizID, one.list); err != nil {
			return fmt.Errorf("uses of quiz: %w", err)
		}
	}
	return nil
}
