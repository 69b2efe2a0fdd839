package assessment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// rekeyBatch is how many attempts of a re-key are gone through in one transaction, and
// besides those of the last account.
const rekeyBatch = 100

// scopeSQL is the questions of attempts that a re-key may be about, as x of a: $1 is the
// course, $2 the question, $3 the quiz and $4 the item, where there is one.
const scopeSQL = `attempt_question x JOIN attempt a ON a.id = x.attempt_id
	WHERE x.question_id = $2 AND a.course_id = $1 AND NOT a.preview AND ($3 = '' OR a.quiz_id = $3) AND ($4 = '' OR a.item_id = $4)`

// CreateRekey implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) CreateRekey(ctx context.Context, req *assessmentpb.CreateRekeyRequest) (*assessmentpb.Rekey, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Rekey, error) {
		tx.Exempt("a preview changes nothing")
		k, err := s.rekeyAsked(ctx, tx, req)
		if err != nil {
			return nil, err
		}
		if err := expirePreviews(ctx, tx, k); err != nil {
			return nil, err
		}
		if err := k.insert(ctx, tx, rekeyPreviewing, 0); err != nil {
			return nil, err
		}
		tx.AfterCommit(s.wakeRekeying)
		k, err = rekeyOf(ctx, tx, k.CourseID, k.ID, "")
		if err != nil {
			return nil, err
		}
		return k.pb(), nil
	})
}

// rekeyAsked returns the re-key that is asked for, checked.
func (s *Service) rekeyAsked(ctx context.Context, q pg.Querier, req *assessmentpb.CreateRekeyRequest) (*rekey, error) {
	k := &rekey{
		ID: id.New("rekey"), CourseID: req.GetCourseId(), QuestionID: req.GetQuestionId(), QuizID: req.GetQuizId(), ItemID: req.GetItemId(),
		KeyVersion: req.GetKeyVersion(), Reason: req.GetReason(), CreatedBy: auth.From(ctx).Account, CreatedAt: s.time(),
	}
	k.Action = req.GetAction()
	if (k.Action == rekeyKey) != (k.KeyVersion > 0) {
		return nil, fault.InvalidField("key_version", "rekey.version", `Name the version whose key is right for "key", and none for all else.`)
	}
	points, err := exact.Parse(req.GetPoints())
	switch {
	case k.Action != rekeyPoints && req.GetPoints() != "":
		return nil, fault.InvalidField("points", "rekey.points", `Only "points" has points.`)
	case k.Action == rekeyPoints && (err != nil || points.Sign() <= 0 || points.Cmp(exact.Int(1_000_000)) > 0):
		return nil, fault.InvalidField("points", "rekey.points", "It is above 0, at most 1,000,000.")
	case k.Action == rekeyPoints:
		k.Points = new(points.Text(6))
	}
	asked, err := versionsAsked(ctx, q, k)
	if err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		// Whether there is such a question is told only to those who may see it.
		if _, err := readQuestion(ctx, q, k.CourseID, k.QuestionID, 0, false); err != nil {
			return nil, err
		}
		return nil, ErrRekeyNothing
	}
	if err := s.sameShown(ctx, q, k, asked, req.GetQuestionVersion()); err != nil {
		return nil, err
	}
	if k.Action == rekeyDrop {
		return k, k.leavesSomething(ctx, q)
	}
	return k, nil
}

// askedVersion is a version of a question that attempts show.
type askedVersion struct {
	Version int32
	Begun   int32 // how many attempts, but those that nobody has begun
}

