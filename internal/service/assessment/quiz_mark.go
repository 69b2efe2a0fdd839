package assessment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// finished is an attempt that was submitted, as what counts is made of it.
type finished struct {
	id          string
	number      int32
	graded      bool
	share       exact.Number // of its points
	maxPoints   exact.Number
	submittedAt time.Time
	over        time.Time // when it counts as handed in
	due         *time.Time
}

// late returns how long after it was due an attempt counts as handed in, in seconds that
// have begun.
func (f *finished) late() int64 {
	if f.due == nil || !f.over.After(*f.due) {
		return 0
	}
	return int64((f.over.Sub(*f.due) + time.Second - 1) / time.Second)
}

// overSQL is when an attempt, as a, counts as handed in: when its student submitted it.
// Where the clock or staff did, behind the end of its time, that end: the period of grace
// makes nobody late who answered in time. Who answered in it is as late as the last
// answer that counted. What staff have count afterwards makes nobody later.
const overSQL = `CASE WHEN a.submitted_by <> a.account_id AND a.expires_at < a.submitted_at THEN LEAST(a.submitted_at, GREATEST(a.expires_at, (
	SELECT max(o.received_at) FROM answer_operation o WHERE o.attempt_id = a.id AND o.slot > 0 AND o.kind IN ('answer', 'check', 'hint', 'give_up')
		AND o.verdict IN ('accepted', 'late')))) ELSE a.submitted_at END`

// keptGrade is what counts of somebody's attempts.
type keptGrade struct {
	state string    // "none", "submitted" or "marked"
	of    *finished // the attempt that counts, or of several the one handed in last
	id    string    // of the attempt that counts alone
	share exact.Number
	best  bool // whether it is the best of those that are marked
}

// keepGrade returns what counts of attempts, which are in the order of their numbers.
// "best" takes the one of most points of those that are marked, the earliest of equal
// ones; which one counts most once lateness has cost what it does, the gradebook finds of
// it and those of [front]. A mark that comes later can only raise it. The other policies
// wait for the marks of what they take. It is pure, and rounds nothing.
func keepGrade(policy string, list []*finished) keptGrade {
	if len(list) == 0 {
		return keptGrade{state: "none"}
	}
	last := list[len(list)-1]
	one := func(f *finished) keptGrade {
		if !f.graded {
			return keptGrade{state: "submitted", of: f, id: f.id}
		}
		return keptGrade{state: "marked", of: f, id: f.id, share: f.share}
	}
	switch policy {
	case "first":
		return one(list[0])
	case "last":
		return one(last)
	case "average":
		if len(list) == 1 {
			return one(last)
		}
		sum := exact.Number{}
		for _, f := range list {
			if !f.graded {
				return keptGrade{state: "submitted", of: last}
			}
			sum = sum.Add(f.share)
		}
		return keptGrade{state: "marked", of: last, share: sum.Div(exact.Int(int64(len(list))))}
	default:
		var best *finished
		for _, f := range list {
			if f.graded && (best == nil || f.share.Cmp(best.share) > 0) {
				best = f
			}
		}
		if best == nil {
			best = last
		}
		kept := one(best)
		kept.best = best.graded
		return kept
	}
}

// otherMark is an attempt that could count in place of the one that is told.
type otherMark struct {
	SourceID    string       `json:"source_id"`
	Points      exact.Number `json:"points"` // rounded, as those of a mark
	SubmittedAt time.Time    `json:"submitted_at"`
	LateSeconds int64        `json:"late_seconds"`
	MarkedBy    string       `json:"marked_by,omitempty"`
}

func (o otherMark) is(p otherMark) bool {
	return o.SourceID == p.SourceID && o.Points.Equal(p.Points) && o.SubmittedAt.Equal(p.SubmittedAt) && o.LateSeconds == p.LateSeconds && o.MarkedBy == p.MarkedBy
}

// maxOthers bounds the attempts that are told beside the one of most points.
const maxOthers = 100

