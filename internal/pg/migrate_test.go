package pg_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// unique returns a schema name that no other test of the server has: roles
// belong to the server.
func unique(prefix string) string {
	letters := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r - '0' + 'g'
		}
		return r
	}, strings.ReplaceAll(uuid.NewString(), "-", ""))
	return prefix + "_" + letters[:12]
}

func versions(t *testing.T, url string, schemas ...pg.Schema) []pg.Version {
	t.Helper()
	v, err := pg.Versions(t.Context(), url, schemas...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// twoSteps returns a schema, and the same with one migration more.
func twoSteps(name string) (one, two pg.Schema) {
	first := &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE thing (id int PRIMARY KEY);\nINSERT INTO thing VALUES (1);\n")}
	second := &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE thing ADD COLUMN n int NOT NULL DEFAULT 7;\n")}
	return pg.Schema{Name: name, Migrations: fstest.MapFS{"0001_thing.sql": first}},
		pg.Schema{Name: name, Migrations: fstest.MapFS{"0001_thing.sql": first, "0002_n.sql": second}}
}

// dropRole forgets a role once the databases that use it are gone. It is called
// before they are made, because the last cleanup runs first.
func dropRole(t *testing.T, schema string) {
	t.Helper()
	t.Cleanup(func() {
		if err := exec(context.Background(), os.Getenv("STOA_TEST_POSTGRES"), "DROP ROLE IF EXISTS "+pg.Role(schema)); err != nil {
			t.Errorf("drop role: %v", err)
		}
	})
}

func exec(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	name := unique("steps")
	dropRole(t, name)
	at := pgtest.New(t)
	one, two := twoSteps(name)
	same := func(got, want []pg.Version) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("versions (-want +got):\n%s", diff)
		}
	}
	same(versions(t, at, two), []pg.Version{{Schema: name, Current: 0, Want: 2}})
	for range 3 {
		if err := pg.Migrate(t.Context(), at, one); err != nil {
			t.Fatal(err)
		}
		same(versions(t, at, one), []pg.Version{{Schema: name, Current: 1, Want: 1}})
	}
	same(versions(t, at, two), []pg.Version{{Schema: name, Current: 1, Want: 2}})

	// A program that runs sees the new column without being opened again, and
	// keeps its rows.
	db := pgtest.OpenURL(t, at, name)
	if count(t, db, `true`) != 1 {
		t.Error("the migration's row is missing")
	}
	if err := pg.Migrate(t.Context(), at, two); err != nil {
		t.Fatal(err)
	}
	if count(t, db, `n = 7`) != 1 {
		t.Error("the second migration did not run")
	}
	same(versions(t, at, two), []pg.Version{{Schema: name, Current: 2, Want: 2}})

	// The program before, started again while a newer one runs, changes nothing.
	if err := pg.Migrate(t.Context(), at, one); err != nil {
		t.Errorf("an older program after a newer one: %v", err)
	}
	same(versions(t, at, one), []pg.Version{{Schema: name, Current: 2, Want: 1}})
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	name := unique("rush")
	dropRole(t, name)
	dropRole(t, name+"_x")
	at := pgtest.New(t)
	_, two := twoSteps(name)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := pg.Migrate(t.Context(), at, two, schemaOf(name+"_x", `CREATE TABLE other (id int);`)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if count(t, pgtest.OpenURL(t, at, name), `n = 7`) != 1 {
		t.Error("a migration ran twice, or not at all")
	}
}

// Roles belong to the server: several databases of it may make one at once.
func TestMigrateDatabasesAtOnce(t *testing.T) {
	t.Parallel()
	name := unique("many")
	dropRole(t, name)
	one, _ := twoSteps(name)
	var urls []string
	for range 4 {
		urls = append(urls, pgtest.New(t))
	}
	var wg sync.WaitGroup
	for _, at := range urls {
		wg.Go(func() {
			if err := pg.Migrate(t.Context(), at, one); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, at := range urls {
		if count(t, pgtest.OpenURL(t, at, name), `true`) != 1 {
			t.Error("a database was not migrated")
		}
	}
}

// The database of a provider gives no superuser.
func TestMigrateAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	name, user := unique("plain"), unique("owner")
	at := pgtest.New(t)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	t.Cleanup(func() { // before the database is dropped, whose owner it is
		if err := exec(context.Background(), at, "DROP SCHEMA IF EXISTS "+name+" CASCADE", "REASSIGN OWNED BY "+user+" TO CURRENT_USER",
			"DROP OWNED BY "+user, "DROP ROLE "+pg.Role(name), "DROP ROLE "+user); err != nil {
			t.Error(err)
		}
	})
	if err := exec(t.Context(), at, "CREATE ROLE "+user+" LOGIN CREATEROLE PASSWORD 'secret'", "ALTER DATABASE "+database+" OWNER TO "+user); err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, "secret")
	one, two := twoSteps(name)
	for _, s := range []pg.Schema{one, one, two} {
		if err := pg.Migrate(t.Context(), u.String(), s); err != nil {
			t.Fatal(err)
		}
	}
	db, err := pg.Open(t.Context(), pg.Config{URL: u.String(), Schema: name})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if count(t, db, `n = 7`) != 1 {
		t.Error("the ordinary user's tables are not there")
	}
	if _, err := db.Exec(t.Context(), `ALTER TABLE thing ADD COLUMN x int`); err == nil {
		t.Error("the service's role may change its tables")
	}
}

func TestMigrateFails(t *testing.T) {
	t.Parallel()
	name := unique("wrong")
	dropRole(t, name)
	at := pgtest.New(t)
	bad := schemaOf(name, "CREATE TABLE thing (id int PRIMARY KEY);\nCREATE TABLE thing (id int);")
	err := pg.Migrate(t.Context(), at, bad)
	if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "version:1") || pg.Away(err) {
		t.Fatalf("%v does not name the schema and the version", err)
	}
	if v := versions(t, at, bad); v[0].Current != 0 {
		t.Errorf("%+v after a failure", v)
	}
	// Nothing of it was kept, and nobody waits for its lock.
	one, _ := twoSteps(name)
	if err := pg.Migrate(t.Context(), at, one); err != nil {
		t.Errorf("corrected: %v", err)
	}
	for _, name := range []string{"", "a b", "a;DROP SCHEMA x", "Ä", `x"y`} {
		if err := pg.Migrate(t.Context(), at, pg.Schema{Name: name, Migrations: one.Migrations}); err == nil {
			t.Errorf("a schema named %q was made", name)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(schemas ...pg.Schema) string {
		t.Helper()
		f, err := pg.Fingerprint(schemas...)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	file := func(name, text string) fstest.MapFS { return fstest.MapFS{name: &fstest.MapFile{Data: []byte(text)}} }
	a, b := pg.Schema{Name: "a", Migrations: file("0001_x.sql", "one")}, pg.Schema{Name: "b", Migrations: file("0001_x.sql", "one")}
	two := file("0001_x.sql", "one")
	two["0002_y.sql"] = &fstest.MapFile{Data: []byte("two")}
	seen := map[string]string{}
	for name, f := range map[string]string{
		"none": of(), "a": of(a), "b": of(b), "a and b": of(a, b),
		"other text":      of(pg.Schema{Name: "a", Migrations: file("0001_x.sql", "One")}),
		"other file name": of(pg.Schema{Name: "a", Migrations: file("0001_z.sql", "one")}),
		"one file more":   of(pg.Schema{Name: "a", Migrations: two}),
		// Where one file ends and the next begins is part of it.
		"run together": of(pg.Schema{Name: "a", Migrations: file("0001_x.sql", "one\na/0002_y.sql 3\ntwo")}),
	} {
		if other, ok := seen[f]; ok {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		seen[f] = name
	}
	if of(a, b) != of(pg.Schema{Name: "a", Migrations: file("0001_x.sql", "one")}, b) {
		t.Error("equal files have different fingerprints")
	}
}

func TestSub(t *testing.T) {
	t.Parallel()
	sub := pg.Sub(fstest.MapFS{"migrations/0001_x.sql": &fstest.MapFile{Data: []byte("x")}})
	if _, err := sub.Open("0001_x.sql"); err != nil {
		t.Error(err)
	}
}
