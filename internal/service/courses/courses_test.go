package courses_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// fixture is the service on a database of its own, beside an access and a media
// service that answer what the test says.
type fixture struct {
	coursespb.CoursesServiceClient
	coursespb.ContentServiceClient
	coursespb.VersionServiceClient
	coursespb.ReviewServiceClient
	coursespb.RevenueServiceClient

	t        testing.TB
	db       *pg.DB
	own      *courses.Service
	media    *fakeMedia
	learning *fakeLearning
	roles    *fakeAccess
	shown    atomic.Bool // everybody may know of the courses
	clock    atomic.Int64

	teacherID, editorID, learnerID, moderatorID     string
	teacher, learner, outsider, stranger, moderator context.Context //nolint:containedctx // who calls
}

// fakeAccess remembers the roles that were given.
type fakeAccess struct {
	accesspb.UnimplementedAccessServiceServer

	mu    sync.Mutex
	given []*accesspb.AssignCourseRoleRequest
	fail  error
}

func (a *fakeAccess) AssignCourseRole(_ context.Context, req *accesspb.AssignCourseRoleRequest) (*accesspb.AssignCourseRoleResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.given = append(a.given, req)
	return &accesspb.AssignCourseRoleResponse{}, a.fail
}

// ListCourseStaff answers with those who were given a role.
func (a *fakeAccess) ListCourseStaff(_ context.Context, req *accesspb.ListCourseStaffRequest) (*accesspb.ListCourseStaffResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := &accesspb.ListCourseStaffResponse{}
	for _, g := range a.given {
		if g.GetCourseId() == req.GetCourseId() && slices.Contains(req.GetAccountIds(), g.GetAccountId()) {
			res.AccountIds = append(res.AccountIds, g.GetAccountId())
		}
	}
	return res, a.fail
}

// fakeLearning touches as many learners by each item as the test says.
type fakeLearning struct {
	learningpb.UnimplementedItemServiceServer

	mu    sync.Mutex
	by    map[string]int32 // learners by item
	asked []*learningpb.MeasureImpactRequest
	fail  error
	then  func() // what happens while it is asked

	states map[string]*learningpb.ItemState // what is told of items; nothing of others
	away   bool
	checks int
}

func (l *fakeLearning) MeasureImpact(_ context.Context, req *learningpb.MeasureImpactRequest) (*learningpb.MeasureImpactResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, req)
	if then := l.then; then != nil {
		l.then = nil
		then()
	}
	res := &learningpb.MeasureImpactResponse{}
	touch := func(itemID, change string) {
		if n := l.by[itemID]; n > 0 {
			res.Learners = max(res.GetLearners(), n)
			res.Items = append(res.Items, &learningpb.ItemImpact{ItemId: itemID, Change: change, Learners: n})
		}
	}
	for _, itemID := range req.GetRemovedIds() {
		touch(itemID, "removed")
	}
	for _, c := range req.GetChanged() {
		touch(c.GetItemId(), "closed")
	}
	for _, c := range req.GetRescheduled() {
		touch(c.GetItemId(), "rescheduled")
	}
	return res, l.fail
}

// set says how many learners an item has.
func (l *fakeLearning) set(itemID string, n int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[itemID] = n
}

// breaks has learning answer with an error, nil for none.
func (l *fakeLearning) breaks(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// fakeMedia has files by course and id.
type fakeMedia struct {
	mediapb.UnimplementedMediaServiceServer

	mu    sync.Mutex
	files map[string]map[string]*mediapb.Media
	calls int

	viewer *mediapb.Viewer // of the last call
}

func (m *fakeMedia) BatchGetMedia(_ context.Context, req *mediapb.BatchGetMediaRequest) (*mediapb.BatchGetMediaResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	res := &mediapb.BatchGetMediaResponse{}
	m.viewer = req.GetViewer()
	for _, mediaID := range req.GetMediaIds() {
		if file := m.files[req.GetCourseId()][mediaID]; file != nil {
			res.Items = append(res.Items, file)
		}
	}
	return res, nil
}

// told is all that media tells of a file.
func (m *fakeMedia) told(course, mediaID string) *mediapb.Media {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[course][mediaID]
}

// add makes a file and returns its id.
func (m *fakeMedia) add(course, contentType string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	mediaID := id.New("media")
	if m.files[course] == nil {
		m.files[course] = map[string]*mediapb.Media{}
	}
	m.files[course][mediaID] = &mediapb.Media{
		Id: mediaID, CourseId: course, ContentType: contentType, Filename: "name of " + mediaID, Size: 42, Url: "/v1/media/" + mediaID + "/content",
	}
	return mediaID
}

func (m *fakeMedia) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// checker lets somebody do what it says of the question.
type checker func(auth.Question) bool

func (c checker) Allowed(_ context.Context, q auth.Question, _ time.Time) (bool, error) {
	return c(q), nil
}

var start = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)

func setup(t testing.TB) *fixture {
	t.Helper()
	return setupWith(t, courses.Config{})
}

