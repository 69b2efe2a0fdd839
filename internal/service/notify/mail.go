package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
)

// The states of a mail. One that waits is queued; where no mails are sent it is
// held for whoever develops.
const (
	held   = "held"
	queued = "queued"
	sent   = "sent"
	failed = "failed"
)

// letter is what is personal in a mail, which is kept sealed.
type letter struct {
	To      string `json:"to"`
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	HTML    string `json:"html"`
}

// letterField names a mail's letter when it is sealed, so that none can pass
// for that of another mail.
func letterField(mailID string) string { return "mail\n" + mailID }

// Mail is a mail without what is personal in it.
type Mail struct {
	ID        string
	AccountID string
	Kind      string
	State     string // "held", "queued", "sent" or "failed"
	Attempts  int
	Reply     string // what the mail server said last
	CreatedAt time.Time
	NextAt    *time.Time // when it is tried next
}

// post is a mail to write.
type post struct {
	id        string
	account   string
	kind      kind
	locale    string
	to        string
	dedupeKey string
	facts     facts
}

// write puts a mail into the queue, once. Who has no usable address gets none.
func (s *Service) write(ctx context.Context, tx *pg.Tx, p post) error {
	if !addressable(p.to) {
		s.log.WarnContext(ctx, "notify: no mail to an address that can't be one", "account", p.account)
		return nil
	}
	words, err := tell(p.kind, p.locale, p.facts)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(letter{To: p.to, Name: oneLine(p.facts.Name), Subject: words.subject, Text: words.text, HTML: words.html})
	if err != nil {
		return fmt.Errorf("letter: %w", err)
	}
	key, err := s.vault.KeyIn(ctx, tx, p.account)
	if err != nil {
		return err
	}
	now := s.now()
	state, next := held, (*time.Time)(nil)
	if s.mailer != nil {
		state, next = queued, &now
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO mail (id, account_id, kind, letter, state, next_at, created_at, dedupe_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT ON CONSTRAINT mail_dedupe DO NOTHING`,
		p.id, p.account, string(p.kind), key.Seal(letterField(p.id), plain), state, next, now, p.dedupeKey)
	if err != nil {
		return fmt.Errorf("store mail: %w", err)
	}
	tx.AfterCommit(s.wakeSender)
	return nil
}

// addressable keeps out of a header what could end it or name a second
// receiver. Whether an address is one is for whoever took it to know.
func addressable(address string) bool {
	return strings.Count(address, "@") == 1 && !strings.ContainsFunc(address, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`,;:<>()"\`, r)
	})
}

// open returns the letter of a mail.
func open(key *secret.PersonKey, mailID string, sealed []byte) (letter, error) {
	if key == nil { // the person's key was erased
		return letter{}, secret.ErrUnreadable
	}
	plain, err := key.Unseal(letterField(mailID), sealed)
	if err != nil {
		return letter{}, err
	}
	var l letter
	if err := json.Unmarshal(plain, &l); err != nil {
		return letter{}, fmt.Errorf("letter: %w", err)
	}
	return l, nil
}

// shown is a mail of the development outbox.
type shown struct {
	ID        string
	letter    letter
	State     string
	Reply     string
	CreatedAt time.Time
}

// newestMail returns the mails that were not sent, newest first.
func (s *Service) newestMail(ctx context.Context, size int) ([]shown, error) {
	rows, err := s.db.Query(ctx, `
		SELECT id, account_id, letter, to_address, subject, body_text, state, reply, created_at FROM mail WHERE state <> 'sent'
		ORDER BY created_at DESC, id DESC LIMIT $1`, size)
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	type stored struct {
		ID, AccountID          string
		Letter                 []byte
		ToAddress, Subject     string
		BodyText, State, Reply string
		CreatedAt              time.Time
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[stored])
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	var accounts []string
	for _, m := range items {
		accounts = append(accounts, m.AccountID)
	}
	keys, err := s.vault.KeysOf(ctx, accounts...)
	if err != nil {
		return nil, err
	}
	var out []shown
	for _, m := range items {
		l := letter{To: m.ToAddress, Subject: m.Subject, Text: m.BodyText}
		if m.ToAddress == "" {
			if l, err = open(keys[m.AccountID], m.ID, m.Letter); errors.Is(err, secret.ErrUnreadable) {
				continue // of somebody who was erased
			} else if err != nil {
				return nil, err
			}
		}
		out = append(out, shown{ID: m.ID, letter: l, State: m.State, Reply: m.Reply, CreatedAt: m.CreatedAt})
	}
	return out, nil
}

// Mails returns the newest mails in a state, of all states when it is "", as an
// operator sees them.
func Mails(ctx context.Context, db *pg.DB, state string, limit int) ([]Mail, error) {
	rows, err := db.Query(ctx, `
		SELECT id, account_id, kind, state, attempts, reply, created_at, next_at FROM mail WHERE $1 IN ('', state)
		ORDER BY created_at DESC, id DESC LIMIT $2`, state, limit)
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[Mail])
	if err != nil {
		return nil, fmt.Errorf("list mail: %w", err)
	}
	return items, nil
}

// Retry has failed mails sent again, those named or all, and returns how many.
func Retry(ctx context.Context, db *pg.DB, ids ...string) (int64, error) {
	tag, err := db.Exec(ctx, `
		UPDATE mail SET state = 'queued', next_at = now(), ended_at = NULL
		WHERE state = 'failed' AND letter IS NOT NULL AND ($1::text[] IS NULL OR id = ANY ($1))`, ids)
	if err != nil {
		return 0, fmt.Errorf("retry mail: %w", err)
	}
	return tag.RowsAffected(), nil
}

// deleteOldMail deletes mails that are kept no longer, and with the last one of
// an invitation its key.
func (s *Service) deleteOldMail(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what is kept no longer")
		rows, err := tx.Query(ctx, `
			DELETE FROM mail WHERE id IN (
				SELECT id FROM mail WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
			RETURNING CASE WHEN kind = $3 THEN account_id ELSE '' END`, s.now().Add(-keepMail), sweepBatch, string(invitation))
		if err != nil {
			return err
		}
		invited, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		n = int64(len(invited))
		rows, err = tx.Query(ctx, `
			SELECT DISTINCT i.id FROM unnest($1::text[]) AS i (id)
			WHERE i.id <> '' AND NOT EXISTS (SELECT FROM mail WHERE account_id = i.id AND kind = 'invitation')`, invited)
		if err != nil {
			return err
		}
		last, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		return s.vault.Erase(ctx, tx, last...)
	})
	if err != nil {
		return 0, fmt.Errorf("delete old mail: %w", err)
	}
	return n, nil
}
