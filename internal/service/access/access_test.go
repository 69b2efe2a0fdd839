package access

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is the service with a database of its own, called by the edge and by
// another service.
type env struct {
	accesspb.AccessServiceClient
	accesspb.AccommodationServiceClient
	accesspb.RoleServiceClient

	peer    accesspb.AccessServiceClient // calls come from courses
	harness *rpctest.Harness
	service *Service
	db      *pg.DB
	clock   *clock
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvOn(t, pgtest.Open(t, Schema))
}

func newEnvOn(t *testing.T, db *pg.DB) *env {
	t.Helper()
	e := &env{db: db, clock: &clock{now: time.Date(2030, 5, 1, 12, 0, 0, 123456789, time.UTC)}}
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, db)
	if err != nil {
		t.Fatal(err)
	}
	attempts, err := cache.NewMemoryAt(e.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	e.service = New(Config{DB: e.db, Log: rpctest.Log(t), Now: e.clock.Now, Vault: vault, Attempts: attempts})
	h := rpctest.New(t, rpctest.Everything)
	e.service.Register(h)
	e.harness = h
	e.AccessServiceClient = accesspb.NewAccessServiceClient(h.As("edge"))
	e.RoleServiceClient = accesspb.NewRoleServiceClient(h.As("edge"))
	e.AccommodationServiceClient = accesspb.NewAccommodationServiceClient(h.As("edge"))
	e.peer = accesspb.NewAccessServiceClient(h.As("courses"))
	return e
}

// fataler is a test, or a run of a property test.
type fataler interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// deliver has a handler handle an event, in a transaction of its own.
func deliver[E proto.Message](t fataler, e *env, handle func(context.Context, *pg.Tx, E) error, event E) {
	t.Helper()
	err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		return handle(t.Context(), tx, event)
	})
	if err != nil {
		t.Fatalf("%T: %v", event, err)
	}
}

// course makes a published course with a price in cents.
func (e *env) course(t fataler, price int64) string {
	t.Helper()
	courseID := id.New("course")
	deliver(t, e, e.service.coursePublished, &coursespb.CoursePublished{CourseId: courseID, OwnerId: id.New("account"), Sequence: 1})
	deliver(t, e, e.service.priceSet, priceOf(courseID, price, 1))
	return courseID
}

func priceOf(courseID string, price, version int64) *commercepb.PriceSet {
	return &commercepb.PriceSet{CourseId: courseID, Price: &moneypb.Money{Amount: price, Currency: "EUR"}, Version: version}
}

// orderOf is a paid order with one line for each course.
func orderOf(buyer string, paid time.Time, courses ...string) *commercepb.OrderPaid {
	event := &commercepb.OrderPaid{OrderId: id.New("order"), BuyerId: buyer, PaidAt: timestamppb.New(paid)}
	for _, courseID := range courses {
		event.Lines = append(event.Lines, &commercepb.PaidLine{LineId: id.New("line"), CourseId: courseID})
	}
	return event
}

func (e *env) enroll(ctx context.Context, t *testing.T, courseID string) *accesspb.Enrollment {
	t.Helper()
	got, err := e.CreateEnrollment(ctx, &accesspb.CreateEnrollmentRequest{CourseId: courseID})
	if err != nil {
		t.Fatalf("CreateEnrollment: %v", err)
	}
	return got
}

// may returns what an account may on a course.
func (e *env) may(t fataler, accountID, courseID string) []string {
	t.Helper()
	res, err := e.peer.ResolvePermissions(t.Context(), &accesspb.ResolvePermissionsRequest{
		Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{AccountId: accountID, CourseId: courseID}},
	})
	if err != nil {
		t.Fatalf("ResolvePermissions: %v", err)
	}
	return res.GetAnswers()[0].GetPermissions()
}

// events returns what the outbox holds, oldest first.
func (e *env) events(t *testing.T) []proto.Message {
	t.Helper()
	rows, err := e.db.Query(t.Context(), `SELECT name, payload FROM outbox WHERE name <> 'stoa.record.v1.Recorded' ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []proto.Message
	for rows.Next() {
		var name string
		var payload []byte
		if err := rows.Scan(&name, &payload); err != nil {
			t.Fatal(err)
		}
		kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatal(err)
		}
		event := kind.New().Interface()
		if err := proto.Unmarshal(payload, event); err != nil {
			t.Fatal(err)
		}
		out = append(out, event)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func exec(t fataler, db *pg.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query returns the single value of a statement.
func query[T any](t fataler, db *pg.DB, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// wantCode fails the test unless err has the code; fields are the paths told.
func wantCode(t *testing.T, err error, code string, fields ...string) {
	t.Helper()
	if got := fault.CodeOf(err); err == nil || got != code {
		t.Fatalf("error %v with code %q, want %q", err, got, code)
	}
	var paths []string
	if fe, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range fe.Fields {
			paths = append(paths, f.Path)
		}
	}
	if len(fields) > 0 && !slices.Equal(slices.Compact(paths), fields) {
		t.Fatalf("fields %v, want %v", paths, fields)
	}
}

// same fails the test unless the values are equal; ignored are fields of
// messages that are not compared.
func same(t *testing.T, got, want any, options ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, append(options, protocmp.Transform())...); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range New(Config{}).Handlers() {
		got = append(got, h.EventName())
	}
	slices.Sort(got)
	same(t, got, []string{
		"stoa.commerce.v1.GiftRedeemed", "stoa.commerce.v1.LinesRefunded", "stoa.commerce.v1.OrderPaid", "stoa.commerce.v1.PriceSet", "stoa.commerce.v1.SubscriptionEnded", "stoa.courses.v1.CoursePublished",
		"stoa.courses.v1.CourseUnpublished", "stoa.identity.v1.AccountCreated", "stoa.identity.v1.AccountUpdated",
	})
}

// TestThroughTheBus: an order that is delivered again and again is one grant.
func TestThroughTheBus(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	member := bus.Member{Name: "access", DB: e.db, Handlers: e.service.Handlers()}
	broker := bus.NewDirect()
	if err := broker.Declare(t.Context(), bus.Topology(member)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx, broker, rpctest.Log(t), member) }()

	order := orderOf(id.New("account"), e.clock.Now(), id.New("course"))
	payload, err := proto.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	event := bus.Event{ID: uuid.New(), Name: "stoa.commerce.v1.OrderPaid", Payload: payload, HappenedAt: e.clock.Now()}
	again := event
	again.ID = uuid.New()
	for range 2 {
		if err := broker.Publish(t.Context(), []bus.Event{event, again, event}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement`); n != 1 {
		t.Errorf("%d grants, want 1", n)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM inbox_failed`); n != 0 {
		t.Errorf("%d failures", n)
	}
}