func setupWith(t testing.TB, cfg courses.Config) *fixture {
	t.Helper()
	f := &fixture{t: t, db: pgtest.Open(t, courses.Schema), roles: &fakeAccess{}, learning: &fakeLearning{by: map[string]int32{}}, media: &fakeMedia{files: map[string]map[string]*mediapb.Media{}}}
	f.shown.Store(true)
	f.teacherID, f.editorID = id.New("account"), id.New("account")
	f.learnerID, f.moderatorID = id.New("account"), id.New("account")
	learner := f.learnerID
	h := rpctest.NewChecked(t, checker(func(q auth.Question) bool {
		switch q.Account {
		case f.teacherID:
			return q.Permission != "course.review"
		case f.moderatorID:
			return q.Permission == "course.review" || q.Permission == "course.view" || q.Permission == "course.publish"
		case learner:
			return q.Permission == "course.view" || q.Permission == "lesson.read"
		case f.editorID: // of items, and not of courses
			return q.Item != "" || q.Permission == "course.view"
		default:
			return q.Course != "" && q.Permission == "course.view" && f.shown.Load()
		}
	}))
	cfg.DB = f.db
	cfg.Access = accesspb.NewAccessServiceClient(h.As("courses"))
	cfg.Media = mediapb.NewMediaServiceClient(h.As("courses"))
	cfg.Learning = learningpb.NewItemServiceClient(h.As("courses"))
	// Each look at the clock is a millisecond later.
	cfg.Now = func() time.Time { return start.Add(time.Duration(f.clock.Add(1)) * time.Millisecond) }
	service := courses.New(cfg)
	service.Register(h)
	f.own = service
	accesspb.RegisterAccessServiceServer(h, f.roles)
	mediapb.RegisterMediaServiceServer(h, f.media)
	learningpb.RegisterItemServiceServer(h, f.learning)
	f.CoursesServiceClient = coursespb.NewCoursesServiceClient(h.As("edge"))
	f.ContentServiceClient = coursespb.NewContentServiceClient(h.As("edge"))
	f.VersionServiceClient = coursespb.NewVersionServiceClient(h.As("edge"))
	f.ReviewServiceClient = coursespb.NewReviewServiceClient(h.As("edge"))
	f.RevenueServiceClient = coursespb.NewRevenueServiceClient(h.As("edge"))
	f.moderator = rpctest.Account(t.Context(), f.moderatorID)
	f.teacher = rpctest.Account(t.Context(), f.teacherID)
	f.learner = rpctest.Account(t.Context(), learner)
	f.outsider = rpctest.Account(t.Context(), id.New("account"))
	f.stranger = t.Context()
	return f
}

// course makes a course with a title.
func (f *fixture) course() string {
	f.t.Helper()
	return must(f.CreateCourse(f.teacher, &coursespb.CreateCourseRequest{Title: "Course"})).GetId()
}

func (f *fixture) module(course, title string) string {
	f.t.Helper()
	return must(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: course, Title: title})).GetId()
}

func (f *fixture) lesson(course, module, title string) string {
	f.t.Helper()
	return must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: course, ModuleId: module, Title: title})).GetId()
}

func (f *fixture) publish(course string) *coursespb.Course {
	f.t.Helper()
	return must(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: course}))
}

// events returns what was published to the outbox, in order.
func (f *fixture) events() []proto.Message {
	f.t.Helper()
	rows, err := f.db.Query(context.Background(), `SELECT name, payload FROM outbox WHERE name <> 'stoa.record.v1.Recorded' ORDER BY position`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var out []proto.Message
	for rows.Next() {
		var name string
		var payload []byte
		if err := rows.Scan(&name, &payload); err != nil {
			f.t.Fatal(err)
		}
		kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			f.t.Fatal(err)
		}
		m := kind.New().Interface()
		if err := proto.Unmarshal(payload, m); err != nil || string(m.ProtoReflect().Descriptor().FullName()) != name {
			f.t.Fatalf("%s: %v", name, err)
		}
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// viewed is what completes a lesson of which nothing is said.
func viewed() *releasepb.Completion {
	return &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "viewed"}}}
}

// must returns a result that has to come.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// reporter is a test, or a run of a property.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

func same(t reporter, what string, want, got any, ignore ...string) {
	t.Helper()
	opts := []cmp.Option{protocmp.Transform()}
	for _, m := range []proto.Message{&coursespb.Course{}, &coursespb.Lesson{}, &coursespb.Module{}, &coursespb.OutlineItem{}} {
		for _, field := range ignore {
			if m.ProtoReflect().Descriptor().Fields().ByTextName(field) != nil {
				opts = append(opts, protocmp.IgnoreFields(m, m.ProtoReflect().Descriptor().Fields().ByTextName(field).Name()))
			}
		}
	}
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// tells checks which error was told.
func tells(t reporter, what string, err error, kind fault.Kind, code string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		t.Errorf("%s: error %v, want %s", what, err, code)
	}
}

// fields returns the paths and codes that an error names.
func fields(err error) []string {
	var out []string
	if e, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range e.Fields {
			out = append(out, f.Path+" "+f.Code)
		}
	}
	return out
}
