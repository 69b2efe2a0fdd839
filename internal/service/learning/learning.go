// Package learning owns how far people are in the courses they take: what they did
// in each item, which they have completed, what they have watched of its video, where
// they resume, how long they were busy, and when they completed a course. It owns
// other deadlines that some of them have, and by when what is due for each; their own
// notes and bookmarks, and the secret addresses of their calendars; the certificates that
// they have, with the keys that sign them as badges.
//
// It answers learningpb.LearningService: viewing a lesson, one's own progress,
// one's own courses, and how far the learners of a course are;
// learningpb.CertificateService: certificates as PDF, as Open Badge, and as what
// anybody may verify; learningpb.ProgressService: viewing, watching and marking items, and what is
// missing; learningpb.OutlineService and ItemService: what is open to whom, when and
// why; learningpb.DeadlineService; learningpb.NoteService; and
// learningpb.CalendarService: calendars, what to do next, one's own statistics.
//
// It sends ItemCompleted, of modules too, DeadlinesChanged, and CourseCompleted, once per person and
// course.
//
// It hears courses' CoursePublished (what counts, and what completes it, title and
// language) and CohortPinned (for whom), access' EnrollmentStarted (who is listed), EnrollmentEnded and
// EnrollmentResumed, CohortChanged and CohortMembershipChanged (who sees which
// version, and from when their days count), GroupChanged, GroupMembershipChanged
// and CourseRoleChanged (what rules ask), AccommodationChanged,
// media's MediaChanged (how long videos are), assessment's ActivityResultChanged
// (what was handed in), grades' GradePosted and CourseGradeChanged (posted scores, and
// whether the course is passed), and identity's AccountCreated and AccountUpdated (their names and
// zones). CourseUnpublished changes
// nothing: those enrolled keep the course and their progress.
//
// It calls access, to learn how deadlines are eased for people.
//
// What is stored is what people did, as it was, and what of it has met a rule of a
// version that they saw. Percentages are counted when they are asked for, over what
// counts in the version that they see. So publishing takes no completion, and gives
// those of rules that became looser. The rule is one expression, met in settle.go,
// for one learner and for all.
//
// Who may read lessons without being enrolled, such as staff, has progress of
// their own, but is in no list and never completes the course. If they enroll
// later, or the event that says so comes late, what they viewed counts.
package learning

import (
	"embed"
	"log/slog"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "learning", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
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

// Errors of what is open to whom, and by when it is due.
var (
	ErrLessonLocked     = fault.New(fault.Forbidden, "lesson.locked", "This lesson is not open to you yet.")
	ErrItemNotFound     = fault.New(fault.NotFound, "item.not_found", "The course has no such item.")
	ErrNotPublished     = fault.New(fault.NotFound, "course.not_published", "The course is not published yet.")
	ErrNotLearner       = fault.New(fault.NotFound, "account.unknown", "Nobody of this account takes the course.")
	ErrTargetUnknown    = fault.New(fault.Invalid, "target.unknown", "A deadline is for who takes the course, or for a group or a cohort of it.")
	ErrOverrideNotFound = fault.New(fault.NotFound, "deadline_override.not_found", "There is no such override.")
	ErrTooManyOverrides = fault.New(fault.Conflict, "deadline_override.too_many", "A course has at most %d overrides of deadlines.", maxOverrides)
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB           // the schema "learning"
	Now func() time.Time // nil is time.Now

	Vault      *secret.Vault // of the schema: seals what people note for themselves, and keys of badges
	Fonts      *pdf.Fonts
	PublicURL  string       // where browsers reach the platform
	IssuerName string       // who issues certificates
	Log        *slog.Logger // nil is slog.Default
	// Access says how deadlines are eased for people; nil when nobody's are.
	Access accesspb.AccommodationServiceClient
}

// Service keeps progress.
type Service struct {
	learningpb.UnimplementedProgressServiceServer
	learningpb.UnimplementedNoteServiceServer
	learningpb.UnimplementedCalendarServiceServer

	db       *pg.DB
	log      *slog.Logger
	clock    func() time.Time
	access   accesspb.AccommodationServiceClient
	versions *otter.Cache[versionKey, *version]
	wake     chan struct{} // has a value when there is work on deadlines

	vault      *secret.Vault
	fonts      *pdf.Fonts
	publicURL  string
	issuerName string

	wakeSettling chan struct{} // has a value when there are completions to be settled
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, log: cfg.Log, clock: cfg.Now, access: cfg.Access, versions: newVersions(), wake: make(chan struct{}, 1),
		vault: cfg.Vault, fonts: cfg.Fonts, publicURL: cfg.PublicURL, issuerName: cfg.IssuerName,
		wakeSettling: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.Default()
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
	learningpb.RegisterProgressServiceServer(r, s)
	learningpb.RegisterNoteServiceServer(r, s)
	learningpb.RegisterCalendarServiceServer(r, s)
	learningpb.RegisterItemServiceServer(r, &itemServer{service: s})
	learningpb.RegisterOutlineServiceServer(r, &outlineServer{service: s})
	learningpb.RegisterDeadlineServiceServer(r, &deadlineServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.cohortPinned),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.cohortMembershipChanged),
		bus.Copy(s.mediaChanged),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
		bus.Copy(s.enrollmentEnded),
		bus.Copy(s.enrollmentResumed),
		bus.Copy(s.cohortChanged),
		bus.Copy(s.groupChanged),
		bus.Copy(s.groupMembershipChanged),
		bus.Copy(s.courseRoleChanged),
		bus.Copy(s.accommodationChanged),
		bus.Copy(s.activityResultChanged),
		bus.Copy(s.gradePosted),
		bus.Copy(s.courseGradeChanged),
	}
}

// now is the time as the database stores it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }
