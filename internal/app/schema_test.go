package app_test

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

var update = flag.Bool("update", false, "write the schema.sql files")

// TestSchemaDumps holds the schema.sql files to what the migrations make, so
// that a reader sees the tables and not only how they came about.
func TestSchemaDumps(t *testing.T) {
	t.Parallel()
	// A schema without tables of its own has those that all have.
	const bare = "bare"
	common := []string{"idempotency", "inbox", "inbox_failed", "outbox", "person_key"}
	ofGoose := []string{"migration", "migration_common"}
	schemas := append(app.Schemas(), pg.Schema{Name: bare, Migrations: fstest.MapFS{
		"0001_nothing.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nSELECT 1;\n")},
	}})
	url := pgtest.New(t, schemas...)
	dump := func(schema string, keep func(string) bool) string {
		t.Helper()
		text, err := pgtest.Dump(t.Context(), url, schema, keep)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	shared := func(table string) bool { return slices.Contains(common, table) }
	own := func(table string) bool { return !shared(table) && !slices.Contains(ofGoose, table) }
	if left := dump(bare, own); left != "" {
		t.Errorf("every service has tables that this test does not know as common ones:\n%s", left)
	}
	want := dump(bare, shared)
	compare(t, "../pg/schema.sql", "the tables that every service has", want)
	for _, s := range app.Schemas() {
		if diff := cmp.Diff(want, dump(s.Name, shared)); diff != "" {
			t.Errorf("%s has changed a table that all services have in common:\n%s", s.Name, diff)
		}
		compare(t, filepath.Join("../service", s.Name, "schema.sql"), "the schema \""+s.Name+"\"", dump(s.Name, own))
	}
}

// compare holds a file to the dump, or writes it.
func compare(t *testing.T, path, what, dump string) {
	t.Helper()
	const command = "bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update"
	want := "-- What the migrations make of " + what + ". Generated; do not edit:\n-- " + command + "\n\n" + dump
	if *update {
		if err := os.WriteFile(path, []byte(want), fs.FileMode(0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path) //nolint:gosec // a file of the repository
	if err != nil {
		t.Errorf("%v: write it with `%s`", err, command)
		return
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("%s is not what the migrations make; write it anew with `%s` (-file +database):\n%s", path, command, diff)
	}
}
