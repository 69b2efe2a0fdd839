package access

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// tellRole tells that somebody's role in a whole course is as g has it, or gone.
// Roles are locked before, so that versions grow in the order of the changes.
func tellRole(ctx context.Context, tx *pg.Tx, g givenRole, granted bool) error {
	if g.CourseID == "" || g.ItemID != "" {
		return nil
	}
	event := &accesspb.CourseRoleChanged{CourseId: g.CourseID, AccountId: g.AccountID, Role: g.Role, Granted: granted}
	if granted {
		event.ExpiresAt = stampOf(g.ExpiresAt)
	}
	if err := tx.QueryRow(ctx, `SELECT nextval('course_role_version')`).Scan(&event.Version); err != nil {
		return fmt.Errorf("role version: %w", err)
	}
	return bus.Publish(ctx, tx, event)
}

// retellBatch is how many one transaction tells again.
const retellBatch = 200

// retell tells the next of what services that came to hear it later have missed,
// and returns how many. A migration says what.
func (s *Service) retell(ctx context.Context, tx *pg.Tx) (int64, error) {
	var what, afterID string
	err := tx.QueryRow(ctx, `SELECT what, after_id FROM retelling ORDER BY what LIMIT 1 FOR UPDATE SKIP LOCKED`).Scan(&what, &afterID)
	if pg.NoRows(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("retell: %w", err)
	}
	tell := s.retellCohorts
	if what == "role" {
		tell = s.retellRoles
	}
	last, n, err := tell(ctx, tx, afterID)
	if err != nil {
		return 0, fmt.Errorf("retell %s: %w", what, err)
	}
	if n < retellBatch {
		_, err = tx.Exec(ctx, `DELETE FROM retelling WHERE what = $1`, what)
	} else {
		_, err = tx.Exec(ctx, `UPDATE retelling SET after_id = $2 WHERE what = $1`, what, last)
	}
	return 1, err
}

func (s *Service) retellCohorts(ctx context.Context, tx *pg.Tx, afterID string) (string, int, error) {
	rows, err := tx.Query(ctx, `SELECT `+cohortColumns+` FROM cohort WHERE id > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE`, afterID, retellBatch)
	if err != nil {
		return "", 0, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[cohort])
	if err != nil || len(list) == 0 {
		return "", 0, err
	}
	events := make([]proto.Message, len(list))
	for i, c := range list {
		events[i] = c.event()
	}
	return list[len(list)-1].ID, len(list), bus.Publish(ctx, tx, events...)
}

// retellRoles tells roles whose row it has locked: who changes one waits for the
// row, and takes a version after it.
func (s *Service) retellRoles(ctx context.Context, tx *pg.Tx, afterID string) (string, int, error) {
	rows, err := tx.Query(ctx, `
		SELECT id, account_id, course_id, role, expires_at, nextval('course_role_version') AS version FROM (
			SELECT * FROM role_grant WHERE id > $1 AND course_id <> '' AND item_id = '' ORDER BY id LIMIT $2 FOR UPDATE) AS g ORDER BY id`, afterID, retellBatch)
	if err != nil {
		return "", 0, err
	}
	last, n := "", 0
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (proto.Message, error) {
		var g givenRole
		event := &accesspb.CourseRoleChanged{Granted: true}
		err := row.Scan(&g.ID, &event.AccountId, &event.CourseId, &event.Role, &g.ExpiresAt, &event.Version)
		if g.ExpiresAt != nil {
			event.ExpiresAt = timestamppb.New(*g.ExpiresAt)
		}
		last, n = g.ID, n+1
		return event, err
	})
	if err != nil || n == 0 {
		return "", 0, err
	}
	return last, n, bus.Publish(ctx, tx, events...)
}
