package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// follow has enrollments follow the ledger: those that are new by a live grant
// start, those without one end, those with one again resume. It is called in the
// transaction that changed the ledger, after the change.
func (s *Service) follow(ctx context.Context, tx *pg.Tx, subjects []subject) error {
	if len(subjects) == 0 {
		return nil
	}
	ids, accounts, courses := make([]string, len(subjects)), make([]string, len(subjects)), make([]string, len(subjects))
	for i, one := range subjects {
		ids[i], accounts[i], courses[i] = id.New("enrollment"), one.account, one.course
	}
	started, err := s.start(ctx, tx, ids, accounts, courses)
	if err != nil {
		return err
	}
	// Of two transactions that change the grants of one enrollment, the second
	// waits here and then sees what the first has done: a statement of its own.
	if _, err := tx.Exec(ctx, `
		SELECT FROM enrollment e WHERE (e.account_id, e.course_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
		ORDER BY e.account_id, e.course_id FOR NO KEY UPDATE`, accounts, courses); err != nil {
		return fmt.Errorf("lock enrollments: %w", err)
	}
	rows, err := tx.Query(ctx, `
		UPDATE enrollment e SET active = NOT e.active, version = e.version + 1
		WHERE (e.account_id, e.course_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
		AND e.active <> EXISTS (SELECT FROM entitlement WHERE account_id = e.account_id AND course_id = e.course_id AND `+live+`)
		RETURNING e.id, e.account_id, e.course_id, e.active, e.version`, s.now(), accounts, courses)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	type change struct {
		ID, AccountID, CourseID string
		Active                  bool
		Version                 int64
	}
	changes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[change])
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	events, entries := started, make([]audit.Entry, len(changes))
	var gone, from []string // who is enrolled no more, and in what
	for i, c := range changes {
		if c.Active {
			events = append(events, &accesspb.EnrollmentResumed{EnrollmentId: c.ID, CourseId: c.CourseID, AccountId: c.AccountID, Version: c.Version})
			entries[i] = audit.Entry{Action: "enrollment.resumed", Object: c.ID, Course: c.CourseID, Person: c.AccountID}
		} else {
			events = append(events, &accesspb.EnrollmentEnded{EnrollmentId: c.ID, CourseId: c.CourseID, AccountId: c.AccountID, Version: c.Version})
			gone, from = append(gone, c.AccountID), append(from, c.CourseID)
			entries[i] = audit.Entry{Action: "enrollment.ended", Object: c.ID, Course: c.CourseID, Person: c.AccountID}
		}
	}
	if err := tell(ctx, tx, entries, events); err != nil || len(gone) == 0 {
		return err
	}
	if err := s.leaveEnded(ctx, tx, gone, from); err != nil {
		return err
	}
	return s.departEnded(ctx, tx, gone, from)
}

// start makes the enrollments that are new by a live grant.
func (s *Service) start(ctx context.Context, tx *pg.Tx, ids, accounts, courses []string) ([]proto.Message, error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO enrollment (id, account_id, course_id, enrolled_at)
		SELECT n.id, n.account_id, n.course_id, g.starts_at
		FROM unnest($2::text[], $3::text[], $4::text[]) AS n (id, account_id, course_id)
		CROSS JOIN LATERAL (
			SELECT starts_at FROM entitlement WHERE account_id = n.account_id AND course_id = n.course_id AND `+live+`
			ORDER BY starts_at LIMIT 1) AS g
		ORDER BY n.account_id, n.course_id
		ON CONFLICT ON CONSTRAINT enrollment_once DO NOTHING
		RETURNING id, account_id, course_id, enrolled_at,
			(SELECT source FROM entitlement g WHERE g.account_id = enrollment.account_id AND g.course_id = enrollment.course_id AND `+live+` ORDER BY starts_at, id LIMIT 1)`,
		s.now(), ids, accounts, courses)
	if err != nil {
		return nil, fmt.Errorf("start enrollments: %w", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (proto.Message, error) {
		event := &accesspb.EnrollmentStarted{}
		var at time.Time
		err := row.Scan(&event.EnrollmentId, &event.AccountId, &event.CourseId, &at, &event.Source)
		event.EnrolledAt = timestamppb.New(at)
		return event, err
	})
	if err != nil {
		return nil, fmt.Errorf("start enrollments: %w", err)
	}
	return events, nil
}

// dueEvery is how often grants are looked for that begin or end by themselves,
// dueBatch how many one transaction takes, and tidyEvery at which of the times
// what is old is deleted.
const (
	dueEvery  = time.Second
	dueBatch  = 500
	tidyEvery = 60
)

// Run has enrollments, cohorts, waitlists and invitations follow the clock, until
// ctx ends. Any number of processes may run it. Access itself does not wait for
// it: it looks at the times.
func (s *Service) Run(ctx context.Context) error {
	var imports sync.WaitGroup
	imports.Go(func() { s.keepImporting(ctx) })
	defer imports.Wait()
	tick := time.NewTicker(dueEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		rest := s.expire
		if n%tidyEvery == 0 {
			rest = s.tidy
		}
		if err := errors.Join(s.followClock(ctx), s.followCohorts(ctx), rest(ctx)); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "access: what begins, ends or is deleted now, trying again", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// followClock has the enrollments follow that the clock has changed.
func (s *Service) followClock(ctx context.Context) error {
	for {
		n := 0
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("what time brings; enrollments that follow are recorded")
			now := s.now()
			rows, err := tx.Query(ctx, `
				SELECT `+entitlementColumns+` FROM entitlement WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED`, now, dueBatch)
			if err != nil {
				return fmt.Errorf("due: %w", err)
			}
			list, err := pgx.CollectRows(rows, pgx.RowToStructByName[entitlement])
			if err != nil {
				return fmt.Errorf("due: %w", err)
			}
			n = len(list)
			ids, next, subjects := make([]string, n), make([]*time.Time, n), make([]subject, n)
			for i, e := range list {
				ids[i], next[i], subjects[i] = e.ID, e.due(now), subject{e.AccountID, e.CourseID}
			}
			if _, err := tx.Exec(ctx, `
				UPDATE entitlement e SET due_at = n.due_at FROM unnest($1::text[], $2::timestamptz[]) AS n (id, due_at) WHERE e.id = n.id`, ids, next); err != nil {
				return fmt.Errorf("due: %w", err)
			}
			return s.follow(ctx, tx, subjects)
		})
		if err != nil || n < dueBatch {
			return err
		}
	}
}

// batch does something to many rows, and is full when there may be more.
type batch struct {
	do   func(context.Context, *pg.Tx) (int64, error)
	full int64
}

// expire notes which invitations and offers of seats are past their end.
func (s *Service) expire(ctx context.Context) error {
	return s.inBatches(ctx, batch{s.expireInvitations, dueBatch}, batch{s.expireSeats, 1})
}

// tidy deletes what is kept no longer, besides.
func (s *Service) tidy(ctx context.Context) error {
	if err := s.expire(ctx); err != nil {
		return err
	}
	return s.inBatches(ctx, batch{s.sweepInvitations, dueBatch}, batch{s.sweepAddresses, dueBatch}, batch{s.sweepSeats, dueBatch}, batch{s.sweepImports, 1}, batch{s.retell, 1})
}

// inBatches does each as long as it is full, so that no transaction holds many
// rows.
func (s *Service) inBatches(ctx context.Context, list ...batch) error {
	for _, one := range list {
		for n := one.full; n >= one.full; {
			err := s.db.InTx(ctx, func(tx *pg.Tx) error {
				tx.Exempt("what time brings; seats that are free again are recorded")
				var err error
				n, err = one.do(ctx, tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