// front returns which of other attempts could count in place of the one of most points,
// which is so late, whatever lateness costs: those that are less late than all that have
// as many points or more, by falling points. Of equal ones it takes the first; of too many
// it leaves out those before the least late. It is pure.
func front(late int64, others []otherMark) []otherMark {
	others = slices.Clone(others)
	slices.SortStableFunc(others, func(a, b otherMark) int {
		return cmp.Or(b.Points.Cmp(a.Points), cmp.Compare(a.LateSeconds, b.LateSeconds))
	})
	var out []otherMark
	for _, o := range others {
		if o.LateSeconds < late {
			out, late = append(out, o), o.LateSeconds
		}
	}
	if len(out) > maxOthers {
		out = append(out[:maxOthers-1], out[len(out)-1])
	}
	return out
}

// markRow is a row of quiz_mark.
type markRow struct {
	AccountID        string
	State            string
	SourceID         string
	Points           string
	MaxPoints        string
	SubmittedAt      *time.Time
	LateSeconds      int64
	Others           []otherMark
	Attempts         int32
	Version          int64
	FirstSubmittedAt *time.Time
	ResultVersion    int64
}

// othersSQL are the others of a row. Those that a process of the version before has left
// there, which knows none, are of another version of the mark.
const othersSQL = `CASE WHEN (others->>'version')::bigint = version THEN others->'list' END AS others`

// othersText is what is kept of the others as list; nil for none.
func (m markRow) othersText() (*string, error) {
	if len(m.Others) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	list, err := json.Marshal(m.Others)
	text := string(list)
	return &text, err
}

// sources are the attempts that a row names, the one that is told first.
func (m markRow) sources() []string {
	ids := []string{m.SourceID}
	for _, o := range m.Others {
		ids = append(ids, o.SourceID)
	}
	return ids
}

// anonymous takes out of a row what could tell those who mark whose it is.
func (m *markRow) anonymous() {
	m.SourceID = ""
	for i := range m.Others {
		m.Others[i].SourceID = ""
	}
}

// made returns the row that somebody's attempts make, with the versions of the one
// there is. Points are rounded here, once.
func (m markRow) made(version *quizVersion, list []*finished) markRow {
	k := keepGrade(version.gradeKept(), list)
	out := markRow{AccountID: m.AccountID, State: k.state, SourceID: k.id, Attempts: int32(len(list)), Version: m.Version, ResultVersion: m.ResultVersion} //nolint:gosec // far below
	if k.of == nil {
		return out
	}
	most := k.of.maxPoints
	if version.maxPoints != nil {
		most = *version.maxPoints
	}
	out.MaxPoints, out.SubmittedAt, out.LateSeconds = most.Round(6, exact.HalfEven).String(), &k.of.submittedAt, k.of.late()
	points := func(share exact.Number) exact.Number { return share.Mul(most).Round(6, exact.HalfEven) }
	if k.state == "marked" {
		out.Points = points(k.share).String()
	}
	var others []otherMark
	for _, f := range list {
		out.FirstSubmittedAt = earlier(out.FirstSubmittedAt, &f.submittedAt)
		if k.best && f.graded && f != k.of {
			others = append(others, otherMark{SourceID: f.id, Points: points(f.share), SubmittedAt: f.submittedAt, LateSeconds: f.late()})
		}
	}
	out.Others = front(out.LateSeconds, others)
	return out
}

// attemptChanged is told in the transaction whenever the result of an attempt has
// changed, whose row it holds locked: it was submitted, scored, marked or scored anew.
// What counts of the account's attempts follows, and is told where it differs.
func (s *Service) attemptChanged(ctx context.Context, tx *pg.Tx, a *attempt, cause string) error {
	if a.Preview {
		return nil
	}
	return s.remark(ctx, tx, a.CourseID, a.ItemID, a.QuizID, []string{a.AccountID}, cause)
}

