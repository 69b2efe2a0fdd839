// Package courses keeps what is taught.
//
// It owns courses and their items, which are modules, lessons, and quizzes and
// assignments in their place: a draft that staff change, and what was published,
// which never changes. Every content that an item had is kept, each once;
// publishing notes which of them the draft has at that moment. The HTML of a
// content is made when it is saved. It owns what moderators said of a draft, which
// version a cohort is to see, how what a course earns is shared, which courses are
// templates, and archives that are on their way to be courses.
//
// It answers what a course, its outline and its lessons are: the draft to
// those who may edit it, the published version to all others that may see it,
// that of their cohort to those in one that is pinned. It answers what was, how
// two versions differ, and what two edits of the same thing make together.
// It makes archives of courses and courses of archives (docs/archive-format.md), and
// copies of courses and modules.
//
// It sends CoursePublished, which holds all that others keep of a course,
// CourseUnpublished, CourseArchived, CohortPinned, CourseReviewed,
// RevenueSplitChanged, ActivitiesCopied, which names the quizzes and assignments that
// copies of activities show, and ActivitiesImported, which says where those of an
// archive belong.
//
// It hears CourseOwnerChanged, CohortChanged and CohortMembershipChanged of
// access.
//
// It calls access, to make who creates a course its owner, and to ask who of some is
// of its staff and what somebody may elsewhere; media, to check that files named in
// a lesson are the course's, to get addresses of them for those who read it, and to
// copy, read and take in the files and captions of what is copied, exported and
// imported. It calls learning, to learn what is open to whom and
// whom a publishing would take something from; and assessment, to take quizzes and
// assignments along in archives.
package courses

