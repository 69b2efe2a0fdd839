package secret

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

var schema = pg.Schema{Name: "vault", Migrations: fstest.MapFS{
	"0001_nothing.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nSELECT 1;\n")},
}}

// world is a database with the keys of an installation.
type world struct {
	t    *testing.T
	db   *pg.DB
	keys *Keys
	text []byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.Open(t, schema)}
	w.keys, w.text = newKeys(t)
	return w
}

// vault is one as a process of its own has it: it remembers nothing.
func (w *world) vault() *Vault {
	w.t.Helper()
	v, err := NewVault(w.keys, w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) key(v *Vault, person string) *PersonKey {
	w.t.Helper()
	k, err := v.Key(w.t.Context(), person)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) rotate() {
	w.t.Helper()
	for _, by := range []func([]byte) ([]byte, error){Add, Promote} {
		text, err := by(w.text)
		if err != nil {
			w.t.Fatal(err)
		}
		w.text = text
	}
	if err := w.keys.Replace(w.text); err != nil {
		w.t.Fatal(err)
	}
}

func TestVault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.vault()
	sealed := w.key(v, "account_1").Seal("email", []byte("ana@example.org"))
	for name, k := range map[string]*PersonKey{"the same process": w.key(v, "account_1"), "another": w.key(w.vault(), "account_1")} {
		if got, err := k.Unseal("email", sealed); err != nil || string(got) != "ana@example.org" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := w.key(v, "account_1").Unseal("phone", sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("another field: %v", err)
	}
	if _, err := w.key(v, "account_2").Unseal("email", sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("another person: %v", err)
	}
	found, err := w.vault().KeysOf(t.Context(), "account_1", "account_3", "account_1")
	if err != nil || len(found) != 1 || found["account_1"] == nil {
		t.Errorf("%v, %v", found, err)
	}
	// A row that is given to another is of no use.
	if _, err := w.db.Exec(t.Context(), `UPDATE person_key SET person = 'account_4' WHERE person = 'account_1'`); err != nil {
		t.Fatal(err)
	}
	if k, err := w.vault().Key(t.Context(), "account_4"); !errors.Is(err, ErrUnreadable) {
		t.Errorf("%v, %v", k, err)
	}
}

// Whoever makes the key of a person at the same time gets the same.
func TestOneKeyForEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const people = 10
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	sealed := map[string][][]byte{}
	for i := range 6 {
		v := w.vault()
		wg.Go(func() {
			var persons []string
			for p := range people {
				persons = append(persons, fmt.Sprint("account_", (p*7+i)%people)) // each in another order
			}
			err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
				keys, err := v.KeysIn(t.Context(), tx, persons...)
				for person, k := range keys {
					mu.Lock()
					sealed[person] = append(sealed[person], k.Seal("x", nil))
					mu.Unlock()
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v := w.vault()
	for person, of := range sealed {
		for _, s := range of {
			if _, err := w.key(v, person).Unseal("x", s); err != nil {
				t.Errorf("%s: %v", person, err)
			}
		}
	}
	if len(sealed) != people {
		t.Errorf("%d people, want %d", len(sealed), people)
	}
}

var errUndo = errors.New("undo")

// A key that is made in a transaction that is undone was never there, and nobody
// remembers it.
func TestUndoneKeyIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.vault()
	var sealed []byte
	err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
		k, err := v.KeyIn(t.Context(), tx, "account_1")
		if err != nil {
			return err
		}
		sealed = k.Seal("x", nil)
		// The transaction sees it, and nobody else.
		for q, want := range map[pg.Querier]int{tx: 1, w.db: 0} {
			if found, err := v.KeysBy(t.Context(), q, "account_1"); err != nil || len(found) != want {
				t.Errorf("%T: %v, %v", q, found, err)
			}
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	if found, err := v.KeysOf(t.Context(), "account_1"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := w.key(v, "account_1").Unseal("x", sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("%v", err)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.vault()
	sealed := w.key(v, "account_1").Seal("x", nil)
	erase := func(end error) {
		t.Helper()
		err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
			if err := v.Erase(t.Context(), tx, "account_1"); err != nil {
				return err
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	erase(errUndo)
	if _, err := w.key(v, "account_1").Unseal("x", sealed); err != nil {
		t.Errorf("after an erasure that was undone: %v", err)
	}
	erase(nil)
	if found, err := v.KeysOf(t.Context(), "account_1"); err != nil || len(found) != 0 {
		t.Errorf("it is remembered: %v, %v", found, err)
	}
	if _, err := w.key(v, "account_1").Unseal("x", sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("after the erasure: %v", err)
	}
}

// Two wrap all data keys anew at the same time, while the key is promoted and
// others make keys: each key is wrapped by one that is told, and all are read.
func TestRewrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const people = 200
	v := w.vault()
	sealed := map[string][]byte{}
	for i := range people {
		person := fmt.Sprint("account_", i)
		sealed[person] = w.key(v, person).Seal("x", []byte(person))
	}
	rewrap := func(v *Vault) {
		for {
			n, err := v.Rewrap(context.WithoutCancel(t.Context()), 7)
			if err != nil {
				t.Error(err)
				return
			}
			if n == 0 {
				return
			}
		}
	}
	var wg sync.WaitGroup
	w.rotate()
	for range 2 {
		wg.Go(func() { rewrap(w.vault()) })
	}
	wg.Go(func() {
		reader := w.vault()
		for i := range people {
			if _, err := reader.Key(t.Context(), fmt.Sprint("account_", i)); err != nil {
				t.Error(err)
			}
		}
	})
	w.rotate() // while they do
	wg.Wait()
	rewrap(v)
	wraps, err := v.Wraps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int64]int{3: people}, wraps); diff != "" {
		t.Error(diff)
	}
	// With the last key alone, all is read.
	text, gone, err := Retire(w.text, func(id int64) bool { return wraps[id] > 0 })
	if err != nil || len(gone) != 2 {
		t.Fatalf("retired %v, %v", gone, err)
	}
	if err := w.keys.Replace(text); err != nil {
		t.Fatal(err)
	}
	fresh := w.vault()
	for person, s := range sealed {
		if got, err := w.key(fresh, person).Unseal("x", s); err != nil || string(got) != person {
			t.Errorf("%s: %q, %v", person, got, err)
		}
	}
}
