package identity

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/email"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// RequestPasswordReset implements identitypb.AccountServiceServer. It does not
// look whether there is an account: that is done afterwards, see writeDue.
func (s *Service) RequestPasswordReset(ctx context.Context, req *identitypb.RequestPasswordResetRequest) (*emptypb.Empty, error) {
	address := email.Normal(req.GetEmail())
	often := s.mailWait(ctx, mailResetPassword, address) > 0
	// What is kept of a request is a hash that anybody can make of an address; of
	// this one nobody can without the keyset.
	known := &identitypb.RequestPasswordResetRequest{Email: s.emailKey(address)}
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if often {
			return &emptypb.Empty{}, nil
		}
		tx.Exempt("a mail that is due to whoever has the address")
		return &emptypb.Empty{}, s.due(ctx, tx, mailResetPassword, address)
	})
}

// CompletePasswordReset implements identitypb.AccountServiceServer.
func (s *Service) CompletePasswordReset(ctx context.Context, req *identitypb.CompletePasswordResetRequest) (*emptypb.Empty, error) {
	known, err := s.withoutPassword(ctx, req)
	if err != nil {
		return nil, err
	}
	var of string
	out, err := idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*emptypb.Empty, error) {
		a, email, err := s.useLink(ctx, tx, mailResetPassword, req.GetToken())
		if err != nil {
			return nil, err
		}
		of = email
		if a.Email != email {
			return nil, ErrLinkInvalid
		}
		if err := checkPassword(req.GetPassword(), a.Email, a.Name); err != nil {
			return nil, err
		}
		// Hashed here, while rows are locked, because only who holds a link gets
		// so far, and the link says whose name the password may not be.
		hash, err := s.hasher.hash(ctx, req.GetPassword())
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE account SET password_hash = $2 WHERE id = $1`, a.ID, hash); err != nil {
			return nil, fmt.Errorf("reset password: %w", err)
		}
		if err := s.endSessions(ctx, tx, a.ID, ""); err != nil {
			return nil, err
		}
		// The link came to the address.
		if err := s.verified(ctx, tx, a); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.passwordChanged(ctx, tx, a, audit.Entry{Action: "account.password_reset"}, mailResetPassword)
	})
	if err != nil || of == "" { // refused, or the answer to a call that came again
		return out, err
	}
	// Wrong passwords were for another password; who was locked out gets in.
	return out, s.forgive(ctx, of)
}

// passwordChanged is what every change of a password ends with.
func (s *Service) passwordChanged(ctx context.Context, tx *pg.Tx, a account, change audit.Entry, usedLink string) error {
	if err := dropLinks(ctx, tx, a.ID, usedLink); err != nil {
		return err
	}
	change.Object, change.Person = a.ID, a.ID
	if err := audit.Record(ctx, tx, change); err != nil {
		return err
	}
	return s.write(ctx, tx, a, mailPasswordChanged, a.Email, "", s.originOf(ctx))
}

// ChangePassword implements identitypb.AccountServiceServer.
func (s *Service) ChangePassword(ctx context.Context, req *identitypb.ChangePasswordRequest) (*identitypb.Session, error) {
	who := auth.From(ctx)
	a, was, err := s.checkOwnPassword(ctx, who.Account, req.GetCurrentPassword())
	if err != nil {
		return nil, err
	}
	if err := checkPassword(req.GetNewPassword(), a.Email, a.Name); err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, req.GetNewPassword())
	if err != nil {
		return nil, err
	}
	var out *identitypb.Session
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2`, a.ID, was, hash)
		if err != nil {
			return fmt.Errorf("change password: %w", err)
		}
		if tag.RowsAffected() == 0 { // somebody was faster, so what was given is not the password any more
			return ErrPasswordWrong
		}
		if err := s.endSessions(ctx, tx, a.ID, who.Session); err != nil {
			return err
		}
		token, err := s.rotate(ctx, tx, who.Session)
		if err != nil {
			return err
		}
		kept, err := sessionByID(ctx, tx, who.Session)
		if err != nil {
			return err
		}
		out = toSession(kept, who.Session)
		out.Token = token
		return s.passwordChanged(ctx, tx, a, audit.Entry{Action: "account.password_changed"}, "")
	})
	return out, err
}
