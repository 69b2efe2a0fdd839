package demo_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/demo"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Passwords cost what they do in production in the tests of identity and the
// stories. Here they are most of the work of a load.
func TestMain(m *testing.M) {
	identity.DefaultCost = identity.Cost{Memory: 64, Passes: 1, Lanes: 1}
	os.Exit(m.Run())
}

// settings are those of a whole platform in this process.
func settings(t *testing.T) app.Config {
	t.Helper()
	return app.Config{
		Profile: "development", DataDir: t.TempDir(), DatabaseURL: pgtest.New(t, app.Schemas()...), Payments: "development",
		Connections: app.Int{V: 4}, HTTPAddr: "127.0.0.1:0", MaxUpload: app.Int{V: 1 << 20}, MediaWorkers: app.Int{V: 1}, MaxArchive: app.Int{V: 1 << 20},
		RequestTimeout: app.Duration{V: 20 * time.Second}, Drain: app.Duration{V: 5 * time.Second},
		LogFormat: "text", LogLevel: "error",
	}
}

// serve runs the platform, and returns what it says up to the given text and
// how to stop it.
func serve(t *testing.T, cfg app.Config, until string) (said string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := app.Serve(ctx, cfg, nil, "test", in, t.Output())
		if err != nil {
			t.Errorf("serve: %v", err)
		}
		_ = in.CloseWithError(err)
	}()
	stop = func() {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		<-ended
	}
	var text strings.Builder
	buf := make([]byte, 1024)
	for !strings.Contains(text.String(), until) {
		n, err := out.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			stop()
			t.Fatalf("the process said %q and ended: %v", text.String(), err)
		}
	}
	return text.String(), stop
}

// platform runs every service in this process, and is connected to them as the
// edge of another one is.
func platform(t *testing.T, cfg app.Config) map[string]grpc.ClientConnInterface {
	t.Helper()
	cfg.RPCAddr = "127.0.0.1:0"
	cfg.ServiceKey = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	said, stop := serve(t, cfg, "http://")
	t.Cleanup(stop)
	keys, err := auth.NewKeys(cfg.ServiceKey)
	if err != nil {
		t.Fatal(err)
	}
	_, addr, _ := strings.Cut(said, "Services: ")
	addr, _, _ = strings.Cut(addr, "\n")
	cc, err := rpc.Dial(addr, "", "edge", keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return toAll(cc)
}

func toAll(cc grpc.ClientConnInterface) map[string]grpc.ClientConnInterface {
	conns := map[string]grpc.ClientConnInterface{}
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "assessment", "commerce"} {
		conns[name] = cc
	}
	return conns
}

var errCrash = errors.New("crash")

// counting counts the calls of one load, and ends it at one of them: before it
// is made, or with its answer lost.
type counting struct {
	grpc.ClientConnInterface

	calls  *atomic.Int64
	crash  int64
	answer bool // the call at which it ends is made
}

func (c counting) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	n := c.calls.Add(1)
	if c.crash > 0 && n >= c.crash {
		if c.answer && n == c.crash {
			_ = c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
		}
		return errCrash
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (c counting) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if n := c.calls.Add(1); c.crash > 0 && n >= c.crash {
		return nil, errCrash
	}
	return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// load runs Load and returns how many calls it made.
func load(t *testing.T, conns map[string]grpc.ClientConnInterface, crash int64, answer bool) ([]demo.SignIn, int64, error) {
	t.Helper()
	var calls atomic.Int64
	counted := map[string]grpc.ClientConnInterface{}
	for name, cc := range conns {
		counted[name] = counting{cc, &calls, crash, answer}
	}
	signIns, err := demo.Load(t.Context(), counted, slog.New(slog.NewTextHandler(t.Output(), nil)))
	return signIns, calls.Load(), err
}

// someone is a context in which a person of the demo school calls.
func someone(t *testing.T, conns map[string]grpc.ClientConnInterface, s demo.SignIn) context.Context {
	t.Helper()
	session, err := identitypb.NewIdentityServiceClient(conns["identity"]).CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: s.Email, Password: s.Password})
	if err != nil {
		t.Fatalf("%s can't sign in: %v", s.Email, err)
	}
	return auth.With(t.Context(), auth.Principal{Account: session.GetAccountId(), Session: session.GetId()})
}