// remark makes anew what counts of the attempts of some people at a quiz of an item,
// and tells what has changed. It takes the same few statements for any number of them.
// Where the item shows another quiz by now, what was told before stays.
func (s *Service) remark(ctx context.Context, tx *pg.Tx, courseID, itemID, quizID string, accounts []string, cause string) error {
	var other bool
	var number int32
	if err := tx.QueryRow(ctx, `
		SELECT z.version, EXISTS (SELECT FROM placement p WHERE p.course_id = $1 AND p.item_id = $2 AND p.ref <> z.id) FROM quiz z WHERE z.id = $3`,
		courseID, itemID, quizID).Scan(&number, &other); err != nil {
		return fmt.Errorf("quiz of attempts: %w", err)
	}
	if other {
		_, err := tx.Exec(ctx, `UPDATE quiz_mark SET quiz_version = $4 WHERE course_id = $1 AND item_id = $2 AND quiz_id = $3 AND account_id = ANY ($5)`,
			courseID, itemID, quizID, number, accounts)
		return err
	}
	version, err := s.quizVersion(ctx, tx, quizID, number)
	if err != nil {
		return err
	}
	rows, err := lockMarks(ctx, tx, courseID, itemID, accounts)
	if err != nil {
		return err
	}
	// Looked at once nobody else changes what is made of it.
	attempts, err := finishedAt(ctx, tx, itemID, quizID, accounts)
	if err != nil {
		return err
	}
	now := s.time()
	var events []proto.Message
	var changed []markRow
	sources := map[string][]string{} // by account
	for _, was := range rows {
		is := was.made(version, attempts[was.AccountID])
		named := is.sources()
		if version.Settings.GetAnonymousMarking() {
			is.anonymous()
		}
		if !sameTime(is.FirstSubmittedAt, was.FirstSubmittedAt) {
			is.ResultVersion++
			events = append(events, is.result(courseID, itemID))
		}
		if was.differs(is) {
			is.Version++
			events = append(events, is.event(courseID, itemID, cause, now))
			sources[is.AccountID] = named
		}
		changed = append(changed, is)
	}
	if err := storeMarks(ctx, tx, courseID, itemID, quizID, number, changed); err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	markers, err := lastMarkers(ctx, tx, slices.Concat(slices.Collect(maps.Values(sources))...))
	if err != nil {
		return err
	}
	for _, e := range events {
		if m, ok := e.(*assessmentpb.MarkChanged); ok {
			named := sources[m.GetAccountId()]
			m.MarkedBy, m.Anonymous = markers[named[0]], version.Settings.GetAnonymousMarking()
			for i, o := range m.GetOthers() {
				o.MarkedBy = markers[named[i+1]]
			}
		}
	}
	return bus.Publish(ctx, tx, events...)
}

