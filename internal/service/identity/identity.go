// Package identity is who people are.
//
// It owns accounts, their passwords and profiles, their second factors and
// passkeys, who they are at other providers, the sessions in which they are
// signed in, access tokens, and the accounts of programs. Addresses are kept
// sealed with the key of the person, are found by a keyed hash, and are sealed in
// what it sends.
//
// It answers who has an account and how they want to be addressed, signs in and
// out, with a second factor or through a provider, has people confirm who they
// are, changes addresses and passwords by links, suspends, and tells the edge
// whose token a request brings.
//
// It sends AccountCreated, AccountUpdated, AccountSuspended, AccountReinstated
// and SecurityMailRequested.
//
// It hears AvatarChanged of media, after which the profile shows the picture.
//
// It calls no service; it asks the configured OpenID Connect providers and GitHub
// who signs in.
package identity

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema holds the service's tables.
var Schema = pg.Schema{Name: "identity", Migrations: pg.Sub(files)}

// Errors told by the service, beside those about one field.
var (
	ErrEmailTaken      = fault.New(fault.Conflict, "account.email_taken", "There is an account with this e-mail address. Sign in, or take another address.")
	ErrAccountNotFound = fault.New(fault.NotFound, "account.not_found", "There is no such account.")
	ErrBadCredentials  = fault.New(fault.Unauthenticated, "session.bad_credentials", "The e-mail address or the password is wrong.")
	ErrSessionNotFound = fault.New(fault.NotFound, "session.not_found", "You have no such session.")
)

// ErrVerifyFirst is told of ways in, and of factors, that may not be added before
// the account's address is known to be its holder's: who signed up with the
// address of another would keep them when that other takes the account over.
var ErrVerifyFirst = fault.New(fault.Conflict, "account.verify_first", "Verify your e-mail address first.")

// Errors told of factors.
var (
	ErrFactorNotFound      = fault.New(fault.NotFound, "factor.not_found", "You have no such factor.")
	ErrFactorConfirmed     = fault.New(fault.Conflict, "factor.confirmed", "The factor is confirmed already.")
	ErrTOTPExists          = fault.New(fault.Conflict, "factor.totp_exists", "You have an app that shows codes. Remove it first.")
	ErrTooManyFactors      = fault.New(fault.Conflict, "factor.too_many", "You have %d passkeys, and more are not kept. Remove one first.", maxPasskeys)
	ErrNoFactor            = fault.New(fault.Conflict, "factor.none", "You have no such factor. Add one first.")
	ErrCodeWrong           = fault.New(fault.Unauthenticated, "factor.code_wrong", "The code is wrong, or was used already. Take the next one.")
	ErrChallengeOver       = fault.New(fault.Unauthenticated, "challenge.over", "The sign-in took too long, or had too many wrong codes. Begin again.")
	ErrFactorRequired      = fault.New(fault.Conflict, "confirmation.factor_required", "Confirm with a second factor: the password alone does not do.")
	ErrConfirmationRefused = fault.New(fault.Unauthenticated, "confirmation.refused", "The password is wrong. Without one, sign in anew.")
	ErrNoPasskeys          = fault.New(fault.Conflict, "passkey.unavailable", "Passkeys do not work at this address: it has to be a domain.")
	ErrPasskeyKnown        = fault.New(fault.Conflict, "passkey.known", "The passkey is registered already.")
	ErrPasskeyRefused      = fault.New(fault.Unauthenticated, "passkey.refused", "The passkey was not accepted. Try again.")
	ErrCeremonyOver        = fault.New(fault.Unauthenticated, "passkey.ceremony_over", "The question to the passkey is over, or was answered. Begin again.")
)

// Errors told of sign-in by others.
var (
	ErrProviderUnknown   = fault.New(fault.NotFound, "federation.provider_unknown", "There is no such provider to sign in with.")
	ErrProviderAway      = &fault.Error{Kind: fault.Unavailable, Code: "federation.provider_away", Message: "The provider does not answer. Try again.", Retry: 10 * time.Second}
	ErrFlowOver          = fault.New(fault.Unauthenticated, "federation.flow_over", "The sign-in took too long, was finished already, or began in another browser. Begin again.")
	ErrFederationRefused = fault.New(fault.Unauthenticated, "federation.refused", "The provider did not say who you are in a way that can be believed. Begin again.")
	ErrEmailUnverified   = fault.New(fault.Forbidden, "federation.email_unverified", "The provider has not verified your e-mail address. Verify it there first, or make an account with a password.")
	ErrLinkRequired      = fault.New(fault.Conflict, "federation.link_required", "There is an account with your e-mail address. Sign in to it first, and link the provider to it then.")
	ErrIdentityTaken     = fault.New(fault.Conflict, "federation.identity_taken", "This identity belongs to another account. Unlink it there first.")
	ErrTooManyIdentities = fault.New(fault.Conflict, "federation.too_many", "You have %d identities, and more are not kept. Remove one first.", maxIdentities)
	ErrIdentityNotFound  = fault.New(fault.NotFound, "identity.not_found", "You have no such identity.")
	ErrLastWayIn         = fault.New(fault.Conflict, "federation.last_way_in", "Without it you could not sign in any more. Set a password or add another way first.")
)

