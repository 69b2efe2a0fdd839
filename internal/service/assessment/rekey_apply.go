package assessment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ApplyRekey implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) ApplyRekey(ctx context.Context, req *assessmentpb.ApplyRekeyRequest) (*assessmentpb.Rekey, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Rekey, error) {
		k, err := rekeyOf(ctx, tx, req.GetCourseId(), req.GetRekeyId(), `FOR UPDATE`)
		if err != nil {
			return nil, err
		}
		switch k.State {
		case rekeyPreviewing:
			return nil, ErrRekeyNotReady
		case rekeyExpired:
			return nil, ErrRekeyExpired
		case rekeyApplying, rekeyApplied:
			return nil, ErrRekeyApplied
		}
		if err := s.takeTurn(ctx, tx, k); err != nil {
			return nil, err
		}
		if err := k.unchanged(ctx, tx); err != nil {
			return nil, err
		}
		if k.Action == rekeyDrop {
			if err := k.leavesSomething(ctx, tx); err != nil {
				return nil, err
			}
		}
		if _, err := tx.Exec(ctx, `
			UPDATE rekey SET after = DEFAULT, done = 0, up = 0, down = 0, same = 0, untouched = 0, unscored = 0, marks_up = 0, marks_down = 0, marks_same = 0 WHERE id = $1`, k.ID); err != nil {
			return nil, fmt.Errorf("begin a re-key: %w", err)
		}
		if err := s.enforce(ctx, tx, k); err != nil {
			return nil, err
		}
		if k, err = rekeyOf(ctx, tx, k.CourseID, k.ID, ""); err != nil {
			return nil, err
		}
		return k.pb(), audit.Record(ctx, tx, audit.Entry{
			Action: "rekey.applied", Object: k.ID, Course: k.CourseID, Reason: k.Reason,
			After: map[string]any{
				"question": k.QuestionID, "versions": k.Versions, "quiz": k.QuizID, "item": k.ItemID, "action": k.Action, "key": k.KeyVersion, "points": k.Points, "attempts": k.Attempts,
			},
		})
	})
}

