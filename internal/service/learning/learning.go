// Package learning owns how far people are in the courses they take: which
// lessons they have completed, where they resume, and when they completed a
// course.
//
// It answers learningpb.LearningService: viewing a lesson, one's own progress,
// one's own courses, and how far the learners of a course are.
//
// It sends CourseCompleted, once per person and course.
//
// It hears courses' CoursePublished (which lessons count) and CohortPinned (for
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
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "learning", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	ErrItemNotFound     = fault.New(fault.NotFound, "item.not_found", "The course has no such item.")
	ErrLearnerNotFound  = fault.New(fault.NotFound, "learner.not_found", "Nobody of that id has been in the course.")
	ErrNotManual        = fault.New(fault.Conflict, "item.not_manual", "This item is not completed by your mark.")
	ErrNoteNotFound     = fault.New(fault.NotFound, "note.not_found", "You have no such note.")
	ErrNotesFull        = fault.New(fault.Conflict, "note.too_many", "You have %d notes already. Delete some first.", maxKept)
	ErrBookmarkNotFound = fault.New(fault.NotFound, "bookmark.not_found", "You have no such bookmark.")
	ErrBookmarksFull    = fault.New(fault.Conflict, "bookmark.too_many", "You have %d bookmarks already. Delete some first.", maxKept)
	ErrCalendarRange    = fault.InvalidField("to", "calendar.range", "A range ends behind where it begins, at most 400 days later.")
	ErrFeedNotFound     = fault.New(fault.NotFound, "calendar_feed.not_found", "There is no calendar at this address.")
)

// ErrLessonNotFound is told for a lesson that the published version of the
// course does not have.
var ErrLessonNotFound = fault.New(fault.NotFound, "lesson.not_found", "The course has no such lesson.")

// Config is what the service needs.
type Config struct {
	DB    *pg.DB           // the schema "learning"
	Vault *secret.Vault    // of the schema: seals what people note for themselves
	Now   func() time.Time // nil is time.Now
}

// Service keeps progress.
type Service struct {
	learningpb.UnimplementedProgressServiceServer
	learningpb.UnimplementedNoteServiceServer
	learningpb.UnimplementedCalendarServiceServer

	db    *pg.DB
	vault *secret.Vault
	clock func() time.Time
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, vault: cfg.Vault, clock: cfg.Now}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	learningpb.RegisterLearningServiceServer(r, &server{service: s})
	learningpb.RegisterProgressServiceServer(r, s)
	learningpb.RegisterNoteServiceServer(r, s)
	learningpb.RegisterCalendarServiceServer(r, s)
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.cohortPinned),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.enrollmentEnded),
		bus.Copy(s.enrollmentResumed),
		bus.Copy(s.cohortMembershipChanged),
		bus.Copy(s.cohortChanged),
		bus.Copy(s.mediaChanged),
		bus.Copy(s.activityResultChanged),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
	}
}

// now is the time as the database stores it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }
