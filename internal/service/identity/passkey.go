package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// What a ceremony is for.
const (
	ceremonyRegistration = "registration"
	ceremonySignIn       = "sign-in"
	ceremonyChallenge    = "challenge"
	ceremonyConfirmation = "confirmation"
)

const (
	ceremonyLifetime = 5 * time.Minute
	maxPasskeys      = 10 // of an account
)

// newPasskeys returns what checks passkeys for the site at an address, nil for
// one that browsers take none for: they want a domain, and TLS unless it is
// localhost.
func newPasskeys(publicURL string) *webauthn.WebAuthn {
	u, err := url.Parse(publicURL)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Stoa", RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		// A passkey is both factors at once: it stays on the authenticator, and that
		// checks who holds it.
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: new(true),
			UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		return nil
	}
	return w
}

// holder is an account as the library wants it.
type holder struct {
	id, email, name string
	passkeys        []webauthn.Credential
}

// WebAuthnID implements [webauthn.User]. An id says nothing of a person.
func (h holder) WebAuthnID() []byte { return []byte(h.id) }

// WebAuthnName implements [webauthn.User].
func (h holder) WebAuthnName() string { return cmp.Or(h.email, h.id) }

// WebAuthnDisplayName implements [webauthn.User].
func (h holder) WebAuthnDisplayName() string { return h.name }

// WebAuthnCredentials implements [webauthn.User].
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.passkeys }

// holderOf returns an account with its passkeys; lock is what follows the
// statement that reads them.
func (s *Service) holderOf(ctx context.Context, q pg.Querier, accountID, lock string) (holder, error) {
	a, err := s.accountByID(ctx, q, accountID, ``)
	if err != nil {
		return holder{}, err
	}
	h := holder{id: a.ID, email: a.Email, name: a.Name}
	rows, err := q.Query(ctx, `SELECT credential FROM factor WHERE account_id = $1 AND kind = 'passkey' ORDER BY created_at, id `+lock, accountID)
	if err != nil {
		return holder{}, fmt.Errorf("passkeys: %w", err)
	}
	records, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return holder{}, fmt.Errorf("passkeys: %w", err)
	}
	h.passkeys = make([]webauthn.Credential, len(records))
	for i, record := range records {
		if err := json.Unmarshal(record, &h.passkeys[i]); err != nil {
			return holder{}, fmt.Errorf("passkey of %s: %w", accountID, err)
		}
	}
	return h, nil
}

// begin keeps a question to an authenticator and returns it as it is told.
func (s *Service) begin(ctx context.Context, purpose, boundTo string, options any, data *webauthn.SessionData) (*identitypb.PasskeyCeremony, error) {
	told, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("passkey options: %w", err)
	}
	kept, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("passkey session: %w", err)
	}
	out := &identitypb.PasskeyCeremony{CeremonyId: id.New("ceremony"), Options: string(told)}
	expires := s.now().Add(ceremonyLifetime)
	out.ExpiresAt = timestamppb.New(expires)
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a question; what comes of it is recorded")
		_, err := tx.Exec(ctx, `INSERT INTO ceremony (id, purpose, bound_to, data, expires_at) VALUES ($1, $2, $3, $4, $5)`,
			out.GetCeremonyId(), purpose, boundTo, kept, expires)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("insert ceremony: %w", err)
	}
	return out, nil
}

// take ends a ceremony and returns what its answer is checked against.
func (s *Service) take(ctx context.Context, tx *pg.Tx, ceremonyID, purpose, boundTo string) (webauthn.SessionData, error) {
	var (
		kept []byte
		data webauthn.SessionData
	)
	err := tx.QueryRow(ctx, `DELETE FROM ceremony WHERE id = $1 AND purpose = $2 AND bound_to = $3 AND expires_at > $4 RETURNING data`,
		ceremonyID, purpose, boundTo, s.now()).Scan(&kept)
	if pg.NoRows(err) {
		return data, ErrCeremonyOver
	}
	if err != nil {
		return data, fmt.Errorf("take ceremony: %w", err)
	}
	if err := json.Unmarshal(kept, &data); err != nil {
		return data, fmt.Errorf("ceremony %s: %w", ceremonyID, err)
	}
	return data, nil
}

// BeginPasskeyRegistration implements identitypb.FactorServiceServer.
func (s *Service) BeginPasskeyRegistration(ctx context.Context, _ *identitypb.BeginPasskeyRegistrationRequest) (*identitypb.PasskeyCeremony, error) {
	if s.passkeys == nil {
		return nil, ErrNoPasskeys
	}
	caller := auth.From(ctx)
	if err := checkVerified(ctx, s.db, caller.Account); err != nil {
		return nil, err
	}
	h, err := s.holderOf(ctx, s.db, caller.Account, ``)
	if err != nil {
		return nil, err
	}
	if len(h.passkeys) >= maxPasskeys {
		return nil, ErrTooManyFactors
	}
	options, data, err := s.passkeys.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.passkeys).CredentialDescriptors()))
	if err != nil {
		return nil, fmt.Errorf("begin registration: %w", err)
	}
	return s.begin(ctx, ceremonyRegistration, caller.Session, options, data)
}

// CreatePasskey implements identitypb.FactorServiceServer.
func (s *Service) CreatePasskey(ctx context.Context, req *identitypb.CreatePasskeyRequest) (*identitypb.ConfirmedFactor, error) {
	if s.passkeys == nil {
		return nil, ErrNoPasskeys
	}
	name, err := newFactorName(req.GetName(), "Passkey")
	if err != nil {
		return nil, err
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes([]byte(req.GetCredential()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPasskeyRefused, err)
	}
	caller := auth.From(ctx)
	var out *identitypb.ConfirmedFactor
	err = s.attempt(ctx, func(tx *pg.Tx) error {
		if _, err := lockAccount(ctx, tx, caller.Account); err != nil {
			return err
		}
		data, err := s.take(ctx, tx, req.GetCeremonyId(), ceremonyRegistration, caller.Session)
		if err != nil {
			return err
		}
		h, err := s.holderOf(ctx, tx, caller.Account, ``)
		if err != nil {
			return err
		}
		if len(h.passkeys) >= maxPasskeys {
			return ErrTooManyFactors
		}
		made, err := s.passkeys.CreateCredential(h, data, answer)
		if err != nil {
			return s.refuse(ctx, tx, caller.Account, caller.Account, fmt.Errorf("%w: %w", ErrPasskeyRefused, err))
		}
		record, err := json.Marshal(made)
		if err != nil {
			return fmt.Errorf("passkey: %w", err)
		}
		factorID := id.New("factor")
		_, err = tx.Exec(ctx, `
			INSERT INTO factor (id, account_id, kind, name, created_at, confirmed_at, credential_id, credential)
			VALUES ($1, $2, 'passkey', $3, $4, $4, $5, $6)`, factorID, caller.Account, name, s.now(), made.ID, record)
		if pg.Violates(err, "factor_credential") {
			return ErrPasskeyKnown
		}
		if err != nil {
			return fmt.Errorf("insert passkey: %w", err)
		}
		out, err = s.confirmed(ctx, tx, caller.Account, factorID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ask asks an account for one of its passkeys.
func (s *Service) ask(ctx context.Context, accountID, purpose, boundTo string) (*identitypb.PasskeyCeremony, error) {
	h, err := s.holderOf(ctx, s.db, accountID, ``)
	if err != nil {
		return nil, err
	}
	if len(h.passkeys) == 0 {
		return nil, ErrNoFactor
	}
	options, data, err := s.passkeys.BeginLogin(h, webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, fmt.Errorf("begin to ask for a passkey: %w", err)
	}
	return s.begin(ctx, purpose, boundTo, options, data)
}

// BeginPasskeyConfirmation implements identitypb.FactorServiceServer.
func (s *Service) BeginPasskeyConfirmation(ctx context.Context, _ *identitypb.BeginPasskeyConfirmationRequest) (*identitypb.PasskeyCeremony, error) {
	if s.passkeys == nil {
		return nil, ErrNoPasskeys
	}
	caller := auth.From(ctx)
	return s.ask(ctx, caller.Account, ceremonyConfirmation, caller.Session)
}

// BeginPasskeySignIn implements identitypb.FactorServiceServer.
func (s *Service) BeginPasskeySignIn(ctx context.Context, req *identitypb.BeginPasskeySignInRequest) (*identitypb.PasskeyCeremony, error) {
	if s.passkeys == nil {
		return nil, ErrNoPasskeys
	}
	if req.GetChallengeToken() != "" {
		c, err := s.challengeByToken(ctx, s.db, req.GetChallengeToken(), ``)
		if err != nil {
			return nil, err
		}
		return s.ask(ctx, c.AccountID, ceremonyChallenge, c.ID)
	}
	options, data, err := s.passkeys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, fmt.Errorf("begin sign-in by passkey: %w", err)
	}
	return s.begin(ctx, ceremonySignIn, "", options, data)
}

// CreatePasskeySession implements identitypb.FactorServiceServer.
func (s *Service) CreatePasskeySession(ctx context.Context, req *identitypb.CreatePasskeySessionRequest) (*identitypb.Session, error) {
	if s.passkeys == nil {
		return nil, ErrNoPasskeys
	}
	given := req.GetPasskey()
	answer, err := protocol.ParseCredentialRequestResponseBytes([]byte(given.GetCredential()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPasskeyRefused, err)
	}
	var account string
	err = s.attempt(ctx, func(tx *pg.Tx) error {
		data, err := s.take(ctx, tx, given.GetCeremonyId(), ceremonySignIn, "")
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT account_id FROM factor WHERE credential_id = $1`, answer.RawID).Scan(&account)
		if pg.NoRows(err) {
			tx.Exempt("a question that was answered by a passkey of nobody")
			return refused(ErrPasskeyRefused)
		}
		if err != nil {
			return fmt.Errorf("account of a passkey: %w", err)
		}
		h, err := s.holderOf(ctx, tx, account, `FOR UPDATE`)
		if err != nil {
			return err
		}
		_, used, err := s.passkeys.ValidatePasskeyLogin(func(_, _ []byte) (webauthn.User, error) { return h, nil }, data, answer)
		return s.use(ctx, tx, account, used, err)
	})
	if err != nil {
		return nil, err
	}
	return s.openSession(ctx, account)
}

// checkPasskey takes the answer of one of an account's passkeys to a ceremony.
func (s *Service) checkPasskey(ctx context.Context, tx *pg.Tx, accountID string, given *identitypb.PasskeyAnswer, purpose, boundTo string) error {
	if s.passkeys == nil {
		return ErrNoPasskeys
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes([]byte(given.GetCredential()))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPasskeyRefused, err)
	}
	data, err := s.take(ctx, tx, given.GetCeremonyId(), purpose, boundTo)
	if err != nil {
		return err
	}
	h, err := s.holderOf(ctx, tx, accountID, `FOR UPDATE`)
	if err != nil {
		return err
	}
	used, err := s.passkeys.ValidateLogin(h, data, answer)
	return s.use(ctx, tx, accountID, used, err)
}

// use keeps what a passkey that was checked has counted. One whose counter did
// not grow has a copy somewhere, and is refused.
func (s *Service) use(ctx context.Context, tx *pg.Tx, accountID string, used *webauthn.Credential, checked error) error {
	if checked != nil {
		return s.refuse(ctx, tx, accountID, accountID, fmt.Errorf("%w: %w", ErrPasskeyRefused, checked))
	}
	if used.Authenticator.CloneWarning {
		return s.refuse(ctx, tx, accountID, accountID, ErrPasskeyRefused)
	}
	record, err := json.Marshal(used)
	if err != nil {
		return fmt.Errorf("passkey: %w", err)
	}
	var factorID string
	err = tx.QueryRow(ctx, `UPDATE factor SET credential = $2, last_used_at = $3 WHERE credential_id = $1 RETURNING id`, used.ID, record, s.now()).
		Scan(&factorID)
	if err != nil {
		return fmt.Errorf("use passkey: %w", err)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "passkey.used", Object: factorID, Person: accountID})
}
