package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// subscriptionEnded ends what lines of a subscription gave when that ended, if not before.
// It is remembered, so that a grant that comes later ends then too.
func (s *Service) subscriptionEnded(ctx context.Context, tx *pg.Tx, event *commercepb.SubscriptionEnded) error {
	tx.Exempt("what ends by it is recorded")
	var lines []string
	for _, l := range event.GetLines() {
		lines = append(lines, l.GetLineId())
	}
	if len(lines) == 0 || !event.GetEndedAt().IsValid() {
		return nil
	}
	if err := lockSources(ctx, tx, lines); err != nil {
		return err
	}
	at := event.GetEndedAt().AsTime().Truncate(time.Microsecond)
	if _, err := tx.Exec(ctx, `
		INSERT INTO source_end (source_id, ends_at) SELECT DISTINCT line, $2::timestamptz FROM unnest($1::text[]) AS line ORDER BY line
		ON CONFLICT (source_id) DO UPDATE SET ends_at = least(source_end.ends_at, EXCLUDED.ends_at)`, lines, at); err != nil {
		return fmt.Errorf("subscription ended: %w", err)
	}
	rows, err := tx.Query(ctx, `
		SELECT `+entitlementColumns+` FROM entitlement WHERE source = 'subscription' AND source_id = ANY($1) AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $2)
		ORDER BY account_id, course_id, id FOR UPDATE`, lines, at)
	if err != nil {
		return fmt.Errorf("subscription ended: %w", err)
	}
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByName[entitlement])
	if err != nil {
		return fmt.Errorf("subscription ended: %w", err)
	}
	var list []period
	for _, g := range grants {
		if ends := endedBy(g, at); g.EndsAt == nil || ends.Before(*g.EndsAt) {
			list = append(list, period{g, g.StartsAt, &ends})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return s.setPeriods(ctx, tx, list, "the subscription ended")
}

// endedBy is when a grant ends whose subscription ended at a moment: not before it begins.
func endedBy(e entitlement, at time.Time) time.Time {
	if first := e.StartsAt.Add(time.Microsecond); at.Before(first) {
		return first
	}
	return at
}

// endWithSubscription has grants of subscriptions that have ended end with them. Their
// sources are locked.
func endWithSubscription(ctx context.Context, tx *pg.Tx, list []entitlement) ([]entitlement, error) {
	var lines []string
	for _, e := range list {
		if e.Source == sourceSubscription {
			lines = append(lines, e.SourceID)
		}
	}
	if len(lines) == 0 {
		return list, nil
	}
	rows, err := tx.Query(ctx, `SELECT source_id, ends_at FROM source_end WHERE source_id = ANY($1)`, lines)
	if err != nil {
		return nil, fmt.Errorf("ends of sources: %w", err)
	}
	ends := map[string]time.Time{}
	var line string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&line, &at}, func() error { ends[line] = at; return nil }); err != nil {
		return nil, fmt.Errorf("ends of sources: %w", err)
	}
	list = slices.Clone(list)
	for i := range list {
		e := &list[i]
		if at, ok := ends[e.SourceID]; ok && e.Source == sourceSubscription {
			if last := endedBy(*e, at); e.EndsAt == nil || last.Before(*e.EndsAt) {
				e.EndsAt = &last
			}
		}
	}
	return list, nil
}
