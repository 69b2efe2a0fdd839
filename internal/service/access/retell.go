package access

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// tellRole tells that somebody's role in a whole course is as g has it, or gone.
// Its row is locked, or gone, before, so that versions grow in the order of the
// changes.
func tellRole(ctx context.Context, tx *pg.Tx, g givenRole, granted bool) error {
	if g.CourseID == "" || g.ItemID != "" {
		return nil
	}
	event := &accesspb.CourseRoleChanged{CourseId: g.CourseID, AccountId: g.AccountID, Role: g.Role, Granted: granted}
	if granted {
		event.ExpiresAt = stampOf(g.ExpiresAt)
	}
	versions, err := nextRoleVersions(ctx, tx, []string{g.CourseID})
	if err != nil {
		return err
	}
	event.Version = versions[g.CourseID]
	return bus.Publish(ctx, tx, event)
}

// nextRoleVersions returns the next version of each course.
func nextRoleVersions(ctx context.Context, tx *pg.Tx, courses []string) (map[string]int64, error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO role_version AS v (course_id, version) SELECT DISTINCT c, 1 FROM unnest($1::text[]) AS c ORDER BY c
		ON CONFLICT (course_id) DO UPDATE SET version = v.version + 1 RETURNING v.course_id, v.version`, courses)
	if err != nil {
		return nil, fmt.Errorf("role versions: %w", err)
	}
	out := map[string]int64{}
	var course string
	var version int64
	if _, err := pgx.ForEachRow(rows, []any{&course, &version}, func() error { out[course] = version; return nil }); err != nil {
		return nil, fmt.Errorf("role versions: %w", err)
	}
	return out, nil
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

// retellRoles tells roles whose rows it has locked: who changes one waits, and
// takes a version after it.
func (s *Service) retellRoles(ctx context.Context, tx *pg.Tx, afterID string) (string, int, error) {
	rows, err := tx.Query(ctx, grantSQL+`
		WHERE g.id > $1 AND g.course_id <> '' AND g.item_id = '' ORDER BY g.id LIMIT $2 FOR UPDATE OF g`, afterID, retellBatch)
	if err != nil {
		return "", 0, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[givenRole])
	if err != nil || len(list) == 0 {
		return "", 0, err
	}
	courses := make([]string, len(list))
	for i, g := range list {
		courses[i] = g.CourseID
	}
	versions, err := nextRoleVersions(ctx, tx, courses)
	if err != nil {
		return "", 0, err
	}
	events := make([]proto.Message, len(list))
	for i, g := range list {
		events[i] = &accesspb.CourseRoleChanged{
			CourseId: g.CourseID, AccountId: g.AccountID, Role: g.Role, Granted: true, ExpiresAt: stampOf(g.ExpiresAt), Version: versions[g.CourseID],
		}
	}
	return list[len(list)-1].ID, len(list), bus.Publish(ctx, tx, events...)
}
