package learning

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// world is the service on a database of its own.
type world struct {
	t       testing.TB
	db      *pg.DB
	service *Service
	client  learningpb.LearningServiceClient

	items    learningpb.ProgressServiceClient
	notes    learningpb.NoteServiceClient
	calendar learningpb.CalendarServiceClient

	mu    sync.Mutex
	clock time.Time
}

func newWorld(t testing.TB, allow rpctest.Allow) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.Open(t, Schema), clock: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)}
	keyset, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(keyset)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, w.db)
	if err != nil {
		t.Fatal(err)
	}
	w.service = New(Config{DB: w.db, Vault: vault, Now: w.tick})
	h := rpctest.New(t, allow)
	w.service.Register(h)
	conn := h.As("edge")
	w.client, w.items = learningpb.NewLearningServiceClient(conn), learningpb.NewProgressServiceClient(conn)
	w.notes, w.calendar = learningpb.NewNoteServiceClient(conn), learningpb.NewCalendarServiceClient(conn)
	return w
}

// later moves the clock on.
func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// at sets the clock to a second before a time, which is that of what is done next.
func (w *world) at(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = t.Add(-time.Second)
}

// tick is a clock on which no two things happen at the same time.
func (w *world) tick() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Second)
	return w.clock
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

func (w *world) as(account string) context.Context {
	return rpctest.Account(context.Background(), account)
}

func (w *world) view(account, course, lesson string) *learningpb.Progress {
	w.t.Helper()
	p, err := w.client.ViewLesson(w.as(account), &learningpb.ViewLessonRequest{CourseId: course, LessonId: lesson})
	if err != nil {
		w.t.Fatalf("ViewLesson: %v", err)
	}
	return p
}

func (w *world) progress(account, course string) *learningpb.Progress {
	w.t.Helper()
	p, err := w.client.GetProgress(w.as(account), &learningpb.GetProgressRequest{CourseId: course})
	if err != nil {
		w.t.Fatalf("GetProgress: %v", err)
	}
	return p
}

// completions returns the CourseCompleted events in the outbox.
func (w *world) completions() []*learningpb.CourseCompleted {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `SELECT payload FROM outbox WHERE name = 'stoa.learning.v1.CourseCompleted' ORDER BY position`)
	if err != nil {
		w.t.Fatal(err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*learningpb.CourseCompleted
	for _, p := range payloads {
		e := &learningpb.CourseCompleted{}
		if err := proto.Unmarshal(p, e); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// published is a version with the given lessons in one module.
func published(course string, sequence int64, lessons ...string) *coursespb.CoursePublished {
	m := &coursespb.PublishedModule{Id: id.New("module"), Title: "Module"}
	for _, l := range lessons {
		m.Lessons = append(m.Lessons, &coursespb.PublishedLesson{Id: l, Title: "Lesson " + l})
	}
	return &coursespb.CoursePublished{
		CourseId: course, OwnerId: id.New("account"), Sequence: sequence, Version: int32(sequence), //nolint:gosec // small
		Title: "Stoicism", Modules: []*coursespb.PublishedModule{m},
	}
}

var may = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func enrolled(course, account string, day int) *accesspb.EnrollmentStarted {
	return &accesspb.EnrollmentStarted{
		EnrollmentId: id.New("enrollment"), CourseId: course, AccountId: account, Source: "free",
		EnrolledAt: timestamppb.New(may.AddDate(0, 0, day)),
	}
}

func newIDs(kind string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = id.New(kind)
	}
	return out
}
