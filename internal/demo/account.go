package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// errPasswordChanged is an account that is there and has another password.
var errPasswordChanged = errors.New("it is there and has another password")

// account returns the id of a person's account, and makes it if it is not
// there. To learn the id is to sign in, and out again: making an account that is
// there already does not tell.
func (s *school) account(ctx context.Context, p person) (string, error) {
	enter := func() (*identitypb.Session, error) {
		return s.identity.CreateSession(ctx, &identitypb.CreateSessionRequest{Email: p.email, Password: password})
	}
	session, err := enter()
	if fault.CodeOf(err) == "session.bad_credentials" {
		_, err = s.identity.CreateAccount(rpc.WithIdempotencyKey(ctx, "demo-account-"+p.name), &identitypb.CreateAccountRequest{
			Email: p.email, Password: password, Name: p.name, Locale: "en", TimeZone: p.timeZone,
		})
		if err != nil {
			return "", err
		}
		session, err = enter()
	}
	if code := fault.CodeOf(err); code == "session.bad_credentials" || code == "session.locked" || code == "account.suspended" {
		return "", errPasswordChanged
	}
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	ctx = auth.With(ctx, auth.Principal{Account: session.GetAccountId(), Session: session.GetId()})
	if _, err := s.identity.DeleteSession(ctx, &identitypb.DeleteSessionRequest{SessionId: session.GetId()}); err != nil {
		return "", fmt.Errorf("sign out: %w", err)
	}
	return session.GetAccountId(), nil
}

// introduce lets a teacher say who they are.
func (s *school) introduce(ctx context.Context, p person) error {
	ctx, err := s.as(ctx, p)
	if err != nil {
		return err
	}
	me, err := s.identity.GetMe(ctx, &identitypb.GetMeRequest{})
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if me.GetBio() != "" {
		return nil
	}
	if _, err := s.identity.UpdateMe(ctx, &identitypb.UpdateMeRequest{Bio: &p.bio}); err != nil {
		return fmt.Errorf("bio: %w", err)
	}
	return nil
}