// versionsAsked returns the versions of its question that attempts show in the scope of
// a re-key, those that most do first.
func versionsAsked(ctx context.Context, q pg.Querier, k *rekey) ([]askedVersion, error) {
	rows, err := q.Query(ctx, `
		SELECT x.question_version AS version, (count(*) FILTER (WHERE a.state NOT IN ('prepared', 'abandoned')))::int AS begun FROM `+scopeSQL+`
		GROUP BY x.question_version ORDER BY begun DESC, version DESC`, k.CourseID, k.QuestionID, k.QuizID, k.ItemID)
	if err != nil {
		return nil, fmt.Errorf("versions of a question: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[askedVersion])
	if err != nil {
		return nil, fmt.Errorf("versions of a question: %w", err)
	}
	return list, nil
}

// sameShown finds the versions that a re-key is for: those that show the same as the one
// that is named, or as the key. It refuses a key that shows something else.
func (s *Service) sameShown(ctx context.Context, q pg.Querier, k *rekey, asked []askedVersion, named int32) error {
	read := func(field string, version int32) (*question.Question, error) {
		of, err := s.question(ctx, q, questionKey{k.QuestionID, version}, question.Version)
		if pg.NoRows(err) {
			return nil, fault.InvalidField(field, "rekey.version", "The question has no such version.")
		}
		return of, err
	}
	base, field := named, "question_version"
	if base == 0 {
		base, field = k.KeyVersion, "key_version"
	}
	if base == 0 {
		base = asked[0].Version
	}
	of, err := read(field, base)
	if err != nil {
		return err
	}
	if of.Kind() == "description" {
		return fault.InvalidField("question_id", "rekey.description", "This is a text between questions. It has no points.")
	}
	if k.KeyVersion > 0 {
		key, err := read("key_version", k.KeyVersion)
		if err != nil {
			return err
		}
		if where := question.Differ(of, key); where != "" {
			return shownDiffers(base, k.KeyVersion, where)
		}
	}
	first := ""
	for _, v := range asked {
		other, err := read("question_version", v.Version)
		if err != nil {
			return err
		}
		where := question.Differ(other, of)
		if where == "" {
			k.Versions = append(k.Versions, v.Version)
			continue
		}
		if first == "" {
			first = where
		}
		k.LeftOut += v.Begun
	}
	switch {
	case len(k.Versions) > 0:
		slices.Sort(k.Versions)
		return nil
	case k.KeyVersion > 0:
		return shownDiffers(asked[0].Version, k.KeyVersion, first)
	default:
		return ErrRekeyNothing
	}
}

func shownDiffers(shown, key int32, where string) error {
	return fault.InvalidField("key_version", "rekey.shown", fmt.Sprintf("Version %d shows something else than version %d, which was asked: %s. Save a version that differs in its key alone.", key, shown, where))
}

// leavesSomething refuses to drop a question where an attempt would have nothing left
// that gives points.
func (k *rekey) leavesSomething(ctx context.Context, q pg.Querier) error {
	var nothing bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM `+scopeSQL+` AND x.question_version = ANY ($5) AND a.state <> 'abandoned'
			AND NOT EXISTS (SELECT FROM attempt_question o WHERE o.attempt_id = x.attempt_id AND o.slot <> x.slot AND o.max_points > 0))`,
		k.CourseID, k.QuestionID, k.QuizID, k.ItemID, k.Versions).Scan(&nothing)
	if err != nil {
		return fmt.Errorf("what is left of attempts: %w", err)
	}
	if nothing {
		return ErrRekeyNothingLeft
	}
	return nil
}

// expirePreviews gives up what the same account has had looked at of the question and
// not applied.
func expirePreviews(ctx context.Context, tx *pg.Tx, k *rekey) error {
	rows, err := tx.Query(ctx, `
		UPDATE rekey SET state = 'expired' WHERE id IN (
			SELECT id FROM rekey WHERE course_id = $1 AND question_id = $2 AND created_by = $3 AND state IN ('previewing', 'ready') ORDER BY id FOR UPDATE)
		RETURNING id`, k.CourseID, k.QuestionID, k.CreatedBy)
	if err != nil {
		return fmt.Errorf("end previews: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("end previews: %w", err)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM rekey_attempt WHERE rekey_id = ANY ($1)`, ids); err != nil {
		return fmt.Errorf("end previews: %w", err)
	}
	return nil
}

