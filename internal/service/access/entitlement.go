package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// The sources of access that this service gives by itself; others name theirs.
const (
	sourceFree         = "free"
	sourceOrder        = "order"
	sourceGift         = "gift"
	sourceSubscription = "subscription"
	sourceManual       = "manual"
)

// sold reports whether a source is a line of an order, which may be given back.
func sold(source string) bool {
	return source == sourceOrder || source == sourceGift || source == sourceSubscription
}

// entitlement is a line of the ledger: that an account has access to a course
// for one reason.
type entitlement struct {
	ID           string
	AccountID    string
	CourseID     string
	Source       string
	SourceID     string
	StartsAt     time.Time
	EndsAt       *time.Time
	RevokedAt    *time.Time
	RevokeReason *string
	Reason       string
	GrantedBy    string
}

const entitlementColumns = `id, account_id, course_id, source, source_id, starts_at, ends_at, revoked_at, revoke_reason, reason, granted_by`

// begins is how long before its start a grant gives access, so that the clocks
// of two processes may differ a little: see live.
const begins = 5 * time.Second

// state follows from the times; it is not stored.
func (e entitlement) state(now time.Time) string {
	switch {
	case e.RevokedAt != nil:
		return "revoked"
	case e.EndsAt != nil && !e.EndsAt.After(now):
		return "ended"
	case e.StartsAt.After(now.Add(begins)):
		return "scheduled"
	default:
		return "live"
	}
}

// due is when access by the grant next begins or ends by itself, nil when it
// does not any more.
func (e entitlement) due(now time.Time) *time.Time {
	switch e.state(now) {
	case "scheduled":
		at := e.StartsAt.Add(-begins)
		return &at
	case "live":
		return e.EndsAt
	default:
		return nil
	}
}

func (e entitlement) message(now time.Time) *accesspb.Entitlement {
	out := &accesspb.Entitlement{
		Id: e.ID, CourseId: e.CourseID, AccountId: e.AccountID, Source: e.Source, SourceId: e.SourceID,
		StartsAt: timestamppb.New(e.StartsAt), State: e.state(now), Reason: e.Reason, GrantedBy: e.GrantedBy,
	}
	if e.EndsAt != nil {
		out.EndsAt = timestamppb.New(*e.EndsAt)
	}
	if e.RevokedAt != nil {
		out.RevokedAt = timestamppb.New(*e.RevokedAt)
		out.RevokeReason = *e.RevokeReason
	}
	return out
}

// entry is the grant as the audit log has it.
func (e entitlement) entry() map[string]any {
	return map[string]any{"source": e.Source, "source_id": e.SourceID, "starts_at": e.StartsAt, "ends_at": e.EndsAt, "revoked_at": e.RevokedAt}
}

