package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// The sources of access.
const (
	sourceFree  = "free"
	sourceOrder = "order"
)

// entitlement is a line of the ledger: that an account has access to a course
// for one reason.
type entitlement struct {
	AccountID string
	CourseID  string
	Source    string
	SourceID  string
	StartsAt  time.Time
}

// grant writes the entitlements that are not in the ledger yet, starts the
// enrollments that are new by them, and says both.
func (s *Service) grant(ctx context.Context, tx *pg.Tx, list []entitlement) error {
	ids, accounts, courses, sources, sourceIDs, starts := make([]string, len(list)), make([]string, len(list)),
		make([]string, len(list)), make([]string, len(list)), make([]string, len(list)), make([]time.Time, len(list))
	for i, one := range list {
		ids[i], accounts[i], courses[i] = id.New("entitlement"), one.AccountID, one.CourseID
		sources[i], sourceIDs[i], starts[i] = one.Source, one.SourceID, one.StartsAt
	}
	// In the order of the courses, so that two transactions for the same account
	// wait for one another and not in a circle.
	rows, err := tx.Query(ctx, `
		INSERT INTO entitlement (id, account_id, course_id, source, source_id, starts_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) AS e (id, account_id, course_id, source, source_id, starts_at)
		ORDER BY account_id, course_id, source_id
		ON CONFLICT DO NOTHING
		RETURNING id, account_id, course_id, source, source_id, starts_at`,
		ids, accounts, courses, sources, sourceIDs, starts)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	granted, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*accesspb.EntitlementGranted, error) {
		event := &accesspb.EntitlementGranted{}
		var at time.Time
		err := row.Scan(&event.EntitlementId, &event.AccountId, &event.CourseId, &event.Source, &event.SourceId, &at)
		event.StartsAt = timestamppb.New(at)
		return event, err
	})
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	started, err := enroll(ctx, tx, granted)
	if err != nil {
		return err
	}
	events := make([]proto.Message, 0, len(granted)+len(started))
	for _, event := range granted {
		events = append(events, event)
	}
	for _, event := range started {
		events = append(events, event)
	}
	entries := make([]audit.Entry, len(granted))
	for i, g := range granted {
		entries[i] = audit.Entry{
			Action: "entitlement.granted", Object: g.GetEntitlementId(), Course: g.GetCourseId(), Person: g.GetAccountId(),
			After: map[string]any{"source": g.GetSource(), "source_id": g.GetSourceId(), "starts_at": g.GetStartsAt().AsTime()},
		}
	}
	if err := audit.Record(ctx, tx, entries...); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		for _, event := range granted {
			s.log.DebugContext(ctx, "access granted", "entitlement", event.GetEntitlementId(), "account", event.GetAccountId(), "course", event.GetCourseId())
		}
	})
	return bus.Publish(ctx, tx, events...)
}

// enroll starts the enrollments that are new by the grants.
func enroll(ctx context.Context, tx *pg.Tx, granted []*accesspb.EntitlementGranted) ([]*accesspb.EnrollmentStarted, error) {
	if len(granted) == 0 {
		return nil, nil
	}
	ids, accounts, courses, starts := make([]string, len(granted)), make([]string, len(granted)), make([]string, len(granted)), make([]time.Time, len(granted))
	source := map[subject]string{}
	for i, g := range granted {
		ids[i], accounts[i], courses[i], starts[i] = id.New("enrollment"), g.GetAccountId(), g.GetCourseId(), g.GetStartsAt().AsTime()
		source[subject{g.GetAccountId(), g.GetCourseId()}] = g.GetSource()
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO enrollment (id, account_id, course_id, enrolled_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS e (id, account_id, course_id, enrolled_at)
		ORDER BY account_id, course_id
		ON CONFLICT ON CONSTRAINT enrollment_once DO NOTHING
		RETURNING id, account_id, course_id, enrolled_at`, ids, accounts, courses, starts)
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	started, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*accesspb.EnrollmentStarted, error) {
		event := &accesspb.EnrollmentStarted{}
		var at time.Time
		err := row.Scan(&event.EnrollmentId, &event.AccountId, &event.CourseId, &at)
		event.EnrolledAt = timestamppb.New(at)
		event.Source = source[subject{event.GetAccountId(), event.GetCourseId()}]
		return event, err
	})
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	return started, nil
}

// entitled returns those of the courses in which the account has a live grant.
func (s *Service) entitled(ctx context.Context, accountID string, courseIDs []string) ([]string, error) {
	rows, err := s.db.Query(ctx, `
		SELECT DISTINCT course_id FROM entitlement
		WHERE account_id = $2 AND course_id = ANY($3) AND `+live+` ORDER BY course_id`, s.now(), accountID, courseIDs)
	if err != nil {
		return nil, fmt.Errorf("entitled: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("entitled: %w", err)
	}
	return list, nil
}
