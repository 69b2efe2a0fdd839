package grades

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// world is the service on a database of its own.
type world struct {
	t       testing.TB
	db      *pg.DB
	service *Service
	grades  gradespb.GradeServiceClient
	grid    gradespb.GridServiceClient
	columns gradespb.ColumnServiceClient
	files   gradespb.GradeTransferServiceClient

	teacher string
	course  string

	mu     sync.Mutex
	clock  time.Time
	hidden map[string]bool         // items that learning hides from everybody
	due    map[[2]string]time.Time // by account and item, as learning says
	marks  int64                   // versions of marks
}

// may is when courses begin.
var may = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world { return newWorldAllowing(t, rpctest.Everything) }

func newWorldAllowing(t testing.TB, allow rpctest.Allow) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.Open(t, Schema), clock: may, hidden: map[string]bool{}, due: map[[2]string]time.Time{}, teacher: id.New("account"), course: id.New("course")}
	w.service = New(Config{DB: w.db, Log: rpctest.Log(t), Now: w.tick, Items: w, Deadlines: dueFake{w: w}})
	h := rpctest.New(t, allow)
	w.service.Register(h)
	conn := h.As("edge")
	w.grades, w.grid, w.columns = gradespb.NewGradeServiceClient(conn), gradespb.NewGridServiceClient(conn), gradespb.NewColumnServiceClient(conn)
	w.files = gradespb.NewGradeTransferServiceClient(conn)
	return w
}

// tick is a clock on which no two things happen at the same time.
func (w *world) tick() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

// CheckItems stands for learning.
func (w *world) CheckItems(_ context.Context, req *learningpb.CheckItemsRequest, _ ...grpc.CallOption) (*learningpb.CheckItemsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &learningpb.CheckItemsResponse{}
	for itemID := range w.hidden {
		out.Items = append(out.Items, &learningpb.ItemState{ItemId: itemID, State: "hidden"})
	}
	_ = req
	return out, nil
}

// dueFake stands for learning's deadlines.
type dueFake struct {
	learningpb.DeadlineServiceClient

	w *world
}

// ListDueDates answers one date at a time.
func (f dueFake) ListDueDates(_ context.Context, req *learningpb.ListDueDatesRequest, _ ...grpc.CallOption) (*learningpb.ListDueDatesResponse, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	var all []*learningpb.DueDate
	for key, at := range f.w.due {
		if slices.Contains(req.GetAccountIds(), key[0]) && key[0]+key[1] > req.GetCursor() {
			all = append(all, &learningpb.DueDate{AccountId: key[0], ItemId: key[1], Due: timestamppb.New(at)})
		}
	}
	slices.SortFunc(all, func(a, b *learningpb.DueDate) int {
		return strings.Compare(a.GetAccountId()+a.GetItemId(), b.GetAccountId()+b.GetItemId())
	})
	out := &learningpb.ListDueDatesResponse{Items: all}
	if len(all) > 1 {
		out.Items, out.NextCursor = all[:1], all[0].GetAccountId()+all[0].GetItemId()
	}
	return out, nil
}

// dueNow has learning say by when what is due, and grades follow.
func (w *world) dueNow(account, item string, at time.Time) {
	w.t.Helper()
	w.mu.Lock()
	w.due[[2]string{account, item}] = at
	w.mu.Unlock()
	hear(w, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{account}})
	w.timePasses(0)
}

