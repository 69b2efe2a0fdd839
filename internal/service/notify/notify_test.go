package notify

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// world is the service on a database of its own.
type world struct {
	t       testing.TB
	db      *pg.DB
	keys    *secret.Keys
	service *Service
	client  notifypb.NotifyServiceClient
	server  *rpctest.Harness

	mu    sync.Mutex
	clock time.Time
}

var may = time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.Open(t, Schema), clock: may}
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = secret.Parse(text); err != nil {
		t.Fatal(err)
	}
	w.service = w.another(nil)
	// Nobody is allowed anything: what is one's own is open to oneself all the same.
	w.server = rpctest.New(t, func(string, string, string) bool { return false })
	w.service.Register(w.server)
	w.client = notifypb.NewNotifyServiceClient(w.server.As("edge"))
	return w
}

// another is the service as another process runs it, on the same database.
func (w *world) another(mailer *Mailer) *Service {
	w.t.Helper()
	vault, err := secret.NewVault(w.keys, w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	return New(Config{
		DB: w.db, Log: rpctest.Log(w.t), Now: w.now, Vault: vault, Mailer: mailer, PublicURL: "https://learn.example.org", DevelopmentMail: true,
	})
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// try runs a handler in a transaction of its own, as the bus does.
func try[E proto.Message](w *world, handle func(context.Context, *pg.Tx, E) error, e E) error {
	return w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		return handle(context.Background(), tx, e)
	})
}

// hear is try that must succeed.
func hear[E proto.Message](w *world, handle func(context.Context, *pg.Tx, E) error, events ...E) {
	w.t.Helper()
	for _, e := range events {
		if err := try(w, handle, e); err != nil {
			w.t.Fatalf("hear %T: %v", e, err)
		}
	}
}

func as(account string) context.Context { return rpctest.Account(context.Background(), account) }

// told returns what an account was told but for the welcome, newest first.
func (w *world) told(account string) []*notifypb.Notification {
	w.t.Helper()
	res, err := w.client.ListNotifications(as(account), &notifypb.ListNotificationsRequest{PageSize: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*notifypb.Notification
	for _, n := range res.GetItems() {
		if n.GetKind() != "welcome" {
			out = append(out, n)
		}
	}
	return out
}

// mails returns what is held but for welcomes, newest first.
func (w *world) mails() []*notifypb.DevelopmentMail {
	w.t.Helper()
	res, err := w.client.ListDevelopmentMail(context.Background(), &notifypb.ListDevelopmentMailRequest{PageSize: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.GetItems()
}

func (w *world) person(name, locale string) string {
	w.t.Helper()
	account := id.New("account")
	hear(w, w.service.accountCreated, w.created(account, name, locale))
	return account
}

func (w *world) created(account, name, locale string) *identitypb.AccountCreated {
	return &identitypb.AccountCreated{
		AccountId: account, EmailSealed: email.Seal(w.keys, account, name+"@example.org"), Name: name, Locale: locale,
	}
}

func (w *world) course(owner, title string) string {
	w.t.Helper()
	course := id.New("course")
	hear(w, w.service.coursePublished, &coursespb.CoursePublished{CourseId: course, OwnerId: owner, Title: title, Sequence: 1})
	return course
}

func enrolled(course, account string) *accesspb.EnrollmentStarted {
	return &accesspb.EnrollmentStarted{EnrollmentId: id.New("enrollment"), CourseId: course, AccountId: account, EnrolledAt: timestamppb.New(may)}
}
