// Package identity is who people are.
//
// It owns accounts, their passwords and profiles, and the sessions in which
// they are signed in.
//
// It answers who has an account and how they want to be addressed, signs in and
// out, and tells the edge whose token a request brings.
//
// It sends AccountCreated and AccountUpdated.
//
// It hears nothing and calls nobody.
package identity

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
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

// Config is what the service needs.
type Config struct {
	DB  *pg.DB
	Log *slog.Logger
	Now func() time.Time // nil: time.Now

	// PasswordCost is what it takes to hash a password; the zero value is
	// DefaultCost. Tests take less.
	PasswordCost Cost
}

// Service answers the calls of identitypb.IdentityService.
type Service struct {
	identitypb.UnimplementedIdentityServiceServer

	db     *pg.DB
	log    *slog.Logger
	now    func() time.Time
	hasher *hasher
	used   *used
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
		now:    func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) },
		hasher: newHasher(cfg.PasswordCost),
		used:   newUsed(),
	}
}

// Register has r answer the service's calls.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	identitypb.RegisterIdentityServiceServer(r, s)
}

// Handlers returns what the service does on events: nothing.
func (s *Service) Handlers() []bus.Handler { return nil }

const (
	writeUsedEvery = 5 * time.Second
	sweepEvery     = 5 * time.Minute
)

// Run writes down which sessions were used and deletes those that are over,
// until ctx ends. What fails is logged and done at the next turn.
func (s *Service) Run(ctx context.Context) error {
	write, sweep := time.NewTicker(writeUsedEvery), time.NewTicker(sweepEvery)
	defer write.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-write.C:
			if err := s.writeUsed(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: use of sessions not written", "error", err.Error())
			}
		case <-sweep.C:
			if err := s.sweepSessions(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "identity: sessions not swept", "error", err.Error())
			}
		case <-ctx.Done():
			return s.lastWrite(ctx)
		}
	}
}

// lastWrite keeps a sign-in from looking idle because its use was noted just
// before the process ended.
func (s *Service) lastWrite(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := s.writeUsed(ctx); err != nil {
		s.log.WarnContext(ctx, "identity: use of sessions not written", "error", err.Error())
	}
	return nil
}
