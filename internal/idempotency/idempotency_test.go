package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
)

var writes = pg.Schema{Name: "writes", Migrations: fstest.MapFS{
	"0001_effect.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE effect (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text NOT NULL);\n")},
}}

// call is who calls, with which key and which version in mind.
type call struct{ account, service, key, match string }

func (c call) context(ctx context.Context) context.Context {
	md := metadata.MD{}
	if c.key != "" {
		md.Set(rpc.KeyIdempotency, c.key)
	}
	if c.match != "" {
		md.Set(rpc.KeyIfMatch, c.match)
	}
	return auth.With(metadata.NewIncomingContext(ctx, md), auth.Principal{Account: c.account, Service: c.service})
}

// write has an effect that can be counted, and tells which one it was.
func write(ctx context.Context, db *pg.DB, req proto.Message, what string) (string, error) {
	res, err := idempotency.Do(ctx, db, req, func(tx *pg.Tx) (*wrapperspb.StringValue, error) {
		tx.Exempt("a test")
		var n int
		if err := tx.QueryRow(ctx, `INSERT INTO effect (what) VALUES ($1) RETURNING n`, what).Scan(&n); err != nil {
			return nil, err
		}
		return wrapperspb.String(fmt.Sprint(what, " ", n)), nil
	})
	return res.GetValue(), err
}

