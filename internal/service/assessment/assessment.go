// Package assessment owns questions, quizzes and exams, and what students answered in
// them: the log of each attempt, and the marks that follow from it.
//
// It answers assessmentpb.QuizService.
//
// It sends nothing yet.
//
// It hears courses' CoursePublished: where in a course quizzes and assignments stand.
//
// It calls nobody.
package assessment

import (
	"embed"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "assessment", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	ErrQuizNotFound = fault.New(fault.NotFound, "quiz.not_found", "The course has no such quiz.")
	ErrQuizBegun    = fault.New(fault.Conflict, "quiz.begun", "Somebody has begun this quiz: it can't be deleted.")
	ErrQuizPlaced   = fault.New(fault.Conflict, "quiz.placed", "The published course shows this quiz. Take it out of the course first.")
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB // the schema "assessment"
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Vault seals the keys that receipts are signed with; none is signed when nil.
	Vault *secret.Vault
	// Access says how exams are eased for people; nil when nobody's are.
	Access accesspb.AccommodationServiceClient
}

// Service keeps quizzes, attempts and assignments.
type Service struct {
	db     *pg.DB
	log    *slog.Logger
	now    func() time.Time
	vault  *secret.Vault
	access accesspb.AccommodationServiceClient

	versions  *otter.Cache[versionKey, *quizVersion]
	questions *otter.Cache[compiledKey, *question.Question]
	layouts   *otter.Cache[string, *layout]
	signer    atomic.Pointer[signer]
	unscored  chan struct{} // has a value when there are attempts to be scored
}

// kept returns a cache of what is never changed.
func kept[K comparable, V any](most int) *otter.Cache[K, V] {
	return otter.Must(&otter.Options[K, V]{MaximumSize: most})
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, log: cfg.Log, now: cfg.Now, vault: cfg.Vault, access: cfg.Access,
		versions: kept[versionKey, *quizVersion](1000), questions: kept[compiledKey, *question.Question](20_000),
		layouts: kept[string, *layout](20_000), unscored: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// time returns what the clock says, as the database keeps it.
func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	assessmentpb.RegisterQuizServiceServer(r, &quizServer{service: s})
	assessmentpb.RegisterAttemptServiceServer(r, &attemptServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.accommodationChanged),
	}
}

// quizServer answers about quizzes.
type quizServer struct {
	assessmentpb.UnimplementedQuizServiceServer

	service *Service
}