// Errors told of accounts and tokens.
var (
	ErrLocked                 = fault.New(fault.Exhausted, "session.locked", "Too many wrong passwords. Come back when Retry-After says.")
	ErrSuspended              = fault.New(fault.Forbidden, "account.suspended", "Your account is suspended. Write to those who look after this platform.")
	ErrSuspendSelf            = fault.New(fault.Conflict, "account.suspend_self", "You can't suspend yourself.")
	ErrSearch                 = fault.New(fault.Invalid, "account.search", "Name an e-mail address or an account_id, one of both.")
	ErrNoEmail                = fault.New(fault.Conflict, "account.no_email", "The account has no e-mail address.")
	ErrEmailVerified          = fault.New(fault.Conflict, "account.email_verified", "The address is verified already.")
	ErrMailRate               = fault.New(fault.Exhausted, "account.mail_rate", "Enough mails were sent to this address. Look for them, or come back when Retry-After says.")
	ErrLinkInvalid            = fault.New(fault.Invalid, "account.link_invalid", "The link is expired, used already or not one of ours. Ask for a new one.")
	ErrPasswordWrong          = fault.New(fault.Forbidden, "account.password_wrong", "The password is wrong.")
	ErrTokenNotFound          = fault.New(fault.NotFound, "token.not_found", "There is no such token.")
	ErrTooManyTokens          = fault.New(fault.Conflict, "token.too_many", "The account has %d tokens, and more are not kept. Revoke one first.", maxTokens)
	ErrServiceAccountNotFound = fault.New(fault.NotFound, "service_account.not_found", "There is no such account of a program.")
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB
	Log *slog.Logger
	Now func() time.Time // nil: time.Now

	// PasswordCost is what it takes to hash a password; the zero value is
	// DefaultCost. Tests take less.
	PasswordCost Cost

	// Vault encrypts what belongs to one person.
	Vault *secret.Vault
	// Keys seal what mails say.
	Keys *secret.Keys
	// Store counts wrong passwords and mails.
	Store cache.Store
	// PublicURL is where browsers reach the platform: where providers send them
	// back to, and whose passkeys count.
	PublicURL string
	// Providers are who else may say who people are.
	Providers []Provider
	// HTTP asks the providers; nil: [http.DefaultClient]. Time and size of what
	// they answer are bounded whatever it is.
	HTTP *http.Client
}

// Service answers the calls of identitypb's services.
type Service struct {
	identitypb.UnimplementedIdentityServiceServer
	identitypb.UnimplementedAccountServiceServer
	identitypb.UnimplementedTokenServiceServer
	identitypb.UnimplementedFactorServiceServer
	identitypb.UnimplementedFederationServiceServer

	db         *pg.DB
	log        *slog.Logger
	now        func() time.Time
	hasher     *hasher
	used       *used
	usedTokens *used
	keys       *secret.Keys
	store      cache.Store
	turns      *turns

	vault     *secret.Vault
	passkeys  *webauthn.WebAuthn // nil where there can be none
	providers providers
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.PasswordCost == (Cost{}) {
		cfg.PasswordCost = DefaultCost
	}
	return &Service{
		db:  cfg.DB,
		log: cfg.Log,
		// The database keeps microseconds; what is told must be what is kept.
		now:        func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) },
		hasher:     newHasher(cfg.PasswordCost),
		used:       newUsed(),
		usedTokens: newUsed(),
		keys:       cfg.Keys,
		store:      cfg.Store,
		turns:      newTurns(),

		vault:     cfg.Vault,
		passkeys:  newPasskeys(cfg.PublicURL),
		providers: newProviders(cfg),
	}
}

// Register has r answer the service's calls.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	identitypb.RegisterIdentityServiceServer(r, s)
	identitypb.RegisterAccountServiceServer(r, s)
	identitypb.RegisterTokenServiceServer(r, s)
	identitypb.RegisterFactorServiceServer(r, s)
	identitypb.RegisterFederationServiceServer(r, s)
}

// Handlers returns what the service does on events.
func (s *Service) Handlers() []bus.Handler { return []bus.Handler{bus.Copy(s.avatarChanged)} }

const (
	writeDueEvery  = time.Second
	writeUsedEvery = 5 * time.Second
	sweepEvery     = 5 * time.Minute
	sealEvery      = 5 * time.Minute
)

// Run asks for mails that are due, writes down which sessions and tokens were
// used, deletes what is over and seals what is plain, until ctx ends. What fails
// is logged and done at the next turn. Any number of processes may run it.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.sealAll(ctx) })
	due, write, sweep := time.NewTicker(writeDueEvery), time.NewTicker(writeUsedEvery), time.NewTicker(sweepEvery)
	defer due.Stop()
	defer write.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-due.C:
			if err := s.writeDue(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: due mails not asked for", "error", err.Error())
			}
		case <-write.C:
			if err := errors.Join(s.writeUsed(ctx), s.writeUsedTokens(ctx)); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: use of sessions not written", "error", err.Error())
			}
		case <-sweep.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: what is over was not swept", "error", err.Error())
			}
			if err := s.sweepPending(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: sign-ins that wait not swept", "error", err.Error())
			}
		case <-ctx.Done():
			return s.lastWrite(ctx)
		}
	}
}

// sealAll seals what is plain, at once and from time to time, until ctx ends.
func (s *Service) sealAll(ctx context.Context) {
	ticker := time.NewTicker(sealEvery)
	defer ticker.Stop()
	for {
		if err := s.sealPlain(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "identity: addresses not sealed", "error", err.Error())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// lastWrite keeps a sign-in from looking idle because its use was noted just
// before the process ended.
func (s *Service) lastWrite(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := errors.Join(s.writeUsed(ctx), s.writeUsedTokens(ctx)); err != nil {
		s.log.WarnContext(ctx, "identity: use of sessions not written", "error", err.Error())
	}
	return nil
}
