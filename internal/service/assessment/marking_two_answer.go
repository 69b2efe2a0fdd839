package assessment

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// answerGivenSQL is how many of two have marked an answer, as q.
const answerGivenSQL = `(SELECT count(*) FROM answer_given_marker g WHERE g.attempt_id = q.attempt_id AND g.slot = q.slot)`

// quizNow returns what the published version of a quiz says, which counts for how
// answers are marked.
func (s *Service) quizNow(ctx context.Context, q pg.Querier, quizID string) (*assessmentpb.QuizSettings, error) {
	var number int32
	if err := q.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1`, quizID).Scan(&number); err != nil {
		return nil, fmt.Errorf("quiz of answer: %w", err)
	}
	version, err := s.quizVersion(ctx, q, quizID, number)
	if err != nil {
		return nil, err
	}
	return version.Settings, nil
}

// markersOfQuiz is how many mark what people mark in a quiz.
func markersOfQuiz(set *assessmentpb.QuizSettings) int32 {
	if set.GetDoubleMarking() {
		return 2
	}
	return 1
}

// markersAt is how many mark an answer at an item.
func (s *Service) markersAt(ctx context.Context, q pg.Querier, course, item string) (int32, error) {
	var quiz string
	err := q.QueryRow(ctx, `SELECT z.id FROM placement p JOIN quiz z ON z.id = p.ref WHERE p.course_id = $1 AND p.item_id = $2 AND z.version > 0`, course, item).Scan(&quiz)
	if pg.NoRows(err) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read quiz: %w", err)
	}
	set, err := s.quizNow(ctx, q, quiz)
	return markersOfQuiz(set), err
}

// givenToAnswer returns what two gave to an answer as it is, and what the quiz says; no
// settings where not two mark it: the quiz says so, or one has marked it before the quiz
// said otherwise.
func (s *Service) givenToAnswer(ctx context.Context, q pg.Querier, m *markable) (*assessmentpb.QuizSettings, *given, error) {
	set, err := s.quizNow(ctx, q, m.attempt.QuizID)
	if err != nil || !set.GetDoubleMarking() {
		return nil, nil, err
	}
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (part) `+givenColumns+`, max_points FROM answer_given WHERE attempt_id = $1 AND slot = $2 AND answer_seq = $3 ORDER BY part, seq DESC`,
		m.attempt.ID, m.slot.Slot, m.answered())
	if err != nil {
		return nil, nil, fmt.Errorf("read given marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[givenRow])
	if err != nil {
		return nil, nil, fmt.Errorf("read given marks: %w", err)
	}
	out := &given{}
	for _, g := range list {
		if err := m.nowWorth(g); err != nil {
			return nil, nil, err
		}
		out.part[g.Part] = g
	}
	if err := q.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM answer_given WHERE attempt_id = $1 AND slot = $2`, m.attempt.ID, m.slot.Slot).Scan(&out.last); err != nil {
		return nil, nil, fmt.Errorf("read given marks: %w", err)
	}
	if out.last == 0 && m.state.Phase != question.ToBeMarked {
		return nil, nil, nil
	}
	return set, out, nil
}

// nowWorth makes the points that were given those of what the question is worth now: the
// share of what it was worth then stays.
func (m *markable) nowWorth(g *givenRow) error {
	if g.MaxPoints == nil || m.rules.MaxPoints.Sign() == 0 {
		return nil
	}
	points, err := g.points()
	if err != nil || points == nil {
		return err
	}
	of, err := exact.Parse(*g.MaxPoints)
	if err != nil {
		return fmt.Errorf("given mark %d: %w", g.Seq, err)
	}
	if of.Sign() > 0 {
		g.Points = new(points.Div(of).Mul(m.rules.MaxPoints).String())
	}
	return nil
}

// etagOfTwo changes with each mark that somebody may know of, where two mark an answer.
func (m *markable) etagOfTwo(g *given, who string) string {
	if seq := g.seen(true, who); seq > 0 {
		return fmt.Sprintf("%s.%d", m.etag(), seq)
	}
	return m.etag()
}

// freeAnswer refuses to have an answer marked that others have marked, or hold, as many
// as mark it. Its row is locked.
func (s *Service) freeAnswer(ctx context.Context, tx *pg.Tx, attempt string, slot, markers int32, who string) error {
	var held, given int32
	err := tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM marking_claim c WHERE c.target_id = $1 AND c.slot = $2 AND c.account_id <> $3 AND c.expires_at > $4),
			(SELECT count(*) FROM answer_given_marker g WHERE g.attempt_id = $1 AND g.slot = $2 AND g.account_id <> $3)`,
		attempt, slot, who, s.time()).Scan(&held, &given)
	if err != nil {
		return fmt.Errorf("who marks it: %w", err)
	}
	if markers == 1 {
		given = 0
	}
	if held+given >= markers {
		return ErrMarkingClaimed
	}
	return nil
}

