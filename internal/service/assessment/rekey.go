package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors of re-keys.
var (
	ErrRekeyNotFound    = fault.New(fault.NotFound, "rekey.not_found", "The course has no such re-key.")
	ErrRekeyNothing     = fault.New(fault.Conflict, "rekey.nothing", "No attempt has this question.")
	ErrRekeyNothingLeft = fault.New(fault.Conflict, "rekey.nothing_left", "Attempts would have no question left that gives points. Give everybody the points of this one instead.")
	ErrRekeyNotReady    = fault.New(fault.Conflict, "rekey.not_ready", "This is still looked at. Apply it once its state is \"ready\".")
	ErrRekeyApplied     = fault.New(fault.Conflict, "rekey.applied", "This was applied already.")
	ErrRekeyExpired     = fault.New(fault.Conflict, "rekey.expired", "This was looked at too long ago, or another one took its place. Preview it again.")
	ErrRekeyRunning     = fault.New(fault.Conflict, "rekey.running", "Another change of this question is being applied. Try again once it is.")
	ErrRekeyNotApplied  = fault.New(fault.Conflict, "rekey.not_applied", "Only what was applied can be undone, once.")
	ErrRekeyUndone      = fault.New(fault.Conflict, "rekey.undone", "This was undone already.")
)

// What a re-key does.
const (
	rekeyKey    = "key"
	rekeyFull   = "full"
	rekeyDrop   = "drop"
	rekeyPoints = "points"
	rekeyUndo   = "undo"
)

// The states of a re-key.
const (
	rekeyPreviewing = "previewing"
	rekeyReady      = "ready"
	rekeyApplying   = "applying"
	rekeyApplied    = "applied"
	rekeyExpired    = "expired"
)

// What becomes of an attempt.
const (
	changeUp        = "up"
	changeDown      = "down"
	changeSame      = "same"
	changeUntouched = "untouched"
	changeUnscored  = "unscored"
)

// rekeyServer answers about scoring anew.
type rekeyServer struct {
	assessmentpb.UnimplementedRekeyServiceServer

	service *Service
}

// rekey is its row.
type rekey struct {
	ID         string
	CourseID   string
	QuestionID string
	Versions   []int32
	QuizID     string
	ItemID     string
	Action     string
	KeyVersion int32
	Points     *string
	Undoes     string
	Reason     string
	State      string
	Number     int64
	UndoneBy   string
	CreatedBy  string
	CreatedAt  time.Time
	AppliedBy  string
	AppliedAt  *time.Time
	FinishedAt *time.Time
	LeftOut    int32
	Attempts   int32
	Done       int32
	Up         int32
	Down       int32
	Same       int32
	Untouched  int32
	Unscored   int32
	MarksUp    int32
	MarksDown  int32
	MarksSame  int32
	After      []string
}

const rekeyColumns = `id, course_id, question_id, versions, quiz_id, item_id, action, key_version, points::text AS points, undoes, reason, state, number, undone_by,
	created_by, created_at, applied_by, applied_at, finished_at, left_out, attempts, done, up, down, same, untouched, unscored, marks_up, marks_down, marks_same, after`

// pb returns a re-key as it is told.
func (k *rekey) pb() *assessmentpb.Rekey {
	out := &assessmentpb.Rekey{
		Id: k.ID, CourseId: k.CourseID, QuestionId: k.QuestionID, QuestionVersions: k.Versions, QuizId: k.QuizID, ItemId: k.ItemID,
		KeyVersion: k.KeyVersion, Undoes: k.Undoes, Reason: k.Reason, State: k.State, UndoneBy: k.UndoneBy, CreatedBy: k.CreatedBy, CreatedAt: timestamppb.New(k.CreatedAt),
		AppliedBy: k.AppliedBy, AppliedAt: stampOf(k.AppliedAt), FinishedAt: stampOf(k.FinishedAt), Attempts: k.Attempts, LeftOut: k.LeftOut, Done: k.Done,
		Up: k.Up, Down: k.Down, Same: k.Same, Untouched: k.Untouched, Unscored: k.Unscored, MarksUp: k.MarksUp, MarksDown: k.MarksDown, MarksSame: k.MarksSame,
	}
	out.Action = k.Action
	if k.Points != nil {
		out.Points = trimmed(*k.Points)
	}
	return out
}