// said returns the answer of a call.
func said[Req, Res any](t *testing.T, ctx context.Context, call func(context.Context, Req, ...grpc.CallOption) (Res, error), req Req) Res { //nolint:revive // the test comes first, as everywhere
	t.Helper()
	res, err := call(ctx, req)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return res
}

// state is all that the demo school consists of, by person.
func state(t *testing.T, conns map[string]grpc.ClientConnInterface, signIns []demo.SignIn) map[string][]proto.Message {
	t.Helper()
	courses := coursespb.NewCoursesServiceClient(conns["courses"])
	all := map[string][]proto.Message{}
	for _, s := range signIns {
		ctx := someone(t, conns, s)
		own := said(t, ctx, courses.ListCourses, &coursespb.ListCoursesRequest{})
		list := []proto.Message{
			said(t, ctx, identitypb.NewIdentityServiceClient(conns["identity"]).GetMe, &identitypb.GetMeRequest{}),
			said(t, ctx, accesspb.NewAccessServiceClient(conns["access"]).ListMyEnrollments, &accesspb.ListMyEnrollmentsRequest{}),
			said(t, ctx, learningpb.NewLearningServiceClient(conns["learning"]).ListMyCourses, &learningpb.ListMyCoursesRequest{}),
			said(t, ctx, commercepb.NewCommerceServiceClient(conns["commerce"]).ListOrders, &commercepb.ListOrdersRequest{}),
			said(t, ctx, commercepb.NewPlanServiceClient(conns["commerce"]).ListMyPlans, &commercepb.ListMyPlansRequest{}),
			own,
		}
		for _, c := range own.GetItems() {
			outline := said(t, ctx, courses.GetOutline, &coursespb.GetOutlineRequest{CourseId: c.GetId()})
			media := ready(t, ctx, conns, c.GetId())
			for _, m := range media.GetItems() {
				m.Url, m.UrlExpiresAt, m.Images = "", nil, nil
			}
			list = append(list, outline, media,
				said(t, ctx, commercepb.NewCommerceServiceClient(conns["commerce"]).GetPrice, &commercepb.GetPriceRequest{CourseId: c.GetId()}),
				said(t, ctx, courses.ListVersions, &coursespb.ListVersionsRequest{CourseId: c.GetId()}))
		}
		all[s.Email] = list
	}
	return all
}

// renamed reports whether somebody takes a course, and all who do see it as "Renamed".
func renamed(state map[string][]proto.Message, course string) bool {
	n, all := 0, true
	for _, list := range state {
		for _, m := range list {
			taken, _ := m.(*learningpb.ListMyCoursesResponse)
			for _, c := range taken.GetItems() {
				if c.GetCourseId() == course {
					n++
					all = all && c.GetTitle() == "Renamed"
				}
			}
		}
	}
	return n > 0 && all
}

// ready returns the files of a course once all of them can be shown.
func ready(t *testing.T, ctx context.Context, conns map[string]grpc.ClientConnInterface, course string) *mediapb.ListMediaResponse { //nolint:revive // as said has it
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		media := said(t, ctx, mediapb.NewMediaServiceClient(conns["media"]).ListMedia, &mediapb.ListMediaRequest{CourseId: course, PageSize: 100})
		if !slices.ContainsFunc(media.GetItems(), func(m *mediapb.Media) bool { return m.GetState() != "ready" }) {
			return media
		}
		select {
		case <-ctx.Done():
			t.Fatalf("files are not ready: %v", media)
		case <-tick.C:
		}
	}
}

// told is what the test expects of a student: percent of each course they take,
// "done" when they have completed it, and the states of their orders.
func told(t *testing.T, conns map[string]grpc.ClientConnInterface, s demo.SignIn) (taken map[string]int32, orders []string) {
	t.Helper()
	ctx := someone(t, conns, s)
	taken = map[string]int32{}
	for _, c := range said(t, ctx, learningpb.NewLearningServiceClient(conns["learning"]).ListMyCourses, &learningpb.ListMyCoursesRequest{}).GetItems() {
		taken[c.GetTitle()] = c.GetPercent()
		if (c.GetPercent() == 100) != (c.GetCompletedAt() != nil) {
			t.Errorf("%s: %d %% of %s, completed at %v", s.Email, c.GetPercent(), c.GetTitle(), c.GetCompletedAt())
		}
	}
	for _, o := range said(t, ctx, commercepb.NewCommerceServiceClient(conns["commerce"]).ListOrders, &commercepb.ListOrdersRequest{}).GetItems() {
		state := o.GetState()
		if o.GetPayUrl() != "" {
			pay := said(t, ctx, commercepb.NewCommerceServiceClient(conns["commerce"]).GetDevelopmentPayment,
				&commercepb.GetDevelopmentPaymentRequest{PaymentId: o.GetPayUrl()[strings.LastIndex(o.GetPayUrl(), "/")+1:]})
			state += "/" + pay.GetState()
		}
		orders = append(orders, state)
	}
	return taken, orders
}

