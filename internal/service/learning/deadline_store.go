package learning

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// lockDeadlines has all that change the effective deadlines of a course, and what
// they are made of, take turns until tx ends: without it one who makes them of
// what was before could be the last to write.
func lockDeadlines(ctx context.Context, tx *pg.Tx, courseID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('learning.deadline'), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock deadlines: %w", err)
	}
	return nil
}

// remake makes the effective deadlines of some learners of a course anew: of all
// items, or of those named. It takes the same few statements for any number of
// them. Deadlines are locked before.
func (s *Service) remake(ctx context.Context, tx *pg.Tx, courseID string, accounts, items []string) error {
	people, err := s.timings(ctx, tx, courseID, accounts)
	if err != nil {
		return err
	}
	overrides, err := readOverrides(ctx, tx, courseID, targetsOf(people), items)
	if err != nil {
		return err
	}
	var only map[string]bool
	if items != nil {
		only = setOf(items)
	}
	var rows []deadline
	for _, t := range people {
		rows = append(rows, t.deadlines(overrides, only)...)
	}
	changed, err := storeDeadlines(ctx, tx, courseID, accounts, items, rows)
	if err != nil {
		return err
	}
	return tellDeadlines(ctx, tx, courseID, changed)
}

// targetsOf returns all for whom there may be overrides that count for some people.
func targetsOf(people []*timing) []string {
	var wanted []string
	for _, t := range people {
		wanted = append(append(wanted, t.accountID), t.groups...)
		if t.cohortID != "" {
			wanted = append(wanted, t.cohortID)
		}
	}
	slices.Sort(wanted)
	return slices.Compact(wanted)
}

// timings returns those of some accounts who are enrolled in a course.
func (s *Service) timings(ctx context.Context, q pg.Querier, courseID string, accounts []string) ([]*timing, error) {
	rows, err := q.Query(ctx, `
		SELECT l.account_id, coalesce(c.starts_at, l.enrolled_at) AS start, coalesce(m.cohort_id, '') AS cohort_id,
			CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE coalesce(k.version, 0) END AS number, coalesce(e.extra_days, 0) AS extra_days,
			coalesce((SELECT array_agg(g.group_id ORDER BY g.group_id) FROM group_member g
				WHERE g.course_id = $1 AND g.account_id = l.account_id AND g.member), '{}') AS groups
		FROM learner l
		LEFT JOIN course k ON k.course_id = $1
		LEFT JOIN cohort_member m ON m.course_id = $1 AND m.account_id = l.account_id AND m.cohort_id <> ''
		LEFT JOIN cohort c ON c.cohort_id = m.cohort_id
		LEFT JOIN ease e ON e.course_id = $1 AND e.account_id = l.account_id
		WHERE l.course_id = $1 AND l.account_id = ANY ($2) AND l.enrolled_at IS NOT NULL AND NOT l.ended`, courseID, accounts)
	if err != nil {
		return nil, fmt.Errorf("read learners: %w", err)
	}
	type row struct {
		AccountID string
		Start     time.Time
		CohortID  string
		Number    int32
		ExtraDays int
		Groups    []string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, fmt.Errorf("read learners: %w", err)
	}
	out := make([]*timing, 0, len(list))
	for _, r := range list {
		if r.Number == 0 {
			continue // published later
		}
		v, err := s.versionOf(ctx, q, courseID, r.Number)
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, errBusy
		}
		out = append(out, &timing{r.AccountID, r.Start, r.CohortID, r.Groups, r.ExtraDays, v})
	}
	return out, nil
}