func readRekeys(ctx context.Context, q pg.Querier, where string, args ...any) ([]*rekey, error) {
	rows, err := q.Query(ctx, `SELECT `+rekeyColumns+` FROM rekey WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read re-keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[rekey])
	if err != nil {
		return nil, fmt.Errorf("read re-keys: %w", err)
	}
	return list, nil
}

// rekeyOf returns a re-key of a course; lock is "" or how its row is locked.
func rekeyOf(ctx context.Context, q pg.Querier, courseID, rekeyID, lock string) (*rekey, error) {
	list, err := readRekeys(ctx, q, `id = $1 AND course_id = $2 `+lock, rekeyID, courseID)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrRekeyNotFound
	}
	return list[0], nil
}

// GetRekey implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) GetRekey(ctx context.Context, req *assessmentpb.GetRekeyRequest) (*assessmentpb.Rekey, error) {
	k, err := rekeyOf(ctx, h.service.db, req.GetCourseId(), req.GetRekeyId(), "")
	if err != nil {
		return nil, err
	}
	return k.pb(), nil
}

// ListRekeys implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) ListRekeys(ctx context.Context, req *assessmentpb.ListRekeysRequest) (*assessmentpb.ListRekeysResponse, error) {
	size, before := page.Size(req.GetPageSize()), "~" // behind every id
	if values, err := page.Values(req.GetCursor(), 1); err != nil {
		return nil, err
	} else if values != nil {
		before = values[0]
	}
	list, err := readRekeys(ctx, h.service.db, `
		course_id = $1 AND id < $2 AND ($3 = '' OR question_id = $3) AND (NOT $4 OR number > 0) ORDER BY id DESC LIMIT $5`,
		req.GetCourseId(), before, req.GetQuestionId(), req.GetApplied(), size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListRekeysResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.Cursor(list[size-1].ID)
	}
	for _, k := range list {
		res.Items = append(res.Items, k.pb())
	}
	return res, nil
}

// ListRekeyedAttempts implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) ListRekeyedAttempts(ctx context.Context, req *assessmentpb.ListRekeyedAttemptsRequest) (*assessmentpb.ListRekeyedAttemptsResponse, error) {
	db := h.service.db
	if _, err := rekeyOf(ctx, db, req.GetCourseId(), req.GetRekeyId(), ""); err != nil {
		return nil, err
	}
	after := ""
	if values, err := page.Values(req.GetCursor(), 1); err != nil {
		return nil, err
	} else if values != nil {
		after = values[0]
	}
	size := page.Size(req.GetPageSize())
	list, err := readRekeyed(ctx, db, `
		rekey_id = $1 AND ($2 = '' OR change = $2) AND attempt_id > $3 ORDER BY attempt_id LIMIT $4`, req.GetRekeyId(), req.GetChange(), after, size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListRekeyedAttemptsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.Cursor(list[size-1].AttemptID)
	}
	names, err := h.service.pseudonyms(ctx, db, column(list, func(r *rekeyed) string { return r.AttemptID }))
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		one := r.pb()
		if name := names[r.AttemptID]; name != "" {
			one.AccountId, one.Pseudonym = "", name
		}
		res.Items = append(res.Items, one)
	}
	return res, nil
}

// rekeyed is a row of rekey_attempt: what a re-key makes of an attempt.
type rekeyed struct {
	QuizID       string
	ItemID       string
	AccountID    string
	AttemptID    string
	Slot         int32
	Stage        int16
	AttemptState string
	Change       string
	OldKey       int32
	NewKey       int32
	OldScoring   string
	NewScoring   string
	OldMax       *string
	NewMax       *string
	OldState     string
	NewState     string
	OldFraction  *string
	NewFraction  *string
	OldPoints    *string
	NewPoints    *string
	OldTotal     *string
	NewTotal     *string
	OldMark      string
	NewMark      string
	MarkMax      string
	At           *time.Time
}

const rekeyedColumns = `quiz_id, item_id, account_id, attempt_id, slot, stage, attempt_state, change, old_key, new_key, old_scoring, new_scoring,
	old_max::text AS old_max, new_max::text AS new_max, old_state, new_state, old_fraction, new_fraction, old_points::text AS old_points, new_points::text AS new_points,
	old_total::text AS old_total, new_total::text AS new_total, old_mark, new_mark, mark_max, at`

func readRekeyed(ctx context.Context, q pg.Querier, where string, args ...any) ([]*rekeyed, error) {
	rows, err := q.Query(ctx, `SELECT `+rekeyedColumns+` FROM rekey_attempt WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read attempts of a re-key: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[rekeyed])
	if err != nil {
		return nil, fmt.Errorf("read attempts of a re-key: %w", err)
	}
	return list, nil
}

