package grades

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// How many students learning is asked about at a time, how many due dates that have
// passed are taken at a time, and how often it is looked.
const (
	dueStudents = 50
	dueAtATime  = 500
	dueEvery    = time.Second
)

// onItsWay is how long after its due date something may still come that was handed in by
// then: when an exam ends for thousands, it takes a while until all of it is told. Before
// nobody is told that they have missed it.
const onItsWay = 5 * time.Minute

// deadlinesChanged has learning asked by when what is due for some students.
func (s *Service) deadlinesChanged(ctx context.Context, tx *pg.Tx, e *learningpb.DeadlinesChanged) error {
	return s.askDue(ctx, tx, e.GetCourseId(), e.GetAccountIds()...)
}

// askDue has learning asked about students of a course; about all for an empty one.
func (s *Service) askDue(ctx context.Context, tx *pg.Tx, courseID string, accounts ...string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO due_task (course_id, account_id) SELECT $1, a FROM unnest($2::text[]) AS a ORDER BY a
		ON CONFLICT (course_id, account_id) DO UPDATE SET queued = DEFAULT, after_id = ''`, courseID, accounts)
	if err != nil {
		return fmt.Errorf("ask for due dates: %w", err)
	}
	return nil
}

// keepDue asks for due dates and notes what is overdue, until ctx ends. Any number of
// processes may run it.
func (s *Service) keepDue(ctx context.Context) {
	tick := time.NewTicker(dueEvery)
	defer tick.Stop()
	for {
		for _, step := range []func(context.Context) (bool, error){s.nextDue, s.nextOverdue} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "grades: due dates, trying again", "error", err.Error())
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dueTask is whose due dates are to be asked for.
type dueTask struct {
	CourseID  string
	AccountID string // empty for all of the course
	AfterID   string
	Queued    int64
}

// nextDue asks learning about the next students, outside of transactions, and reports
// whether there may be more. What comes up meanwhile is asked again.
func (s *Service) nextDue(ctx context.Context) (bool, error) {
	if s.deadlines == nil {
		return false, nil
	}
	rows, err := s.db.Query(ctx, `
		SELECT course_id, account_id, after_id, queued FROM due_task WHERE course_id = (SELECT course_id FROM due_task ORDER BY queued LIMIT 1)
		ORDER BY account_id LIMIT $1`, dueStudents)
	if err != nil {
		return false, fmt.Errorf("next due dates: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByName[dueTask])
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	courseID, accounts, last := tasks[0].CourseID, []string{}, true
	if tasks[0].AccountID == "" {
		tasks = tasks[:1]
		accounts, err = collectTexts(s.db.Query(ctx, `
			SELECT account_id FROM student WHERE course_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3`, courseID, tasks[0].AfterID, dueStudents))
		if err != nil {
			return false, fmt.Errorf("next due dates: %w", err)
		}
		last = len(accounts) < dueStudents
	} else {
		for _, t := range tasks {
			accounts = append(accounts, t.AccountID)
		}
	}
	dates, err := s.dueDates(ctx, courseID, accounts)
	if err != nil {
		// What fails goes to the end, so that it holds up nothing.
		_, late := s.db.Exec(ctx, `UPDATE due_task SET queued = DEFAULT WHERE course_id = $1`, courseID)
		return false, errors.Join(err, late)
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a copy, and what follows from it")
		if err := s.storeDue(ctx, tx, courseID, accounts, dates); err != nil {
			return err
		}
		if !last {
			_, err := tx.Exec(ctx, `
				UPDATE due_task SET after_id = $2 WHERE course_id = $1 AND account_id = '' AND queued = $3`, courseID, accounts[len(accounts)-1], tasks[0].Queued)
			return err
		}
		stamps, of := make([]int64, len(tasks)), make([]string, len(tasks))
		for i, t := range tasks {
			stamps[i], of[i] = t.Queued, t.AccountID
		}
		_, err := tx.Exec(ctx, `
			DELETE FROM due_task t USING unnest($2::text[], $3::bigint[]) AS f (account_id, queued)
			WHERE t.course_id = $1 AND t.account_id = f.account_id AND t.queued = f.queued`, courseID, of, stamps)
		return err
	})
}

// dueDates asks learning.
func (s *Service) dueDates(ctx context.Context, courseID string, accounts []string) ([]*learningpb.DueDate, error) {
	var out []*learningpb.DueDate
	if len(accounts) == 0 {
		return nil, nil
	}
	for cursor := ""; ; {
		res, err := s.deadlines.ListDueDates(ctx, &learningpb.ListDueDatesRequest{CourseId: courseID, AccountIds: accounts, Cursor: cursor})
		if err != nil {
			return nil, fmt.Errorf("ask for due dates: %w", err)
		}
		out = append(out, res.GetItems()...)
		if cursor = res.GetNextCursor(); cursor == "" {
			return out, nil
		}
	}
}

// storeDue replaces the due dates of some students, of quizzes and assignments that the
// course has. What is due later than was thought is not overdue any more.
func (s *Service) storeDue(ctx context.Context, tx *pg.Tx, courseID string, accounts []string, dates []*learningpb.DueDate) error {
	d, err := s.open(ctx, tx, courseID, accounts...)
	if errors.Is(err, ErrNoGradebook) {
		return nil
	}
	if err != nil {
		return err
	}
	var who, what []string
	var when []time.Time
	for _, one := range dates {
		it, st := d.book.items[one.GetItemId()], d.seats[one.GetAccountId()]
		if it != nil && it.Present && st != nil && it.due() {
			who, what, when = append(who, one.GetAccountId()), append(what, one.GetItemId()), append(when, one.GetDue().AsTime())
		}
	}
	rows, err := tx.Query(ctx, `
		WITH fresh AS MATERIALIZED (
			SELECT * FROM unnest($3::text[], $4::text[], $5::timestamptz[]) AS f (account_id, item_id, due_at)
		), gone AS (
			DELETE FROM due_date d WHERE d.course_id = $1 AND d.account_id = ANY ($2)
				AND NOT EXISTS (SELECT FROM fresh f WHERE f.account_id = d.account_id AND f.item_id = d.item_id)
			RETURNING d.account_id, d.item_id
		), kept AS (
			INSERT INTO due_date AS d (course_id, account_id, item_id, due_at, passed) SELECT $1, f.account_id, f.item_id, f.due_at, false FROM fresh f
			ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET due_at = EXCLUDED.due_at, passed = false WHERE d.due_at <> EXCLUDED.due_at
			RETURNING d.account_id, d.item_id, d.due_at
		)
		SELECT account_id, item_id FROM gone UNION ALL SELECT account_id, item_id FROM kept WHERE due_at > $6`, courseID, accounts, who, what, when, d.now)
	if err != nil {
		return fmt.Errorf("store due dates: %w", err)
	}
	var account, itemID string
	if _, err := pgx.ForEachRow(rows, []any{&account, &itemID}, func() error {
		if st := d.seats[account]; st != nil && st.cells[itemID] != nil && st.cells[itemID].Overdue {
			d.note(ctx, d.touch(st, itemID), kindOverdue, false, fromClock, "", 0, func() { st.cells[itemID].Overdue = false })
		}
		return nil
	}); err != nil {
		return fmt.Errorf("store due dates: %w", err)
	}
	return d.settle(ctx)
}

// due reports whether what is not handed in of an item is missing.
func (it *item) due() bool { return it.Kind == "quiz" || it.Kind == "assignment" }

// passedDate is a due date that has passed and was not looked at since.
type passedDate struct{ CourseID, AccountID, ItemID string }

// nextOverdue notes of the next due dates that have passed what was not handed in by
// then, and reports whether there may be more. What is hidden from somebody when it is
// due they do not miss: learning is asked outside of the transaction.
func (s *Service) nextOverdue(ctx context.Context) (bool, error) {
	until := s.now().Add(-onItsWay)
	rows, err := s.db.Query(ctx, `
		SELECT course_id, account_id, item_id FROM due_date WHERE NOT passed AND due_at <= $1
			AND course_id = (SELECT course_id FROM due_date WHERE NOT passed AND due_at <= $1 ORDER BY due_at LIMIT 1) ORDER BY due_at LIMIT $2`, until, dueAtATime)
	if err != nil {
		return false, fmt.Errorf("next overdue: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[passedDate])
	if err != nil {
		return false, fmt.Errorf("next overdue: %w", err)
	}
	if len(list) == 0 {
		return false, nil
	}
	unseen, err := s.unseen(ctx, list)
	if err != nil {
		return false, err
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from a deadline that was recorded")
		return s.overdue(ctx, tx, list, unseen, until)
	})
}

// unseen returns those of some due dates of a course whose items were not shown when they
// were due to whom they are for.
func (s *Service) unseen(ctx context.Context, list []passedDate) (map[passedDate]bool, error) {
	out := map[passedDate]bool{}
	if s.items == nil {
		return out, nil
	}
	accounts := map[string][]string{}
	for _, d := range list {
		accounts[d.ItemID] = append(accounts[d.ItemID], d.AccountID)
	}
	for _, itemID := range slices.Sorted(maps.Keys(accounts)) {
		res, err := s.items.ListItemAccess(ctx, &learningpb.ListItemAccessRequest{CourseId: list[0].CourseID, ItemId: itemID, AccountIds: accounts[itemID], WhenDue: true})
		if err != nil {
			return nil, fmt.Errorf("ask what is hidden: %w", err)
		}
		for _, a := range res.GetItems() {
			if a.GetEnrolled() && (a.GetState() == "hidden" || a.GetState() == "absent") {
				out[passedDate{list[0].CourseID, a.GetAccountId(), itemID}] = true
			}
		}
	}
	return out, nil
}

func (s *Service) overdue(ctx context.Context, tx *pg.Tx, list []passedDate, unseen map[passedDate]bool, until time.Time) error {
	courseID := list[0].CourseID
	who, what := make([]string, len(list)), make([]string, len(list))
	for i, one := range list {
		who[i], what[i] = one.AccountID, one.ItemID
	}
	accounts := slices.Clone(who)
	slices.Sort(accounts)
	d, err := s.open(ctx, tx, courseID, slices.Compact(accounts)...)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `
		UPDATE due_date d SET passed = true FROM unnest($2::text[], $3::text[]) AS f (account_id, item_id)
		WHERE d.course_id = $1 AND d.account_id = f.account_id AND d.item_id = f.item_id AND NOT d.passed AND d.due_at <= $4
		RETURNING d.account_id, d.item_id`, courseID, who, what, until)
	if err != nil {
		return fmt.Errorf("overdue: %w", err)
	}
	var account, itemID string
	if _, err := pgx.ForEachRow(rows, []any{&account, &itemID}, func() error {
		it, st := d.book.items[itemID], d.seats[account]
		if st == nil || it == nil || !st.Enrolled || unseen[passedDate{courseID, account, itemID}] {
			return nil
		}
		if c := st.cells[itemID]; c != nil && (c.SubmittedAt != nil || c.State != markNone) {
			return nil
		}
		c := d.touch(st, itemID)
		d.note(ctx, c, kindOverdue, false, fromClock, "", 0, func() { c.Overdue = true })
		return nil
	}); err != nil {
		return fmt.Errorf("overdue: %w", err)
	}
	return d.settle(ctx)
}

// overdueAgain reports whether what is taken back now was due before.
func (s *Service) overdueAgain(ctx context.Context, tx *pg.Tx, c *cell) (bool, error) {
	if c.SubmittedAt != nil || c.State != markNone {
		return false, nil
	}
	var passed bool
	err := tx.QueryRow(ctx, `
		SELECT passed FROM due_date WHERE course_id = $1 AND account_id = $2 AND item_id = $3`, c.CourseID, c.AccountID, c.ItemID).Scan(&passed)
	if err != nil && !pg.NoRows(err) {
		return false, fmt.Errorf("overdue again: %w", err)
	}
	return passed, nil
}
