package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// How many wrong passwords are borne: few for one account, whether there is one
// or not, and more from one network address, behind which there may be a school.
var (
	accountPatience = cache.Patience{Free: 5, First: time.Second, Most: 15 * time.Minute, Forget: time.Hour}
	addressPatience = cache.Patience{Free: 50, First: time.Second, Most: 15 * time.Minute, Forget: time.Hour}
)

// tellLockedAfter is how many wrong passwords the account's holder is told of.
const tellLockedAfter = 10

// turns has those who try passwords of one account in one process take turns:
// each then sees the failures of those before, so that sending many guesses at
// once gets no further than sending them one by one.
type turns struct {
	seed  maphash.Seed
	slots [256]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the turn and returns what ends it.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	slot := t.slots[maphash.String(t.seed, key)%uint64(len(t.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("identity: wait to try a password: %w", ctx.Err())
	}
}

// emailKey stands for an address where it should not lie in plain text.
func (s *Service) emailKey(email string) string {
	return hex.EncodeToString(s.keys.Index("identity e-mail", email))
}

// guess has check compare a password for an address, unless too many were wrong
// lately. A right one makes the account's wrong ones forgotten, not those of the
// network address: its holder may have an account of their own.
func (s *Service) guess(ctx context.Context, email string, check func() (bool, error)) error {
	key := s.emailKey(email)
	done, err := s.turns.take(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	account, address := guessKey(key), "password-from:"+rpc.Address(ctx)
	for _, k := range []string{account, address} {
		wait, err := s.store.Wait(ctx, k)
		if err != nil {
			return fmt.Errorf("wrong passwords: %w", err)
		}
		if wait > 0 {
			return &fault.Error{Kind: ErrLocked.Kind, Code: ErrLocked.Code, Message: ErrLocked.Message, Retry: wait}
		}
	}
	ok, err := check()
	if err != nil {
		return err
	}
	if ok {
		return s.forgive(ctx, email)
	}
	n, err := s.store.Fail(ctx, account, accountPatience)
	if err == nil && rpc.Address(ctx) != "" {
		_, err = s.store.Fail(ctx, address, addressPatience)
	}
	if err != nil {
		return fmt.Errorf("wrong passwords: %w", err)
	}
	if n >= tellLockedAfter && s.mailWait(ctx, mailLocked, email) == 0 {
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a mail that is due to whoever has the address")
			return s.due(ctx, tx, mailLocked, email)
		})
		if err != nil {
			return err
		}
	}
	return ErrBadCredentials
}

func guessKey(emailKey string) string { return "password:" + emailKey }

// forgive makes the wrong passwords for an address forgotten.
func (s *Service) forgive(ctx context.Context, email string) error {
	if err := s.store.Clear(ctx, guessKey(s.emailKey(email))); err != nil {
		return fmt.Errorf("wrong passwords: %w", err)
	}
	return nil
}

// checkOwnPassword returns the account and its password's hash if the password
// is right.
func (s *Service) checkOwnPassword(ctx context.Context, accountID, password string) (account, string, error) {
	a, err := s.accountByID(ctx, s.db, accountID, ``)
	if err != nil {
		return account{}, "", err
	}
	var hash string
	err = s.guess(ctx, a.Email, func() (bool, error) {
		if err := s.db.QueryRow(ctx, `SELECT password_hash FROM account WHERE id = $1`, accountID).Scan(&hash); err != nil {
			return false, fmt.Errorf("password: %w", err)
		}
		ok, _, err := s.matches(ctx, password, hash)
		return ok, err
	})
	if errors.Is(err, ErrBadCredentials) {
		err = ErrPasswordWrong
	}
	return a, hash, err
}

// matches compares a password with a stored hash, and says whether that should
// be made anew. Nothing fits where none is stored, and learning so takes as long.
func (s *Service) matches(ctx context.Context, password, hash string) (ok, stale bool, err error) {
	if hash == "" {
		_, _, err := s.hasher.verify(ctx, password, s.hasher.dummy)
		return false, false, err
	}
	return s.hasher.verify(ctx, password, hash)
}