// readOverrides returns the overrides of a course for some targets, by item and
// target: of all items, or of those named.
func readOverrides(ctx context.Context, q pg.Querier, courseID string, wanted, items []string) (map[string]targets, error) {
	rows, err := q.Query(ctx, `
		SELECT item_id, target_id, available_from, due, until FROM deadline_override
		WHERE course_id = $1 AND target_id = ANY ($2) AND ($3::text[] IS NULL OR item_id = ANY ($3))`, courseID, wanted, items)
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	out := map[string]targets{}
	var itemID, targetID string
	var from, due, until []byte
	_, err = pgx.ForEachRow(rows, []any{&itemID, &targetID, &from, &due, &until}, func() error {
		o, err := newOverride(itemID, targetID, from, due, until)
		if err != nil {
			return err
		}
		if out[itemID] == nil {
			out[itemID] = targets{}
		}
		out[itemID][targetID] = o
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	return out, nil
}

func newOverride(itemID, targetID string, from, due, until []byte) (*override, error) {
	o := &override{itemID: itemID, targetID: targetID}
	var err error
	if o.availableFrom, err = readMoment(from); err != nil {
		return nil, err
	}
	if o.due, err = readMoment(due); err != nil {
		return nil, err
	}
	o.until, err = readMoment(until)
	return o, err
}

// storeDeadlines replaces the rows of some accounts, of all items or of those
// named, by what they are now. Rows that are as they were are not touched. It returns
// whose are others than before.
func storeDeadlines(ctx context.Context, tx *pg.Tx, courseID string, accounts, items []string, rows []deadline) ([]string, error) {
	n := len(rows)
	who, what := make([]string, n), make([]string, n)
	var at [3][]*time.Time
	var source [3][]string
	for i := range at {
		at[i], source[i] = make([]*time.Time, n), make([]string, n)
	}
	days := make([]int, n)
	for i, d := range rows {
		who[i], what[i], days[i] = d.accountID, d.itemID, d.extraDays
		for j, e := range []effective{d.availableFrom, d.due, d.until} {
			at[j][i], source[j][i] = e.at, e.source
		}
	}
	changed, err := tx.Query(ctx, `
		WITH fresh AS MATERIALIZED (
			SELECT * FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::timestamptz[], $9::text[], $10::timestamptz[], $11::text[], $12::int[])
				AS f (account_id, item_id, available_from, available_from_source, due, due_source, until, until_source, extra_days)
		), gone AS (
			DELETE FROM effective_deadline d WHERE d.course_id = $1 AND d.account_id = ANY ($2) AND ($3::text[] IS NULL OR d.item_id = ANY ($3))
				AND NOT EXISTS (SELECT FROM fresh f WHERE f.account_id = d.account_id AND f.item_id = d.item_id)
			RETURNING d.account_id
		), kept AS (
		INSERT INTO effective_deadline AS d (course_id, account_id, item_id, available_from, available_from_source, due, due_source, until, until_source, extra_days)
		SELECT $1, f.* FROM fresh f ORDER BY f.account_id, f.item_id
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET
			available_from = EXCLUDED.available_from, available_from_source = EXCLUDED.available_from_source, due = EXCLUDED.due,
			due_source = EXCLUDED.due_source, until = EXCLUDED.until, until_source = EXCLUDED.until_source, extra_days = EXCLUDED.extra_days
		WHERE (d.available_from, d.available_from_source, d.due, d.due_source, d.until, d.until_source, d.extra_days)
			IS DISTINCT FROM (EXCLUDED.available_from, EXCLUDED.available_from_source, EXCLUDED.due, EXCLUDED.due_source, EXCLUDED.until, EXCLUDED.until_source, EXCLUDED.extra_days)
		RETURNING d.account_id)
		SELECT account_id FROM gone UNION SELECT account_id FROM kept ORDER BY 1`,
		courseID, accounts, items, who, what, at[0], source[0], at[1], source[1], at[2], source[2], days)
	if err != nil {
		return nil, fmt.Errorf("store deadlines: %w", err)
	}
	list, err := pgx.CollectRows(changed, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("store deadlines: %w", err)
	}
	return list, nil
}

// enqueue has the deadlines of one learner made anew soon, of all of a course for
// an empty account.
func (s *Service) enqueue(ctx context.Context, tx *pg.Tx, courseID, accountID string) error {
	return s.enqueueWhere(ctx, tx, `SELECT $1::text, $2::text`, courseID, accountID)
}

// enqueueWhere does the same for the courses and accounts that a query names.
func (s *Service) enqueueWhere(ctx context.Context, tx *pg.Tx, query string, args ...any) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO deadline_task (course_id, account_id) SELECT * FROM (`+query+`) AS q ORDER BY 1, 2
		ON CONFLICT (course_id, account_id) DO UPDATE SET after_id = ''`, args...)
	if err != nil {
		return fmt.Errorf("enqueue deadlines: %w", err)
	}
	s.wakeAfter(tx)
	return nil
}
