package assessment

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
)

const (
	// scoreBatch is how many attempts are scored in one transaction.
	scoreBatch = 100
	// scoreRetry is when an attempt that could not be scored is tried again.
	scoreRetry = time.Minute
	// scoreBeat is how often it is looked for what others have left.
	scoreBeat = 5 * time.Second
)

// wakeScorer has what is to be scored looked at.
func (s *Service) wakeScorer() {
	select {
	case s.unscored <- struct{}{}:
	default: // it is about to look anyway
	}
}

// keepScoring scores attempts that are submitted, until ctx ends.
func (s *Service) keepScoring(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := s.scoreDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "attempts could not be scored yet", "error", err.Error())
		}
		if err == nil && n > 0 {
			continue
		}
		s.wait(ctx, s.unscored, scoreBeat)
	}
}

// scoreDue scores some attempts, and returns how many it has seen to. All of a batch
// is one transaction; one that can't be scored is put aside, so that it holds up no
// other.
func (s *Service) scoreDue(ctx context.Context) (int, error) {
	if err := s.openSigner(ctx); err != nil {
		return 0, err
	}
	n, err := s.scoreSome(ctx, scoreBatch)
	if err == nil || pg.Away(err) || ctx.Err() != nil {
		return n, err
	}
	for i := range scoreBatch {
		one, err := s.scoreSome(ctx, 1)
		if err == nil && one == 0 {
			return i, nil
		}
		if failed, ok := errors.AsType[*scoreError](err); ok {
			s.log.ErrorContext(ctx, "an attempt can't be scored", "attempt", failed.attempt, "error", err.Error())
			err = s.db.InTx(ctx, func(tx *pg.Tx) error {
				tx.Exempt("a mark of the scorer for itself")
				_, err := tx.Exec(ctx, `UPDATE attempt SET score_after = $2 WHERE id = $1`, failed.attempt, s.time().Add(scoreRetry))
				return err
			})
		}
		if err != nil {
			return i, err
		}
	}
	return scoreBatch, nil
}

// scoreError is told of an attempt that can't be scored.
type scoreError struct {
	attempt string
	err     error
}

func (e *scoreError) Error() string { return "score " + e.attempt + ": " + e.err.Error() }
func (e *scoreError) Unwrap() error { return e.err }

func (s *Service) scoreSome(ctx context.Context, limit int) (n int, err error) {
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what follows from the log, which is its own record")
		rows, err := tx.Query(ctx, `
			SELECT `+attemptColumns+` FROM attempt
			WHERE state IN ('submitted', 'graded') AND scored_at IS NULL AND (score_after IS NULL OR score_after <= $1)
			ORDER BY submitted_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`, s.time(), limit)
		if err != nil {
			return fmt.Errorf("attempts to score: %w", err)
		}
		list, err := pgx.CollectRows(rows, scanAttempt)
		if err != nil {
			return fmt.Errorf("attempts to score: %w", err)
		}
		n = len(list)
		return s.score(ctx, tx, list, "submission")
	})
	return n, err
}