// timePasses moves the clock on and does what time brings.
func (w *world) timePasses(d time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	w.clock = w.clock.Add(d)
	w.mu.Unlock()
	for _, step := range []func(context.Context) (bool, error){w.service.nextDue, w.service.nextOverdue} {
		for more := true; more; {
			var err error
			if more, err = step(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// MeasureImpact is nothing that grades asks for.
func (w *world) MeasureImpact(context.Context, *learningpb.MeasureImpactRequest, ...grpc.CallOption) (*learningpb.MeasureImpactResponse, error) {
	panic("not asked for")
}

// ListItemAccess stands for learning too.
func (w *world) ListItemAccess(_ context.Context, req *learningpb.ListItemAccessRequest, _ ...grpc.CallOption) (*learningpb.ListItemAccessResponse, error) {
	if !req.GetWhenDue() {
		panic("what is hidden since it was due was not hidden when it was")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &learningpb.ListItemAccessResponse{}
	for _, account := range req.GetAccountIds() {
		state := map[bool]string{true: "hidden", false: "open"}[w.hidden[req.GetItemId()]]
		out.Items = append(out.Items, &learningpb.ItemAccess{AccountId: account, Enrolled: true, State: state})
	}
	return out, nil
}

// ListOpenings is nothing that grades asks for either.
func (w *world) ListOpenings(context.Context, *learningpb.ListOpeningsRequest, ...grpc.CallOption) (*learningpb.ListOpeningsResponse, error) {
	panic("not asked for")
}

// ListOpeningAccounts is nothing that grades asks for either.
func (w *world) ListOpeningAccounts(context.Context, *learningpb.ListOpeningAccountsRequest, ...grpc.CallOption) (*learningpb.ListOpeningAccountsResponse, error) {
	panic("not asked for")
}

// hear runs a handler in a transaction of its own, as the bus does.
func hear[E proto.Message](w *world, handle func(context.Context, *pg.Tx, E) error, events ...E) {
	w.t.Helper()
	for _, e := range events {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a copy")
			return handle(context.Background(), tx, e)
		}); err != nil {
			w.t.Fatalf("hear %T: %v", e, err)
		}
	}
}

// as calls in the name of an account.
func (w *world) as(account string) context.Context {
	return rpctest.Account(context.Background(), account)
}

// staff calls in the name of the teacher.
func (w *world) staff() context.Context { return w.as(w.teacher) }

// publish publishes the course with so many quizzes and criteria, and returns them.
func (w *world) publish(sequence int64, criteria *coursespb.GradingPolicy, quizzes ...string) {
	w.t.Helper()
	hear(w, w.service.coursePublished, w.publication(sequence, criteria, quizzes...))
	w.settled()
}

// publication is a version with so many quizzes and criteria.
func (w *world) publication(sequence int64, criteria *coursespb.GradingPolicy, quizzes ...string) *coursespb.CoursePublished {
	e := &coursespb.CoursePublished{CourseId: w.course, Sequence: sequence, Version: int32(sequence), Title: "Stoicism", Grading: criteria} //nolint:gosec // small
	for i, q := range quizzes {
		e.Items = append(e.Items, &coursespb.PublishedItem{Id: q, Kind: "quiz", Title: fmt.Sprintf("Quiz %d", i+1)})
	}
	return e
}

// enroll enrolls somebody of a name.
func (w *world) enroll(name string) string {
	w.t.Helper()
	account := id.New("account")
	hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: account, Name: name})
	hear(w, w.service.enrollmentStarted, &accesspb.EnrollmentStarted{
		EnrollmentId: id.New("enrollment"), CourseId: w.course, AccountId: account, Source: "free", EnrolledAt: timestamppb.New(may),
	})
	return account
}

// mark is a mark that is handed in and marked now.
func (w *world) mark(account, item, points, of string) *assessmentpb.MarkChanged {
	w.mu.Lock()
	w.marks++
	version := w.marks
	w.mu.Unlock()
	at := timestamppb.New(w.tick())
	return &assessmentpb.MarkChanged{
		CourseId: w.course, ItemId: item, AccountId: account, SourceId: id.New("attempt"), State: "marked", Points: points, MaxPoints: of,
		SubmittedAt: at, Attempts: 1, Cause: "submission", ChangedAt: at, Version: version,
	}
}

// give hears marks.
func (w *world) give(marks ...*assessmentpb.MarkChanged) {
	w.t.Helper()
	hear(w, w.service.markChanged, marks...)
}

// settled counts all that is to be counted.
func (w *world) settled() {
	w.t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.service.countNext(context.Background()); err != nil {
			w.t.Fatalf("count: %v", err)
		}
	}
}

func (w *world) mine(account string) *gradespb.MyGrades {
	w.t.Helper()
	g, err := w.grades.GetMyGrades(w.as(account), &gradespb.GetMyGradesRequest{CourseId: w.course})
	if err != nil {
		w.t.Fatalf("GetMyGrades: %v", err)
	}
	return g
}

func (w *world) student(account string) *gradespb.StudentGrades {
	w.t.Helper()
	g, err := w.grades.GetStudentGrades(w.staff(), &gradespb.GetStudentGradesRequest{CourseId: w.course, AccountId: account})
	if err != nil {
		w.t.Fatalf("GetStudentGrades: %v", err)
	}
	return g
}

// cell returns what staff see of a cell.
func (w *world) cell(account, item string) *gradespb.Cell {
	w.t.Helper()
	for _, c := range w.student(account).GetCells() {
		if c.GetItemId() == item {
			return c
		}
	}
	w.t.Fatalf("no cell of %s", item)
	return nil
}

// set changes a cell.
func (w *world) set(account, item string, e *gradespb.GradeEdit) *gradespb.Cell {
	w.t.Helper()
	c, err := w.grid.SetGrade(w.staff(), &gradespb.SetGradeRequest{CourseId: w.course, ItemId: item, AccountId: account, Edit: e})
	if err != nil {
		w.t.Fatalf("SetGrade: %v", err)
	}
	return c
}

// told returns the events of a kind in the outbox, in their order.
func told[M any, E interface {
	*M
	proto.Message
}](w *world) []E {
	w.t.Helper()
	name := string(E(new(M)).ProtoReflect().Descriptor().FullName())
	rows, err := w.db.Query(context.Background(), `SELECT payload FROM outbox WHERE name = $1 ORDER BY position`, name)
	if err != nil {
		w.t.Fatal(err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]E, len(payloads))
	for i, p := range payloads {
		out[i] = E(new(M))
		if err := proto.Unmarshal(p, out[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

// newIDs returns ids of a kind, in their order.
func newIDs(kind string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = id.New(kind)
	}
	return out
}

// halves are criteria: homework and exams weigh the same, the lowest homework is
// dropped, lateness costs 10 percent a day, what is missing scores nothing, 50 percent
// pass.
func halves(homework, exams []string) *coursespb.GradingPolicy {
	return &coursespb.GradingPolicy{
		Method: "weighted",
		Categories: []*coursespb.GradingCategory{
			{Key: "homework", Title: "Homework", Weight: "50", DropLowest: 1, ItemIds: homework},
			{Key: "exams", Title: "Exams", Weight: "50", ItemIds: exams},
		},
		PassMark: "50", MissingDeduction: "100",
		Letters:  []*coursespb.GradingLetter{{Letter: "A", MinPercent: "80"}, {Letter: "B", MinPercent: "50"}, {Letter: "F", MinPercent: "0"}},
		Late:     &coursespb.LatePolicy{Rate: "10", Interval: "day"},
		Rounding: &coursespb.Rounding{Mode: "half_even", Places: 2},
	}
}
