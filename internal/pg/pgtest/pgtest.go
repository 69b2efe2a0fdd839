// Package pgtest gives a test a database of its own on the server that
// STOA_TEST_POSTGRES names.
//
// The schemas asked for are migrated once into a template named by the hash of
// their migrations; each test's database is a copy of it (20–50 ms).
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stoa-lms/stoa/internal/pg"
)

// New makes a database with the given schemas and returns its URL. It is
// dropped when the test ends. Without a server the test fails.
func New(tb testing.TB, schemas ...pg.Schema) string {
	tb.Helper()
	admin := os.Getenv("STOA_TEST_POSTGRES")
	if admin == "" {
		tb.Fatal("STOA_TEST_POSTGRES is not set: run `make test`, or `go run ./cmd/testservers -- go test ./...` for a part")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	template, err := template(ctx, admin, schemas)
	if err != nil {
		tb.Fatalf("pgtest: template: %v", err)
	}
	server, err := connections()
	if err != nil {
		tb.Fatalf("pgtest: STOA_TEST_POSTGRES: %v", err)
	}
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := server.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy", name, template)); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		if _, err := server.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("pgtest: drop: %v", err)
		}
	})
	return onDatabase(tb, admin, name)
}

// Open makes a database with one schema and returns a pool in it, closed when
// the test ends.
func Open(tb testing.TB, schema pg.Schema) *pg.DB {
	tb.Helper()
	return OpenURL(tb, New(tb, schema), schema.Name)
}

// OpenURL returns a pool for a schema of a database that [New] made, closed
// when the test ends.
func OpenURL(tb testing.TB, url, schema string) *pg.DB {
	tb.Helper()
	db, err := pg.Open(context.Background(), pg.Config{URL: url, Schema: schema})
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(db.Close)
	return db
}

var (
	mu    sync.Mutex
	known = map[string]bool{}
)

// connections to the server, which all tests of a program share: to make one costs as much
// as half a database.
var connections = sync.OnceValues(func() (*pgxpool.Pool, error) {
	return pgxpool.New(context.Background(), os.Getenv("STOA_TEST_POSTGRES"))
})

func template(ctx context.Context, admin string, schemas []pg.Schema) (string, error) {
	hash, err := pg.Fingerprint(schemas...)
	if err != nil {
		return "", err
	}
	name := "template_" + hash
	mu.Lock()
	defer mu.Unlock()
	if known[name] {
		return name, nil
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	// Test binaries of several packages share the server.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext($1))`, name); err != nil {
		return "", err
	}
	var ready bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)`, name).Scan(&ready); err != nil {
		return "", err
	}
	if !ready {
		for _, sql := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return "", err
			}
		}
		url, err := withDatabase(admin, name)
		if err != nil {
			return "", err
		}
		if err := pg.Migrate(ctx, url, schemas...); err != nil {
			return "", err
		}
		if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" IS_TEMPLATE true"); err != nil {
			return "", err
		}
	}
	known[name] = true
	return name, nil
}

func onDatabase(tb testing.TB, admin, name string) string {
	tb.Helper()
	u, err := withDatabase(admin, name)
	if err != nil {
		tb.Fatalf("pgtest: STOA_TEST_POSTGRES: %v", err)
	}
	return u
}

func withDatabase(admin, name string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