// takeAnswer claims a part of an answer whose row is locked, and reports whether one was
// free.
func (s *Service) takeAnswer(ctx context.Context, tx *pg.Tx, course, attempt string, slot, markers int32, who string) (bool, error) {
	if err := s.freeAnswer(ctx, tx, attempt, slot, markers, who); err != nil {
		if fault.CodeOf(err) == ErrMarkingClaimed.Code {
			return false, nil
		}
		return false, err
	}
	for part := range markers {
		taken, err := s.take(ctx, tx, course, attempt, slot, part+1, who)
		if err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}

// oneOfTwo makes of what is asked a mark in points, which the question allows.
func (m *markable) oneOfTwo(ctx context.Context, tx *pg.Tx, one *markRecord, chosen *assessmentpb.RubricMarks) (givenMark, error) {
	out := givenMark{comment: one.Comment, by: one.AccountID, rubric: chosen}
	if chosen != nil {
		if err := m.byRubric(ctx, tx, one, chosen); err != nil {
			return out, err
		}
	}
	switch {
	case one.Points == nil && one.Fraction == nil:
		return out, fault.InvalidField("points", "mark.two", "Send points, a fraction or a rubric: two mark this, and each gives a mark.")
	case m.rules.MaxPoints.Sign() == 0:
		return out, fault.InvalidField("points", "mark.range", "The question is worth nothing.")
	}
	if _, err := m.apply(one); err != nil {
		return out, err
	}
	step, err := one.engine()
	if err != nil {
		return out, err
	}
	if out.points = step.Points; out.points == nil {
		out.points = new(step.Fraction.Mul(m.rules.MaxPoints))
	}
	return out, nil
}

// markAsOneOfTwo gives a mark of somebody's to a locked answer that two mark. Once both
// have, and they agree, it is marked.
func (s *Service) markAsOneOfTwo(ctx context.Context, tx *pg.Tx, m *markable, set *assessmentpb.QuizSettings, g *given, one *markRecord, chosen *assessmentpb.RubricMarks) error {
	gives, err := m.oneOfTwo(ctx, tx, one, chosen)
	if err != nil {
		return err
	}
	if err := rpc.Match(ctx, m.etagOfTwo(g, one.AccountID)); err != nil {
		return err
	}
	part, again := g.nextPart(one.AccountID)
	if !again {
		if _, err := tx.Exec(ctx, `INSERT INTO answer_given_marker (attempt_id, slot, part, account_id, answer_seq) VALUES ($1, $2, $3, $4, $5)`,
			one.AttemptID, one.Slot, part, one.AccountID, m.answered()); err != nil {
			return fmt.Errorf("store marker: %w", err)
		}
	}
	if err := s.giveAnswer(ctx, tx, m, g, part, gives, ""); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND slot = $2 AND account_id = $3`, one.AttemptID, one.Slot, one.AccountID); err != nil {
		return fmt.Errorf("end claim: %w", err)
	}
	if g.both() {
		agreed, err := g.agreement(ctx, tx, m.rules.MaxPoints, set.GetTwoMarkers())
		if err != nil {
			return err
		}
		if agreed != nil {
			counts := &markRecord{
				AttemptID: one.AttemptID, Slot: one.Slot, Comment: agreed.comment, Fraction: new(agreed.points.Div(m.rules.MaxPoints).String()), MarkedAt: one.MarkedAt,
			}
			if counts.Rubric, err = agreed.choices(); err != nil {
				return err
			}
			if err := s.settleAnswer(ctx, tx, m, g, *agreed, counts); err != nil {
				return err
			}
		}
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "answer.marked", Object: one.AttemptID, Course: m.attempt.CourseID, Person: m.attempt.AccountID, After: map[string]any{"slot": one.Slot, "marker": part, "given": g.last},
	})
}

// giveAnswer notes a mark of a part of a locked answer.
func (s *Service) giveAnswer(ctx context.Context, tx *pg.Tx, m *markable, g *given, part int32, mark givenMark, reason string) error {
	row, err := g.add(part, mark, reason, s.time())
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO answer_given (attempt_id, slot, answer_seq, `+givenColumns+`, max_points) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		m.attempt.ID, m.slot.Slot, m.answered(), row.Seq, row.Part, row.AccountID, row.Points, row.Comment, row.Comments, row.Rubric, row.Reason, row.GivenAt, m.rules.MaxPoints.String()); err != nil {
		return fmt.Errorf("store given mark: %w", err)
	}
	return nil
}

// settleAnswer gives a locked answer the mark that counts.
func (s *Service) settleAnswer(ctx context.Context, tx *pg.Tx, m *markable, g *given, mark givenMark, counts *markRecord) error {
	if m.state.Marks >= maxMarks {
		return ErrMarkingFull
	}
	if err := s.giveAnswer(ctx, tx, m, g, partSettled, mark, counts.Reason); err != nil {
		return err
	}
	if err := s.appendMark(ctx, tx, m, counts); err != nil {
		return err
	}
	if err := s.score(ctx, tx, []*attempt{m.attempt}, "marking"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND slot = $2`, counts.AttemptID, counts.Slot); err != nil {
		return fmt.Errorf("end claims: %w", err)
	}
	return nil
}