// shownPoints is a number of the database as it is told; empty for none.
func shownPoints(text *string) string {
	if text == nil {
		return ""
	}
	return decimal(*text)
}

func (r *rekeyed) pb() *assessmentpb.RekeyedAttempt {
	return &assessmentpb.RekeyedAttempt{
		AttemptId: r.AttemptID, AccountId: r.AccountID, QuizId: r.QuizID, ItemId: r.ItemID, Slot: r.Slot, State: r.AttemptState, Change: r.Change,
		Before: &assessmentpb.RekeyedScore{
			KeyVersion: r.OldKey, Full: r.OldScoring == scoringFull, MaxPoints: shownPoints(r.OldMax), Points: shownPoints(r.OldPoints), Total: shownPoints(r.OldTotal),
		},
		After: &assessmentpb.RekeyedScore{
			KeyVersion: r.NewKey, Full: r.NewScoring == scoringFull, MaxPoints: shownPoints(r.NewMax), Points: shownPoints(r.NewPoints), Total: shownPoints(r.NewTotal),
		},
		MarkBefore: r.OldMark, MarkAfter: r.NewMark, MarkMaxPoints: r.MarkMax, AppliedAt: stampOf(r.At),
	}
}

// store writes rows that were gone through, and counts them.
func (k *rekey) store(ctx context.Context, tx *pg.Tx, list []*rekeyed) error {
	n := len(list)
	var (
		ids, states, changes                         = make([]string, n), make([]string, n), make([]string, n)
		stages                                       = make([]int16, n)
		oldKeys, newKeys                             = make([]int32, n), make([]int32, n)
		oldScoring, newScoring, oldStates, newStates = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		oldMax, newMax, oldFraction, newFraction     = make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
		oldPoints, newPoints, oldTotal, newTotal     = make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
		oldMark, newMark, markMax                    = make([]string, n), make([]string, n), make([]string, n)
		at                                           = make([]*time.Time, n)
	)
	for i, r := range list {
		ids[i], states[i], changes[i], stages[i], at[i] = r.AttemptID, r.AttemptState, r.Change, r.Stage, r.At
		oldKeys[i], newKeys[i], oldScoring[i], newScoring[i], oldStates[i], newStates[i] = r.OldKey, r.NewKey, r.OldScoring, r.NewScoring, r.OldState, r.NewState
		oldMax[i], newMax[i], oldFraction[i], newFraction[i] = r.OldMax, r.NewMax, r.OldFraction, r.NewFraction
		oldPoints[i], newPoints[i], oldTotal[i], newTotal[i] = r.OldPoints, r.NewPoints, r.OldTotal, r.NewTotal
		oldMark[i], newMark[i], markMax[i] = r.OldMark, r.NewMark, r.MarkMax
	}
	// Written as rows to insert, so that each is found by the index, whatever the planner
	// knows of a table that has just grown.
	if _, err := tx.Exec(ctx, `
		INSERT INTO rekey_attempt AS r (rekey_id, quiz_id, item_id, account_id, attempt_id, slot, stage, attempt_state, change, old_key, new_key, old_scoring, new_scoring,
			old_state, new_state, old_max, new_max, old_fraction, new_fraction, old_points, new_points, old_total, new_total, old_mark, new_mark, mark_max, at)
		SELECT $1, n.quiz_id, n.item_id, n.account_id, n.attempt_id, n.slot, n.stage, n.attempt_state, n.change, n.old_key, n.new_key, n.old_scoring, n.new_scoring,
			n.old_state, n.new_state, n.old_max::numeric, n.new_max::numeric, n.old_fraction, n.new_fraction, n.old_points::numeric, n.new_points::numeric,
			n.old_total::numeric, n.new_total::numeric, n.old_mark, n.new_mark, n.mark_max, n.at
		FROM unnest($2::text[], $3::smallint[], $4::text[], $5::text[], $6::int[], $7::int[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
				$14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::timestamptz[],
				$24::text[], $25::text[], $26::text[], $27::int[])
			AS n (attempt_id, stage, attempt_state, change, old_key, new_key, old_scoring, new_scoring, old_state, new_state, old_max, new_max,
				old_fraction, new_fraction, old_points, new_points, old_total, new_total, old_mark, new_mark, mark_max, at, quiz_id, item_id, account_id, slot)
		ON CONFLICT ON CONSTRAINT rekey_attempt_pkey DO UPDATE SET stage = EXCLUDED.stage, attempt_state = EXCLUDED.attempt_state, change = EXCLUDED.change,
			old_key = EXCLUDED.old_key, new_key = EXCLUDED.new_key, old_scoring = EXCLUDED.old_scoring, new_scoring = EXCLUDED.new_scoring,
			old_state = EXCLUDED.old_state, new_state = EXCLUDED.new_state, old_max = EXCLUDED.old_max, new_max = EXCLUDED.new_max,
			old_fraction = EXCLUDED.old_fraction, new_fraction = EXCLUDED.new_fraction, old_points = EXCLUDED.old_points, new_points = EXCLUDED.new_points,
			old_total = EXCLUDED.old_total, new_total = EXCLUDED.new_total, old_mark = EXCLUDED.old_mark, new_mark = EXCLUDED.new_mark,
			mark_max = EXCLUDED.mark_max, at = EXCLUDED.at`,
		k.ID, ids, stages, states, changes, oldKeys, newKeys, oldScoring, newScoring, oldStates, newStates, oldMax, newMax,
		oldFraction, newFraction, oldPoints, newPoints, oldTotal, newTotal, oldMark, newMark, markMax, at,
		column(list, func(r *rekeyed) string { return r.QuizID }), column(list, func(r *rekeyed) string { return r.ItemID }),
		column(list, func(r *rekeyed) string { return r.AccountID }), column(list, func(r *rekeyed) int32 { return r.Slot })); err != nil {
		return fmt.Errorf("store attempts of a re-key: %w", err)
	}
	return k.count(ctx, tx, list)
}

