package pg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// schemaOf returns a schema with one migration.
func schemaOf(name, sql string) pg.Schema {
	return pg.Schema{Name: name, Migrations: fstest.MapFS{"0001_first.sql": &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}}}
}

var things = schemaOf("things", `
CREATE TABLE thing (
	id int PRIMARY KEY,
	n int NOT NULL DEFAULT 0 CONSTRAINT thing_n CHECK (n >= 0),
	name text CONSTRAINT thing_name UNIQUE,
	of int CONSTRAINT thing_of REFERENCES thing DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO thing (id) VALUES (1), (2);`)

func count(tb testing.TB, db pg.Querier, where string) int {
	tb.Helper()
	var n int
	if err := db.QueryRow(context.Background(), `SELECT count(*) FROM thing WHERE `+where).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestInTxCommits(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	var order []string
	err := db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		tx.AfterCommit(func() {
			// Another connection sees it already.
			if count(t, db, `id = 3`) != 1 {
				t.Error("AfterCommit ran before the commit")
			}
			order = append(order, "first")
		})
		tx.AfterCommit(func() { order = append(order, "second") })
		_, err := tx.Exec(t.Context(), `INSERT INTO thing (id) VALUES (3)`)
		if count(t, db, `id = 3`) != 0 {
			t.Error("others see what is not committed")
		}
		return err
	})
	if err != nil || strings.Join(order, " ") != "first second" {
		t.Errorf("after commit %q, %v", order, err)
	}
}

func TestInTxRollsBack(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	refused := fault.New(fault.Conflict, "thing.wrong", "Wrong.")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		fn   func(tx *pg.Tx) error
		want func(error) bool
	}{
		"fn fails":           {func(*pg.Tx) error { return fmt.Errorf("inner: %w", refused) }, func(err error) bool { return errors.Is(err, refused) }},
		"statement fails":    {func(tx *pg.Tx) error { _, err := tx.Exec(t.Context(), `INSERT INTO thing (id) VALUES (1)`); return err }, func(err error) bool { return pg.Violates(err, "thing_pkey") }},
		"failure is ignored": {func(tx *pg.Tx) error { _, _ = tx.Exec(t.Context(), `nonsense`); return nil }, func(err error) bool { return err != nil }},
		"the commit fails": {func(tx *pg.Tx) error {
			tx.Exempt("a test")
			_, err := tx.Exec(t.Context(), `UPDATE thing SET of = 99 WHERE id = 1`)
			return err
		}, func(err error) bool { return pg.Violates(err, "thing_of") }},
		"the caller has gone": {func(*pg.Tx) error { cancel(); return nil }, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		ctx := ctx
		if name != "the caller has gone" {
			ctx = t.Context()
		}
		err := db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a test")
			tx.AfterCommit(func() { t.Errorf("%s: AfterCommit ran", name) })
			tx.Signal()
			if _, err := tx.Exec(t.Context(), `INSERT INTO thing (id) VALUES (50)`); err != nil {
				return err
			}
			return c.fn(tx)
		})
		if !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		if count(t, db, `id = 50 OR of = 99`) != 0 {
			t.Errorf("%s: something was kept", name)
		}
		select {
		case <-db.Signalled():
			t.Errorf("%s: signalled", name)
		default:
		}
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are not given back", n)
	}
}

