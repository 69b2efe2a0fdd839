// Package learning owns how far people are in the courses they take: which
// lessons they have completed, where they resume, and when they completed a
// course; and the certificates that they have for it, with the keys that sign
// them as badges.
//
// It answers learningpb.LearningService: viewing a lesson, one's own progress,
// one's own courses, and how far the learners of a course are; and
// learningpb.CertificateService: certificates as PDF, as Open Badge, and as what
// anybody may verify.
//
// It sends CourseCompleted, once per person and course.
//
// It hears courses' CoursePublished (which lessons count, title and language) and CohortPinned (for
// whom), access' EnrollmentStarted (who is listed) and CohortMembershipChanged
// (who sees which version), and identity's AccountCreated and
// AccountUpdated (their names). CourseUnpublished changes nothing: those
// enrolled keep the course and their progress.
//
// It calls nobody.
//
// What is stored is which lessons were completed; percentages are counted when
// they are asked for, over the lessons of the published version. So publishing
// changes no learner's row, and never loses a completion.
//
// Who may read lessons without being enrolled, such as staff, has progress of
// their own, but is in no list and never completes the course. If they enroll
// later, or the event that says so comes late, what they viewed counts.
package learning

import (
	"embed"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "learning", Migrations: pg.Sub(files)}

// ErrLessonNotFound is told for a lesson that the published version of the
// course does not have.
var ErrLessonNotFound = fault.New(fault.NotFound, "lesson.not_found", "The course has no such lesson.")

// Config is what the service needs.
type Config struct {
	DB  *pg.DB           // the schema "learning"
	Now func() time.Time // nil is time.Now

	// Certificates and badges need these.
	Vault      *secret.Vault // of the schema
	Fonts      *pdf.Fonts
	PublicURL  string // where browsers reach the platform
	IssuerName string // who issues certificates
}

// Service keeps progress.
type Service struct {
	db    *pg.DB
	clock func() time.Time

	vault      *secret.Vault
	fonts      *pdf.Fonts
	publicURL  string
	issuerName string
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, clock: cfg.Now,
		vault: cfg.Vault, fonts: cfg.Fonts, publicURL: cfg.PublicURL, issuerName: cfg.IssuerName,
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	learningpb.RegisterLearningServiceServer(r, &server{service: s})
	learningpb.RegisterCertificateServiceServer(r, &certificateServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.cohortPinned),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.cohortMembershipChanged),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
	}
}

// now is the time as the database stores it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }
