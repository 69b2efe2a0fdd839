package notify

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// sealBatch is how many rows one transaction seals.
const sealBatch = 500

// sealPlain seals what processes of before have written plain. Others may do
// the same beside.
func (s *Service) sealPlain(ctx context.Context) error {
	for _, sealSome := range []func(context.Context, *pg.Tx) (int, error){s.sealPeople, s.sealMails} {
		for n := sealBatch; n == sealBatch; {
			err := s.db.InTx(ctx, func(tx *pg.Tx) error {
				tx.Exempt("the same as before, sealed")
				var err error
				n, err = sealSome(ctx, tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) sealPeople(ctx context.Context, tx *pg.Tx) (int, error) {
	rows, err := tx.Query(ctx, `
		SELECT account_id, email FROM person WHERE email <> '' ORDER BY account_id LIMIT $1 FOR UPDATE SKIP LOCKED`, sealBatch)
	if err != nil {
		return 0, fmt.Errorf("read plain addresses: %w", err)
	}
	type plain struct{ AccountID, Email string }
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[plain])
	if err != nil || len(items) == 0 {
		return 0, err
	}
	accounts, sealed := make([]string, len(items)), make([][]byte, len(items))
	for i, p := range items {
		accounts[i] = p.AccountID
	}
	keys, err := s.vault.KeysIn(ctx, tx, accounts...)
	if err != nil {
		return 0, err
	}
	for i, p := range items {
		sealed[i] = keys[p.AccountID].Seal(emailField, []byte(p.Email))
	}
	_, err = tx.Exec(ctx, `
		UPDATE person SET email = '', email_sealed = n.sealed
		FROM unnest($1::text[], $2::bytea[]) AS n (account_id, sealed) WHERE person.account_id = n.account_id`, accounts, sealed)
	if err != nil {
		return 0, fmt.Errorf("seal addresses: %w", err)
	}
	return len(items), nil
}

// sealMails finds whom a mail is to at the end of its dedupe key, where the
// column account_id is of later.
func (s *Service) sealMails(ctx context.Context, tx *pg.Tx) (int, error) {
	rows, err := tx.Query(ctx, `
		SELECT id, split_part(dedupe_key, ':', 3) AS account_id, to_address, subject, body_text
		FROM mail WHERE to_address <> '' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`, sealBatch)
	if err != nil {
		return 0, fmt.Errorf("read plain mails: %w", err)
	}
	type plain struct{ ID, AccountID, ToAddress, Subject, BodyText string }
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[plain])
	if err != nil || len(items) == 0 {
		return 0, err
	}
	ids, accounts, letters := make([]string, len(items)), make([]string, len(items)), make([][]byte, len(items))
	for i, m := range items {
		ids[i], accounts[i] = m.ID, m.AccountID
	}
	keys, err := s.vault.KeysIn(ctx, tx, accounts...)
	if err != nil {
		return 0, err
	}
	for i, m := range items {
		text, err := json.Marshal(letter{To: m.ToAddress, Subject: m.Subject, Text: m.BodyText})
		if err != nil {
			return 0, fmt.Errorf("letter: %w", err)
		}
		letters[i] = keys[m.AccountID].Seal(letterField(m.ID), text)
	}
	_, err = tx.Exec(ctx, `
		UPDATE mail SET to_address = '', subject = '', body_text = '', account_id = n.account_id, letter = n.letter
		FROM unnest($1::text[], $2::text[], $3::bytea[]) AS n (id, account_id, letter) WHERE mail.id = n.id`, ids, accounts, letters)
	if err != nil {
		return 0, fmt.Errorf("seal mails: %w", err)
	}
	return len(items), nil
}
