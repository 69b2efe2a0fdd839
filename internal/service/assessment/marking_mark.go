package assessment

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// opMark is the operation of the log that a mark is; answer_mark has what it holds.
const opMark = "mark"

// marksBehind is behind which number of the log marks have theirs. They take none of
// those of what students send, whose next number would tell that something was marked.
const marksBehind = 1_000_000

// markRecord is a row of answer_mark.
type markRecord struct {
	AttemptID string
	Seq       int64
	Slot      int32
	AccountID string
	Points    *string
	Fraction  *string
	Withdrawn bool
	Comment   string
	Reason    string
	Rubric    []byte
	MarkedAt  time.Time
	AnswerSeq *int64
	MaxPoints *string // of which points are

	rubric *assessmentpb.RubricMarks
}

const markColumns = `attempt_id, seq, slot, account_id, points, fraction, withdrawn, comment, reason, rubric, marked_at, answer_seq, max_points`

// holdingSQL is which marks, as m, are of the answer that counts, as [markRecord.holds]
// has it.
const holdingSQL = `(m.answer_seq IS NULL OR m.answer_seq = coalesce((
	SELECT max(o.seq) FROM answer_operation o WHERE o.attempt_id = m.attempt_id AND o.slot = m.slot AND o.kind = 'answer' AND ` + countingSQL + `), 0))`

// holds reports whether a mark is of the answer that counts, which came with an operation;
// 0 for none. Another answer, given after an attempt was reopened or accepted by staff, is
// marked anew.
func (m *markRecord) holds(answer int64) bool { return m.AnswerSeq == nil || *m.AnswerSeq == answer }

// readMarks returns marks of an answer, those before a number of the log, newest first.
func readMarks(ctx context.Context, q pg.Querier, attempt string, slot int32, before int64, limit int) ([]*markRecord, error) {
	return collectMarks(ctx, q, `
		SELECT `+markColumns+` FROM answer_mark WHERE attempt_id = $1 AND slot = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4`, attempt, slot, before, limit)
}

func collectMarks(ctx context.Context, q pg.Querier, sql string, args ...any) ([]*markRecord, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*markRecord, error) {
		var m markRecord
		if err := row.Scan(&m.AttemptID, &m.Seq, &m.Slot, &m.AccountID, &m.Points, &m.Fraction, &m.Withdrawn, &m.Comment, &m.Reason, &m.Rubric, &m.MarkedAt, &m.AnswerSeq, &m.MaxPoints); err != nil {
			return nil, err
		}
		if m.Rubric != nil {
			m.rubric = &assessmentpb.RubricMarks{}
			return &m, proto.Unmarshal(m.Rubric, m.rubric)
		}
		return &m, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	return list, nil
}

