package audit_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

var shelf = pg.Schema{Name: "shelf", Migrations: fstest.MapFS{
	"0001_thing.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE thing (id int);\n")},
}}

// recorded returns what one transaction tells the audit log.
func recorded(ctx context.Context, t *testing.T, entries ...audit.Entry) []*recordpb.Recorded {
	t.Helper()
	db := pgtest.Open(t, shelf)
	if err := db.InTx(ctx, func(tx *pg.Tx) error { return audit.Record(ctx, tx, entries...) }); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), `SELECT payload FROM outbox ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []*recordpb.Recorded
	for rows.Next() {
		var payload []byte
		r := new(recordpb.Recorded)
		if err := rows.Scan(&payload); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(payload, r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestRecord(t *testing.T) {
	t.Parallel()
	who := auth.Principal{Account: id.New("account"), Session: id.New("session"), Service: "edge"}
	ctx := telemetry.WithRequestID(auth.With(t.Context(), who), "request-1")
	course, person, grant := id.New("course"), id.New("account"), id.New("grant")
	got := recorded(ctx, t,
		audit.Entry{Action: "role.granted", Object: grant, Course: course, Person: person, Reason: "She asked", After: map[string]any{"role": "grader"}},
		audit.Entry{Action: "role.taken", Object: grant, Before: map[string]any{"role": "grader"}},
	)
	if len(got) != 2 {
		t.Fatalf("%d entries", len(got))
	}
	first := got[0]
	if !id.Valid("entry", first.GetEntryId()) || first.GetEntryId() == got[1].GetEntryId() || !first.GetAt().IsValid() {
		t.Errorf("id %q, at %v", first.GetEntryId(), first.GetAt())
	}
	want := &recordpb.Recorded{
		EntryId: first.GetEntryId(), At: first.GetAt(), Service: "shelf", Action: "role.granted", ActorId: who.Account, SessionId: who.Session,
		Caller: "edge", ObjectId: grant, CourseId: course, PersonId: person, After: `{"role":"grader"}`, Reason: "She asked", RequestId: "request-1",
	}
	if !proto.Equal(first, want) {
		t.Errorf("got %v, want %v", first, want)
	}
	if got[1].GetBefore() != `{"role":"grader"}` || got[1].GetAfter() != "" {
		t.Errorf("the second: %v", got[1])
	}
}

func TestRecordSaysWhoActs(t *testing.T) {
	t.Parallel()
	account, token := id.New("account"), id.New("token")
	for name, c := range map[string]struct {
		who                  auth.Principal
		actor, token, caller string
	}{
		"nobody calls":     {auth.Principal{}, "", "", "shelf"},
		"a service":        {auth.Principal{Service: "commerce"}, "", "", "commerce"},
		"on behalf":        {auth.Principal{Service: "commerce", Account: account}, account, "", "commerce"},
		"a program":        {auth.Principal{Service: "edge", Account: account, Token: token}, account, token, "edge"},
		"somebody unknown": {auth.Principal{Service: "edge"}, "", "", "edge"},
	} {
		got := recorded(auth.With(t.Context(), c.who), t, audit.Entry{Action: "thing.made"})[0]
		if got.GetActorId() != c.actor || got.GetTokenId() != c.token || got.GetCaller() != c.caller {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRecordBoundsWhatItKeeps(t *testing.T) {
	t.Parallel()
	got := recorded(t.Context(), t, audit.Entry{Action: "thing.made", After: map[string]string{"text": strings.Repeat("x", 1<<20)}})[0]
	var after map[string]any
	if err := json.Unmarshal([]byte(got.GetAfter()), &after); err != nil || len(got.GetAfter()) > 200 || after["bytes"] == nil || after["sha256"] == nil {
		t.Errorf("%v: %s", err, got.GetAfter())
	}
	db := pgtest.Open(t, shelf)
	if err := db.InTx(t.Context(), func(tx *pg.Tx) error {
		return audit.Record(t.Context(), tx, audit.Entry{Action: "thing.made", After: func() {}})
	}); err == nil {
		t.Error("what is no JSON is recorded")
	}
}

// No entries are no record: what the transaction changes is undone.
func TestRecordNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, shelf)
	err := db.InTx(t.Context(), func(tx *pg.Tx) error {
		if err := audit.Record(t.Context(), tx); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `INSERT INTO thing VALUES (1)`)
		return err
	})
	if err == nil {
		t.Error("a change without an entry is kept")
	}
}
