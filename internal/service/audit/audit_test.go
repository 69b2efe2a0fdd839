package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

// env is the service on a database of its own.
type env struct {
	auditpb.AuditServiceClient

	url     string
	db      *pg.DB
	keys    *secret.Keys
	service *Service
	now     time.Time
}

func newEnv(tb testing.TB) *env {
	tb.Helper()
	text, err := secret.Generate()
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	e := &env{url: pgtest.New(tb, Schema), keys: keys, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	e.db = pgtest.OpenURL(tb, e.url, Schema.Name)
	e.service = New(Config{DB: e.db, Log: rpctest.Log(tb), Keys: keys, Now: func() time.Time { return e.now }})
	h := rpctest.New(tb, rpctest.Everything)
	e.service.Register(h)
	e.AuditServiceClient = auditpb.NewAuditServiceClient(h.As("edge"))
	return e
}

// event returns something that a service tells, different for each n.
func event(n int) *recordpb.Recorded {
	return &recordpb.Recorded{
		EntryId: id.New("entry"), At: timestamppb.New(time.Date(2026, 3, 1, 11, 0, n, 0, time.UTC)), Service: "access", Action: "role.granted",
		ActorId: id.New("account"), SessionId: id.New("session"), Caller: "edge", ObjectId: id.New("grant"),
		CourseId: id.New("course"), PersonId: id.New("account"), After: fmt.Sprintf(`{"n":%d}`, n), RequestId: fmt.Sprintf("request-%d", n),
	}
}

// hear has the service handle events, as the bus does.
func (e *env) hear(tb testing.TB, events ...*recordpb.Recorded) {
	tb.Helper()
	for _, ev := range events {
		err := e.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a copy")
			return e.service.recorded(context.Background(), tx, ev)
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func (e *env) fill(tb testing.TB, n int) {
	tb.Helper()
	for i := range n {
		e.hear(tb, event(i))
	}
}

// tamper changes the tables as somebody may who has the database.
func (e *env) tamper(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), e.url)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), `SET search_path = audit; SET session_replication_role = replica`); err != nil {
		tb.Fatal(err)
	}
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		tb.Fatal(err)
	}
}

// faultAt is where Verify finds a fault, 0 when it finds none.
func (e *env) faultAt(tb testing.TB, known ...Known) int64 {
	tb.Helper()
	_, err := Verify(context.Background(), e.db, e.keys, 1, known)
	if f, ok := errors.AsType[*FaultError](err); ok {
		if f.Says == "" {
			tb.Error("a fault that says nothing")
		}
		return f.Sequence
	}
	if err != nil {
		tb.Fatal(err)
	}
	return 0
}

func TestChain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first := event(0)
	e.hear(t, first, event(1), first, event(2)) // one of them twice
	v, err := Verify(t.Context(), e.db, e.keys, 1, nil)
	if err != nil || v.Entries != 3 || v.Sequence != 3 || len(v.Hash) != 32 {
		t.Fatalf("%+v, %v", v, err)
	}
	list, err := e.ListEntries(rpctest.Account(t.Context(), id.New("account")), &auditpb.ListEntriesRequest{})
	if err != nil || len(list.GetItems()) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	got := list.GetItems()[2]
	want := &auditpb.Entry{
		Id: first.GetEntryId(), Sequence: 1, At: first.GetAt(), Service: "access", Action: "role.granted", ActorId: first.GetActorId(),
		SessionId: first.GetSessionId(), Caller: "edge", ObjectId: first.GetObjectId(), CourseId: first.GetCourseId(), PersonId: first.GetPersonId(),
		After: `{"n":0}`, RequestId: "request-0", Hash: got.GetHash(),
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Part of the log alone, from an entry on.
	if v, err := Verify(t.Context(), e.db, e.keys, 3, nil); err != nil || v.Entries != 1 {
		t.Errorf("from 3: %+v, %v", v, err)
	}
	if v, err := Verify(t.Context(), newEnv(t).db, e.keys, 1, nil); err != nil || v.Entries != 0 {
		t.Errorf("an empty log: %+v, %v", v, err)
	}
}