// marksOf returns what staff have given to questions of attempts, by attempt and
// slot, in the order in which they did.
func (s *Service) marksOf(ctx context.Context, q pg.Querier, attempts []string) (map[string]map[int32][]markRecord, error) {
	rows, err := q.Query(ctx, `
		SELECT attempt_id, seq, slot, points, fraction, withdrawn, comment, answer_seq, max_points FROM answer_mark WHERE attempt_id = ANY ($1) ORDER BY attempt_id, seq`, attempts)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	out := map[string]map[int32][]markRecord{}
	var m markRecord
	_, err = pgx.ForEachRow(rows, []any{&m.AttemptID, &m.Seq, &m.Slot, &m.Points, &m.Fraction, &m.Withdrawn, &m.Comment, &m.AnswerSeq, &m.MaxPoints}, func() error {
		if out[m.AttemptID] == nil {
			out[m.AttemptID] = map[int32][]markRecord{}
		}
		out[m.AttemptID][m.Slot] = append(out[m.AttemptID][m.Slot], m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	return out, nil
}

// engine returns a mark as the engine has it: points as the share of what the question was
// worth then, which stays where it is worth something else since.
func (m *markRecord) engine() (question.Mark, error) {
	out := question.Mark{Withdrawn: m.Withdrawn, Comment: m.Comment}
	var of *exact.Number
	for _, one := range []struct {
		text *string
		to   **exact.Number
	}{{m.Points, &out.Points}, {m.Fraction, &out.Fraction}, {m.MaxPoints, &of}} {
		if one.text == nil {
			continue
		}
		n, err := exact.Parse(*one.text)
		if err != nil {
			return out, fmt.Errorf("mark %d of %s: %w", m.Seq, m.AttemptID, err)
		}
		*one.to = &n
	}
	if out.Points != nil && of != nil && of.Sign() > 0 {
		out.Fraction, out.Points = new(out.Points.Div(*of)), nil
	}
	return out, nil
}

// lastMarkers returns who marked attempts last.
func lastMarkers(ctx context.Context, q pg.Querier, attempts []string) (map[string]string, error) {
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (attempt_id) attempt_id, account_id FROM answer_mark m WHERE attempt_id = ANY ($1) AND `+holdingSQL+` ORDER BY attempt_id, seq DESC`, attempts)
	if err != nil {
		return nil, fmt.Errorf("read markers: %w", err)
	}
	out := map[string]string{}
	var attempt, account string
	_, err = pgx.ForEachRow(rows, []any{&attempt, &account}, func() error {
		out[attempt] = account
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read markers: %w", err)
	}
	return out, nil
}

// MarkAnswer implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) MarkAnswer(ctx context.Context, req *assessmentpb.MarkAnswerRequest) (*assessmentpb.MarkedAnswer, error) {
	s := h.service
	given, err := markAsked(req)
	if err != nil {
		return nil, err
	}
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	// What is remembered of the call holds no answer.
	done, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.QueuedAnswer, error) {
		if err := h.mark(ctx, tx, req, given); err != nil {
			return nil, err
		}
		return &assessmentpb.QueuedAnswer{AttemptId: req.GetAttemptId(), Slot: req.GetSlot()}, nil
	})
	if err != nil {
		return nil, err
	}
	return h.marked(ctx, req.GetCourseId(), done.GetAttemptId(), done.GetSlot())
}

// markAsked returns the mark that is asked for, as far as it can be looked at by itself.
func markAsked(req *assessmentpb.MarkAnswerRequest) (*markRecord, error) {
	m := &markRecord{Withdrawn: req.GetWithdrawn(), Comment: req.GetComment(), Reason: strings.TrimSpace(req.GetReason())}
	ways := 0
	if req.GetPoints() != "" {
		ways++
		m.Points = new(req.GetPoints())
	}
	if req.GetFraction() != "" {
		ways++
		n, err := exact.Parse(req.GetFraction())
		if err != nil || n.Cmp(exact.Int(1)) > 0 {
			return nil, fault.InvalidField("fraction", "mark.range", "It is from 0 to 1.")
		}
		m.Fraction = new(n.String())
	}
	if req.GetRubric() != nil {
		ways++
	}
	if req.GetWithdrawn() {
		ways++
	}
	switch {
	case ways > 1:
		return nil, fault.InvalidField("points", "mark.twice", "Send points, a fraction, a rubric or withdrawn: one of them.")
	case ways == 0 && strings.TrimSpace(req.GetComment()) == "":
		return nil, fault.InvalidField("points", "mark.empty", "Send points, a fraction, a rubric, withdrawn or a comment.")
	}
	return m, nil
}

// mark appends a mark to the log of an attempt, and scores it anew.
func (h *markingServer) mark(ctx context.Context, tx *pg.Tx, req *assessmentpb.MarkAnswerRequest, given *markRecord) error {
	s, who := h.service, auth.From(ctx).Account
	a, err := h.ofCourse(ctx, locking(tx), req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return err
	}
	// Who claims it locks this row too: nobody does between here and the end.
	if _, err := tx.Exec(ctx, `SELECT FROM attempt_question WHERE attempt_id = $1 AND slot = $2 FOR NO KEY UPDATE`, a.ID, req.GetSlot()); err != nil {
		return fmt.Errorf("lock answer: %w", err)
	}
	m, err := s.markableOf(ctx, tx, a, req.GetSlot())
	if err != nil {
		return err
	}
	set, g, err := s.givenToAnswer(ctx, tx, m)
	if err != nil {
		return err
	}
	if set != nil && g.both() {
		return ErrMarkingBothGiven
	}
	if err := s.freeAnswer(ctx, tx, a.ID, req.GetSlot(), markersOfQuiz(set), who); err != nil {
		return err
	}
	one := *given
	one.AttemptID, one.Slot, one.AccountID, one.MarkedAt = a.ID, req.GetSlot(), who, s.time()
	if set != nil {
		return s.markAsOneOfTwo(ctx, tx, m, set, g, &one, req.GetRubric())
	}
	if err := m.match(ctx); err != nil {
		return err
	}
	if req.GetRubric() != nil {
		if err := m.byRubric(ctx, tx, &one, req.GetRubric()); err != nil {
			return err
		}
	}
	next, err := m.apply(&one)
	if err != nil {
		return err
	}
	if err := s.appendMark(ctx, tx, m, &one); err != nil {
		return err
	}
	if err := s.score(ctx, tx, []*attempt{a}, "marking"); err != nil {
		return err
	}
	if next.Phase != question.ToBeMarked {
		if _, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND slot = $2`, a.ID, req.GetSlot()); err != nil {
			return fmt.Errorf("end claim: %w", err)
		}
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "answer.marked", Object: a.ID, Course: a.CourseID, Person: a.AccountID, Reason: one.Reason, Before: m.decided(m.state), After: m.decided(next),
	})
}