// score makes anew all that is derived of attempts that are submitted and locked, and
// stores it: of each question and of the whole. The same log and the same versions
// make the same digits. Receipts that are missing are issued.
func (s *Service) score(ctx context.Context, tx *pg.Tx, list []*attempt, cause string) error {
	if len(list) == 0 {
		return nil
	}
	results, err := s.rebuild(ctx, tx, list)
	if err != nil {
		return err
	}
	now := s.time()
	var qAttempts, qStates []string
	var qSlots []int32
	var qFractions, qPoints []*string
	var ids, states, points []string
	var answered [][]byte
	for _, a := range list {
		r := results[a.ID]
		a.Answered = []byte{}
		for _, q := range r.questions {
			a.answer(q.slot, q.done.answered())
			qAttempts, qSlots, qStates = append(qAttempts, a.ID), append(qSlots, q.slot), append(qStates, q.outcome)
			var fraction, got *string
			if q.state.Fraction != nil {
				fraction, got = new(q.state.Fraction.String()), new(q.points().Text(6))
			}
			qFractions, qPoints = append(qFractions, fraction), append(qPoints, got)
		}
		a.State, a.Points = r.state(), new(r.total)
		ids, states, points = append(ids, a.ID), append(states, a.State), append(points, r.total)
		answered = append(answered, a.Answered)
	}
	if _, err := tx.Exec(ctx, `
		UPDATE attempt_question q SET state = n.state, fraction = n.fraction, points = n.points::numeric, revision = revision + 1
		FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[]) AS n (attempt_id, slot, state, fraction, points)
		WHERE q.attempt_id = n.attempt_id AND q.slot = n.slot`, qAttempts, qSlots, qStates, qFractions, qPoints); err != nil {
		return fmt.Errorf("store scores: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		UPDATE attempt a SET state = n.state, points = n.points::numeric, answered = n.answered, scored_at = $4, score_after = NULL,
			revision = revision + CASE WHEN a.points IS NULL OR NOT `+veiledSQL+` THEN 1 ELSE 0 END, -- or it would tell of a mark
			graded_at = CASE WHEN n.state = 'graded' THEN coalesce(graded_at, $4) END
		FROM unnest($1::text[], $2::text[], $3::text[], $5::bytea[]) AS n (id, state, points, answered) WHERE a.id = n.id`, ids, states, points, now, answered); err != nil {
		return fmt.Errorf("store scores: %w", err)
	}
	if err := s.issueMissing(ctx, tx, list); err != nil {
		return err
	}
	if err := dropOldMarkers(ctx, tx, list, results); err != nil {
		return err
	}
	if err := s.noteAnswerFiles(ctx, tx, list, results); err != nil {
		return err
	}
	if err := s.changed(ctx, tx, list, cause); err != nil {
		return err
	}
	return s.countAttempts(ctx, tx, list, results)
}

// changed has what counts of the attempts of their accounts follow, of all of one item
// at once.
func (s *Service) changed(ctx context.Context, tx *pg.Tx, list []*attempt, cause string) error {
	type place struct{ course, item, quiz string }
	accounts := map[place][]string{}
	var order []place
	for _, a := range list {
		p := place{a.CourseID, a.ItemID, a.QuizID}
		if a.Preview || slices.Contains(accounts[p], a.AccountID) {
			continue
		}
		if accounts[p] == nil {
			order = append(order, p)
		}
		accounts[p] = append(accounts[p], a.AccountID)
	}
	for _, p := range order {
		if err := s.remark(ctx, tx, p.course, p.item, p.quiz, accounts[p], cause); err != nil {
			return err
		}
	}
	return nil
}

// result is what the log of an attempt makes.
type result struct {
	questions []questionResult
	total     string // the points, rounded once to 6 places
}

// questionResult is what the log makes of a question.
type questionResult struct {
	slot    int32
	shown   questionKey
	key     int32 // the version that scores it
	done    *folded
	in      *question.Instance
	rules   question.Rules
	state   question.State
	outcome string // as attempt_question has it
}

// points is what it gives, exact.
func (q *questionResult) points() exact.Number {
	if q.state.Fraction == nil {
		return exact.Number{}
	}
	return q.rules.Points(*q.state.Fraction)
}

// answered returns the operation that its answer came with, 0 for none.
func (q *questionResult) answered() int64 {
	if q.done == nil {
		return 0
	}
	return q.done.answerSeq
}

// state is that of an attempt that is submitted.
func (r *result) state() string {
	for _, q := range r.questions {
		if q.state.Phase == question.ToBeMarked {
			return stateSubmitted
		}
	}
	return stateGraded
}

// keyed is a question of an attempt with the version by which it is scored.
type keyed struct {
	AttemptID  string
	KeyVersion int32
	Scoring    string
	slotLayout
}

// rebuild makes of the logs of attempts that are over, and of what their questions
// are pinned to, all that is derived. It changes nothing.
func (s *Service) rebuild(ctx context.Context, q pg.Querier, list []*attempt) (map[string]*result, error) {
	return s.rebuildAs(ctx, q, list, nil)
}

// rebuildAs is rebuild as if questions were pinned otherwise: by attempt, how the one in
// the slot is.
func (s *Service) rebuildAs(ctx context.Context, q pg.Querier, list []*attempt, as map[string]repinned) (map[string]*result, error) {
	ids := idsOf(list)
	steps, err := readSteps(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	marks, err := s.marksOf(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, `
		SELECT a.attempt_id, a.key_version, a.scoring, a.slot, a.section, a.page, a.question_id, a.question_version, v.kind, a.behaviour, a.seed, a.max_points::text AS max_points
		FROM attempt_question a JOIN question_version v ON v.question_id = a.question_id AND v.version = a.key_version
		WHERE a.attempt_id = ANY ($1) ORDER BY a.attempt_id, a.slot`, ids)
	if err != nil {
		return nil, fmt.Errorf("read questions of attempts: %w", err)
	}
	questions, err := pgx.CollectRows(rows, pgx.RowToStructByName[keyed])
	if err != nil {
		return nil, fmt.Errorf("read questions of attempts: %w", err)
	}
	of := map[string][]keyed{}
	for _, k := range questions {
		if other, ok := as[k.AttemptID]; ok && other.slot == k.Slot {
			k.KeyVersion, k.Scoring, k.MaxPoints = other.key, other.scoring, other.max
		}
		of[k.AttemptID] = append(of[k.AttemptID], k)
	}
	out := make(map[string]*result, len(list))
	for _, a := range list {
		r, err := s.deriveGuarded(ctx, q, a, of[a.ID], steps[a.ID], marks[a.ID])
		if err != nil {
			return nil, &scoreError{a.ID, err}
		}
		out[a.ID] = r
	}
	return out, nil
}

// unmarked is the state of a question of an attempt that is over without what people have
// marked of it.
func (q *questionResult) unmarked() (question.State, error) {
	steps, err := q.done.engineSteps()
	if err != nil {
		return question.State{}, err
	}
	return q.in.Fold(q.rules, append(steps, question.Step{Kind: question.StepFinish}))
}

// deriveGuarded is derive, whose panic is a fault of one attempt and of no other.
func (s *Service) deriveGuarded(ctx context.Context, q pg.Querier, a *attempt, questions []keyed, steps []step, marks map[int32][]markRecord) (_ *result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return s.derive(ctx, q, a, questions, steps, marks)
}

// derive makes what is derived of one attempt.
func (s *Service) derive(ctx context.Context, q pg.Querier, a *attempt, questions []keyed, steps []step, marks map[int32][]markRecord) (*result, error) {
	done, err := fold(steps)
	if err != nil {
		return nil, err
	}
	r := &result{questions: make([]questionResult, 0, len(questions))}
	var sum, of exact.Number
	for _, k := range questions {
		one := questionResult{slot: k.Slot, shown: k.shown(), key: k.KeyVersion, done: done[k.Slot]}
		if one.in, err = s.instance(ctx, q, questionKey{k.QuestionID, k.KeyVersion}, a.Engine, k.seed()); err != nil {
			return nil, err
		}
		if one.rules, err = k.rules(); err != nil {
			return nil, err
		}
		all, err := one.done.engineSteps()
		if err != nil {
			return nil, err
		}
		if !a.running() {
			all = append(all, question.Step{Kind: question.StepFinish})
		}
		for _, m := range marks[k.Slot] {
			if !m.holds(one.answered()) {
				continue
			}
			mark, err := m.engine()
			if err != nil {
				return nil, err
			}
			all = append(all, question.Step{Kind: question.StepMark, Mark: &mark})
		}
		if one.state, err = one.in.Fold(one.rules, all); err != nil {
			return nil, err
		}
		if k.Scoring == scoringFull {
			one.state = fullPoints(one.in, one.state)
		}
		if one.rules.MaxPoints.Sign() == 0 && one.state.Phase == question.ToBeMarked {
			one.state.Phase, one.state.Score.State = question.Complete, "" // it is worth nothing: nobody has to mark it
		}
		one.outcome = outcomeOf(one.in.Outcome(one.rules, one.state).GetState(), one.state)
		sum, of = sum.Add(one.points()), of.Add(one.rules.MaxPoints)
		r.questions = append(r.questions, one)
	}
	most, err := exact.Parse(a.MaxPoints)
	if err != nil {
		return nil, fmt.Errorf("points of %s: %w", a.ID, err)
	}
	// What the questions are worth together is scaled to what the quiz counts.
	if of.Sign() > 0 {
		sum = sum.Mul(most).Div(of)
	}
	r.total = sum.Text(6)
	return r, nil
}

// outcomeOf is a state of a question as its row has it.
func outcomeOf(told string, s question.State) string {
	switch s.Phase {
	case question.Todo, question.Invalid, question.Answered, question.GaveUp, question.Marked:
		return s.Phase
	case question.ToBeMarked:
		return "needs_marking"
	default:
		if told == "" {
			return question.Answered
		}
		return told
	}
}
