package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A transaction that changes rows has to have said what it did: in the audit
// log, by [Tx.Recorded], or why not, by [Tx.Exempt]. [DB.InTx] undoes one that
// did neither, so that no state changes unseen (I8). What a data-modifying WITH
// before a SELECT changes is not noticed.

// errUnrecorded is a defect of the program, found by the first test of the write.
var errUnrecorded = errors.New("pg: a transaction changes rows and does not record it in the audit log")

// Recorded says that the audit log has what the transaction does.
func (tx *Tx) Recorded() { tx.accounted = true }

// Exempt says why what the transaction does need not be in the audit log.
func (tx *Tx) Exempt(why string) { tx.accounted = why != "" }

// Schema returns the name of the service's schema.
func (tx *Tx) Schema() string { return tx.db.schema }

// note remembers that a statement changed rows.
func (tx *Tx) note(tag pgconn.CommandTag) {
	if tag.RowsAffected() > 0 && (tag.Insert() || tag.Update() || tag.Delete()) {
		tx.changed = true
	}
}

// check is asked before the commit.
func (tx *Tx) check() error {
	if tx.changed && !tx.accounted {
		return fmt.Errorf("%w (schema %s)", errUnrecorded, tx.db.schema)
	}
	return nil
}

// Raw returns the transaction below, whose statements are not held to have been
// recorded: for the bookkeeping that goes with every write.
func (tx *Tx) Raw() pgx.Tx { return tx.inner }

// Exec implements [Querier].
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := tx.inner.Exec(ctx, sql, args...)
	tx.note(tag)
	return tag, err
}

// Query implements [Querier].
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := tx.inner.Query(ctx, sql, args...)
	return notingRows{rows, tx}, err
}

// QueryRow implements [Querier].
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := tx.Query(ctx, sql, args...)
	return oneRow{rows, err}
}

// CopyFrom appends many rows at once.
func (tx *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error) {
	n, err := tx.inner.CopyFrom(ctx, table, columns, from)
	tx.changed = tx.changed || n > 0
	return n, err
}

// SendBatch sends several statements at once, which are held to change rows.
func (tx *Tx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	tx.changed = tx.changed || batch.Len() > 0
	return tx.inner.SendBatch(ctx, batch)
}

// notingRows notes what the statement changed once its rows are read.
type notingRows struct {
	pgx.Rows
	tx *Tx
}

func (r notingRows) Close() {
	r.Rows.Close()
	r.tx.note(r.CommandTag())
}

func (r notingRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.tx.note(r.CommandTag())
	return false
}

// oneRow is the first of some rows, as [pgx.Tx] has it.
type oneRow struct {
	rows pgx.Rows
	err  error
}

func (r oneRow) Scan(to ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(to...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
