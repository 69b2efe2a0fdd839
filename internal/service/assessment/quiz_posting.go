package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// postingChanged keeps whether students may see their grades in an item, or in items of
// which nothing was said: those who are named, or all who never were.
func (s *Service) postingChanged(ctx context.Context, tx *pg.Tx, e *gradespb.PostingChanged) error {
	accounts, posted := e.GetAccountIds(), e.GetPosted()
	if len(accounts) == 0 {
		// Under a manual policy nothing that comes is posted by itself, whatever is said.
		accounts, posted = []string{everybodyElse}, posted && e.GetPolicy() == "automatic"
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO posting AS p (course_id, item_id, account_id, policy, posted, version)
		SELECT $1, $2, a, $4, $5, $6 FROM unnest($3::text[]) AS a ORDER BY a
		ON CONFLICT ON CONSTRAINT posting_pkey DO UPDATE SET policy = EXCLUDED.policy, posted = EXCLUDED.posted, version = EXCLUDED.version
		WHERE p.version < EXCLUDED.version`, e.GetCourseId(), e.GetItemId(), accounts, e.GetPolicy(), posted, e.GetVersion())
	if err != nil {
		return fmt.Errorf("store posting: %w", err)
	}
	return nil
}

// everybodyElse stands for those whom no posting has named, and everythingElse for the
// items that none has.
const everybodyElse, everythingElse = "", ""

// postedSQL is whether somebody may see their grade in an item: as is said for them, or else
// for everybody who was never named, or else for items of the course of which nothing was
// said. Where the gradebook has said nothing at all, grades are posted as they come.
func postedSQL(course, item, account string) string {
	return `coalesce((
		SELECT p.posted FROM posting p WHERE p.course_id = ` + course + ` AND p.item_id IN ('', ` + item + `) AND p.account_id IN ('', ` + account + `)
		ORDER BY p.item_id DESC, p.account_id DESC LIMIT 1), true)`
}

// postedTo reports for items of a course whether somebody may see their grade.
func postedTo(ctx context.Context, q pg.Querier, courseID string, items []string, accountID string) (map[string]bool, error) {
	rows, err := q.Query(ctx, `SELECT i, `+postedSQL("$1", "i", "$3")+` FROM unnest($2::text[]) AS i`, courseID, items, accountID)
	if err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	return readPosted(rows)
}

// readPosted reads what is posted, by what it is read for.
func readPosted(rows pgx.Rows) (map[string]bool, error) {
	out := map[string]bool{}
	var of string
	var posted bool
	if _, err := pgx.ForEachRow(rows, []any{&of, &posted}, func() error {
		out[of] = posted
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	return out, nil
}

// unpostedSQL is whether the grade of an attempt, as a, is not posted, as [postedTo] has it.
var unpostedSQL = `NOT ` + postedSQL("a.course_id", "a.item_id", "a.account_id")

// veiledSQL is whether the student of an attempt, as a, may not know that it is marked.
var veiledSQL = `(NOT a.preview AND (a.withheld OR ` + unpostedSQL + `))`

// shownSeqSQL is the number of the last operation of an attempt that is over, as a, that
// its student knows of: not of marks.
const shownSeqSQL = `coalesce((SELECT o.seq FROM answer_operation o WHERE o.attempt_id = a.id AND o.kind <> 'mark' ORDER BY o.seq DESC LIMIT 1), 0)`

// veil has attempts be told to their students without what the staff has done to those
// that are over: no mark is counted in the log, and where the grade is not posted, it is
// as if nobody had marked yet.
func veil(ctx context.Context, q pg.Querier, list []*attempt, reviews map[string]reviewShown, told []*assessmentpb.Attempt) error {
	over := map[string]*assessmentpb.Attempt{}
	var ids []string
	for i, a := range list {
		if a.running() {
			continue
		}
		over[a.ID], ids = told[i], append(ids, a.ID)
		if !reviews[a.ID].posted {
			told[i].State, told[i].Scored = veiledState(a.State), a.Points != nil
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := q.Query(ctx, `SELECT a.id, `+shownSeqSQL+` FROM attempt a WHERE a.id = ANY ($1)`, ids)
	if err != nil {
		return fmt.Errorf("read last operations: %w", err)
	}
	var attemptID string
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&attemptID, &seq}, func() error {
		over[attemptID].LastSeq = seq
		return nil
	}); err != nil {
		return fmt.Errorf("read last operations: %w", err)
	}
	return nil
}

// veiledState is the state of an attempt to who may not know whether it is marked.
func veiledState(state string) string {
	if state == stateGraded {
		return stateSubmitted
	}
	return state
}
