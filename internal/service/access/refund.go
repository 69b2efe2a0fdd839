package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// refundedReason is why grants end with what was paid for them.
const refundedReason = "the money was given back"

// linesRefunded ends what lines gave that were given back: grants to the buyer and to who
// took a gift, and seats. It is remembered, so that a grant that comes later is none.
func (s *Service) linesRefunded(ctx context.Context, tx *pg.Tx, event *commercepb.LinesRefunded) error {
	var lines []string
	courses := map[string]string{}
	for _, l := range event.GetLines() {
		if l.GetAccessEnds() {
			lines = append(lines, l.GetLineId())
			courses[l.GetLineId()] = l.GetCourseId()
		}
	}
	if len(lines) == 0 {
		tx.Exempt("access stays")
		return nil
	}
	if err := lockSources(ctx, tx, lines); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO ended_source (source_id, reason, ended_at) SELECT DISTINCT line, $2, $3::timestamptz FROM unnest($1::text[]) AS line ORDER BY line
		ON CONFLICT DO NOTHING RETURNING source_id`, lines, refundedReason, s.now())
	if err != nil {
		return fmt.Errorf("ended sources: %w", err)
	}
	fresh, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("ended sources: %w", err)
	}
	entries := make([]audit.Entry, len(fresh))
	for i, line := range fresh {
		entries[i] = audit.Entry{Action: "grant_source.ended", Object: line, Course: courses[line], Person: event.GetBuyerId(), Reason: refundedReason}
	}
	if err := audit.Record(ctx, tx, entries...); err != nil {
		return err
	}
	if len(fresh) == 0 {
		tx.Exempt("it was heard before")
		return nil
	}
	if _, err := s.revoke(ctx, tx, refundedReason, `source IN ('order', 'gift', 'subscription') AND source_id = ANY($4)`, fresh); err != nil {
		return err
	}
	blocks, err := seatBlocks(ctx, tx, `source_id = ANY($1) AND source_id <> '' AND revoked_at IS NULL ORDER BY id FOR UPDATE`, fresh)
	if err != nil {
		return err
	}
	return s.revokeSeatBlocks(ctx, tx, blocks, refundedReason)
}

// lockSources has those who grant by sources, and those who end them, wait for one another.
func lockSources(ctx context.Context, tx *pg.Tx, sources []string) error {
	_, err := tx.Exec(ctx, `
		SELECT pg_advisory_xact_lock(hashtext('stoa.source'), h) FROM (SELECT DISTINCT hashtext(s) AS h FROM unnest($1::text[]) AS s ORDER BY h) AS one`, sources)
	if err != nil {
		return fmt.Errorf("lock sources: %w", err)
	}
	return nil
}

// endedSources returns those of the sources that have ended, and keeps others from ending
// them until tx ends.
func endedSources(ctx context.Context, tx *pg.Tx, sources []string) ([]string, error) {
	sources = slices.DeleteFunc(sources, func(s string) bool { return s == "" })
	if len(sources) == 0 {
		return nil, nil
	}
	if err := lockSources(ctx, tx, sources); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT source_id FROM ended_source WHERE source_id = ANY($1)`, sources)
	if err != nil {
		return nil, fmt.Errorf("ended sources: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("ended sources: %w", err)
	}
	return ended, nil
}
