package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
)

// sealBatch is how many rows one transaction seals.
const sealBatch = 500

// sealPlain seals the addresses that processes of before have written plain.
// Others may do the same beside; rows that somebody has locked wait for the next
// turn.
func (s *Service) sealPlain(ctx context.Context) error {
	return errors.Join(s.sealAccounts(ctx), s.sealLinks(ctx))
}

// collision is an account whose address can't be sealed because another has it.
type collision struct{ ID, Other string }

func (s *Service) sealAccounts(ctx context.Context) error {
	var list []account
	for after := ""; ; after = list[sealBatch-1].ID {
		var same []collision
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("the same as before, sealed")
			var err error
			list, same, err = s.sealSomeAccounts(ctx, tx, after)
			return err
		})
		if err != nil {
			return fmt.Errorf("seal addresses of accounts: %w", err)
		}
		for _, c := range same {
			s.log.ErrorContext(ctx, "identity: the address of an account stays plain because another account has the same: "+
				"give it another one or delete it, see docs/operating.md#upgrades", "account", c.ID, "other", c.Other)
		}
		if len(list) < sealBatch {
			return nil
		}
	}
}

// sealSomeAccounts seals the accounts with the next ids and tells of them. It
// returns them, and those among them that it had to leave.
func (s *Service) sealSomeAccounts(ctx context.Context, tx *pg.Tx, after string) ([]account, []collision, error) {
	// FOR UPDATE, because what is about to change is unique: so it waits for no
	// one who refers to the account.
	rows, err := tx.Query(ctx, `
		SELECT `+accountColumns+` FROM account WHERE email IS NOT NULL AND id > $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED`, after, sealBatch)
	if err != nil {
		return nil, nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[account])
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	ids := make([]string, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	keys, err := s.vault.KeysIn(ctx, tx, ids...)
	if err != nil {
		return nil, nil, err
	}
	sealed, indexes := make([][]byte, len(list)), make([][]byte, len(list))
	for i, a := range list {
		sealed[i], indexes[i] = keys[a.ID].Seal(emailField, []byte(a.Email)), s.emailIndex(a.Email)
	}
	rows, err = tx.Query(ctx, `
		UPDATE account SET email = NULL, email_sealed = n.sealed, email_index = n.index, revision = revision + 1
		FROM (SELECT DISTINCT ON (index) * FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS n (id, sealed, index) ORDER BY index, id) AS n
		WHERE account.id = n.id AND NOT EXISTS (SELECT FROM account AS o WHERE o.email_index = n.index AND o.id <> n.id)
		RETURNING account.id`, ids, sealed, indexes)
	if err != nil {
		return nil, nil, err
	}
	done, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, nil, err
	}
	isDone := make(map[string]bool, len(done))
	for _, id := range done {
		isDone[id] = true
	}
	var told []proto.Message
	for _, a := range list {
		if isDone[a.ID] {
			a.Revision++
			told = append(told, s.updated(a))
		}
	}
	if err := bus.Publish(ctx, tx, told...); err != nil || len(done) == len(list) {
		return list, nil, err
	}
	rows, err = tx.Query(ctx, `
		SELECT n.id, o.id AS other FROM unnest($1::text[], $2::bytea[]) AS n (id, index)
		JOIN account AS o ON o.email_index = n.index AND o.id <> n.id ORDER BY n.id`, ids, indexes)
	if err != nil {
		return nil, nil, err
	}
	same, err := pgx.CollectRows(rows, pgx.RowToStructByName[collision])
	return list, same, err
}

func (s *Service) sealLinks(ctx context.Context) error {
	for n := sealBatch; n == sealBatch; {
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("the same as before, sealed")
			var err error
			n, err = s.sealSomeLinks(ctx, tx)
			return err
		})
		if err != nil {
			return fmt.Errorf("seal addresses of links: %w", err)
		}
	}
	return nil
}

func (s *Service) sealSomeLinks(ctx context.Context, tx *pg.Tx) (int, error) {
	rows, err := tx.Query(ctx, `
		SELECT account_id, purpose, email FROM one_time_token WHERE email <> '' ORDER BY account_id, purpose LIMIT $1
		FOR UPDATE SKIP LOCKED`, sealBatch)
	if err != nil {
		return 0, err
	}
	type plain struct{ AccountID, Purpose, Email string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[plain])
	if err != nil || len(list) == 0 {
		return 0, err
	}
	accounts, purposes, sealed := make([]string, len(list)), make([]string, len(list)), make([][]byte, len(list))
	for i, l := range list {
		accounts[i], purposes[i] = l.AccountID, l.Purpose
	}
	keys, err := s.vault.KeysIn(ctx, tx, accounts...)
	if err != nil {
		return 0, err
	}
	for i, l := range list {
		sealed[i] = keys[l.AccountID].Seal(linkField(l.Purpose), []byte(l.Email))
	}
	_, err = tx.Exec(ctx, `
		UPDATE one_time_token AS t SET email = '', email_sealed = n.sealed
		FROM unnest($1::text[], $2::text[], $3::bytea[]) AS n (account_id, purpose, sealed)
		WHERE t.account_id = n.account_id AND t.purpose = n.purpose`, accounts, purposes, sealed)
	return len(list), err
}
