package identity

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// The kinds of mails that are asked for.
const (
	mailVerifyEmail     = "verify_email"
	mailResetPassword   = "reset_password"
	mailChangeEmail     = "change_email"
	mailEmailChanged    = "email_changed"
	mailAccountExists   = "account_exists"
	mailPasswordChanged = "password_changed"
	mailNewDevice       = "new_device"
	mailLocked          = "locked"
)

// mailRates are how many mails of a kind one address may be sent because
// somebody named it, so that nobody's mailbox is filled through us.
var mailRates = map[string]cache.Limit{
	mailVerifyEmail:   {Burst: 3, Every: 20 * time.Minute},
	mailResetPassword: {Burst: 3, Every: 20 * time.Minute},
	mailChangeEmail:   {Burst: 3, Every: 20 * time.Minute},
	mailLocked:        {Burst: 1, Every: time.Hour},
}

// mailWait counts a mail of the kind to an address, or says how long to wait
// for the next. What can't be counted is sent.
func (s *Service) mailWait(ctx context.Context, kind, email string) time.Duration {
	wait, err := s.store.Allow(ctx, "mail:"+kind+":"+s.emailKey(email), mailRates[kind])
	if err != nil {
		return 0
	}
	return wait
}

// origin is where what a mail tells of came from.
type origin struct {
	address, userAgent string
	at                 time.Time
}

func (s *Service) originOf(ctx context.Context) origin {
	return origin{address: rpc.Address(ctx), userAgent: userAgent(ctx), at: s.now()}
}

// write asks for a mail to an address about an account, unless that was erased.
// It is sealed, so that neither the outbox nor the broker shows addresses and
// links.
func (s *Service) write(ctx context.Context, tx *pg.Tx, a account, kind, to, token string, from origin) error {
	if to == "" {
		return nil
	}
	mailID := id.New("mail")
	plain, err := proto.Marshal(&identitypb.SecurityMail{
		To: to, Name: a.Name, Token: token, Address: from.address, UserAgent: from.userAgent, At: timestamppb.New(from.at),
	})
	if err != nil {
		return fmt.Errorf("security mail: %w", err)
	}
	return bus.Publish(ctx, tx, &identitypb.SecurityMailRequested{
		MailId: mailID, AccountId: a.ID, Kind: kind, Locale: a.Locale, Sealed: s.keys.Seal("identity mail\n"+mailID, plain),
	})
}

// Naming an address must cost the same whether somebody has it or not. So what
// follows from it is not done in the call: the call writes down, sealed, that a
// mail is due, and Run looks afterwards whom it concerns.

// due writes down that a mail of the kind is due to whoever has the address.
func (s *Service) due(ctx context.Context, tx *pg.Tx, kind, email string) error {
	from := s.originOf(ctx)
	dueID := id.New("mail")
	plain, err := proto.Marshal(&identitypb.SecurityMail{
		To: email, Address: from.address, UserAgent: from.userAgent, At: timestamppb.New(from.at),
	})
	if err != nil {
		return fmt.Errorf("due mail: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO mail_due (id, kind, sealed, created_at) VALUES ($1, $2, $3, $4)`,
		dueID, kind, s.keys.Seal("identity mail due\n"+dueID, plain), from.at)
	if err != nil {
		return fmt.Errorf("insert due mail: %w", err)
	}
	return nil
}

// writeDue asks for the mails that are due, the oldest first, until there is
// none. Rows that another process has just now are left to it.
func (s *Service) writeDue(ctx context.Context) error {
	for more := true; more; {
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			var dueID, kind string
			var sealed []byte
			err := tx.QueryRow(ctx, `
				DELETE FROM mail_due WHERE id = (
					SELECT id FROM mail_due ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
				RETURNING id, kind, sealed`).Scan(&dueID, &kind, &sealed)
			if more = !pg.NoRows(err); !more {
				return nil
			}
			if err != nil {
				return fmt.Errorf("due mail: %w", err)
			}
			tx.Exempt("a mail that is no longer due; whom it concerns is recorded below")
			var named identitypb.SecurityMail
			plain, err := s.keys.Unseal("identity mail due\n"+dueID, sealed)
			if err == nil {
				err = proto.Unmarshal(plain, &named)
			}
			if err != nil { // it will not get better
				s.log.ErrorContext(ctx, "identity: a due mail is not readable and is dropped", "kind", kind, "error", err.Error())
				return nil
			}
			return s.writeNamed(ctx, tx, kind, &named)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeNamed asks for the mail to whoever has the address, if anybody.
func (s *Service) writeNamed(ctx context.Context, tx *pg.Tx, kind string, named *identitypb.SecurityMail) error {
	accountID, err := AccountByEmail(ctx, tx, s.keys, named.GetTo())
	if err == ErrAccountNotFound { //nolint:errorlint // as it is returned
		return nil
	}
	if err != nil {
		return err
	}
	a, err := s.accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`)
	if err != nil {
		return err
	}
	if a.Email != named.GetTo() { // it was changed meanwhile
		return nil
	}
	var token string
	switch kind {
	case mailVerifyEmail, mailResetPassword:
		if token, err = s.issueLink(ctx, tx, a.ID, kind, a.Email); err != nil {
			return err
		}
	default: // tells, and asks for nothing
	}
	err = audit.Record(ctx, tx, audit.Entry{Action: "mail.requested", Object: a.ID, Person: a.ID, After: map[string]any{"kind": kind}})
	if err != nil {
		return err
	}
	from := origin{address: named.GetAddress(), userAgent: named.GetUserAgent(), at: named.GetAt().AsTime()}
	return s.write(ctx, tx, a, kind, a.Email, token, from)
}