// match holds a mark to If-Match. Over a mark that there is, none is given blindly.
func (m *markable) match(ctx context.Context) error {
	if rpc.IfMatch(ctx) != "" || m.state.Marks == 0 {
		return rpc.Match(ctx, m.etag())
	}
	return &fault.Error{
		Kind: fault.Precondition, Code: "etag.required", Etag: m.etag(),
		Message: "This answer is marked already: say which marks your own stands instead of.",
		Fields:  []fault.Field{{Path: "If-Match", Code: "etag.required", Hint: `Read it, and send its ETag. The current version is "` + m.etag() + `".`}},
	}
}

// apply returns the state after a mark, which it holds to what the question allows.
func (m *markable) apply(given *markRecord) (question.State, error) {
	step, err := given.engine()
	if err != nil {
		return m.state, err
	}
	if step.Points != nil && (step.Points.Cmp(m.rules.MaxPoints) > 0 || m.rules.MaxPoints.Sign() == 0) {
		return m.state, fault.InvalidField("points", "mark.range", fmt.Sprintf("It is from 0 to %s.", m.rules.MaxPoints))
	}
	// What the program has given is changed only with a reason.
	overrides := step.Points != nil || step.Fraction != nil || step.Withdrawn && m.state.Marks > 0
	if overrides && m.state.Auto != nil && m.slot.Behaviour != question.Manual && given.Reason == "" {
		return m.state, fault.InvalidField("reason", "mark.reason", "Say why it differs from what the program gave.")
	}
	if m.state.Marks >= maxMarks {
		return m.state, ErrMarkingFull
	}
	next := m.in.Apply(m.rules, m.state, question.Step{Kind: question.StepMark, Mark: &step})
	if next.Ignored > m.state.Ignored {
		return m.state, ErrMarkingNothing
	}
	return next, nil
}

// appendMark notes a mark of a locked answer in the log of its attempt.
func (s *Service) appendMark(ctx context.Context, tx *pg.Tx, of *markable, m *markRecord) error {
	a := of.attempt
	m.AnswerSeq, m.MaxPoints = new(of.answered()), new(of.rules.MaxPoints.String())
	received := m.MarkedAt
	if a.SavedAt != nil && received.Before(*a.SavedAt) {
		received = *a.SavedAt
	}
	if err := tx.QueryRow(ctx, `
		INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, received_at, verdict)
		SELECT $1, n, $2, n, $3, $4, $5, 'accepted' FROM (SELECT GREATEST(max(seq), $6) + 1 AS n FROM answer_mark WHERE attempt_id = $1) AS next
		RETURNING seq`, a.ID, serverClient, m.Slot, opMark, received, marksBehind).Scan(&m.Seq); err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO answer_mark (`+markColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		m.AttemptID, m.Seq, m.Slot, m.AccountID, m.Points, m.Fraction, m.Withdrawn, m.Comment, m.Reason, m.Rubric, m.MarkedAt, m.AnswerSeq, m.MaxPoints); err != nil {
		return fmt.Errorf("store mark: %w", err)
	}
	return nil
}

func cursorOf(n int64) string { return page.Cursor(strconv.FormatInt(n, 10)) }

// numberCursor reads a cursor that is a number, of a list that goes down.
func numberCursor(cursor string, asked int32) (before int64, size int, err error) {
	size, before = page.Size(asked), 1<<62
	values, err := page.Values(cursor, 1)
	if err != nil || values == nil {
		return before, size, err
	}
	if before, err = strconv.ParseInt(values[0], 10, 64); err != nil {
		return 0, 0, page.ErrCursor
	}
	return before, size, nil
}