// count adds rows to the counts of a re-key: the mark of each account once.
func (k *rekey) count(ctx context.Context, tx *pg.Tx, list []*rekeyed) error {
	of := func(change string) (n int32) {
		for _, r := range list {
			if r.Change == change {
				n++
			}
		}
		return n
	}
	var up, down, same int32
	for _, r := range byPerson(list) {
		if r[0].OldMark == "" && r[0].NewMark == "" {
			continue
		}
		switch compareNumbers(&r[0].OldMark, &r[0].NewMark) {
		case changeUp:
			up++
		case changeDown:
			down++
		default:
			same++
		}
	}
	_, err := tx.Exec(ctx, `
		UPDATE rekey SET done = done + $2, up = up + $3, down = down + $4, same = same + $5, untouched = untouched + $6, unscored = unscored + $7,
			marks_up = marks_up + $8, marks_down = marks_down + $9, marks_same = marks_same + $10 WHERE id = $1`,
		k.ID, len(list), of(changeUp), of(changeDown), of(changeSame), of(changeUntouched), of(changeUnscored), up, down, same)
	if err != nil {
		return fmt.Errorf("count a re-key: %w", err)
	}
	return nil
}

// byPerson returns the rows of each account at an item together.
func byPerson(list []*rekeyed) [][]*rekeyed {
	var out [][]*rekeyed
	for i, r := range list {
		if i == 0 || list[i-1].QuizID != r.QuizID || list[i-1].ItemID != r.ItemID || list[i-1].AccountID != r.AccountID {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], r)
	}
	return out
}

// byPlace returns the rows of each quiz at an item together.
func byPlace(list []*rekeyed) [][]*rekeyed {
	var out [][]*rekeyed
	for i, r := range list {
		if i == 0 || list[i-1].QuizID != r.QuizID || list[i-1].ItemID != r.ItemID {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], r)
	}
	return out
}

func column[T, V any](list []T, of func(T) V) []V {
	out := make([]V, len(list))
	for i, one := range list {
		out[i] = of(one)
	}
	return out
}

// people returns the accounts of rows, each once.
func people(list []*rekeyed) []string {
	return slices.Compact(column(list, func(r *rekeyed) string { return r.AccountID }))
}