// insert stores a re-key with the attempts that it is about: those that were begun.
func (k *rekey) insert(ctx context.Context, tx *pg.Tx, state string, stage int) error {
	k.State = state
	if _, err := tx.Exec(ctx, `
		INSERT INTO rekey (id, course_id, question_id, versions, quiz_id, item_id, action, key_version, points, undoes, reason, state, number,
			created_by, created_at, applied_by, applied_at, left_out)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::numeric, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		k.ID, k.CourseID, k.QuestionID, k.Versions, k.QuizID, k.ItemID, k.Action, k.KeyVersion, k.Points, k.Undoes, k.Reason, k.State, k.Number,
		k.CreatedBy, k.CreatedAt, k.AppliedBy, k.AppliedAt, k.LeftOut); err != nil {
		return fmt.Errorf("store re-key: %w", err)
	}
	return k.addAttempts(ctx, tx, stage)
}

// addAttempts adds the attempts that were begun and that a re-key does not have yet.
func (k *rekey) addAttempts(ctx context.Context, tx *pg.Tx, stage int) error {
	_, err := tx.Exec(ctx, `
		WITH added AS (
			INSERT INTO rekey_attempt (rekey_id, quiz_id, item_id, account_id, attempt_id, slot, stage)
			SELECT $6, a.quiz_id, a.item_id, a.account_id, a.id, x.slot, $7
			FROM `+scopeSQL+` AND x.question_version = ANY ($5) AND a.state NOT IN ('prepared', 'abandoned')
			ON CONFLICT ON CONSTRAINT rekey_attempt_pkey DO NOTHING RETURNING 1
		)
		UPDATE rekey SET attempts = attempts + (SELECT count(*) FROM added) WHERE id = $6`,
		k.CourseID, k.QuestionID, k.QuizID, k.ItemID, k.Versions, k.ID, stage)
	if err != nil {
		return fmt.Errorf("attempts of a re-key: %w", err)
	}
	return nil
}

// nextRekeyed returns the next attempts of a re-key at a stage, all of an account at an
// item together.
func nextRekeyed(ctx context.Context, q pg.Querier, k *rekey, stage, limit int) ([]*rekeyed, error) {
	// Behind the last account, so that those that were gone through are not gone over.
	list, err := readRekeyed(ctx, q, `rekey_id = $1 AND stage = $2 AND (quiz_id, item_id, account_id) > ($3, $4, $5) ORDER BY quiz_id, item_id, account_id, attempt_id LIMIT $6`,
		k.ID, stage, k.After[0], k.After[1], k.After[2], limit)
	if err != nil || len(list) < limit {
		return list, err
	}
	last := list[len(list)-1]
	more, err := readRekeyed(ctx, q, `rekey_id = $1 AND stage = $2 AND quiz_id = $3 AND item_id = $4 AND account_id = $5 AND attempt_id > $6 ORDER BY attempt_id`,
		k.ID, stage, last.QuizID, last.ItemID, last.AccountID, last.AttemptID)
	return append(list, more...), err
}

// goOn notes how far a re-key is.
func (k *rekey) goOn(ctx context.Context, tx *pg.Tx, list []*rekeyed) error {
	last := list[len(list)-1]
	if _, err := tx.Exec(ctx, `UPDATE rekey SET after = $2 WHERE id = $1`, k.ID, []string{last.QuizID, last.ItemID, last.AccountID}); err != nil {
		return fmt.Errorf("go on with a re-key: %w", err)
	}
	return nil
}

// previewNext looks at the next attempts of a re-key, and reports whether there may be
// more to do.
func (s *Service) previewNext(ctx context.Context) (bool, error) {
	more, err := s.previewSome(ctx, rekeyBatch)
	failed, ok := errors.AsType[*scoreError](err)
	if !ok {
		return more, err
	}
	// One that can't be scored holds up no other.
	s.log.ErrorContext(ctx, "an attempt can't be scored", "attempt", failed.attempt, "error", err.Error())
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a preview changes nothing")
		_, err := tx.Exec(ctx, `
			WITH given_up AS (UPDATE rekey_attempt SET stage = 1, change = 'unscored' WHERE attempt_id = $1 AND stage = 0 RETURNING rekey_id)
			UPDATE rekey SET done = done + 1, unscored = unscored + 1 WHERE id IN (SELECT rekey_id FROM given_up)`, failed.attempt)
		return err
	})
}

func (s *Service) previewSome(ctx context.Context, limit int) (more bool, err error) {
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a preview changes nothing")
		found, err := readRekeys(ctx, tx, `id IN (SELECT id FROM rekey WHERE state = 'previewing' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)`)
		if more = err == nil && len(found) > 0; !more {
			return err
		}
		k := found[0]
		list, err := nextRekeyed(ctx, tx, k, 0, limit)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			_, err := tx.Exec(ctx, `UPDATE rekey SET state = 'ready' WHERE id = $1`, k.ID)
			return err
		}
		if err := s.lookAt(ctx, tx, k, list); err != nil {
			return err
		}
		if err := k.goOn(ctx, tx, list); err != nil {
			return err
		}
		return k.store(ctx, tx, list)
	})
	return more, err
}

// lookAt finds what a re-key makes of attempts, all of their accounts that it is about.
func (s *Service) lookAt(ctx context.Context, q pg.Querier, k *rekey, list []*rekeyed) error {
	ids := column(list, func(r *rekeyed) string { return r.AttemptID })
	marks, err := marksBefore(ctx, q, k.CourseID, list)
	if err != nil {
		return err
	}
	slots, err := readPinned(ctx, q, k.QuestionID, ids)
	if err != nil {
		return err
	}
	attempts, err := readAttempts(ctx, q, `id = ANY ($1)`, ids)
	if err != nil {
		return err
	}
	force, err := readChain(ctx, q, k.CourseID, k.QuestionID)
	if err != nil {
		return err
	}
	force = append(force, k)
	as := map[string]repinned{}
	var scored []*attempt
	for _, r := range list {
		a, slot := attempts[r.AttemptID], slots[r.AttemptID]
		if a == nil || slot == nil {
			return fmt.Errorf("attempt %s has gone", r.AttemptID)
		}
		is := force.pins(slot)
		as[a.ID] = repinned{is, slot.Slot}
		r.before(a, slot)
		r.NewKey, r.NewScoring, r.NewMax = is.key, is.scoring, &is.max
		if a.counted() {
			scored = append(scored, a)
		}
	}
	results, err := s.rebuildAs(ctx, q, scored, as)
	if err != nil {
		return err
	}
	for _, r := range list {
		if res := results[r.AttemptID]; res != nil {
			r.after(res)
		}
	}
	for _, place := range byPlace(list) {
		if err := s.lookAtMarks(ctx, q, place, marks, attempts, results); err != nil {
			return err
		}
	}
	return nil
}

// counted reports whether an attempt is submitted and scored.
func (a *attempt) counted() bool { return a.submitted() && a.ScoredAt != nil }

// before notes how an attempt is.
func (r *rekeyed) before(a *attempt, slot *pinnedSlot) {
	r.Stage, r.AttemptState, r.Change = 1, a.State, changeUnscored
	r.OldKey, r.OldScoring, r.OldMax = slot.Key, slot.Scoring, &slot.MaxPoints
	if a.counted() {
		r.OldState, r.OldFraction, r.OldPoints, r.OldTotal = slot.State, slot.Fraction, slot.Points, a.Points
	}
}

// after notes what is made of an attempt that is scored.
func (r *rekeyed) after(res *result) {
	q := res.questions[slices.IndexFunc(res.questions, func(q questionResult) bool { return q.slot == r.Slot })]
	r.NewState, r.NewTotal = q.outcome, &res.total
	if q.state.Fraction != nil {
		r.NewFraction, r.NewPoints = new(q.state.Fraction.String()), new(q.points().Text(6))
	}
	r.decide(q.in.Manual())
}

// decide says what becomes of an attempt whose scores are known.
func (r *rekeyed) decide(manual bool) {
	r.Change = compareNumbers(r.OldTotal, r.NewTotal)
	if r.NewState == question.Marked && !manual && *r.OldMax == *r.NewMax && r.Change == changeSame {
		r.Change = changeUntouched
	}
}

// markBefore is what counts of somebody's attempts at an item.
type markBefore struct {
	QuizID    string
	ItemID    string
	AccountID string
	Points    string
	MaxPoints string
}

// marksBefore returns what counts of the attempts of the accounts of rows, by item and
// account.
func marksBefore(ctx context.Context, q pg.Querier, courseID string, list []*rekeyed) (map[[2]string]markBefore, error) {
	rows, err := q.Query(ctx, `
		SELECT m.quiz_id, m.item_id, m.account_id, m.points, m.max_points FROM unnest($2::text[], $3::text[]) AS n (item_id, account_id)
		JOIN quiz_mark m ON m.course_id = $1 AND m.item_id = n.item_id AND m.account_id = n.account_id`, courseID,
		column(list, func(r *rekeyed) string { return r.ItemID }), column(list, func(r *rekeyed) string { return r.AccountID }))
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	marks, err := pgx.CollectRows(rows, pgx.RowToStructByName[markBefore])
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	out := make(map[[2]string]markBefore, len(marks))
	for _, m := range marks {
		out[[2]string{m.ItemID, m.AccountID}] = m
	}
	return out, nil
}

// lookAtMarks finds what becomes of the marks of the accounts of a quiz at an item. Where
// the item shows another quiz by now, they stay.
func (s *Service) lookAtMarks(ctx context.Context, q pg.Querier, list []*rekeyed, marks map[[2]string]markBefore, begun map[string]*attempt, results map[string]*result) error {
	quizID, itemID := list[0].QuizID, list[0].ItemID
	var courseID string
	var number int32
	var other bool
	if err := q.QueryRow(ctx, `
		SELECT z.course_id, z.version, EXISTS (SELECT FROM placement p WHERE p.course_id = z.course_id AND p.item_id = $2 AND p.ref <> z.id) FROM quiz z WHERE z.id = $1`,
		quizID, itemID).Scan(&courseID, &number, &other); err != nil {
		return fmt.Errorf("quiz of attempts: %w", err)
	}
	for _, r := range list {
		m := marks[[2]string{itemID, r.AccountID}]
		r.OldMark, r.NewMark, r.MarkMax = m.Points, m.Points, m.MaxPoints
	}
	if other {
		return nil
	}
	version, err := s.quizVersion(ctx, q, quizID, number)
	if err != nil {
		return err
	}
	attempts, err := finishedAt(ctx, q, itemID, quizID, people(list))
	if err != nil {
		return err
	}
	for _, r := range list {
		of := attempts[r.AccountID]
		for _, f := range of {
			if res := results[f.id]; res != nil {
				f.share, f.graded = res.share(), res.state() == stateGraded && !begun[f.id].Withheld
			}
		}
		is := markRow{}.made(version, of)
		r.NewMark, r.MarkMax = is.Points, is.MaxPoints
	}
	return nil
}

// share returns which share of its points an attempt has, exact.
func (r *result) share() exact.Number {
	var sum, of exact.Number
	for _, q := range r.questions {
		sum, of = sum.Add(q.points()), of.Add(q.rules.MaxPoints)
	}
	if of.Sign() == 0 {
		return exact.Number{}
	}
	return sum.Div(of)
}

// readAttempts returns attempts by their ids.
func readAttempts(ctx context.Context, q pg.Querier, where string, args ...any) (map[string]*attempt, error) {
	rows, err := q.Query(ctx, `SELECT `+attemptColumns+` FROM attempt WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAttempt)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	out := make(map[string]*attempt, len(list))
	for _, a := range list {
		out[a.ID] = a
	}
	return out, nil
}