import (
	"embed"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // courses are in time zones that the machine may not know

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/markdown"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "courses", Migrations: pg.Sub(files)}

// Limits of one course.
const (
	MaxModules = 1_000
	MaxLessons = 10_000
	MaxBody    = 1 << 20 // bytes of a lesson's blocks as they are stored
)

// Errors that the service tells.
var (
	ErrModuleNotFound      = fault.New(fault.NotFound, "module.not_found", "There is no such module in this course.")
	ErrLessonNotFound      = fault.New(fault.NotFound, "lesson.not_found", "There is no such lesson in this course.")
	ErrNotEnrolled         = fault.New(fault.Forbidden, "lesson.not_enrolled", "Enroll in the course to read this lesson.")
	ErrLessonLocked        = fault.New(fault.Forbidden, "lesson.locked", "This lesson is not open to you yet.")
	ErrNoLessons           = fault.New(fault.Invalid, "course.no_lessons", "A course needs a lesson, a quiz or an assignment before it is published.")
	ErrTooManyModules      = fault.New(fault.Invalid, "course.too_many_modules", "A course has at most %d modules.", MaxModules)
	ErrTooManyLessons      = fault.New(fault.Invalid, "course.too_many_lessons", "A course has at most %d lessons, quizzes and assignments.", MaxLessons)
	ErrTooLarge            = fault.New(fault.Invalid, "course.too_large", "The course has more modules and lessons than can be published. Make two courses of it, or shorten the titles.")
	ErrItemVersionNotFound = fault.New(fault.NotFound, "item_version.not_found", "The item never had such a version.")
	ErrVersionNotFound     = fault.New(fault.NotFound, "version.not_found", "No such version of this course was published.")
	ErrUnpublished         = fault.New(fault.Conflict, "course.unpublished_changes", "The draft has changes that no version has. Publish them first, or set discard_draft to let go of them.")
	ErrArchived            = fault.New(fault.Conflict, "course.archived", "The course is archived. Take it out of the archive to change it.")
	ErrReviewRequired      = fault.New(fault.Conflict, "course.review_required", "A moderator has to approve exactly this state of the draft before it comes into the marketplace. Submit it for review.")
	ErrReviewNotFound      = fault.New(fault.NotFound, "review.not_found", "Nothing of this course was submitted that could be decided so.")
	ErrNotMeasured         = &fault.Error{Kind: fault.Unavailable, Code: "publication.not_measured", Message: "Whom this would take something from can't be measured now. Try again.", Retry: 5 * time.Second}
	ErrChanging            = &fault.Error{Kind: fault.Unavailable, Code: "course.changing", Message: "What this would take away changes all the time. Try again.", Retry: time.Second}
	ErrCohortNotFound      = fault.New(fault.NotFound, "cohort.not_found", "There is no such cohort of this course.")
	ErrCohortCancelled     = fault.New(fault.Conflict, "cohort.cancelled", "The cohort was cancelled.")
	ErrLessonTooLarge      = fault.New(fault.TooLarge, "lesson.too_large", "The blocks of a lesson have at most 1 MiB together. Make two lessons of it.")

	ErrActivityNotFound = fault.New(fault.NotFound, "activity.not_found", "There is no such quiz or assignment in this course.")
	ErrItemNotFound     = fault.New(fault.NotFound, "item.not_found", "There is no such item in this course.")
	ErrInItself         = fault.New(fault.Invalid, "item.in_itself", "A module can't be within itself.")
	ErrTooDeep          = fault.New(fault.Invalid, "item.too_deep", "Modules go at most %d deep.", maxDepth)
	ErrNeedsModule      = fault.New(fault.Invalid, "item.needs_module", "Only modules stand at the top. Name the module to put it into.")
	ErrClosed           = fault.New(fault.Invalid, "release.closed", "With this, something in the course could never open.")
)

// Config is what the service needs.
type Config struct {
	DB     *pg.DB
	Access accesspb.AccessServiceClient
	Media  mediapb.MediaServiceClient
	// Learning says what is open to whom.
	Learning learningpb.ItemServiceClient
	// Review says that moderators approve a course before it comes into the
	// marketplace for the first time.
	Review bool
	// EmbedHosts are the hosts whose pages lessons may show in frames; nil: those
	// of the constant.
	EmbedHosts []string
	Now        func() time.Time // nil: time.Now

	// Carry takes quizzes and assignments along; nil leaves them out of archives.
	Carry assessmentpb.CarryServiceClient
	// Library takes the files of courses along.
	Library mediapb.LibraryServiceClient
	Log     *slog.Logger // nil: none
	// Imports is the folder for archives that are on their way to be courses; ""
	// is one among the system's temporary files.
	Imports string
	// MaxArchive is how many bytes an archive has at most, and its files together;
	// 0 is DefaultMaxArchive.
	MaxArchive int64
}

// Service is the courses service.
type Service struct {
	db       *pg.DB
	access   accesspb.AccessServiceClient
	media    mediapb.MediaServiceClient
	learning learningpb.ItemServiceClient
	review   bool
	clock    func() time.Time
	html     *markdown.Renderer
	sites    []site
	rules    []rule // of blocks, beyond the limits of their fields

	carry      assessmentpb.CarryServiceClient
	library    mediapb.LibraryServiceClient
	log        *slog.Logger
	imports    string // folder
	maxArchive int64
	woken      chan struct{} // wakes Run
	receiving  sync.Mutex
	received   map[string]int // archives that are being sent, by account
}

// New returns a service.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, access: cfg.Access, media: cfg.Media, learning: cfg.Learning, review: cfg.Review, clock: cfg.Now, html: markdown.New()}
	if s.clock == nil {
		s.clock = time.Now
	}
	hosts := cfg.EmbedHosts
	if hosts == nil {
		hosts = strings.Split(EmbedHosts, ",")
	}
	s.sites = sitesOf(hosts)
	s.rules = s.blockRules()
	s.carry = cfg.Carry
	s.library, s.log, s.imports, s.maxArchive, s.woken = cfg.Library, cfg.Log, cfg.Imports, cfg.MaxArchive, make(chan struct{}, 1)
	s.received = map[string]int{}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.imports == "" {
		s.imports = filepath.Join(os.TempDir(), "stoa-course-imports")
	}
	if s.maxArchive <= 0 {
		s.maxArchive = DefaultMaxArchive
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	coursespb.RegisterCoursesServiceServer(r, &server{courses: s})
	coursespb.RegisterContentServiceServer(r, &contents{courses: s})
	coursespb.RegisterVersionServiceServer(r, &versionServer{server: server{courses: s}})
	coursespb.RegisterReviewServiceServer(r, &reviewServer{server: server{courses: s}})
	coursespb.RegisterRevenueServiceServer(r, &revenueServer{courses: s})
	coursespb.RegisterArchiveServiceServer(r, &archives{courses: s})
}

// now returns the time as the database keeps it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }
