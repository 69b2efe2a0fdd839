// Package assessment owns questions, quizzes and exams, and what students answered in
// them: the log of each attempt, and the marks that follow from it.
//
// It answers assessmentpb.BankService: the banks of questions, their versions, and
// with which courses they are shared; and assessmentpb.QuizService.
//
// It sends nothing yet.
//
// It hears courses' CoursePublished: where in a course quizzes and assignments stand.
//
// It calls access (who may share a bank with a course) and media (pictures of
// questions).
package assessment

import (
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
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
	// Access says who may share a bank with which course.
	Access accesspb.AccessServiceClient
	// Media and Library have the pictures of questions.
	Media   mediapb.MediaServiceClient
	Library mediapb.LibraryServiceClient
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service keeps quizzes, attempts and assignments.
type Service struct {
	db  *pg.DB
	log *slog.Logger
	now func() time.Time

	access  accesspb.AccessServiceClient
	media   mediapb.MediaServiceClient
	library mediapb.LibraryServiceClient
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, log: cfg.Log, now: cfg.Now, access: cfg.Access, media: cfg.Media, library: cfg.Library}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// time returns what the clock says, as the database keeps it.
func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	assessmentpb.RegisterBankServiceServer(r, &bankServer{service: s})
	assessmentpb.RegisterQuizServiceServer(r, &quizServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
	}
}

// quizServer answers about quizzes.
type quizServer struct {
	assessmentpb.UnimplementedQuizServiceServer

	service *Service
}