// wait returns once done holds.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

const (
	statistics = "Statistics you can trust"
	english    = "Write clear English"
	git        = "Git from the first commit"
)

// expected are the states of the students.
var expected = map[string]struct {
	taken  map[string]int32
	orders []string
}{
	"ines@example.org": {map[string]int32{git: 100}, nil},
	"joel@example.org": {map[string]int32{git: 57}, nil},
	"lena@example.org": {map[string]int32{statistics: 22, english: 0}, []string{"fulfilled", "fulfilled"}},
	"noor@example.org": {map[string]int32{}, nil},
	"otto@example.org": {map[string]int32{git: 0}, nil},
	"pia@example.org":  {map[string]int32{statistics: 0}, []string{"fulfilled"}},
	"remy@example.org": {map[string]int32{english: 100}, []string{"fulfilled"}},
	"sana@example.org": {map[string]int32{}, []string{"awaiting_payment/open"}},
	"timo@example.org": {map[string]int32{}, []string{"cancelled"}},
	"uma@example.org":  {map[string]int32{}, []string{"awaiting_payment/declined"}},
}

func checkSchool(t *testing.T, conns map[string]grpc.ClientConnInterface, signIns []demo.SignIn) {
	t.Helper()
	if len(signIns) != 12 {
		t.Fatalf("%d sign-ins", len(signIns))
	}
	lessons := map[string]int{}
	for _, s := range signIns[:2] {
		ctx := someone(t, conns, s)
		for _, c := range said(t, ctx, coursespb.NewCoursesServiceClient(conns["courses"]).ListCourses, &coursespb.ListCoursesRequest{}).GetItems() {
			if lessons[c.GetTitle()] > 0 {
				t.Errorf("%q is there twice", c.GetTitle())
			}
			if c.GetState() != "published" || c.GetHasUnpublishedChanges() || c.GetPublishedVersion() != 1 || c.GetCoverMediaId() == "" {
				t.Errorf("course: %v", c)
			}
			ready(t, ctx, conns, c.GetId())
			outline := said(t, ctx, coursespb.NewCoursesServiceClient(conns["courses"]).GetOutline, &coursespb.GetOutlineRequest{CourseId: c.GetId(), View: "published"})
			for i, m := range outline.GetModules() {
				for j, l := range m.GetLessons() {
					lessons[c.GetTitle()]++
					if l.GetPreview() != (i == 0 && j == 0) {
						t.Errorf("%q: preview is %v", l.GetTitle(), l.GetPreview())
					}
					full := said(t, ctx, coursespb.NewCoursesServiceClient(conns["courses"]).GetLesson, &coursespb.GetLessonRequest{CourseId: c.GetId(), LessonId: l.GetId()})
					for _, b := range full.GetBlocks() {
						if b.GetMarkdown().GetHtml() == "" && b.GetImage().GetUrl() == "" && b.GetFile().GetUrl() == "" {
							t.Errorf("%q: a block shows nothing: %v", l.GetTitle(), b)
						}
					}
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]int{statistics: 9, english: 8, git: 7}, lessons); diff != "" {
		t.Errorf("lessons (-want +got):\n%s", diff)
	}
	for _, s := range signIns[2:] {
		want := expected[s.Email]
		// The last events are still on their way.
		wait(t, s.Email, func() bool {
			taken, orders := told(t, conns, s)
			return cmp.Equal(want.taken, taken) && cmp.Equal(want.orders, orders)
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	conns := platform(t, settings(t))
	signIns, calls, err := load(t, conns, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls", calls)
	checkSchool(t, conns, signIns)

	// A person makes the school their own.
	ctx := someone(t, conns, signIns[0])
	courses := coursespb.NewCoursesServiceClient(conns["courses"])
	mine := said(t, ctx, courses.ListCourses, &coursespb.ListCoursesRequest{}).GetItems()[0]
	said(t, ctx, courses.UpdateCourse, &coursespb.UpdateCourseRequest{CourseId: mine.GetId(), Title: new("Renamed")})
	said(t, ctx, identitypb.NewIdentityServiceClient(conns["identity"]).UpdateMe, &identitypb.UpdateMeRequest{Bio: new("")})
	outline := said(t, ctx, courses.GetOutline, &coursespb.GetOutlineRequest{CourseId: mine.GetId()})
	said(t, ctx, courses.DeleteModule, &coursespb.DeleteModuleRequest{CourseId: mine.GetId(), ModuleId: outline.GetModules()[1].GetId()})
	preview := said(t, ctx, coursespb.NewVersionServiceClient(conns["courses"]).PreviewPublication, &coursespb.PreviewPublicationRequest{CourseId: mine.GetId()})
	said(t, ctx, courses.PublishCourse, &coursespb.PublishCourseRequest{CourseId: mine.GetId(), AcceptImpact: preview.GetImpact().GetToken()})

	// All have heard of it once who takes the course sees its new title, and nothing
	// changes any more.
	before := state(t, conns, signIns)
	same := 0
	wait(t, "all have heard of it", func() bool {
		last := before
		before = state(t, conns, signIns)
		if same++; !cmp.Equal(last, before, protocmp.Transform()) || !renamed(before, mine.GetId()) {
			same = 0
		}
		return same >= 5
	})
	again, calls, err := load(t, conns, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if calls > 4 {
		t.Errorf("%d calls are many to find that all is there", calls)
	}
	if diff := cmp.Diff(signIns, again); diff != "" {
		t.Errorf("sign-ins (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff(before, state(t, conns, signIns), protocmp.Transform()); diff != "" {
		t.Errorf("the second load changed something (-before +after):\n%s", diff)
	}
}

// TestCrash ends the first load again and again, each time a few calls later.
// Every second time more than 48 hours pass until the next, so that what was
// done can be known by looking alone.
func TestCrash(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	conns := platform(t, cfg)
	db, err := pgx.Connect(t.Context(), cfg.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	step := int64(9)
	if testing.Short() {
		step = 21
	}
	for crash := int64(1); ; crash += step {
		signIns, calls, err := load(t, conns, crash, crash%2 == 0)
		if err == nil {
			t.Logf("complete at the limit of %d calls with %d", crash, calls)
			checkSchool(t, conns, signIns)
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("load that ends at call %d: %v", crash, err)
		}
		if crash > 1000 {
			t.Fatal("it never comes to an end")
		}
		if crash%4 < 2 {
			continue
		}
		for _, schema := range app.Schemas() {
			if _, err := db.Exec(t.Context(), "DELETE FROM "+pgx.Identifier{schema.Name, "idempotency"}.Sanitize()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWithoutPayments(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Payments = "none"
	conns := platform(t, cfg)
	signIns, _, err := load(t, conns, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	taken, orders := told(t, conns, signIns[4])
	if len(taken) != 0 || len(orders) != 0 {
		t.Errorf("%v taken, orders: %v", taken, orders)
	}
	if _, calls, err := load(t, conns, 0, false); err != nil || calls > 12 {
		t.Errorf("second load: %d calls, %v", calls, err)
	}
}

// TestForeignAccount: somebody has an address of the demo school for themselves.
func TestForeignAccount(t *testing.T) {
	t.Parallel()
	conns := platform(t, settings(t))
	_, err := identitypb.NewIdentityServiceClient(conns["identity"]).CreateAccount(t.Context(), &identitypb.CreateAccountRequest{
		Email: "mara@example.org", Password: "something of my own", Name: "Somebody",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(t, conns, 0, false); err != nil {
		t.Errorf("this is no reason not to start: %v", err)
	}
}

func TestMissingConnection(t *testing.T) {
	t.Parallel()
	if _, err := demo.Load(t.Context(), nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("loaded without services")
	}
}

// TestAway gives up on services that do not answer when its time is over.
func TestAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	if err != nil {
		t.Fatal(err)
	}
	cc, err := rpc.Dial("127.0.0.1:1", "", "edge", keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	_, err = demo.Load(ctx, toAll(cc), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "CreateSession") {
		t.Errorf("does not say what it waited for: %v", err)
	}
}

// TestServe: the whole way, as a person starts it.
func TestServe(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Demo = app.Bool{V: true}
	for range 2 {
		_, stop := serve(t, cfg, "uma@example.org")
		stop()
	}
}