// SettleAnswerMark implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) SettleAnswerMark(ctx context.Context, req *assessmentpb.SettleAnswerMarkRequest) (*assessmentpb.MarkedAnswer, error) {
	s := h.service
	asked, err := markAsked(&assessmentpb.MarkAnswerRequest{
		Points: req.GetPoints(), Fraction: req.GetFraction(), Rubric: req.GetRubric(), Comment: req.GetComment(), Reason: req.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	done, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.QueuedAnswer, error) {
		if err := h.settleAsked(ctx, tx, req, *asked); err != nil {
			return nil, err
		}
		return &assessmentpb.QueuedAnswer{AttemptId: req.GetAttemptId(), Slot: req.GetSlot()}, nil
	})
	if err != nil {
		return nil, err
	}
	return h.marked(ctx, req.GetCourseId(), done.GetAttemptId(), done.GetSlot())
}

// settleAsked settles the mark of an answer as is asked.
func (h *markingServer) settleAsked(ctx context.Context, tx *pg.Tx, req *assessmentpb.SettleAnswerMarkRequest, one markRecord) error {
	s, who := h.service, auth.From(ctx).Account
	a, err := h.ofCourse(ctx, locking(tx), req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `SELECT FROM attempt_question WHERE attempt_id = $1 AND slot = $2 FOR NO KEY UPDATE`, a.ID, req.GetSlot()); err != nil {
		return fmt.Errorf("lock answer: %w", err)
	}
	m, err := s.markableOf(ctx, tx, a, req.GetSlot())
	if err != nil {
		return err
	}
	set, g, err := s.givenToAnswer(ctx, tx, m)
	switch {
	case err != nil:
		return err
	case set == nil:
		return ErrMarkingNotTwo
	case !g.both():
		return ErrMarkingNotBoth
	}
	now := s.time()
	if last := g.part[partSettled]; last != nil {
		err = heldTo(ctx, m.etagOfTwo(g, who), last.AccountID, &last.GivenAt, now)
	} else {
		err = rpc.Match(ctx, m.etagOfTwo(g, who))
	}
	if err != nil {
		return err
	}
	one.AttemptID, one.Slot, one.AccountID, one.MarkedAt = a.ID, req.GetSlot(), who, now
	gives, err := m.oneOfTwo(ctx, tx, &one, req.GetRubric())
	if err != nil {
		return err
	}
	next, err := m.apply(&one)
	if err != nil {
		return err
	}
	if err := s.settleAnswer(ctx, tx, m, g, gives, &one); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "answer.settled", Object: a.ID, Course: a.CourseID, Person: a.AccountID, Reason: one.Reason, Before: m.decided(m.state), After: m.decided(next),
	})
}

