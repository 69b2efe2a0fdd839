// Package grades owns the gradebook: the marks of students in the items of courses,
// raw as they came, what staff put in their place, who may see which, the totals that
// they come to, and the history of all of it.
//
// It answers gradespb.GradeService: the grades of one student, how they came about and
// what would be if; gradespb.GridService: the gradebook as staff see and change it;
// gradespb.ColumnService: its columns, their statistics, and what of them is posted;
// and gradespb.GradeTransferService: files of grades, out and in.
//
// It sends GradePosted and CourseGradeChanged, of posted grades alone, and
// PostingChanged.
//
// It hears assessment's MarkChanged, courses' CoursePublished (criteria and items),
// access' EnrollmentStarted, EnrollmentEnded and EnrollmentResumed (who is in the
// gradebook), CohortChanged, CohortMembershipChanged, GroupChanged and
// GroupMembershipChanged (by which it is filtered and posted), identity's AccountCreated
// and AccountUpdated (names), and learning's DeadlinesChanged (whose due dates are to be
// asked for anew).
//
// It calls learning, to learn what is hidden from a student and by when what is due.
//
// Grades follow the criteria and the items of the version that was published last, also
// for learners of a cohort that is pinned to an earlier one: a course has one gradebook,
// by which all of its students are graded. What a later version leaves out keeps its
// marks and counts no more.
//
// Where the best of several attempts counts, assessment tells the one of most points and
// the others that could come to more after lateness; which one counts follows from the
// late policy, whenever that is asked (cell.go).
//
// Each change goes through a desk (desk.go): it locks the rows of the students that it
// touches, changes their cells, counts their totals by internal/gradebook, and writes
// what is another than before with its history and its events. Whatever changes for one
// student costs what that student's row costs, however many there are. What changes how
// all are counted (criteria, columns) is followed by a task that counts everybody in
// bounded batches.
package grades

import (
	"context"
	"embed"
	"log/slog"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "grades", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	ErrNoGradebook       = fault.New(fault.NotFound, "gradebook.not_found", "There is no such gradebook.")
	ErrStudentNotFound   = fault.New(fault.NotFound, "student.not_found", "Nobody of that id is in the gradebook.")
	ErrItemNotFound      = fault.New(fault.NotFound, "item.not_found", "The gradebook has no such column.")
	ErrSectionNotFound   = fault.New(fault.NotFound, "section.not_found", "The course has no such cohort or group.")
	ErrNotShown          = fault.New(fault.NotFound, "statistics.not_shown", "There are no statistics of this to show.")
	ErrNoChange          = fault.New(fault.Invalid, "grade.no_change", "Say what to change: points, status, feedback or posted.")
	ErrReason            = fault.New(fault.Invalid, "grade.reason_required", "Say why, in up to 500 characters.")
	ErrPointsUnknown     = fault.New(fault.Conflict, "grade.points_unknown", "Say first out of how many points the column is.")
	ErrCellTwice         = fault.New(fault.Invalid, "grade.cell_twice", "A cell is named twice.")
	ErrBatchRefused      = fault.New(fault.Conflict, "grade.batch_refused", "Nothing was changed: some cells are refused.")
	ErrColumnFixed       = fault.New(fault.Invalid, "column.not_yours", "This is set in the course: there is no changing it here.")
	ErrTooManyColumns    = fault.New(fault.Conflict, "column.too_many", "A gradebook has at most %d columns of its own.", maxColumns)
	ErrUnknownPlace      = fault.New(fault.Invalid, "total.unknown_place", "The course has no such category or period.")
	ErrHistoryWhich      = fault.New(fault.Invalid, "history.which", "Name a student or a batch.")
	ErrChangeNotFound    = fault.New(fault.NotFound, "change.not_found", "There is no such change.")
	ErrChangeNotUndoable = fault.New(fault.Conflict, "change.not_undoable", "What comes from the assessment can't be undone here. Set points in its place.")
	ErrChangeUndone      = fault.New(fault.Conflict, "change.undone", "It was undone before.")
	ErrChangedSince      = fault.New(fault.Conflict, "change.changed_since", "It was changed again since. Undo that first.")
)

// maxColumns bounds the columns of staff in a gradebook.
const maxColumns = 500

// Config is what the service needs.
type Config struct {
	DB  *pg.DB // the schema "grades"
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Items says what is hidden from whom; nothing is when nil.
	Items learningpb.ItemServiceClient
	// Deadlines says by when what is due; nothing is when nil.
	Deadlines learningpb.DeadlineServiceClient
}

// Service keeps the gradebook.
type Service struct {
	db        *pg.DB
	log       *slog.Logger
	clock     func() time.Time
	items     learningpb.ItemServiceClient
	deadlines learningpb.DeadlineServiceClient
	books     *otter.Cache[bookKey, *book]
	wake      chan struct{} // has a value when there are totals to count
	reading   chan struct{} // has a value for each file that is read

	countCells int // how many cells are counted in one transaction, about
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, log: cfg.Log, clock: cfg.Now, items: cfg.Items, deadlines: cfg.Deadlines, books: newBooks(), wake: make(chan struct{}, 1), reading: make(chan struct{}, importReaders), countCells: cellsAtATime}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s
}

// now is the time as the database keeps it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	gradespb.RegisterGradeServiceServer(r, &gradeServer{service: s})
	gradespb.RegisterGridServiceServer(r, &gridServer{service: s})
	gradespb.RegisterColumnServiceServer(r, &columnServer{service: s})
	gradespb.RegisterGradeTransferServiceServer(r, &transferServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.markChanged),
		bus.Copy(s.coursePublished),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.enrollmentEnded),
		bus.Copy(s.enrollmentResumed),
		bus.Copy(s.cohortChanged),
		bus.Copy(s.cohortMembershipChanged),
		bus.Copy(s.groupChanged),
		bus.Copy(s.groupMembershipChanged),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
		bus.Copy(s.deadlinesChanged),
	}
}

// Run does what the service does by itself, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.keepCounting(ctx) })
	wg.Go(func() { s.keepDue(ctx) })
	wg.Wait()
	return nil
}

// gradeServer answers about one student.
type gradeServer struct {
	gradespb.UnimplementedGradeServiceServer

	service *Service
}

// gridServer answers about the grid.
type gridServer struct {
	gradespb.UnimplementedGridServiceServer

	service *Service
}

// columnServer answers about columns.
type columnServer struct {
	gradespb.UnimplementedColumnServiceServer

	service *Service
}