// Services record at the same time; the log has no gaps and no forks.
func TestAppendAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { e.fill(t, 10) })
	}
	wg.Wait()
	if v, err := Verify(t.Context(), e.db, e.keys, 1, nil); err != nil || v.Entries != 60 {
		t.Errorf("%+v, %v", v, err)
	}
}

// The database refuses the service what the log must not allow.
func TestOnlyGrows(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.fill(t, 2)
	for _, sql := range []string{
		`UPDATE entry SET reason = 'x'`, `DELETE FROM entry`, `DELETE FROM entry WHERE sequence = 77`, `TRUNCATE entry`,
		`UPDATE checkpoint SET hash = ''`, `DELETE FROM checkpoint`,
	} {
		_, err := e.db.Exec(t.Context(), sql)
		if err == nil || !strings.Contains(err.Error(), "only grows") && !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if at := e.faultAt(t); at != 0 {
		t.Errorf("a fault at %d", at)
	}
}

func TestVerifyFindsWhatWasDone(t *testing.T) {
	t.Parallel()
	// Every column of an entry.
	for _, column := range []string{
		"entry_id", "service", "action", "actor_id", "session_id", "token_id", "caller", "object_id", "course_id", "person_id",
		"before", "after", "reason", "request_id", "event_id",
	} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.fill(t, 4)
			e.tamper(t, `UPDATE entry SET `+column+` = `+column+` || 'x' WHERE sequence = 2`)
			if at := e.faultAt(t); at != 2 {
				t.Errorf("the fault is found at %d", at)
			}
		})
	}
	for name, c := range map[string]struct {
		sql string
		at  int64
	}{
		"nothing":                   {`SELECT 1`, 0},
		"time":                      {`UPDATE entry SET at = at + interval '1 microsecond' WHERE sequence = 3`, 3},
		"hash":                      {`UPDATE entry SET hash = sha256(hash) WHERE sequence = 3`, 3},
		"text moved between fields": {`UPDATE entry SET before = after, after = before WHERE sequence = 2`, 2},
		"first removed":             {`DELETE FROM entry WHERE sequence = 1`, 1},
		"one removed":               {`DELETE FROM entry WHERE sequence = 3`, 3},
		"one removed, gap closed":   {`DELETE FROM entry WHERE sequence = 3; UPDATE entry SET sequence = 3 WHERE sequence = 4; UPDATE entry SET sequence = 4 WHERE sequence = 5; UPDATE head SET sequence = 4`, 3},
		"newest removed":            {`DELETE FROM entry WHERE sequence = 5`, 5},
		"all removed":               {`DELETE FROM entry`, 1},
		"two swapped":               {`UPDATE entry SET sequence = 99 WHERE sequence = 2; UPDATE entry SET sequence = 2 WHERE sequence = 3; UPDATE entry SET sequence = 3 WHERE sequence = 99`, 2},
		"one added":                 {`INSERT INTO entry SELECT 6, 'entry_x', at, service, action, actor_id, session_id, token_id, caller, object_id, course_id, person_id, before, after, reason, request_id, event_id, hash FROM entry WHERE sequence = 5`, 6},
		"head moved back":           {`UPDATE head SET sequence = 4`, 5},
		"checkpoint made":           {`INSERT INTO checkpoint SELECT 4, hash, now(), hash FROM entry WHERE sequence = 4`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.fill(t, 5)
			e.tamper(t, c.sql)
			if at := e.faultAt(t); at != c.at {
				t.Errorf("the fault is found at %d, want %d", at, c.at)
			}
		})
	}
}

// rebuild makes the chain anew from an entry on, as somebody may who has the
// database and this program.
func (e *env) rebuild(tb testing.TB, from int64) {
	tb.Helper()
	list, err := after(context.Background(), e.db, 0, 10_000)
	if err != nil {
		tb.Fatal(err)
	}
	before := make([]byte, 32)
	for _, one := range list {
		if one.Sequence >= from {
			one.Hash = one.hash(before)
			e.tamper(tb, `UPDATE entry SET hash = $2 WHERE sequence = $1`, one.Sequence, one.Hash)
			e.tamper(tb, `UPDATE head SET hash = $1`, one.Hash)
		}
		before = one.Hash
	}
}

// A chain made anew is whole in itself: the checkpoints show it, and so does a
// head that was noted elsewhere.
func TestVerifyFindsAChainMadeAnew(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.fill(t, 3)
	v, err := Verify(t.Context(), e.db, e.keys, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	noted := Known{v.Sequence, v.Hash}
	e.now = e.now.Add(2 * time.Hour)
	for range 2 { // the second has nothing to do
		if err := e.service.hourly(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	e.fill(t, 2)
	if v, err := Verify(t.Context(), e.db, e.keys, 1, []Known{noted}); err != nil || v.Checkpoints != 1 || v.Entries != 5 {
		t.Fatalf("%+v, %v", v, err)
	}
	e.tamper(t, `UPDATE entry SET reason = 'another' WHERE sequence = 2`)
	e.rebuild(t, 2)
	if at := e.faultAt(t); at != 3 {
		t.Errorf("with a checkpoint the fault is found at %d, want 3", at)
	}
	e.tamper(t, `DELETE FROM checkpoint`)
	if at := e.faultAt(t); at != 0 {
		t.Errorf("without checkpoints a chain made anew is found at %d: nobody could", at)
	}
	if at := e.faultAt(t, noted); at != 3 {
		t.Errorf("with a noted head the fault is found at %d, want 3", at)
	}
	// What is cut off behind the last checkpoint only a noted head shows.
	e.tamper(t, `DELETE FROM entry WHERE sequence > 2`)
	e.tamper(t, `UPDATE head SET sequence = 2, hash = (SELECT hash FROM entry WHERE sequence = 2)`)
	if at := e.faultAt(t, noted); at != 3 {
		t.Errorf("cut off: the fault is found at %d, want 3", at)
	}
}

func TestCheckpointEveryThousand(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.tamper(t, `UPDATE head SET sequence = 998`)
	e.fill(t, 4)
	var at []int64
	rows, err := e.db.Query(t.Context(), `SELECT sequence FROM checkpoint`)
	if err != nil {
		t.Fatal(err)
	}
	if at, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || len(at) != 1 || at[0] != 1000 {
		t.Errorf("checkpoints at %v, %v", at, err)
	}
}

func TestListEntries(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.fill(t, 30)
	special := event(40)
	special.Action, special.TokenId, special.SessionId = "session.started", id.New("token"), ""
	e.hear(t, special)
	ctx := rpctest.Account(t.Context(), id.New("account"))
	for name, c := range map[string]struct {
		req  *auditpb.ListEntriesRequest
		want int
	}{
		"all":         {&auditpb.ListEntriesRequest{PageSize: 100}, 31},
		"actor":       {&auditpb.ListEntriesRequest{ActorId: special.GetActorId()}, 1},
		"object":      {&auditpb.ListEntriesRequest{ObjectId: special.GetObjectId()}, 1},
		"person":      {&auditpb.ListEntriesRequest{PersonId: special.GetPersonId()}, 1},
		"course":      {&auditpb.ListEntriesRequest{CourseId: special.GetCourseId()}, 1},
		"request":     {&auditpb.ListEntriesRequest{RequestId: "request-7"}, 1},
		"action":      {&auditpb.ListEntriesRequest{Action: "session.started"}, 1},
		"actions":     {&auditpb.ListEntriesRequest{Action: "session."}, 1},
		"other":       {&auditpb.ListEntriesRequest{Action: "session.ended"}, 0},
		"someone":     {&auditpb.ListEntriesRequest{ActorId: id.New("account")}, 0},
		"since":       {&auditpb.ListEntriesRequest{Since: special.GetAt().AsTime().Format(time.RFC3339Nano)}, 1},
		"until":       {&auditpb.ListEntriesRequest{Until: special.GetAt().AsTime().Format(time.RFC3339), PageSize: 100}, 30},
		"two filters": {&auditpb.ListEntriesRequest{ActorId: special.GetActorId(), Action: "role.granted"}, 0},
	} {
		res, err := e.ListEntries(ctx, c.req)
		if err != nil || len(res.GetItems()) != c.want {
			t.Errorf("%s: %d entries, %v; want %d", name, len(res.GetItems()), err, c.want)
		}
	}
	// All pages, newest first, each entry once.
	var seen []int64
	for cursor := ""; ; {
		res, err := e.ListEntries(ctx, &auditpb.ListEntriesRequest{PageSize: 7, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range res.GetItems() {
			seen = append(seen, one.GetSequence())
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	for i, sequence := range seen {
		if sequence != int64(31-i) {
			t.Fatalf("the pages have %v", seen)
		}
	}
	ofCourse, err := e.ListCourseEntries(ctx, &auditpb.ListCourseEntriesRequest{CourseId: special.GetCourseId()})
	if err != nil || len(ofCourse.GetItems()) != 1 || ofCourse.GetItems()[0].GetId() != special.GetEntryId() {
		t.Errorf("of a course: %v, %v", ofCourse, err)
	}
	if got, err := e.GetEntry(ctx, &auditpb.GetEntryRequest{EntryId: special.GetEntryId()}); err != nil || got.GetTokenId() != special.GetTokenId() {
		t.Errorf("one: %v, %v", got, err)
	}
	if _, err := e.GetEntry(ctx, &auditpb.GetEntryRequest{EntryId: id.New("entry")}); fault.CodeOf(err) != ErrEntryNotFound.Code {
		t.Errorf("none: %v", err)
	}
	if _, err := e.ListEntries(ctx, &auditpb.ListEntriesRequest{Since: "yesterday"}); fault.CodeOf(err) != "time.invalid" {
		t.Errorf("a time that is none: %v", err)
	}
	for _, cursor := range []string{"x", "WyJ4Il0"} {
		if _, err := e.ListEntries(ctx, &auditpb.ListEntriesRequest{Cursor: cursor}); !fault.Is(err, fault.Invalid) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// Each way to search has an index in the order of the answer.
func TestListsUseIndexes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, column := range []string{"actor_id", "object_id", "person_id", "course_id", "request_id"} {
		conn, err := e.db.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `SET enable_seqscan = off`); err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), `EXPLAIN SELECT * FROM entry WHERE `+column+` <> '' AND `+column+` = 'x' AND sequence < 100 ORDER BY sequence DESC LIMIT 21`)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		conn.Release()
		if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(text, "Index Scan using entry_") || strings.Contains(text, "Sort") {
			t.Errorf("%s: %v\n%s", column, err, text)
		}
	}
}

func TestExportEntries(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.fill(t, 12)
	big := event(1)
	big.Before, big.After = strings.Repeat("x", 16<<10), strings.Repeat("y", 16<<10)
	for range 70 { // more than one message may hold
		one := proto.CloneOf(big)
		one.EntryId = id.New("entry")
		e.hear(t, one)
	}
	ctx := rpctest.Account(t.Context(), id.New("account"))
	export := func(from int64) (all []*auditpb.Entry) {
		t.Helper()
		stream, err := e.ExportEntries(ctx, &auditpb.ExportEntriesRequest{After: from})
		if err != nil {
			t.Fatal(err)
		}
		for {
			res, err := stream.Recv()
			if err != nil {
				return all
			}
			all = append(all, res.GetEntries()...)
		}
	}
	all := export(0)
	if len(all) != 82 {
		t.Fatalf("%d entries", len(all))
	}
	for i, one := range all {
		if one.GetSequence() != int64(i+1) {
			t.Fatalf("entry %d has the sequence %d", i, one.GetSequence())
		}
	}
	if rest := export(80); len(rest) != 2 || rest[0].GetSequence() != 81 {
		t.Errorf("behind 80: %v", rest)
	}
	// That it was exported is told, as a change of the log's own service.
	var n int
	if err := e.db.QueryRow(t.Context(), `SELECT count(*) FROM outbox`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d events, %v; want one for each export", n, err)
	}
}

// BenchmarkAppend is how many changes of all services together the log can take.
func BenchmarkAppend(b *testing.B) {
	e := newEnv(b)
	for i := 0; b.Loop(); i++ {
		e.hear(b, event(i))
	}
}