// UndoRekey implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) UndoRekey(ctx context.Context, req *assessmentpb.UndoRekeyRequest) (*assessmentpb.Rekey, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Rekey, error) {
		was, err := rekeyOf(ctx, tx, req.GetCourseId(), req.GetRekeyId(), `FOR UPDATE`)
		switch {
		case err != nil:
			return nil, err
		case was.UndoneBy != "":
			return nil, ErrRekeyUndone
		case was.State == rekeyApplying:
			return nil, ErrRekeyRunning
		case was.State != rekeyApplied || was.Action == rekeyUndo:
			return nil, ErrRekeyNotApplied
		}
		who, now := auth.From(ctx).Account, s.time()
		k := &rekey{
			ID: id.New("rekey"), CourseID: was.CourseID, QuestionID: was.QuestionID, Versions: was.Versions, QuizID: was.QuizID, ItemID: was.ItemID,
			Undoes: was.ID, Reason: req.GetReason(), CreatedBy: who, CreatedAt: now,
		}
		k.Action = rekeyUndo
		if err := k.insert(ctx, tx, rekeyReady, 1); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE rekey SET undone_by = $2 WHERE id = $1`, was.ID, k.ID); err != nil {
			return nil, fmt.Errorf("undo a re-key: %w", err)
		}
		if err := s.takeTurn(ctx, tx, k); err != nil {
			return nil, err
		}
		if err := s.enforce(ctx, tx, k); err != nil {
			return nil, err
		}
		if k, err = rekeyOf(ctx, tx, k.CourseID, k.ID, ""); err != nil {
			return nil, err
		}
		return k.pb(), audit.Record(ctx, tx, audit.Entry{
			Action: "rekey.undone", Object: was.ID, Course: k.CourseID, Reason: k.Reason,
			Before: map[string]any{"action": was.Action, "key": was.KeyVersion, "points": was.Points}, After: map[string]any{"undo": k.ID, "attempts": k.Attempts},
		})
	})
}

// takeTurn gives a re-key its place among those of the question, of which one is applied at
// a time. Nobody makes attempts at its quizzes between this and the end of the
// transaction.
func (s *Service) takeTurn(ctx context.Context, tx *pg.Tx, k *rekey) error {
	now := s.time()
	err := tx.QueryRow(ctx, `
		UPDATE rekey SET state = 'applying', applied_by = $2, applied_at = $3,
			number = 1 + coalesce((SELECT max(number) FROM rekey WHERE course_id = $4 AND question_id = $5), 0)
		WHERE id = $1 RETURNING number`, k.ID, auth.From(ctx).Account, now, k.CourseID, k.QuestionID).Scan(&k.Number)
	switch {
	case pg.Violates(err, "rekey_running"), pg.Violates(err, "rekey_number"):
		return ErrRekeyRunning
	case err != nil:
		return fmt.Errorf("begin a re-key: %w", err)
	}
	k.State, k.AppliedAt = rekeyApplying, &now
	if _, err := tx.Exec(ctx, `SELECT FROM quiz WHERE course_id = $1 AND ($2 = '' OR id = $2) ORDER BY id FOR UPDATE`, k.CourseID, k.QuizID); err != nil {
		return fmt.Errorf("lock quizzes: %w", err)
	}
	return nil
}

// unchanged refuses to apply a re-key where what it was looked at against has changed:
// attempts that it is about have been submitted, scored or pinned otherwise since, or
// marks of their accounts are others.
func (k *rekey) unchanged(ctx context.Context, tx *pg.Tx) error {
	const most = 20
	rows, err := tx.Query(ctx, `
		WITH now AS (
			SELECT a.id, a.account_id, a.state, x.key_version, x.scoring, x.max_points, coalesce(m.points, '') AS mark, a.state IN ('submitted', 'graded') AND a.scored_at IS NOT NULL AS counted,
				x.state AS outcome, x.fraction, a.points
			FROM attempt_question x JOIN attempt a ON a.id = x.attempt_id
			LEFT JOIN quiz_mark m ON m.course_id = a.course_id AND m.item_id = a.item_id AND m.account_id = a.account_id
			WHERE x.question_id = $2 AND a.course_id = $1 AND NOT a.preview AND ($3 = '' OR a.quiz_id = $3) AND ($4 = '' OR a.item_id = $4)
				AND x.question_version = ANY ($5) AND a.state NOT IN ('prepared', 'abandoned')
		)
		SELECT coalesce(n.id, r.attempt_id),
			CASE WHEN n.id IS NULL THEN 'attempt.gone' WHEN n.counted AND coalesce(r.old_total IS NULL, true) THEN 'attempt.scored'
				WHEN NOT n.counted AND r.old_total IS NOT NULL THEN 'attempt.unscored' WHEN r.old_mark <> n.mark THEN 'mark.changed' ELSE 'attempt.changed' END,
			CASE WHEN r.old_mark <> n.mark AND r.old_total IS NOT DISTINCT FROM n.points THEN r.old_mark ELSE coalesce(r.old_total::text, '') END,
			CASE WHEN r.old_mark <> n.mark AND r.old_total IS NOT DISTINCT FROM n.points THEN n.mark ELSE coalesce(n.points::text, '') END,
			count(*) OVER ()
		FROM now n FULL JOIN (SELECT * FROM rekey_attempt WHERE rekey_id = $6) AS r ON r.attempt_id = n.id
		WHERE n.id IS NULL OR r.attempt_id IS NULL AND n.counted OR r.old_max IS NOT NULL AND (
			n.counted <> (r.old_total IS NOT NULL)
			OR (r.old_key, r.old_scoring, r.old_max, r.old_mark) IS DISTINCT FROM (n.key_version, n.scoring, n.max_points, n.mark)
			OR n.counted AND (r.old_state, r.old_fraction, r.old_total) IS DISTINCT FROM (n.outcome, n.fraction, n.points))
		ORDER BY 1 LIMIT $7`, k.CourseID, k.QuestionID, k.QuizID, k.ItemID, k.Versions, k.ID, most)
	if err != nil {
		return fmt.Errorf("what has changed: %w", err)
	}
	var attemptID, code, before, after string
	var all int
	bad := &fault.Error{Kind: fault.Conflict, Code: "rekey.changed"}
	if _, err := pgx.ForEachRow(rows, []any{&attemptID, &code, &before, &after, &all}, func() error {
		bad.Fields = append(bad.Fields, fault.Field{
			Path: "attempts[" + attemptID + "]", Code: code, Hint: fmt.Sprintf("It was %s, and is %s now.", orNone(before), orNone(after)),
		})
		return nil
	}); err != nil {
		return fmt.Errorf("what has changed: %w", err)
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	bad.Message = fmt.Sprintf("%d attempts or marks have changed since this was looked at. Preview it again.", all)
	return bad
}

// orNone is a number that may be none.
func orNone(number string) string {
	if number == "" {
		return "none"
	}
	return decimal(number)
}

// enforce has a re-key that is begun hold for all attempts that are made and that nobody
// has begun, and has those that were begun follow.
func (s *Service) enforce(ctx context.Context, tx *pg.Tx, k *rekey) error {
	// Who begins or ends one of them waits, so that it is looked at here or below.
	rows, err := tx.Query(ctx, `
		SELECT x.attempt_id FROM `+scopeSQL+` AND x.question_version = ANY ($5) AND a.state IN ('prepared', 'abandoned') ORDER BY a.id FOR NO KEY UPDATE OF a`,
		k.CourseID, k.QuestionID, k.QuizID, k.ItemID, k.Versions)
	if err != nil {
		return fmt.Errorf("prepared attempts: %w", err)
	}
	prepared, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("prepared attempts: %w", err)
	}
	force, err := readChain(ctx, tx, k.CourseID, k.QuestionID)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(prepared, 1_000) {
		slots, err := readPinned(ctx, tx, k.QuestionID, some)
		if err != nil {
			return err
		}
		list := make([]*pinnedSlot, 0, len(slots))
		for _, p := range slots {
			list = append(list, p)
		}
		if err := repin(ctx, tx, list, force.pins); err != nil {
			return err
		}
	}
	if err := k.addAttempts(ctx, tx, 1); err != nil {
		return err
	}
	tx.AfterCommit(s.wakeRekeying)
	return nil
}

// applyNext has the next attempts of a re-key that is in force follow, and reports
// whether there may be more to do. Each attempt follows once: it is noted in the
// transaction that scores it.
func (s *Service) applyNext(ctx context.Context) (bool, error) {
	more, err := s.applySome(ctx, rekeyBatch, "")
	failed, ok := errors.AsType[*scoreError](err)
	if !ok {
		return more, err
	}
	// One that can't be scored holds up no other: it is pinned, and the scorer tries it.
	s.log.ErrorContext(ctx, "an attempt can't be scored", "attempt", failed.attempt, "error", err.Error())
	return s.applySome(ctx, 1, failed.attempt)
}

// applySome has some attempts follow, or just one that can't be scored now.
func (s *Service) applySome(ctx context.Context, limit int, broken string) (more bool, err error) {
	if err := s.openSigner(ctx); err != nil {
		return false, err
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from a re-key, which is recorded")
		found, err := readRekeys(ctx, tx, `id IN (SELECT id FROM rekey WHERE state = 'applying' ORDER BY applied_at LIMIT 1 FOR UPDATE SKIP LOCKED)`)
		if more = err == nil && len(found) > 0; !more {
			return err
		}
		k := found[0]
		var list []*rekeyed
		if broken != "" {
			list, err = readRekeyed(ctx, tx, `rekey_id = $1 AND attempt_id = $2 AND stage < 2`, k.ID, broken)
		} else {
			list, err = nextRekeyed(ctx, tx, k, 1, limit)
		}
		if err != nil {
			return err
		}
		if len(list) == 0 {
			if broken != "" {
				return nil
			}
			_, err := tx.Exec(ctx, `UPDATE rekey SET state = 'applied', finished_at = $2 WHERE id = $1`, k.ID, s.time())
			return err
		}
		if err := s.follow(ctx, tx, k, list, broken != ""); err != nil {
			return err
		}
		if broken == "" {
			if err := k.goOn(ctx, tx, list); err != nil {
				return err
			}
		}
		return k.store(ctx, tx, list)
	})
	return more, err
}

// follow pins and scores attempts as the re-keys say that are in force, and notes how they
// were and are.
func (s *Service) follow(ctx context.Context, tx *pg.Tx, k *rekey, list []*rekeyed, broken bool) error {
	ids := column(list, func(r *rekeyed) string { return r.AttemptID })
	attempts, err := readAttempts(ctx, tx, `id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`, ids)
	if err != nil {
		return err
	}
	force, err := readChain(ctx, tx, k.CourseID, k.QuestionID)
	if err != nil {
		return err
	}
	slots, err := readPinned(ctx, tx, k.QuestionID, ids)
	if err != nil {
		return err
	}
	pinned := make([]*pinnedSlot, 0, len(list))
	var scored []*attempt
	var people []*rekeyed
	for _, r := range list {
		a, slot := attempts[r.AttemptID], slots[r.AttemptID]
		if a == nil || slot == nil {
			return fmt.Errorf("attempt %s has gone", r.AttemptID)
		}
		r.before(a, slot)
		is := force.pins(slot)
		r.Stage, r.At, r.NewKey, r.NewScoring, r.NewMax = 2, k.AppliedAt, is.key, is.scoring, &is.max
		pinned = append(pinned, slot)
		if a.counted() && !broken {
			scored, people = append(scored, a), append(people, r)
		}
	}
	for _, place := range byPlace(people) { // so that what is noted is what is changed
		if _, err := lockMarks(ctx, tx, k.CourseID, place[0].ItemID, column(place, func(r *rekeyed) string { return r.AccountID })); err != nil {
			return err
		}
	}
	marks, err := marksBefore(ctx, tx, k.CourseID, list)
	if err != nil {
		return err
	}
	if err := repin(ctx, tx, pinned, force.pins); err != nil {
		return err
	}
	if broken {
		_, err := tx.Exec(ctx, `UPDATE attempt SET scored_at = NULL, score_after = $2 WHERE id = ANY ($1) AND state IN ('submitted', 'graded')`, ids, s.time().Add(scoreRetry))
		return err
	}
	if err := s.score(ctx, tx, scored, "regrade"); err != nil {
		return err
	}
	after, err := marksBefore(ctx, tx, k.CourseID, list)
	if err != nil {
		return err
	}
	if slots, err = readPinned(ctx, tx, k.QuestionID, ids); err != nil {
		return err
	}
	var kind string
	if err := tx.QueryRow(ctx, `SELECT kind FROM question_version WHERE question_id = $1 LIMIT 1`, k.QuestionID).Scan(&kind); err != nil {
		return fmt.Errorf("kind of a question: %w", err)
	}
	for _, r := range list {
		at := [2]string{r.ItemID, r.AccountID}
		r.OldMark, r.NewMark, r.MarkMax = marks[at].Points, after[at].Points, after[at].MaxPoints
		if a := attempts[r.AttemptID]; r.Change == changeUnscored && a.counted() {
			slot := slots[r.AttemptID]
			r.NewState, r.NewFraction, r.NewPoints, r.NewTotal = slot.State, slot.Fraction, slot.Points, a.Points
			r.decide(kind == "essay" || kind == "file_upload")
		}
	}
	return nil
}
