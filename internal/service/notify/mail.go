package notify

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// mail is a mail that is held.
type mail struct {
	ID        string
	ToAddress string
	Subject   string
	BodyText  string
	CreatedAt time.Time
}

// hold writes the mail that goes with a note, once, and holds it. Who has no
// usable address gets none.
func (s *Service) hold(ctx context.Context, tx *pg.Tx, n note) error {
	if !addressable(n.to.Email) {
		s.log.WarnContext(ctx, "notify: no mail to an address that can't be one", "account", n.to.AccountID)
		return nil
	}
	words, err := tell(n.kind, n.to.Locale, n.facts)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO mail (id, to_address, subject, body_text, created_at, state, dedupe_key) VALUES ($1, $2, $3, $4, $5, 'held', $6)
		ON CONFLICT ON CONSTRAINT mail_dedupe DO NOTHING`,
		id.New("mail"), n.to.Email, words.subject, words.text, s.now(), n.dedupeKey())
	if err != nil {
		return fmt.Errorf("store mail: %w", err)
	}
	return nil
}

// addressable keeps out of a header what could end it or name a second
// receiver. Whether an address is one is for whoever took it to know.
func addressable(address string) bool {
	return strings.Count(address, "@") == 1 && !strings.ContainsFunc(address, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`,;:<>()"\`, r)
	})
}

// newestMail returns the mails that are held, newest first.
func newestMail(ctx context.Context, q pg.Querier, size int) ([]mail, error) {
	rows, err := q.Query(ctx, `
		SELECT id, to_address, subject, body_text, created_at FROM mail
		ORDER BY created_at DESC, id DESC LIMIT $1`, size)
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[mail])
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	return items, nil
}

func (s *Service) deleteOldMail(ctx context.Context) (int64, error) {
	tag, err := s.db.Exec(ctx, `
		DELETE FROM mail WHERE id IN (
			SELECT id FROM mail WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		s.now().Add(-keepMail), sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("delete old mail: %w", err)
	}
	return tag.RowsAffected(), nil
}