func TestInTxPanics(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			tx.AfterCommit(func() { t.Error("AfterCommit ran") })
			if _, err := tx.Exec(t.Context(), `INSERT INTO thing (id) VALUES (50)`); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	if count(t, db, `id = 50`) != 0 || db.Stat().AcquiredConns() != 0 {
		t.Errorf("a panic leaves %d rows and %d connections", count(t, db, `id = 50`), db.Stat().AcquiredConns())
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	for range 3 {
		if err := db.InTx(t.Context(), func(tx *pg.Tx) error { tx.Signal(); tx.Signal(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	<-db.Signalled()
	select {
	case <-db.Signalled():
		t.Error("woken twice")
	default:
	}
}

func TestDeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	var both, wg sync.WaitGroup
	both.Add(2)
	var runs, committed atomic.Int32
	for _, ids := range [][2]int{{1, 2}, {2, 1}} {
		wg.Go(func() {
			first := true
			err := db.InTx(t.Context(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				runs.Add(1)
				tx.AfterCommit(func() { committed.Add(1) })
				if _, err := tx.Exec(t.Context(), `UPDATE thing SET n = n + 1 WHERE id = $1`, ids[0]); err != nil {
					return err
				}
				if first { // both hold one row now, and each wants the other's
					first = false
					both.Done()
					both.Wait()
				}
				_, err := tx.Exec(t.Context(), `UPDATE thing SET n = n + 1 WHERE id = $1`, ids[1])
				return err
			})
			if err != nil {
				t.Errorf("%v: %v", ids, err)
			}
		})
	}
	wg.Wait()
	if runs.Load() < 3 || committed.Load() != 2 || count(t, db, `n = 2`) != 2 {
		t.Errorf("%d runs, %d AfterCommit, %d rows counted twice; want 3, 2, 2", runs.Load(), committed.Load(), count(t, db, `n = 2`))
	}
}

func TestSerializationFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	var both, wg sync.WaitGroup
	both.Add(2)
	var runs atomic.Int32
	for _, id := range []int{11, 12} {
		wg.Go(func() {
			first := true
			err := db.InTx(t.Context(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				runs.Add(1)
				if _, err := tx.Exec(t.Context(), `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`); err != nil {
					return err
				}
				var sum int
				if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM thing`).Scan(&sum); err != nil {
					return err
				}
				if first {
					first = false
					both.Done()
					both.Wait()
				}
				_, err := tx.Exec(t.Context(), `INSERT INTO thing (id, n) VALUES ($1, $2)`, id, sum)
				return err
			})
			if err != nil {
				t.Errorf("%d: %v", id, err)
			}
		})
	}
	wg.Wait()
	// One after the other, the second has counted the first.
	if count(t, db, `n = 2`) != 1 || count(t, db, `n = 3`) != 1 {
		t.Errorf("two serializable transactions have both seen the same after %d runs", runs.Load())
	}
}

func TestRetryEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	for code, want := range map[string]int{"40001": 4, "40P01": 4, "23505": 1, "57014": 1} {
		runs := 0
		err := db.InTx(t.Context(), func(*pg.Tx) error {
			runs++
			return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code})
		})
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != code || runs != want {
			t.Errorf("%s: %d runs and %v, want %d", code, runs, err, want)
		}
	}
}

func TestViolates(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	if _, err := db.Exec(t.Context(), `UPDATE thing SET name = 'a' WHERE id = 1`); err != nil {
		t.Fatal(err)
	}
	for constraint, sql := range map[string]string{
		"thing_name": `UPDATE thing SET name = 'a' WHERE id = 2`,
		"thing_n":    `UPDATE thing SET n = -1`,
		"thing_pkey": `INSERT INTO thing (id) VALUES (1)`,
		"thing_of":   `INSERT INTO thing (id, of) VALUES (9, 99)`,
	} {
		_, err := db.Exec(t.Context(), sql)
		if !pg.Violates(err, constraint) || !pg.Violates(fmt.Errorf("x: %w", err), constraint) || pg.Violates(err, "other") {
			t.Errorf("%s: %v", constraint, err)
		}
	}
	if pg.Violates(nil, "") || pg.Violates(errors.New("thing_name"), "thing_name") {
		t.Error("something violates that does not")
	}
	err := db.QueryRow(t.Context(), `SELECT id FROM thing WHERE id = 77`).Scan(new(int))
	if !pg.NoRows(err) || !pg.NoRows(fmt.Errorf("x: %w", err)) || pg.NoRows(nil) {
		t.Errorf("NoRows: %v", err)
	}
}

func TestBadText(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	for name, text := range map[string]string{"NUL": "a\x00b", "no UTF-8": "a\xffb"} {
		for how, err := range map[string]error{
			"Exec":     second(db.Exec(t.Context(), `UPDATE thing SET name = $1 WHERE id = 1`, text)),
			"QueryRow": db.QueryRow(t.Context(), `SELECT id FROM thing WHERE name = $1`, text).Scan(new(int)),
			"Query":    drain(db.Query(t.Context(), `SELECT id FROM thing WHERE name = $1`, text)),
			"InTx": db.InTx(t.Context(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				return second(tx.Exec(t.Context(), `UPDATE thing SET name = $1 WHERE id = 1`, text))
			}),
			"JSON": db.QueryRow(t.Context(), `SELECT ($1::jsonb)->>'a'`, `{"a":"\u0000"}`).Scan(new(string)),
		} {
			if fault.CodeOf(err) != "request.bad_text" || !fault.Is(err, fault.Invalid) || pg.Away(err) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func drain(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// everyWay returns the error of each way to use a pool.
func everyWay(ctx context.Context, db *pg.DB) map[string]error {
	c, err := db.Hold(ctx)
	if err == nil {
		c.Release()
	}
	return map[string]error{
		"Ping":     db.Ping(ctx),
		"Exec":     second(db.Exec(ctx, `SELECT 1`)),
		"Query":    drain(db.Query(ctx, `SELECT 1`)),
		"QueryRow": db.QueryRow(ctx, `SELECT 1`).Scan(new(int)),
		"InTx":     db.InTx(ctx, func(*pg.Tx) error { return nil }),
		"Hold":     err,
	}
}

func wantAway(t *testing.T, what string, err error) {
	t.Helper()
	fe, ok := errors.AsType[*fault.Error](err)
	if !ok || fe.Kind != fault.Unavailable || fe.Code != "database.unavailable" || fe.Retry <= 0 || !pg.Away(err) {
		t.Errorf("%s: %v", what, err)
		return
	}
	if told := fault.ToStatus(err).String(); strings.Contains(told, "127.0.0.1") || strings.Contains(told, "hunter2") {
		t.Errorf("%s tells %s", what, told)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s logs the password: %v", what, err)
	}
}

func TestServerIsAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	url := "postgres://stoa:hunter2@" + l.Addr().String() + "/stoa?sslmode=disable"
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db := pgtest.OpenURL(t, url, "things") // succeeds, so that processes start in any order
	for how, err := range everyWay(t.Context(), db) {
		wantAway(t, how, err)
	}
	wantAway(t, "Migrate", pg.Migrate(t.Context(), url, things))
	_, err = pg.Versions(t.Context(), url, things)
	wantAway(t, "Versions", err)
	if pg.Away(nil) || pg.Away(errors.New("x")) || pg.Away(&pgconn.PgError{Code: "23505"}) || pg.Away(context.Canceled) {
		t.Error("a server that answers is said to be away")
	}
}

// proxy passes connections on to the server until it is cut.
type proxy struct {
	url   string
	mu    sync.Mutex
	conns []net.Conn
	lis   net.Listener
}

func newProxy(t *testing.T, url string) *proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	network, addr := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	p := &proxy{}
	if p.lis, err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // it does not wait
		t.Fatal(err)
	}
	p.url = fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", cfg.User, cfg.Password, p.lis.Addr(), cfg.Database)
	t.Cleanup(p.cut)
	go func() {
		for {
			in, err := p.lis.Accept()
			if err != nil {
				return
			}
			var d net.Dialer
			out, err := d.DialContext(context.Background(), network, addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return p
}

// cut ends all connections as the crash of a machine or a network would.
func (p *proxy) cut() {
	_ = p.lis.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// A statement in progress when the server goes away is told as that, however the
// connection ended.
func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, things)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	// wait returns once a statement with the mark runs.
	wait := func(mark string) {
		for running := false; !running; {
			if err := admin.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND state = 'active' AND position($1 IN query) > 0 AND pid <> pg_backend_pid())`, mark).Scan(&running); err != nil {
				t.Fatal(err)
			}
		}
	}
	down := func(mark string) {
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE position($1 IN query) > 0 AND pid <> pg_backend_pid()`, mark); err != nil {
			t.Error(err)
		}
	}
	ways := map[string]func(db *pg.DB, sql string) error{
		"Exec":     func(db *pg.DB, sql string) error { return second(db.Exec(t.Context(), sql)) },
		"Query":    func(db *pg.DB, sql string) error { return drain(db.Query(t.Context(), sql)) },
		"QueryRow": func(db *pg.DB, sql string) error { return db.QueryRow(t.Context(), sql).Scan(new(int)) },
		"InTx": func(db *pg.DB, sql string) error {
			return db.InTx(t.Context(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				return second(tx.Exec(t.Context(), sql))
			})
		},
	}
	for how, run := range ways {
		p := newProxy(t, url)
		for name, c := range map[string]struct {
			db  *pg.DB
			end func(mark string)
		}{
			"the connection breaks": {pgtest.OpenURL(t, p.url, "things"), func(string) { p.cut() }},
			"the server shuts down": {pgtest.OpenURL(t, url, "things"), down},
		} {
			mark := "/* " + name + ", " + how + " */"
			failed := make(chan error, 1)
			go func() { failed <- run(c.db, `SELECT 1 FROM pg_sleep(25) `+mark) }()
			wait(mark)
			c.end(mark)
			wantAway(t, mark, <-failed)
		}
	}
}

// Who ran out of time or went away is not told that the database did.
func TestContextIsNotTheServer(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := db.Exec(ctx, `SELECT pg_sleep(20)`)
	if !errors.Is(err, context.DeadlineExceeded) || pg.Away(err) {
		t.Errorf("deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	for how, err := range everyWay(ctx, db) {
		if !errors.Is(err, context.Canceled) || pg.Away(err) {
			t.Errorf("cancelled, %s: %v", how, err)
		}
	}
}

func TestRolesAreApart(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, schemaOf("apples", `CREATE TABLE apple (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);`),
		schemaOf("pears", `CREATE TABLE pear (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);`))
	apples := pgtest.OpenURL(t, url, "apples")
	if apples.Schema() != "apples" {
		t.Errorf("schema %q", apples.Schema())
	}
	for _, sql := range []string{
		`INSERT INTO apple (n) VALUES (1)`, `UPDATE apple SET n = 2`, `SELECT * FROM apples.apple`, `DELETE FROM apple`,
	} {
		if _, err := apples.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, c := range []struct{ sql, state string }{
		{`SELECT * FROM pears.pear`, "42501"},
		{`INSERT INTO pears.pear (n) VALUES (1)`, "42501"},
		{`SELECT * FROM pears.outbox`, "42501"},
		{`SELECT * FROM pear`, "42P01"},
		{`ALTER TABLE apple ADD COLUMN x int`, "42501"},
		{`ALTER TABLE apple DROP COLUMN n`, "42501"},
		{`CREATE INDEX ON apple (n)`, "42501"},
		{`DROP TABLE apple`, "42501"},
		{`TRUNCATE apple`, "42501"},
		{`CREATE TABLE other (id int)`, "42501"},
		{`CREATE SCHEMA other`, "42501"},
		{`DROP SCHEMA pears CASCADE`, "42501"},
	} {
		_, err := apples.Exec(t.Context(), c.sql)
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != c.state {
			t.Errorf("%s: %v, want %s", c.sql, err, c.state)
		}
	}
	var user, path, zone, timeout string
	err := apples.QueryRow(t.Context(), `SELECT current_user, current_setting('search_path'), current_setting('timezone'), current_setting('statement_timeout')`).
		Scan(&user, &path, &zone, &timeout)
	if err != nil || user != pg.Role("apples") || path != "apples,public" || zone != "UTC" || timeout != "30s" {
		t.Errorf("%s, %s, %s, %s, %v", user, path, zone, timeout, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"", "a b", "a;DROP SCHEMA b", "Courses", "1a", `a"`, strings.Repeat("a", 60)} {
		if _, err := pg.Open(t.Context(), pg.Config{URL: "postgres://localhost/x", Schema: schema}); err == nil {
			t.Errorf("schema %q was opened", schema)
		}
	}
	if _, err := pg.Open(t.Context(), pg.Config{URL: "postgres://u:hunter2@host:port/x", Schema: "things"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL that is none: %v", err)
	}
}
