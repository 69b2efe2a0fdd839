package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
)

// How a question of an attempt is scored.
const (
	scoringKey  = "key"
	scoringFull = "full"
)

// pins are how a question of an attempt is scored: by which key, or whether everybody has
// all points, and what it is worth.
type pins struct {
	key     int32
	scoring string
	max     string // a decimal as the database writes it
}

// pinnedSlot is a question of an attempt that re-keys may be about.
type pinnedSlot struct {
	AttemptID string
	Slot      int32
	QuizID    string
	ItemID    string
	Version   int32     // that is shown
	Published time.Time // when the version of the quiz was
	Key       int32
	Scoring   string
	MaxPoints string
	OwnPoints *string
	State     string
	Fraction  *string
	Points    *string
}

// pins returns how it is scored now.
func (p *pinnedSlot) pins() pins { return pins{p.Key, p.Scoring, p.MaxPoints} }

// own returns how it is scored where no re-key is in force.
func (p *pinnedSlot) own() pins {
	out := pins{p.Version, scoringKey, p.MaxPoints}
	if p.OwnPoints != nil {
		out.max = *p.OwnPoints
	}
	return out
}

// readPinned returns the questions of attempts that are one question, by attempt.
func readPinned(ctx context.Context, q pg.Querier, questionID string, attempts []string) (map[string]*pinnedSlot, error) {
	rows, err := q.Query(ctx, `
		SELECT x.attempt_id, x.slot, a.quiz_id, a.item_id, x.question_version AS version, v.created_at AS published, x.key_version AS key, x.scoring,
			x.max_points::text AS max_points, x.own_points::text AS own_points, x.state, x.fraction, x.points::text AS points
		FROM unnest($2::text[]) AS n (id)
			CROSS JOIN LATERAL (SELECT * FROM attempt_question q WHERE q.attempt_id = n.id AND q.question_id = $1 OFFSET 0) AS x -- each by the index
			JOIN attempt a ON a.id = x.attempt_id JOIN quiz_version v ON v.quiz_id = a.quiz_id AND v.version = a.quiz_version`, questionID, attempts)
	if err != nil {
		return nil, fmt.Errorf("read questions of attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[pinnedSlot])
	if err != nil {
		return nil, fmt.Errorf("read questions of attempts: %w", err)
	}
	out := make(map[string]*pinnedSlot, len(list))
	for _, p := range list {
		out[p.AttemptID] = p
	}
	return out, nil
}

// covers reports whether a re-key is about a question of an attempt. Other points are
// for what was published before they were given: who publishes anew says points anew.
func (k *rekey) covers(p *pinnedSlot) bool {
	return (k.QuizID == "" || k.QuizID == p.QuizID) && (k.ItemID == "" || k.ItemID == p.ItemID) && slices.Contains(k.Versions, p.Version) &&
		(k.Action != rekeyPoints || k.AppliedAt == nil || !p.Published.After(*k.AppliedAt))
}

// chain is the re-keys of a question that are in force, in the order in which they were
// applied.
type chain []*rekey

// readChain returns the re-keys of a question of a course that are in force.
func readChain(ctx context.Context, q pg.Querier, courseID, questionID string) (chain, error) {
	return readRekeys(ctx, q, `course_id = $1 AND question_id = $2 AND number > 0 AND undone_by = '' AND action <> 'undo' ORDER BY number`, courseID, questionID)
}

// pins returns how a question of an attempt is scored with the re-keys of a chain in
// force: what the later ones say counts. Another key takes the place of points that
// everybody had.
func (c chain) pins(p *pinnedSlot) pins {
	out := p.own()
	for _, k := range c {
		if !k.covers(p) {
			continue
		}
		switch k.Action {
		case rekeyKey:
			out.key, out.scoring = k.KeyVersion, scoringKey
		case rekeyFull:
			out.scoring = scoringFull
		case rekeyDrop:
			out.max = "0.000000"
		case rekeyPoints:
			if k.Points != nil {
				out.max = *k.Points
			}
		}
	}
	return out
}

// fullPoints returns the state of a question whose points everybody has. What people have
// marked of what the program scores stands.
func fullPoints(in *question.Instance, s question.State) question.State {
	if !s.Ended() || s.Phase == question.Marked && !in.Manual() {
		return s
	}
	s.Fraction = new(exact.Int(1))
	s.Lines = append(slices.Clone(s.Lines), question.Line{Code: "everybody", Value: exact.Int(1)})
	if s.Phase == question.ToBeMarked {
		s.Phase = question.Marked
	}
	return s
}

// repin writes how questions of attempts are scored from now on.
func repin(ctx context.Context, tx *pg.Tx, list []*pinnedSlot, to func(*pinnedSlot) pins) error {
	var attempts, scorings, most []string
	var slots, keys []int32
	var own []*string
	for _, p := range list {
		is := to(p)
		if is == p.pins() {
			continue
		}
		was := p.own().max
		attempts, slots, keys, scorings, most = append(attempts, p.AttemptID), append(slots, p.Slot), append(keys, is.key), append(scorings, is.scoring), append(most, is.max)
		if was == is.max {
			own = append(own, nil)
		} else {
			own = append(own, &was)
		}
	}
	if len(attempts) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		UPDATE attempt_question x SET key_version = n.key, scoring = n.scoring, max_points = n.max::numeric, own_points = n.own::numeric, revision = revision + 1
		FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[]) AS n (attempt_id, slot, key, scoring, max, own)
		WHERE x.attempt_id = n.attempt_id AND x.slot = n.slot`, attempts, slots, keys, scorings, most, own)
	if err != nil {
		return fmt.Errorf("pin questions: %w", err)
	}
	return nil
}

// compareNumbers says what becomes of a number; none is as 0.
func compareNumbers(before, after *string) string {
	read := func(text *string) exact.Number {
		if text == nil || *text == "" {
			return exact.Number{}
		}
		n, err := exact.Parse(*text)
		if err != nil {
			return exact.Number{}
		}
		return n
	}
	switch read(after).Cmp(read(before)) {
	case 1:
		return changeUp
	case -1:
		return changeDown
	default:
		return changeSame
	}
}

// repinned is how the question of a slot is pinned.
type repinned struct {
	pins

	slot int32
}

// rekeysInForce is the re-keys that hold for attempts at a quiz of an item which are made
// now.
type rekeysInForce struct {
	quizID    string
	itemID    string
	published time.Time
	of        map[string]chain // by question
}

// rekeysFor returns the re-keys that hold for attempts at a version of a quiz. Who puts one
// in force waits for who makes attempts, by the row of the quiz.
func rekeysFor(ctx context.Context, q pg.Querier, version *quizVersion, itemID string) (rekeysInForce, error) {
	out := rekeysInForce{quizID: version.QuizID, itemID: itemID}
	list, err := readRekeys(ctx, q, `course_id = $1 AND number > 0 AND undone_by = '' AND action <> 'undo' AND quiz_id IN ('', $2) AND item_id IN ('', $3) ORDER BY question_id, number`,
		version.CourseID, version.QuizID, itemID)
	if err != nil || len(list) == 0 {
		return out, err
	}
	out.of = map[string]chain{}
	for _, k := range list {
		out.of[k.QuestionID] = append(out.of[k.QuestionID], k)
	}
	if err := q.QueryRow(ctx, `SELECT created_at FROM quiz_version WHERE quiz_id = $1 AND version = $2`, version.QuizID, version.Number).Scan(&out.published); err != nil {
		return out, fmt.Errorf("when a quiz was published: %w", err)
	}
	return out, nil
}

// pins returns how a question is pinned, and what it is worth by itself where that is
// something else.
func (r rekeysInForce) pins(questionID string, version int32, most string) (is pins, own *string) {
	p := &pinnedSlot{QuizID: r.quizID, ItemID: r.itemID, Version: version, Published: r.published, MaxPoints: most}
	if is = r.of[questionID].pins(p); is.max != most {
		own = &most
	}
	return is, own
}
