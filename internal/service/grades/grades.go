// Package grades owns the gradebook: the marks of students in the items of courses.
//
// It answers nothing yet.
//
// It sends nothing yet.
//
// It hears assessment's MarkChanged.
//
// It calls nobody.
package grades

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "grades", Migrations: pg.Sub(files)}

// Config is what the service needs.
type Config struct {
	DB  *pg.DB // the schema "grades"
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service keeps the gradebook.
type Service struct {
	db  *pg.DB
	log *slog.Logger
	now func() time.Time
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, log: cfg.Log, now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(grpc.ServiceRegistrar) {}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{bus.Copy(s.markChanged)}
}

func (s *Service) markChanged(ctx context.Context, tx *pg.Tx, e *assessmentpb.MarkChanged) error {
	var points, of *string
	if e.GetPoints() != "" {
		points = &e.Points
	}
	if e.GetMaxPoints() != "" {
		of = &e.MaxPoints
	}
	var submitted *time.Time
	if e.GetSubmittedAt() != nil {
		at := e.GetSubmittedAt().AsTime()
		submitted = &at
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO mark (course_id, item_id, account_id, source_id, state, points, max_points, submitted_at, late_seconds, attempts, marked_by, cause, changed_at, version)
		VALUES ($1, $2, $3, $4, $5, $6::numeric, $7::numeric, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT ON CONSTRAINT mark_pkey DO UPDATE
		SET source_id = EXCLUDED.source_id, state = EXCLUDED.state, points = EXCLUDED.points, max_points = EXCLUDED.max_points,
			submitted_at = EXCLUDED.submitted_at, late_seconds = EXCLUDED.late_seconds, attempts = EXCLUDED.attempts,
			marked_by = EXCLUDED.marked_by, cause = EXCLUDED.cause, changed_at = EXCLUDED.changed_at, version = EXCLUDED.version
		WHERE mark.version < EXCLUDED.version`,
		e.GetCourseId(), e.GetItemId(), e.GetAccountId(), e.GetSourceId(), e.GetState(), points, of, submitted,
		e.GetLateSeconds(), e.GetAttempts(), e.GetMarkedBy(), e.GetCause(), e.GetChangedAt().AsTime(), e.GetVersion())
	return err
}