// ListGivenAnswerMarks implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ListGivenAnswerMarks(ctx context.Context, req *assessmentpb.ListGivenAnswerMarksRequest) (*assessmentpb.ListGivenMarksResponse, error) {
	s, who := h.service, auth.From(ctx).Account
	a, err := h.ofCourse(ctx, reading(s.db), req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	m, err := s.markableOf(ctx, s.db, a, req.GetSlot())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListGivenMarksResponse{}
	set, g, err := s.givenToAnswer(ctx, s.db, m)
	if err != nil || set == nil {
		return out, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+givenColumns+`, max_points FROM answer_given WHERE attempt_id = $1 AND slot = $2 AND answer_seq = $3 AND ($4 OR account_id = $5) ORDER BY seq DESC LIMIT 100`,
		a.ID, req.GetSlot(), m.answered(), g.both(), who)
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[givenRow])
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	for _, one := range list {
		if err := m.nowWorth(one); err != nil {
			return nil, err
		}
	}
	if out.Items, err = givenMessages(ctx, s.db, list); err != nil {
		return nil, err
	}
	out.Items = out.GetItems()[:bearable(out.GetItems())]
	return out, nil
}

// fillAnswersGiven adds to answers that two mark how many have, and whether the caller
// is one of them. Quizzes are those of the answers.
func (s *Service) fillAnswersGiven(ctx context.Context, list []*assessmentpb.QueuedAnswer, quizzes []string) error {
	two := map[string]bool{}
	for _, quizID := range slices.Compact(slices.Sorted(slices.Values(quizzes))) { // those of one item
		set, err := s.quizNow(ctx, s.db, quizID)
		if err != nil {
			return err
		}
		two[quizID] = set.GetDoubleMarking()
	}
	at := map[claimKey]*assessmentpb.QueuedAnswer{}
	var ids []string
	for i, m := range list {
		if two[quizzes[i]] {
			at[claimKey{m.GetAttemptId(), m.GetSlot()}] = m
			ids = append(ids, m.GetAttemptId())
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := s.db.Query(ctx, `
		SELECT attempt_id, slot, count(*)::int, bool_or(account_id = $2) FROM answer_given_marker WHERE attempt_id = ANY ($1) GROUP BY attempt_id, slot`, ids, auth.From(ctx).Account)
	if err != nil {
		return fmt.Errorf("who has marked: %w", err)
	}
	var key claimKey
	var given int32
	var mine bool
	if _, err := pgx.ForEachRow(rows, []any{&key.attempt, &key.slot, &given, &mine}, func() error {
		m := at[key]
		if m == nil {
			return nil
		}
		if m.Given, m.GivenByCaller = given, mine; given == 2 && m.GetState() == "to_mark" {
			m.State = "to_agree"
		}
		return nil
	}); err != nil {
		return fmt.Errorf("who has marked: %w", err)
	}
	return nil
}

// claimKey names an answer.
type claimKey struct {
	attempt string
	slot    int32
}

// dropOldMarkers has answers of locked attempts marked by two anew where they were
// changed since.
func dropOldMarkers(ctx context.Context, tx *pg.Tx, list []*attempt, results map[string]*result) error {
	var attempts []string
	var slots []int32
	var answers []int64
	for _, a := range list {
		for _, q := range results[a.ID].questions {
			if q.state.Phase == question.ToBeMarked || q.state.Marks > 0 {
				seq := int64(0)
				if q.done != nil {
					seq = q.done.answerSeq
				}
				attempts, slots, answers = append(attempts, a.ID), append(slots, q.slot), append(answers, seq)
			}
		}
	}
	if len(attempts) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		DELETE FROM answer_given_marker g USING unnest($1::text[], $2::int[], $3::bigint[]) AS n (attempt_id, slot, answer_seq)
		WHERE g.attempt_id = n.attempt_id AND g.slot = n.slot AND g.answer_seq <> n.answer_seq`, attempts, slots, answers); err != nil {
		return fmt.Errorf("mark anew: %w", err)
	}
	return nil
}
