package secret

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/maypok86/otter/v2"

	"github.com/stoa-lms/stoa/internal/pg"
)

// keptKeys and keptFor bound the data keys that a process remembers; a key that
// was erased may be used by another process for as long.
const (
	keptKeys = 50_000
	keptFor  = time.Minute
)

// Vault has the data keys of one service's schema.
type Vault struct {
	keys  *Keys
	db    *pg.DB
	known *otter.Cache[string, *PersonKey]
}

// NewVault returns the vault of a schema.
func NewVault(keys *Keys, db *pg.DB) (*Vault, error) {
	known, err := otter.New(&otter.Options[string, *PersonKey]{
		MaximumSize: keptKeys, ExpiryCalculator: otter.ExpiryWriting[string, *PersonKey](keptFor),
	})
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return &Vault{keys: keys, db: db, known: known}, nil
}

// Keys returns the installation's keys.
func (v *Vault) Keys() *Keys { return v.keys }

// PersonKey encrypts the fields of one person.
type PersonKey struct {
	person, schema string
	key            []byte
}

// Seal encrypts a field, which is bound to its name, the person and the service.
func (k *PersonKey) Seal(field string, plain []byte) []byte {
	return sealWith(k.key, 0, k.purpose(field), plain)
}

// Unseal returns what [PersonKey.Seal] encrypted for the field, or ErrUnreadable.
func (k *PersonKey) Unseal(field string, sealed []byte) ([]byte, error) {
	return unsealWith(k.key, k.purpose(field), sealed)
}

func (k *PersonKey) purpose(field string) string { return k.schema + "\n" + field + "\n" + k.person }

// querier is a pool, or the raw side of a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Key returns the key of a person, making it when there is none. Outside of
// transactions it is remembered for a minute.
func (v *Vault) Key(ctx context.Context, person string) (*PersonKey, error) {
	if k, ok := v.known.GetIfPresent(person); ok {
		return k, nil
	}
	found, err := v.make(ctx, v.db, person)
	if err != nil {
		return nil, err
	}
	v.known.Set(person, found[person])
	return found[person], nil
}

// KeyIn is [Vault.Key] within a transaction: a key that is made in it is there if
// and only if it commits.
func (v *Vault) KeyIn(ctx context.Context, tx *pg.Tx, person string) (*PersonKey, error) {
	found, err := v.KeysIn(ctx, tx, person)
	return found[person], err
}