// lockMarks returns the rows of some people at an item, made where there are none, as
// nobody else can change them any more.
func lockMarks(ctx context.Context, tx *pg.Tx, courseID, itemID string, accounts []string) ([]markRow, error) {
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz_mark (course_id, item_id, account_id) SELECT $1, $2, a FROM unnest($3::text[]) AS a ORDER BY a
		ON CONFLICT ON CONSTRAINT quiz_mark_pkey DO NOTHING`, courseID, itemID, accounts); err != nil {
		return nil, fmt.Errorf("store marks: %w", err)
	}
	rows, err := tx.Query(ctx, `
		SELECT account_id, state, source_id, points, max_points, submitted_at, late_seconds, `+othersSQL+`, attempts, version, first_submitted_at, result_version
		FROM quiz_mark WHERE course_id = $1 AND item_id = $2 AND account_id = ANY ($3) ORDER BY account_id FOR UPDATE`, courseID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("lock marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[markRow])
	if err != nil {
		return nil, fmt.Errorf("lock marks: %w", err)
	}
	return list, nil
}

// finishedAt returns the attempts that some people have submitted at a quiz of an
// item, by account and in the order of their numbers.
func finishedAt(ctx context.Context, q pg.Querier, itemID, quizID string, accounts []string) (map[string][]*finished, error) {
	rows, err := q.Query(ctx, `
		SELECT a.account_id, a.id, a.number, a.state = 'graded' AND a.scored_at IS NOT NULL AND NOT a.withheld, a.max_points::text, a.submitted_at, `+overSQL+`, a.due_at,
			coalesce(array_agg(x.fraction) FILTER (WHERE x.max_points <> 0), '{}'), coalesce(array_agg(x.max_points::text) FILTER (WHERE x.max_points <> 0), '{}')
		FROM attempt a LEFT JOIN attempt_question x ON x.attempt_id = a.id
		WHERE a.item_id = $1 AND a.quiz_id = $2 AND a.account_id = ANY ($3) AND NOT a.preview AND a.state IN ('submitted', 'graded')
		GROUP BY a.id ORDER BY a.account_id, a.number`, itemID, quizID, accounts)
	if err != nil {
		return nil, fmt.Errorf("read submitted attempts: %w", err)
	}
	out := map[string][]*finished{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var (
			account, most string
			f             finished
			fractions     []*string
			points        []string
		)
		err := row.Scan(&account, &f.id, &f.number, &f.graded, &most, &f.submittedAt, &f.over, &f.due, &fractions, &points)
		if err != nil {
			return struct{}{}, err
		}
		if f.maxPoints, err = exact.Parse(most); err != nil {
			return struct{}{}, err
		}
		f.share, err = shareOf(fractions, points)
		out[account] = append(out[account], &f)
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("read submitted attempts: %w", err)
	}
	return out, nil
}

// shareOf returns which share of its points an attempt has, exact: of fractions of
// points, nil where there is none yet.
func shareOf(fractions []*string, points []string) (exact.Number, error) {
	var sum, of exact.Number
	for i, text := range points {
		p, err := exact.Parse(text)
		if err != nil {
			return exact.Number{}, err
		}
		of = of.Add(p)
		if fractions[i] == nil {
			continue
		}
		f, err := exact.Parse(*fractions[i])
		if err != nil {
			return exact.Number{}, err
		}
		sum = sum.Add(f.Mul(p))
	}
	if of.Sign() == 0 {
		return exact.Number{}, nil
	}
	return sum.Div(of), nil
}

// storeMarks writes rows that are locked.
func storeMarks(ctx context.Context, tx *pg.Tx, courseID, itemID, quizID string, number int32, list []markRow) error {
	n := len(list)
	accounts, states, sources, points, most := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	submitted, first := make([]*time.Time, n), make([]*time.Time, n)
	late, versions, results, attempts := make([]int64, n), make([]int64, n), make([]int64, n), make([]int32, n)
	others := make([]*string, n)
	for i, m := range list {
		var err error
		if others[i], err = m.othersText(); err != nil {
			return err
		}
		accounts[i], states[i], sources[i], points[i], most[i] = m.AccountID, m.State, m.SourceID, m.Points, m.MaxPoints
		submitted[i], first[i], late[i], versions[i], results[i], attempts[i] = m.SubmittedAt, m.FirstSubmittedAt, m.LateSeconds, m.Version, m.ResultVersion, m.Attempts
	}
	_, err := tx.Exec(ctx, `
		UPDATE quiz_mark m SET quiz_id = $3, quiz_version = $4, state = n.state, source_id = n.source_id, points = n.points, max_points = n.max_points,
			submitted_at = n.submitted_at, first_submitted_at = n.first_submitted_at, late_seconds = n.late_seconds, version = n.version,
			result_version = n.result_version, attempts = n.attempts,
			others = CASE WHEN n.others IS NOT NULL THEN jsonb_build_object('version', n.version, 'list', n.others::jsonb) END
		FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::bigint[], $14::bigint[], $15::int[], $16::text[])
			AS n (account_id, state, source_id, points, max_points, submitted_at, first_submitted_at, late_seconds, version, result_version, attempts, others)
		WHERE m.course_id = $1 AND m.item_id = $2 AND m.account_id = n.account_id`,
		courseID, itemID, quizID, number, accounts, states, sources, points, most, submitted, first, late, versions, results, attempts, others)
	if err != nil {
		return fmt.Errorf("store marks: %w", err)
	}
	return nil
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// differs reports whether the gradebook has to be told of another mark.
func (m markRow) differs(n markRow) bool {
	return m.State != n.State || m.SourceID != n.SourceID || m.Points != n.Points || m.MaxPoints != n.MaxPoints ||
		m.LateSeconds != n.LateSeconds || m.Attempts != n.Attempts || !sameTime(m.SubmittedAt, n.SubmittedAt) || !slices.EqualFunc(m.Others, n.Others, otherMark.is)
}

// event is what the gradebook is told of a mark.
func (m markRow) event(courseID, itemID, cause string, now time.Time) *assessmentpb.MarkChanged {
	e := &assessmentpb.MarkChanged{
		CourseId: courseID, ItemId: itemID, AccountId: m.AccountID, SourceId: m.SourceID, State: m.State, Points: m.Points, MaxPoints: m.MaxPoints,
		SubmittedAt: stampOf(m.SubmittedAt), LateSeconds: m.LateSeconds, Attempts: m.Attempts, Cause: cause, ChangedAt: timestamppb.New(now), Version: m.Version,
	}
	for _, o := range m.Others {
		e.Others = append(e.Others, &assessmentpb.MarkedAttempt{
			SourceId: o.SourceID, Points: o.Points.String(), SubmittedAt: timestamppb.New(o.SubmittedAt), LateSeconds: o.LateSeconds, MarkedBy: o.MarkedBy,
		})
	}
	return e
}

// result is what learning is told: that something was handed in.
func (m markRow) result(courseID, itemID string) *assessmentpb.ActivityResultChanged {
	return &assessmentpb.ActivityResultChanged{
		CourseId: courseID, ItemId: itemID, AccountId: m.AccountID, SubmittedAt: stampOf(m.FirstSubmittedAt), Version: m.ResultVersion,
	}
}

func stampOf(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// remarkDue makes anew the marks of some people that were made by a version of a quiz
// which is not the newest any more, and reports whether there may be more.
func (s *Service) remarkDue(ctx context.Context) (bool, error) {
	const most = 200
	more := false
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from a quiz that was published, which is recorded")
		rows, err := tx.Query(ctx, `
			SELECT m.course_id, m.item_id, m.quiz_id, m.account_id FROM quiz z JOIN quiz_mark m ON m.quiz_id = z.id AND m.quiz_version < z.version
			WHERE z.id IN (SELECT quiz_id FROM quiz_remark ORDER BY quiz_id LIMIT 1)
			ORDER BY m.course_id, m.item_id, m.account_id LIMIT $1`, most)
		if err != nil {
			return fmt.Errorf("marks to make anew: %w", err)
		}
		type key struct{ course, item, quiz string }
		groups := map[key][]string{}
		var order []key
		var k key
		var account string
		if _, err := pgx.ForEachRow(rows, []any{&k.course, &k.item, &k.quiz, &account}, func() error {
			if groups[k] == nil {
				order = append(order, k)
			}
			groups[k] = append(groups[k], account)
			return nil
		}); err != nil {
			return fmt.Errorf("marks to make anew: %w", err)
		}
		for _, k := range order {
			if err := s.remark(ctx, tx, k.course, k.item, k.quiz, groups[k], "regrade"); err != nil {
				return err
			}
		}
		if len(order) > 0 {
			more = true
			return nil
		}
		tag, err := tx.Exec(ctx, `
			DELETE FROM quiz_remark r WHERE quiz_id IN (SELECT quiz_id FROM quiz_remark ORDER BY quiz_id LIMIT 1)
				AND NOT EXISTS (SELECT FROM quiz z JOIN quiz_mark m ON m.quiz_id = z.id AND m.quiz_version < z.version WHERE z.id = r.quiz_id)`)
		more = tag.RowsAffected() > 0
		return err
	})
	return more, err
}
