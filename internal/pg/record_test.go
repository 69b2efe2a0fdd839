package pg_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// What changes rows has to say so, in whatever way it changes them.
func TestUnrecordedIsUndone(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	refused := errors.New("refused by the caller")
	for name, c := range map[string]struct {
		change func(tx *pg.Tx) error
		undone bool
	}{
		"insert": {func(tx *pg.Tx) error { return second(tx.Exec(t.Context(), `INSERT INTO thing (id) VALUES (100)`)) }, true},
		"update": {func(tx *pg.Tx) error { return second(tx.Exec(t.Context(), `UPDATE thing SET n = 1`)) }, true},
		"delete": {func(tx *pg.Tx) error { return second(tx.Exec(t.Context(), `DELETE FROM thing`)) }, true},
		"returning, a row": {func(tx *pg.Tx) error {
			return tx.QueryRow(t.Context(), `INSERT INTO thing (id) VALUES (101) RETURNING id`).Scan(new(int))
		}, true},
		"returning, rows": {func(tx *pg.Tx) error {
			rows, err := tx.Query(t.Context(), `UPDATE thing SET n = 2 RETURNING id`)
			if err != nil {
				return err
			}
			return second(pgx.CollectRows(rows, pgx.RowTo[int]))
		}, true},
		"returning, closed early": {func(tx *pg.Tx) error {
			rows, err := tx.Query(t.Context(), `UPDATE thing SET n = 3 RETURNING id`)
			rows.Close()
			return err
		}, true},
		"copied": {func(tx *pg.Tx) error {
			return second(tx.CopyFrom(t.Context(), pgx.Identifier{"thing"}, []string{"id"}, pgx.CopyFromRows([][]any{{102}})))
		}, true},
		"a batch": {func(tx *pg.Tx) error {
			b := &pgx.Batch{}
			b.Queue(`INSERT INTO thing (id) VALUES (103)`)
			return tx.SendBatch(t.Context(), b).Close()
		}, true},
		"exempt without a reason": {func(tx *pg.Tx) error {
			tx.Exempt("")
			return second(tx.Exec(t.Context(), `UPDATE thing SET n = 4`))
		}, true},
		"no row": {func(tx *pg.Tx) error { return second(tx.Exec(t.Context(), `UPDATE thing SET n = 5 WHERE id = -1`)) }, false},
		"a look": {func(tx *pg.Tx) error { return tx.QueryRow(t.Context(), `SELECT count(*) FROM thing`).Scan(new(int)) }, false},
		"recorded": {func(tx *pg.Tx) error {
			tx.Recorded()
			return second(tx.Exec(t.Context(), `UPDATE thing SET n = 6`))
		}, false},
		"recorded after": {func(tx *pg.Tx) error {
			err := second(tx.Exec(t.Context(), `UPDATE thing SET n = 7`))
			tx.Recorded()
			return err
		}, false},
		"exempt": {func(tx *pg.Tx) error {
			tx.Exempt("a test")
			return second(tx.Exec(t.Context(), `UPDATE thing SET n = 8`))
		}, false},
		"bookkeeping": {func(tx *pg.Tx) error { return second(tx.Raw().Exec(t.Context(), `UPDATE thing SET n = 9`)) }, false},
	} {
		before := count(t, db, `true`)
		err := db.InTx(t.Context(), c.change)
		if undone := err != nil && strings.Contains(err.Error(), "does not record it"); undone != c.undone || !undone && err != nil {
			t.Errorf("%s: %v, want it undone: %t", name, err, c.undone)
		}
		if after := count(t, db, `true`); c.undone && after != before {
			t.Errorf("%s: %d rows became %d", name, before, after)
		}
	}
	// The caller's own error comes first.
	err := db.InTx(t.Context(), func(tx *pg.Tx) error {
		return errors.Join(second(tx.Exec(t.Context(), `UPDATE thing SET n = 1`)), refused)
	})
	if !errors.Is(err, refused) {
		t.Errorf("%v, want the caller's error", err)
	}
}

// A row that is asked for and is not there is told as always.
func TestQueryRowInTx(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, things)
	err := db.InTx(t.Context(), func(tx *pg.Tx) error {
		if err := tx.QueryRow(t.Context(), `SELECT id FROM thing WHERE id = -1`).Scan(new(int)); !pg.NoRows(err) {
			t.Errorf("no row: %v", err)
		}
		if err := tx.QueryRow(t.Context(), `SELECT 1`).Scan(new(int), new(int)); err == nil {
			t.Error("more targets than columns are accepted")
		}
		var n int
		// The connection is free for the next one, whatever the one before returned.
		if err := tx.QueryRow(t.Context(), `SELECT * FROM generate_series(1, 3)`).Scan(&n); err != nil || n != 1 {
			t.Errorf("the first of three: %d, %v", n, err)
		}
		return tx.QueryRow(t.Context(), `SELECT 7`).Scan(&n)
	})
	if err != nil {
		t.Error(err)
	}
}
