package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// notification is something somebody was told.
type notification struct {
	ID        string
	Kind      string
	Title     string
	Body      string
	CourseID  string
	CreatedAt time.Time
	ReadAt    *time.Time
}

// note is a notification to make.
type note struct {
	to       person
	kind     kind
	about    string // what it is about, such as the enrollment: one note for each kind, thing and person
	courseID string
	facts    facts
}

func (n note) dedupeKey() string { return string(n.kind) + ":" + n.about + ":" + n.to.AccountID }

// notify makes notifications, leaving out those that were made before.
func (s *Service) notify(ctx context.Context, tx *pg.Tx, notes ...note) error {
	var ids, accounts, kinds, titles, bodies, courses, keys []string
	for _, n := range notes {
		words, err := tell(n.kind, n.to.Locale, n.facts)
		if err != nil {
			return err
		}
		ids = append(ids, id.New("notification"))
		accounts = append(accounts, n.to.AccountID)
		kinds = append(kinds, string(n.kind))
		titles = append(titles, words.title)
		bodies = append(bodies, words.body)
		courses = append(courses, n.courseID)
		keys = append(keys, n.dedupeKey())
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO notification (id, account_id, kind, title, body, course_id, dedupe_key, created_at)
		SELECT n.*, $8 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) n
		ON CONFLICT ON CONSTRAINT notification_dedupe DO NOTHING`,
		ids, accounts, kinds, titles, bodies, courses, keys, s.now())
	if err != nil {
		return fmt.Errorf("store notifications: %w", err)
	}
	return nil
}

const (
	listAll    = `SELECT id, kind, title, body, course_id, created_at, read_at FROM notification WHERE account_id = $1 AND (created_at, id) < ($2, $3)`
	listUnread = listAll + ` AND read_at IS NULL`
	listOrder  = ` ORDER BY created_at DESC, id DESC LIMIT $4`
)

// notificationsOf returns what an account was told, newest first.
func notificationsOf(ctx context.Context, q pg.Querier, accountID string, unread bool, size int, cursor string) ([]notification, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	sql := listAll + listOrder
	if unread {
		sql = listUnread + listOrder
	}
	rows, err := q.Query(ctx, sql, accountID, before, beforeID, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("list notifications: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[notification])
	if err != nil {
		return nil, "", fmt.Errorf("list notifications: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.TimeCursor(last.CreatedAt, last.ID), nil
}

// countUnread stops at 100: more is "many" to a person, and costs no more.
func countUnread(ctx context.Context, q pg.Querier, accountID string) (int32, error) {
	var n int32
	err := q.QueryRow(ctx, `
		SELECT count(*) FROM (SELECT FROM notification WHERE account_id = $1 AND read_at IS NULL LIMIT 100) unread`, accountID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count unread: %w", err)
	}
	return n, nil
}

// markRead marks a notification of the account as read, and keeps the time of
// the first marking.
func (s *Service) markRead(ctx context.Context, tx *pg.Tx, accountID, notificationID string) (notification, error) {
	rows, err := tx.Query(ctx, `
		UPDATE notification SET read_at = coalesce(read_at, $3) WHERE id = $1 AND account_id = $2
		RETURNING id, kind, title, body, course_id, created_at, read_at`, notificationID, accountID, s.now())
	if err != nil {
		return notification{}, fmt.Errorf("mark read: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[notification])
	if pg.NoRows(err) {
		return notification{}, ErrNotificationNotFound
	}
	if err != nil {
		return notification{}, fmt.Errorf("mark read: %w", err)
	}
	return n, audit.Record(ctx, tx, audit.Entry{Action: "notification.read", Object: notificationID, Person: accountID})
}

func (s *Service) deleteOldNotifications(ctx context.Context) (int64, error) {
	tag, err := s.db.Exec(ctx, `
		DELETE FROM notification WHERE id IN (
			SELECT id FROM notification WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		s.now().Add(-keepNotifications), sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("delete old notifications: %w", err)
	}
	return tag.RowsAffected(), nil
}