func effects(tb testing.TB, db *pg.DB) int {
	tb.Helper()
	var n int
	if err := db.QueryRow(context.Background(), `SELECT count(*) FROM effect`).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestOnceForManyAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	ctx := call{account: id.New("account"), key: "k"}.context(t.Context())
	var wg sync.WaitGroup
	results := make([]string, 50)
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = write(ctx, db, wrapperspb.String("body"), "one"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, got := range results {
		if got == "" || got != results[0] {
			t.Errorf("call %d was answered %q, call 0 %q", i, got, results[0])
		}
	}
	if n := effects(t, db); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

func TestWithoutAKey(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	ctx := call{account: id.New("account")}.context(t.Context())
	for range 3 {
		if _, err := write(ctx, db, wrapperspb.String("body"), "one"); err != nil {
			t.Fatal(err)
		}
	}
	if n := effects(t, db); n != 3 {
		t.Errorf("%d effects, want 3", n)
	}
}

func TestKeyWithAnotherRequest(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	first := call{account: id.New("account"), service: "edge", key: "k", match: `"1"`}
	want, err := write(first.context(t.Context()), db, wrapperspb.String("body"), "one")
	if err != nil {
		t.Fatal(err)
	}
	otherMatch, noMatch := first, first
	otherMatch.match, noMatch.match = `"2"`, ""
	for name, c := range map[string]struct {
		call call
		req  proto.Message
	}{
		"another body":     {first, wrapperspb.String("other")},
		"an empty body":    {first, wrapperspb.String("")},
		"another method":   {first, wrapperspb.Bytes([]byte("body"))}, // the same bytes on the wire
		"another If-Match": {otherMatch, wrapperspb.String("body")},
		"no If-Match":      {noMatch, wrapperspb.String("body")},
	} {
		_, err := write(c.call.context(t.Context()), db, c.req, "other")
		if !errors.Is(err, idempotency.ErrReused) || fault.CodeOf(err) != "idempotency.key_reused" || !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The first request still has its answer, through whichever door it comes.
	again := first
	again.service = "commerce"
	for _, c := range []call{first, again} {
		if got, err := write(c.context(t.Context()), db, wrapperspb.String("body"), "again"); err != nil || got != want {
			t.Errorf("again: %q, %v; want %q", got, err, want)
		}
	}
	if n := effects(t, db); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

func TestCallersDoNotShareKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	seen := map[string]bool{}
	callers := []call{
		{account: id.New("account"), service: "edge"},
		{account: id.New("account"), service: "edge"},
		{service: "edge"},
		{service: "commerce"},
	}
	for _, c := range callers {
		c.key = "k"
		got, err := write(c.context(t.Context()), db, wrapperspb.String("body"), "one")
		if err != nil || seen[got] {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		seen[got] = true
	}
	if n := effects(t, db); n != len(callers) {
		t.Errorf("%d effects, want %d", n, len(callers))
	}
}

func TestRefusedWritesAreNotRemembered(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	ctx := call{account: id.New("account"), key: "k"}.context(t.Context())
	refused := fault.New(fault.Conflict, "thing.wrong", "Wrong.")
	_, err := idempotency.Do(ctx, db, wrapperspb.String("body"), func(tx *pg.Tx) (*wrapperspb.StringValue, error) {
		tx.Exempt("a test")
		if _, err := tx.Exec(ctx, `INSERT INTO effect (what) VALUES ('refused')`); err != nil {
			return nil, err
		}
		return wrapperspb.String("refused"), refused
	})
	if !errors.Is(err, refused) || effects(t, db) != 0 {
		t.Fatalf("%d effects, %v", effects(t, db), err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = idempotency.Do(ctx, db, wrapperspb.String("body"), func(*pg.Tx) (*wrapperspb.StringValue, error) { panic("boom") })
	}()
	// Not even what was sent is held against a corrected request.
	got, err := write(ctx, db, wrapperspb.String("corrected"), "one")
	if err != nil || effects(t, db) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// Of two at once the first is refused: the second, that waited, does the write.
func TestWaiterTakesOver(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	ctx := call{account: id.New("account"), key: "k"}.context(t.Context())
	refused := fault.New(fault.Conflict, "thing.wrong", "Wrong.")
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := idempotency.Do(ctx, db, wrapperspb.String("body"), func(*pg.Tx) (*wrapperspb.StringValue, error) {
			close(entered)
			<-leave
			return nil, refused
		}); !errors.Is(err, refused) {
			t.Error(err)
		}
	})
	<-entered
	var ran atomic.Bool
	wg.Go(func() {
		if _, err := idempotency.Do(ctx, db, wrapperspb.String("body"), func(*pg.Tx) (*wrapperspb.StringValue, error) {
			ran.Store(true)
			return wrapperspb.String("second"), nil
		}); err != nil {
			t.Error(err)
		}
	})
	if ran.Load() {
		t.Error("two writes with one key ran at once")
	}
	close(leave)
	wg.Wait()
	if !ran.Load() {
		t.Error("the second write did not run")
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	for name, res := range map[string]*wrapperspb.StringValue{"text": wrapperspb.String("text"), "empty": wrapperspb.String(""), "none": nil} {
		ctx := call{account: id.New("account"), key: "k"}.context(t.Context())
		for range 2 {
			got, err := idempotency.Do(ctx, db, wrapperspb.String("body"), func(*pg.Tx) (*wrapperspb.StringValue, error) { return res, nil })
			if err != nil || got.GetValue() != res.GetValue() {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	for name, c := range map[string]struct{ key, code string }{
		"longest":  {strings.Repeat("k", 255), ""},
		"too long": {strings.Repeat("k", 256), "idempotency.key_too_long"},
		"huge":     {strings.Repeat("k", 1<<20), "idempotency.key_too_long"},
		"NUL":      {"a\x00b", "request.bad_text"},
		"no UTF-8": {"a\xffb", "request.bad_text"},
	} {
		_, err := write(call{account: id.New("account"), key: c.key}.context(t.Context()), db, wrapperspb.String("body"), name)
		if c.code == "" && err != nil || c.code != "" && (fault.CodeOf(err) != c.code || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	if n := effects(t, db); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

func TestResultSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, writes)
	ctx := call{account: id.New("account"), key: "k"}.context(t.Context())
	open := func() *pg.DB {
		db, err := pg.Open(t.Context(), pg.Config{URL: url, Schema: writes.Name})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	want, err := write(ctx, db, wrapperspb.String("body"), "one")
	db.Close()
	if err != nil {
		t.Fatal(err)
	}
	db = open()
	defer db.Close()
	if got, err := write(ctx, db, wrapperspb.String("body"), "one"); err != nil || got != want || effects(t, db) != 1 {
		t.Errorf("after a start: %q, %v; want %q", got, err, want)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, writes)
	who := call{account: id.New("account")}
	for i := range 10 {
		who.key = fmt.Sprint("key ", i)
		if _, err := write(who.context(t.Context()), db, wrapperspb.String("body"), "one"); err != nil {
			t.Fatal(err)
		}
	}
	// Seven are older than what is kept, one of the others nearly.
	if _, err := db.Exec(t.Context(), `UPDATE idempotency SET created_at = now() - make_interval(secs => $1) WHERE key < 'key 7'`, (idempotency.Retention + time.Minute).Seconds()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE idempotency SET created_at = now() - make_interval(secs => $1) WHERE key = 'key 7'`, (idempotency.Retention - time.Minute).Seconds()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{5, 2, 0} {
		if n, err := idempotency.Sweep(t.Context(), db, 5); err != nil || n != want {
			t.Errorf("%d keys forgotten, %v; want %d", n, err, want)
		}
	}
	who.key = "key 7"
	if _, err := write(who.context(t.Context()), db, wrapperspb.String("other"), "one"); !errors.Is(err, idempotency.ErrReused) {
		t.Errorf("a key that must be kept: %v", err)
	}
	who.key = "key 0"
	if _, err := write(who.context(t.Context()), db, wrapperspb.String("other"), "one"); err != nil {
		t.Errorf("a forgotten key: %v", err)
	}
}
