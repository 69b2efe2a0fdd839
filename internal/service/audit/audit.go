// Package audit keeps what every service has changed.
//
// It owns the audit log: one chain of entries in which each has the hash of all
// before it, and checkpoints of it under a key that is not in the database.
//
// It answers who may read the log, and exports it.
//
// It sends nothing of its own but, as all services, what it records.
//
// It hears Recorded, which every service sends in the transaction of a change.
//
// It calls nobody.
package audit

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema holds the service's tables.
var Schema = pg.Schema{Name: "audit", Migrations: pg.Sub(files)}

// ErrEntryNotFound is told for an entry that is not in the log.
var ErrEntryNotFound = fault.New(fault.NotFound, "entry.not_found", "There is no such entry.")

// Config is what the service needs.
type Config struct {
	DB   *pg.DB
	Log  *slog.Logger
	Keys *secret.Keys     // for the checkpoints
	Now  func() time.Time // nil: time.Now
}

// Service answers the calls of auditpb.AuditService.
type Service struct {
	auditpb.UnimplementedAuditServiceServer

	db   *pg.DB
	log  *slog.Logger
	keys *secret.Keys
	now  func() time.Time
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{
		db: cfg.DB, log: cfg.Log, keys: cfg.Keys,
		// The database keeps microseconds; what is told must be what is kept.
		now: func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) },
	}
}

// Register has r answer the service's calls.
func (s *Service) Register(r grpc.ServiceRegistrar) { auditpb.RegisterAuditServiceServer(r, s) }

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler { return []bus.Handler{bus.Copy(s.recorded)} }

// Run makes a checkpoint of what was appended within the last hour, until ctx
// ends. Any number of processes may run it.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := s.hourly(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "audit: no checkpoint, trying again in a minute", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