// KeysIn is [Vault.KeyIn] for many persons, all of whom have a key then.
func (v *Vault) KeysIn(ctx context.Context, tx *pg.Tx, persons ...string) (map[string]*PersonKey, error) {
	out := make(map[string]*PersonKey, len(persons))
	var ask []string
	for _, person := range persons {
		if k, ok := v.known.GetIfPresent(person); ok {
			out[person] = k
		} else if !slices.Contains(ask, person) {
			ask = append(ask, person)
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	found, err := v.make(ctx, tx.Raw(), ask...)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, found)
	return out, nil
}

// make returns the keys of all persons, having made those that are not there.
func (v *Vault) make(ctx context.Context, q querier, persons ...string) (map[string]*PersonKey, error) {
	found, err := v.read(ctx, q, persons...)
	if err != nil || len(found) == len(persons) {
		return found, err
	}
	var (
		missing   []string
		wrappings [][]byte
		envelopes []int64
	)
	// In order, so that two who make the same keys don't wait for one another.
	for _, person := range slices.Sorted(slices.Values(persons)) {
		if found[person] != nil {
			continue
		}
		raw := make([]byte, keySize)
		_, _ = rand.Read(raw) // it never fails
		wrapped := v.keys.Seal(v.wrapping(person), raw)
		id, _ := keyIDOf(wrapped)
		missing, wrappings, envelopes = append(missing, person), append(wrappings, wrapped), append(envelopes, id)
	}
	_, err = q.Exec(ctx, `
		INSERT INTO person_key (person, wrapped, envelope) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])
		ON CONFLICT DO NOTHING`, missing, wrappings, envelopes)
	if err != nil {
		return nil, fmt.Errorf("secret: make keys: %w", err)
	}
	// Another process may have been first.
	if found, err = v.read(ctx, q, persons...); err != nil {
		return nil, err
	}
	for _, person := range persons {
		if found[person] == nil {
			return nil, fmt.Errorf("secret: the key of %s is not there after it was made", person)
		}
	}
	return found, nil
}

// KeysOf returns the keys of those of the persons who have one.
func (v *Vault) KeysOf(ctx context.Context, persons ...string) (map[string]*PersonKey, error) {
	return v.KeysBy(ctx, v.db, persons...)
}

// KeysBy is [Vault.KeysOf] by way of q, which may be a transaction that has made
// some of them.
func (v *Vault) KeysBy(ctx context.Context, q pg.Querier, persons ...string) (map[string]*PersonKey, error) {
	out := make(map[string]*PersonKey, len(persons))
	var ask []string
	for _, person := range persons {
		if k, ok := v.known.GetIfPresent(person); ok {
			out[person] = k
		} else if !slices.Contains(ask, person) {
			ask = append(ask, person)
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	found, err := v.read(ctx, q, ask...)
	if err != nil {
		return nil, err
	}
	if q == pg.Querier(v.db) { // what a transaction sees may not last
		for person, k := range found {
			v.known.Set(person, k)
		}
	}
	maps.Copy(out, found)
	return out, nil
}

func (v *Vault) read(ctx context.Context, q querier, persons ...string) (map[string]*PersonKey, error) {
	// One by one by the index, whatever the planner knew of the table when it
	// made the plan: while it grows from nothing, = ANY would read all of it.
	rows, err := q.Query(ctx, `
		SELECT k.person, k.wrapped FROM unnest($1::text[]) AS p (person)
		CROSS JOIN LATERAL (SELECT person, wrapped FROM person_key WHERE person = p.person OFFSET 0) AS k`, persons)
	if err != nil {
		return nil, fmt.Errorf("secret: read keys: %w", err)
	}
	out := map[string]*PersonKey{}
	var (
		person  string
		wrapped []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&person, &wrapped}, func() error {
		key, err := v.keys.Unseal(v.wrapping(person), wrapped)
		if err != nil {
			return fmt.Errorf("key of %s: %w", person, err)
		}
		out[person] = &PersonKey{person: person, schema: v.db.Schema(), key: key}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("secret: read keys: %w", err)
	}
	return out, nil
}

func (v *Vault) wrapping(person string) string { return "person key\n" + v.db.Schema() + "\n" + person }

// Erase deletes the keys of persons: what they encrypted is unreadable from then
// on, in other processes within a minute.
func (v *Vault) Erase(ctx context.Context, tx *pg.Tx, persons ...string) error {
	if len(persons) == 0 {
		return nil
	}
	if _, err := tx.Raw().Exec(ctx, `DELETE FROM person_key WHERE person = ANY($1)`, persons); err != nil {
		return fmt.Errorf("secret: erase keys: %w", err)
	}
	tx.AfterCommit(func() {
		for _, person := range persons {
			v.known.Invalidate(person)
		}
	})
	return nil
}

// Rewrap wraps up to limit data keys that another envelope key wraps with
// today's, and returns how many; other processes may do the same beside.
func (v *Vault) Rewrap(ctx context.Context, limit int) (int, error) {
	n := 0
	err := v.db.InTx(ctx, func(tx *pg.Tx) error {
		n = 0
		rows, err := tx.Raw().Query(ctx, `
			SELECT person, wrapped FROM person_key WHERE envelope <> $1 LIMIT $2 FOR UPDATE SKIP LOCKED`, v.keys.Primary(), limit)
		if err != nil {
			return err
		}
		var (
			persons   []string
			wrappings [][]byte
			envelopes []int64
			person    string
			wrapped   []byte
		)
		_, err = pgx.ForEachRow(rows, []any{&person, &wrapped}, func() error {
			key, err := v.keys.Unseal(v.wrapping(person), wrapped)
			if err != nil {
				return fmt.Errorf("key of %s: %w", person, err)
			}
			// The keyset may be exchanged meanwhile: what is stored is what has wrapped.
			again := v.keys.Seal(v.wrapping(person), key)
			id, _ := keyIDOf(again)
			persons, wrappings, envelopes = append(persons, person), append(wrappings, again), append(envelopes, id)
			return nil
		})
		if err != nil {
			return err
		}
		if len(persons) == 0 {
			return nil
		}
		_, err = tx.Raw().Exec(ctx, `
			UPDATE person_key SET wrapped = n.wrapped, envelope = n.envelope
			FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS n (person, wrapped, envelope) WHERE person_key.person = n.person`,
			persons, wrappings, envelopes)
		n = len(persons)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("secret: rewrap: %w", err)
	}
	return n, nil
}

// Wraps returns how many data keys of the schema each envelope key wraps.
func (v *Vault) Wraps(ctx context.Context) (map[int64]int, error) {
	rows, err := v.db.Query(ctx, `SELECT envelope, count(*)::int FROM person_key GROUP BY envelope`)
	if err != nil {
		return nil, fmt.Errorf("secret: count keys: %w", err)
	}
	out := map[int64]int{}
	var (
		id int64
		n  int
	)
	if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { out[id] = n; return nil }); err != nil {
		return nil, fmt.Errorf("secret: count keys: %w", err)
	}
	return out, nil
}
