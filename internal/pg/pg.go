// Package pg opens a service's own schema in PostgreSQL, migrates it and runs
// transactions in it.
//
// Every service has a schema and a role named after it ("courses",
// "stoa_courses"). A connection acts as that role, so that a statement which
// reaches into another service's schema fails.
package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stoa-lms/stoa/internal/fault"
)

// Querier is what a statement needs: a [DB] or a [Tx].
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Config says which schema of which database to open.
type Config struct {
	URL      string // the database; its user must be a member of the service's role. Its connect_timeout is 5 s if not said.
	Schema   string // the service's name
	MaxConns int32  // of this process for this schema; 0 is 8
	Trace    bool   // make a span of every statement
}

// DB is a pool of connections to one service's schema. It is a [Querier] for
// reads; what writes goes through [DB.InTx].
type DB struct {
	pool   *pgxpool.Pool
	schema string
	signal chan struct{}
}

var schemaName = regexp.MustCompile(`^[a-z][a-z_]{0,40}$`)

// Role returns the database role that owns nothing and may use only schema.
func Role(schema string) string { return "stoa_" + schema }

// Open returns a pool for the service's schema. It connects at first use, so
// it succeeds while the server is away.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if !schemaName.MatchString(cfg.Schema) {
		return nil, fmt.Errorf("pg: %q is no schema name", cfg.Schema)
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("pg: database URL: %w", err)
	}
	pc.MaxConns = cfg.MaxConns
	if pc.MaxConns == 0 {
		pc.MaxConns = 8
	}
	pc.MaxConnIdleTime = 5 * time.Minute
	pc.MaxConnLifetimeJitter = time.Minute
	params := pc.ConnConfig.RuntimeParams
	params["application_name"] = "stoa/" + cfg.Schema
	params["search_path"] = cfg.Schema + ",public"
	params["role"] = Role(cfg.Schema)
	params["timezone"] = "UTC"
	// The bounds of a statement that went wrong; requests have shorter ones.
	params["statement_timeout"] = "30s"
	params["idle_in_transaction_session_timeout"] = "60s"
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if cfg.Trace {
		pc.ConnConfig.Tracer = otelpgx.NewTracer()
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("pg: open %s: %w", cfg.Schema, err)
	}
	return &DB{pool: pool, schema: cfg.Schema, signal: make(chan struct{}, 1)}, nil
}

// Schema returns the name of the service's schema.
func (db *DB) Schema() string { return db.schema }

// Close waits for connections in use and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping reports whether the schema answers.
func (db *DB) Ping(ctx context.Context) error { return told(db.pool.Ping(ctx)) }

// Stat returns the pool's counters.
func (db *DB) Stat() *pgxpool.Stat { return db.pool.Stat() }

// Exec runs one statement on its own. Writes that belong with an event or an
// idempotency key go through [DB.InTx].
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := db.pool.Exec(ctx, sql, args...)
	return tag, told(err)
}

// Query runs a statement that returns rows.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := db.pool.Query(ctx, sql, args...)
	return tellingRows{rows}, told(err)
}

// QueryRow runs a statement that returns at most one row.
func (db *DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return tellingRow{db.pool.QueryRow(ctx, sql, args...)}
}

// tellingRows and tellingRow tell the errors that show only when rows are read.
type (
	tellingRows struct{ pgx.Rows }
	tellingRow  struct{ pgx.Row }
)

func (r tellingRows) Err() error          { return told(r.Rows.Err()) }
func (r tellingRow) Scan(to ...any) error { return told(r.Row.Scan(to...)) }

// Hold takes one connection out of the pool for session-level things, such as
// LISTEN or an advisory lock. The caller releases it.
func (db *DB) Hold(ctx context.Context) (*pgxpool.Conn, error) {
	c, err := db.pool.Acquire(ctx)
	return c, told(err)
}

// Tx is a transaction in a service's schema. Functions that need one take it
// as a parameter.
type Tx struct {
	inner pgx.Tx
	db    *DB
	after []func()

	changed   bool // rows were
	accounted bool // what was done is in the audit log, or need not be
}

// AfterCommit has fn called once the transaction is durable; never when it is
// rolled back. fn must be quick and can't fail.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// Signal wakes whoever waits on [DB.Signalled] once the transaction is durable.
func (tx *Tx) Signal() {
	tx.AfterCommit(func() {
		select {
		case tx.db.signal <- struct{}{}:
		default: // somebody is about to look anyway
		}
	})
}

// Signalled has a value after a transaction of this process that called
// [Tx.Signal] was committed. One reader is woken for any number of them.
func (db *DB) Signalled() <-chan struct{} { return db.signal }

// InTx runs fn in a transaction (read committed) and commits it when fn
// returns nil and has accounted for what it changed. fn may run again after a deadlock or a serialization failure,
// so it must not act on anything but tx; calls to other processes do not
// belong in it.
func (db *DB) InTx(ctx context.Context, fn func(tx *Tx) error) error {
	const tries = 4
	var err error
	for try := range tries {
		var tx *Tx
		err = pgx.BeginFunc(ctx, db.pool, func(inner pgx.Tx) error {
			tx = &Tx{inner: inner, db: db}
			if err := fn(tx); err != nil {
				return err
			}
			return tx.check()
		})
		if err == nil {
			for _, after := range tx.after {
				after()
			}
			return nil
		}
		if !retryable(err) || try == tries-1 {
			break
		}
	}
	return told(err)
}

func retryable(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "40001" || pe.Code == "40P01")
}

// Violates reports whether err is the violation of the named constraint.
func Violates(err error, constraint string) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.ConstraintName == constraint
}

// Away reports whether err says that the server does not answer, rather than
// that it answered with an error.
func Away(err error) bool { return fault.CodeOf(told(err)) == "database.unavailable" }

// NoRows reports whether err says that a row was not there.
func NoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// told turns the errors of a server that is away, and of text it can't store,
// into what a caller can act on; all others stay as they are.
func told(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pe.Code {
		case "22021", "22P05": // text that UTF8 can't hold
			return fault.New(fault.Invalid, "request.bad_text", "The request holds text that is not valid UTF-8, or a NUL character.")
		case "57P01", "57P02", "57P03", "53300": // shutting down, starting up, too many connections
			return unavailable(err)
		}
		return err
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || broken(err) {
		return unavailable(err)
	}
	return err
}

// broken reports whether err says that a connection ended under a statement,
// which the caller did not ask for.
func broken(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

// unavailable tells the caller to come back and keeps the cause for the log.
func unavailable(cause error) error {
	return fmt.Errorf("%w: %w", &fault.Error{
		Kind: fault.Unavailable, Code: "database.unavailable",
		Message: "The database does not answer. Try again.", Retry: time.Second,
	}, cause)
}
