// Package access is who may do what, and why.
//
// It owns roles and who has them, the ledger of entitlements to courses, and
// the enrollments that follow from it.
//
// It answers which permissions somebody has on a course or on the platform,
// enrolls people in free courses, lists who is enrolled, and gives and ends
// access.
//
// It sends EntitlementGranted, EntitlementRevoked, EnrollmentStarted,
// EnrollmentEnded and EnrollmentResumed.
//
// It hears CoursePublished and CourseUnpublished of courses, PriceSet and
// OrderPaid of commerce, and AccountCreated and AccountUpdated of identity.
//
// It calls nobody.
package access

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema holds the service's tables.
var Schema = pg.Schema{Name: "access", Migrations: pg.Sub(files)}

// Errors told by the service.
var (
	ErrNotFound  = auth.ErrHidden
	ErrNotFree   = fault.New(fault.Forbidden, "enrollment.not_free", "This course is not free. Place an order to take it.")
	ErrOwnCourse = fault.New(fault.Conflict, "enrollment.own_course", "You teach this course, so you have access to all of it already.")

	ErrEntitlementNotFound = fault.New(fault.NotFound, "entitlement.not_found", "The course has no such grant of access.")
	ErrEntitlementRevoked  = fault.New(fault.Conflict, "entitlement.revoked", "This grant was revoked. Make a new one.")

	ErrRoleUnknown = fault.New(fault.Invalid, "role.unknown", "There is no such role.")
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// Service answers the calls of accesspb.AccessService.
type Service struct {
	accesspb.UnimplementedAccessServiceServer
	accesspb.UnimplementedEntitlementServiceServer

	db  *pg.DB
	log *slog.Logger
	now func() time.Time
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{
		db: cfg.DB, log: cfg.Log,
		// The database keeps microseconds; what is told must be what is kept.
		now: func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) },
	}
}

// Register has r answer the service's calls.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	accesspb.RegisterAccessServiceServer(r, s)
	accesspb.RegisterEntitlementServiceServer(r, s)
}

// actor returns who gives a role in ctx: the account that calls, else the
// service that does so by itself.
func actor(ctx context.Context) string {
	p := auth.From(ctx)
	if p.Account != "" {
		return p.Account
	}
	return p.Service
}
