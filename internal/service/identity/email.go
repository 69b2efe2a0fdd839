package identity

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// RequestEmailVerification implements identitypb.AccountServiceServer.
func (s *Service) RequestEmailVerification(ctx context.Context, req *identitypb.RequestEmailVerificationRequest) (*emptypb.Empty, error) {
	a, err := s.accountByID(ctx, s.db, auth.From(ctx).Account, ``)
	if err != nil {
		return nil, err
	}
	if a.Email == "" {
		return nil, ErrNoEmail
	}
	if a.EmailVerifiedAt != nil {
		return nil, ErrEmailVerified
	}
	if err := s.countMail(ctx, mailVerifyEmail, a.Email); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.sendLink(ctx, tx, a.ID, mailVerifyEmail, a.Email)
	})
}

// countMail refuses a mail that somebody asks for too often.
func (s *Service) countMail(ctx context.Context, kind, email string) error {
	if wait := s.mailWait(ctx, kind, email); wait > 0 {
		return &fault.Error{Kind: ErrMailRate.Kind, Code: ErrMailRate.Code, Message: ErrMailRate.Message, Retry: wait}
	}
	return nil
}

// sendLink sends the account's holder a link to an address.
func (s *Service) sendLink(ctx context.Context, tx *pg.Tx, accountID, purpose, email string) error {
	a, err := s.accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`)
	if err != nil {
		return err
	}
	token, err := s.issueLink(ctx, tx, a.ID, purpose, email)
	if err != nil {
		return err
	}
	err = audit.Record(ctx, tx, audit.Entry{Action: "mail.requested", Object: a.ID, Person: a.ID, After: map[string]any{"kind": purpose}})
	if err != nil {
		return err
	}
	return s.write(ctx, tx, a, purpose, email, token, s.originOf(ctx))
}

// VerifyEmail implements identitypb.AccountServiceServer.
func (s *Service) VerifyEmail(ctx context.Context, req *identitypb.VerifyEmailRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		a, email, err := s.useLink(ctx, tx, mailVerifyEmail, req.GetToken())
		if err != nil {
			return nil, err
		}
		if a.Email != email { // it was sent to an address that the account had before
			return nil, ErrLinkInvalid
		}
		return &emptypb.Empty{}, s.verified(ctx, tx, a)
	})
}

// verified notes that the account's address was shown to be its holder's.
func (s *Service) verified(ctx context.Context, tx *pg.Tx, a account) error {
	if a.EmailVerifiedAt != nil {
		return nil
	}
	now := s.now()
	a.Revision++
	a.EmailVerifiedAt = &now
	_, err := tx.Exec(ctx, `UPDATE account SET email_verified_at = $2, revision = $3, updated_at = $2 WHERE id = $1`, a.ID, now, a.Revision)
	if err != nil {
		return fmt.Errorf("verify e-mail: %w", err)
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: "account.email_verified", Object: a.ID, Person: a.ID}); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, s.updated(a))
}

// RequestEmailChange implements identitypb.AccountServiceServer. It says nothing
// of whether the address has an account: who has the mailbox learns it at the
// end.
func (s *Service) RequestEmailChange(ctx context.Context, req *identitypb.RequestEmailChangeRequest) (*emptypb.Empty, error) {
	a, _, err := s.checkOwnPassword(ctx, auth.From(ctx).Account, req.GetPassword())
	if err != nil {
		return nil, err
	}
	address := email.Normal(req.GetEmail())
	if err := s.countMail(ctx, mailChangeEmail, address); err != nil {
		return nil, err
	}
	known, err := s.withoutPassword(ctx, req)
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.sendLink(ctx, tx, a.ID, mailChangeEmail, address)
	})
}

// CompleteEmailChange implements identitypb.AccountServiceServer.
func (s *Service) CompleteEmailChange(ctx context.Context, req *identitypb.CompleteEmailChangeRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		a, email, err := s.useLink(ctx, tx, mailChangeEmail, req.GetToken())
		if err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.changeEmail(ctx, tx, a, email)
	})
}

func (s *Service) changeEmail(ctx context.Context, tx *pg.Tx, a account, address string) error {
	before, now := a.Email, s.now()
	a.Revision++
	a.Email, a.EmailVerifiedAt = address, &now
	key, err := s.vault.KeyIn(ctx, tx, a.ID)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		UPDATE account SET email = NULL, email_sealed = $2, email_index = $3, email_verified_at = $4, revision = $5, updated_at = $4
		WHERE id = $1 AND NOT EXISTS (SELECT FROM account AS o WHERE o.email = $6 AND o.id <> $1)`,
		a.ID, key.Seal(emailField, []byte(a.Email)), s.emailIndex(a.Email), now, a.Revision, a.Email)
	if pg.Violates(err, "account_email_index") {
		return ErrEmailTaken
	}
	if err != nil {
		return fmt.Errorf("change e-mail: %w", err)
	}
	if tag.RowsAffected() == 0 { // a row of before has it
		return ErrEmailTaken
	}
	// What was sent to the address before must not open the account any more.
	if err := dropLinks(ctx, tx, a.ID, mailChangeEmail); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: "account.email_changed", Object: a.ID, Person: a.ID}); err != nil {
		return err
	}
	if err := s.write(ctx, tx, a, mailEmailChanged, before, "", s.originOf(ctx)); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, s.updated(a))
}
