package identity

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const flowLifetime = 10 * time.Minute

// sealedFlow is what of a flow only the provider may be told.
type sealedFlow struct {
	Nonce, Verifier string
}

const flowPurpose = "sign-in flow"

// flow is a sign-in, or a linking, that a browser is at a provider for.
type flow struct {
	sealedFlow
	ReturnTo  string
	AccountID string // to link to; empty for a sign-in
	SessionID string // that asked for the linking
}

// localPath returns where to go in the end: a path of ours and nothing that a
// browser could take for another site.
func localPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	u, err := url.Parse(path)
	local := err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.ContainsAny(path, "\\\t\r\n")
	if !local {
		return "", fault.InvalidField("return_to", "federation.return_to", `Give a path of this site, such as "/courses".`)
	}
	return path, nil
}

// StartSignIn implements identitypb.FederationServiceServer.
func (s *Service) StartSignIn(ctx context.Context, req *identitypb.StartSignInRequest) (*identitypb.SignInFlow, error) {
	return s.startFlow(ctx, req.GetProvider(), req.GetReturnTo(), auth.Principal{})
}

// LinkIdentity implements identitypb.FederationServiceServer.
func (s *Service) LinkIdentity(ctx context.Context, req *identitypb.LinkIdentityRequest) (*identitypb.SignInFlow, error) {
	caller := auth.From(ctx)
	if err := checkVerified(ctx, s.db, caller.Account); err != nil {
		return nil, err
	}
	return s.startFlow(ctx, req.GetProvider(), req.GetReturnTo(), caller)
}

// startFlow begins a flow: a linking for who is signed in, a sign-in for nobody.
func (s *Service) startFlow(ctx context.Context, name, returnTo string, who auth.Principal) (*identitypb.SignInFlow, error) {
	p, err := s.providers.named(name)
	if err != nil {
		return nil, err
	}
	if returnTo, err = localPath(returnTo); err != nil {
		return nil, err
	}
	state, browser := rand.Text(), rand.Text()
	secrets := sealedFlow{Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	address, err := p.begin(ctx, state, secrets.Nonce, secrets.Verifier)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(secrets)
	if err != nil {
		return nil, fmt.Errorf("sign-in flow: %w", err)
	}
	expires := s.now().Add(flowLifetime)
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a sign-in that begins; what comes of it is recorded")
		_, err := tx.Exec(ctx, `
			INSERT INTO sign_in_flow (state_hash, browser_hash, provider, sealed, return_to, account_id, session_id, expires_at)
			VALUES ($1, $2, $3, $4, $5, nullif($6, ''), nullif($7, ''), $8)`,
			tokenHash(state), tokenHash(browser), p.Name, s.vault.Keys().Seal(flowPurpose, plain), returnTo, who.Account, who.Session, expires)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("insert sign-in flow: %w", err)
	}
	return &identitypb.SignInFlow{Url: address, Browser: browser, ExpiresAt: timestamppb.New(expires)}, nil
}

// takeFlow ends the flow of a state that began in the same browser. Whoever else
// comes with the state does not end it.
func (s *Service) takeFlow(ctx context.Context, provider, state, browser string) (flow, error) {
	var (
		f      flow
		sealed []byte
	)
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a sign-in that ends; what comes of it is recorded")
		return tx.QueryRow(ctx, `
			DELETE FROM sign_in_flow WHERE state_hash = $1 AND browser_hash = $2 AND provider = $3 AND expires_at > $4
			RETURNING sealed, return_to, coalesce(account_id, ''), coalesce(session_id, '')`,
			tokenHash(state), tokenHash(browser), provider, s.now()).Scan(&sealed, &f.ReturnTo, &f.AccountID, &f.SessionID)
	})
	if pg.NoRows(err) {
		return flow{}, ErrFlowOver
	}
	if err != nil {
		return flow{}, fmt.Errorf("take sign-in flow: %w", err)
	}
	plain, err := s.vault.Keys().Unseal(flowPurpose, sealed)
	if err != nil {
		return flow{}, fmt.Errorf("sign-in flow: %w", err)
	}
	if err := json.Unmarshal(plain, &f.sealedFlow); err != nil {
		return flow{}, fmt.Errorf("sign-in flow: %w", err)
	}
	return f, nil
}