// grant writes the entitlements that are not in the ledger yet, has the
// enrollments follow, and says both. It returns those that are new. What was paid for
// and given back gives nothing any more.
func (s *Service) grant(ctx context.Context, tx *pg.Tx, list []entitlement) ([]entitlement, error) {
	now := s.now()
	var lines []string
	for _, one := range list {
		if sold(one.Source) {
			lines = append(lines, one.SourceID)
		}
	}
	ended, err := endedSources(ctx, tx, lines)
	if err != nil {
		return nil, err
	}
	if list, err = endWithSubscription(ctx, tx, list); err != nil {
		return nil, err
	}
	if len(ended) > 0 {
		tx.Exempt("what was given back gives nothing")
		list = slices.DeleteFunc(slices.Clone(list), func(e entitlement) bool {
			return sold(e.Source) && slices.Contains(ended, e.SourceID)
		})
	}
	batch := make([]entitlement, len(list))
	for i, one := range list {
		one.ID, one.GrantedBy = id.New("entitlement"), actor(ctx)
		batch[i] = one
	}
	// In one order, so that two transactions for the same account wait for one
	// another and not in a circle.
	slices.SortFunc(batch, func(a, b entitlement) int {
		return cmp.Or(cmp.Compare(a.AccountID, b.AccountID), cmp.Compare(a.CourseID, b.CourseID), cmp.Compare(a.SourceID, b.SourceID))
	})
	column := func(of func(entitlement) string) []string {
		out := make([]string, len(batch))
		for i, one := range batch {
			out[i] = of(one)
		}
		return out
	}
	starts, ends, due := make([]time.Time, len(batch)), make([]*time.Time, len(batch)), make([]*time.Time, len(batch))
	for i, one := range batch {
		starts[i], ends[i], due[i] = one.StartsAt, one.EndsAt, one.due(now)
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO entitlement (id, account_id, course_id, source, source_id, reason, granted_by, starts_at, ends_at, due_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])
		ON CONFLICT DO NOTHING
		RETURNING `+entitlementColumns,
		column(func(e entitlement) string { return e.ID }), column(func(e entitlement) string { return e.AccountID }),
		column(func(e entitlement) string { return e.CourseID }), column(func(e entitlement) string { return e.Source }),
		column(func(e entitlement) string { return e.SourceID }), column(func(e entitlement) string { return e.Reason }),
		column(func(e entitlement) string { return e.GrantedBy }), starts, ends, due)
	if err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	granted, err := pgx.CollectRows(rows, pgx.RowToStructByName[entitlement])
	if err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	events, entries := make([]proto.Message, len(granted)), make([]audit.Entry, len(granted))
	subjects := make([]subject, len(granted))
	for i, g := range granted {
		event := &accesspb.EntitlementGranted{
			EntitlementId: g.ID, AccountId: g.AccountID, CourseId: g.CourseID, Source: g.Source, SourceId: g.SourceID, StartsAt: timestamppb.New(g.StartsAt),
		}
		if g.EndsAt != nil {
			event.EndsAt = timestamppb.New(*g.EndsAt)
		}
		events[i], subjects[i] = event, subject{g.AccountID, g.CourseID}
		entries[i] = audit.Entry{Action: "entitlement.granted", Object: g.ID, Course: g.CourseID, Person: g.AccountID, Reason: g.Reason, After: g.entry()}
	}
	if err := tell(ctx, tx, entries, events); err != nil {
		return nil, err
	}
	return granted, s.follow(ctx, tx, subjects)
}

// tell records entries and publishes events.
func tell(ctx context.Context, tx *pg.Tx, entries []audit.Entry, events []proto.Message) error {
	if err := audit.Record(ctx, tx, entries...); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, events...)
}

// revoke ends the grants that a condition names and that have not ended, has the
// enrollments follow, and says both.
func (s *Service) revoke(ctx context.Context, tx *pg.Tx, reason, where string, args ...any) ([]entitlement, error) {
	now := s.now()
	rows, err := tx.Query(ctx, `
		UPDATE entitlement SET revoked_at = $1, revoke_reason = $2, revoked_by = $3, due_at = NULL
		WHERE id IN (SELECT id FROM entitlement WHERE revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $1) AND `+where+` ORDER BY account_id, course_id, id FOR UPDATE)
		RETURNING `+entitlementColumns, append([]any{now, reason, actor(ctx)}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	revoked, err := pgx.CollectRows(rows, pgx.RowToStructByName[entitlement])
	if err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	events, entries := make([]proto.Message, len(revoked)), make([]audit.Entry, len(revoked))
	subjects, ids := make([]subject, len(revoked)), make([]string, len(revoked))
	for i, e := range revoked {
		before := e
		before.RevokedAt = nil
		events[i] = &accesspb.EntitlementRevoked{
			EntitlementId: e.ID, AccountId: e.AccountID, CourseId: e.CourseID, Source: e.Source, SourceId: e.SourceID, RevokedAt: timestamppb.New(now),
		}
		entries[i] = audit.Entry{
			Action: "entitlement.revoked", Object: e.ID, Course: e.CourseID, Person: e.AccountID, Reason: reason, Before: before.entry(), After: e.entry(),
		}
		subjects[i], ids[i] = subject{e.AccountID, e.CourseID}, e.ID
	}
	if err := tell(ctx, tx, entries, events); err != nil {
		return nil, err
	}
	if err := s.departRevoked(ctx, tx, ids); err != nil {
		return nil, err
	}
	return revoked, s.follow(ctx, tx, subjects)
}

// lockEntitlement returns a grant of a course and keeps others from changing it
// until tx ends.
func lockEntitlement(ctx context.Context, tx *pg.Tx, courseID, entitlementID string) (entitlement, error) {
	rows, err := tx.Query(ctx, `SELECT `+entitlementColumns+` FROM entitlement WHERE id = $1 AND course_id = $2 FOR UPDATE`, entitlementID, courseID)
	if err != nil {
		return entitlement{}, fmt.Errorf("entitlement: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[entitlement])
	if pg.NoRows(err) {
		return entitlement{}, ErrEntitlementNotFound
	}
	if err != nil {
		return entitlement{}, fmt.Errorf("entitlement: %w", err)
	}
	return e, nil
}

// extend changes when a grant ends.
func (s *Service) extend(ctx context.Context, tx *pg.Tx, e entitlement, ends *time.Time, reason string) (entitlement, error) {
	if e.RevokedAt != nil {
		return entitlement{}, ErrEntitlementRevoked
	}
	if ends != nil && !ends.After(e.StartsAt) {
		return entitlement{}, errPeriod
	}
	if err := s.setPeriods(ctx, tx, []period{{e, e.StartsAt, ends}}, reason); err != nil {
		return entitlement{}, err
	}
	e.EndsAt = ends
	return e, nil
}

// period is when a grant is to begin and to end.
type period struct {
	of     entitlement
	starts time.Time
	ends   *time.Time
}

// setPeriods changes when grants, which are locked, begin and end, and has the
// enrollments follow.
func (s *Service) setPeriods(ctx context.Context, tx *pg.Tx, list []period, reason string) error {
	n := len(list)
	ids, starts, ends, due := make([]string, n), make([]time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	entries, subjects := make([]audit.Entry, n), make([]subject, n)
	for i, p := range list {
		e := p.of
		e.StartsAt, e.EndsAt = p.starts, p.ends
		ids[i], starts[i], ends[i], due[i] = e.ID, e.StartsAt, e.EndsAt, e.due(s.now())
		subjects[i] = subject{e.AccountID, e.CourseID}
		entries[i] = audit.Entry{
			Action: "entitlement.changed", Object: e.ID, Course: e.CourseID, Person: e.AccountID, Reason: reason, Before: p.of.entry(), After: e.entry(),
		}
	}
	_, err := tx.Exec(ctx, `
		UPDATE entitlement e SET starts_at = n.starts_at, ends_at = n.ends_at, due_at = n.due_at
		FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) AS n (id, starts_at, ends_at, due_at) WHERE e.id = n.id`,
		ids, starts, ends, due)
	if err != nil {
		return fmt.Errorf("change entitlements: %w", err)
	}
	if err := audit.Record(ctx, tx, entries...); err != nil {
		return err
	}
	return s.follow(ctx, tx, subjects)
}

// entitlements returns a page of grants, those that begin last first, and the
// cursor of the next. account and course may be empty, not both.
func (s *Service) entitlements(ctx context.Context, accountID, courseID string, size int32, cursor string) ([]entitlement, string, error) {
	before, beforeID, err := after(cursor, "entitlement")
	if err != nil {
		return nil, "", err
	}
	where, args := ``, []any{before, beforeID, page.Size(size) + 1}
	for column, value := range map[string]string{"account_id": accountID, "course_id": courseID} {
		if value != "" {
			args = append(args, value)
			where += fmt.Sprintf(` AND %s = $%d`, column, len(args))
		}
	}
	rows, err := s.db.Query(ctx, `SELECT `+entitlementColumns+` FROM entitlement WHERE (starts_at, id) < ($1, $2)`+where+`
		ORDER BY starts_at DESC, id DESC LIMIT $3`, args...)
	if err != nil {
		return nil, "", fmt.Errorf("entitlements: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[entitlement])
	if err != nil {
		return nil, "", fmt.Errorf("entitlements: %w", err)
	}
	if limit := page.Size(size); len(list) > limit {
		last := list[limit-1]
		return list[:limit], page.TimeCursor(last.StartsAt, last.ID), nil
	}
	return list, "", nil
}

// entitled returns those of the courses in which the account has a live grant, of any
// source or beside those of subscriptions.
func (s *Service) entitled(ctx context.Context, accountID string, courseIDs []string, besideSubscriptions bool) ([]string, error) {
	rows, err := s.db.Query(ctx, `
		SELECT DISTINCT course_id FROM entitlement
		WHERE account_id = $2 AND course_id = ANY($3) AND `+live+` AND NOT ($4 AND source = 'subscription') ORDER BY course_id`,
		s.now(), accountID, courseIDs, besideSubscriptions)
	if err != nil {
		return nil, fmt.Errorf("entitled: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("entitled: %w", err)
	}
	return list, nil
}
