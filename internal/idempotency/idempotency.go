// Package idempotency makes a write happen once for the key that its caller
// sent. The key, a hash of the request and the result are stored in the
// transaction of the write itself, so that a retry after any crash answers
// what the first call did.
package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// Retention is how long a key is remembered.
const Retention = 48 * time.Hour

// maxKey bounds a key in bytes.
const maxKey = 255

// ErrReused is told when a key comes again with another request.
var ErrReused = fault.New(fault.Conflict, "idempotency.key_reused", "This Idempotency-Key was used for another request. Send a new key with a new request.")

// Do runs write in one transaction and returns its result. When the call in ctx
// carries an idempotency key that the same caller has used for the same
// request, write is not run and the first result is returned. Two calls with
// one key at the same time: one waits for the other. What write refuses is not
// remembered, so that a corrected state lets the same key succeed.
func Do[M any, R interface {
	*M
	proto.Message
}](ctx context.Context, db *pg.DB, req proto.Message, write func(tx *pg.Tx) (R, error)) (R, error) {
	key := rpc.IdempotencyKey(ctx)
	var result R
	if key == "" {
		err := db.InTx(ctx, func(tx *pg.Tx) (err error) {
			result, err = write(tx)
			return err
		})
		return result, err
	}
	if len(key) > maxKey {
		return nil, fault.New(fault.Invalid, "idempotency.key_too_long", "An Idempotency-Key has at most %d characters.", maxKey)
	}
	method, hash, err := fingerprint(ctx, req)
	if err != nil {
		return nil, err
	}
	err = db.InTx(ctx, func(tx *pg.Tx) error {
		result = nil
		who := caller(ctx)
		// Waits for another transaction that holds the same key.
		tag, err := tx.Raw().Exec(ctx, `
			INSERT INTO idempotency (caller, key, method, request_hash) VALUES ($1, $2, $3, $4)
			ON CONFLICT ON CONSTRAINT idempotency_key DO NOTHING`, who, key, method, hash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			result, err = earlier[M, R](ctx, tx, who, key, method, hash)
			return err
		}
		if result, err = write(tx); err != nil {
			return err
		}
		stored, err := proto.Marshal(result)
		if err != nil {
			return err
		}
		_, err = tx.Raw().Exec(ctx, `UPDATE idempotency SET result = $3 WHERE caller = $1 AND key = $2`, who, key, stored)
		return err
	})
	return result, err
}

func earlier[M any, R interface {
	*M
	proto.Message
}](ctx context.Context, tx *pg.Tx, who, key, method string, hash []byte) (R, error) {
	var (
		wasMethod       string
		wasHash, stored []byte
	)
	err := tx.Raw().QueryRow(ctx, `SELECT method, request_hash, result FROM idempotency WHERE caller = $1 AND key = $2`, who, key).
		Scan(&wasMethod, &wasHash, &stored)
	if err != nil {
		return nil, err
	}
	if wasMethod != method || !bytes.Equal(wasHash, hash) {
		return nil, ErrReused
	}
	result := R(new(M))
	if err := proto.Unmarshal(stored, result); err != nil {
		return nil, fmt.Errorf("idempotency: stored result: %w", err)
	}
	return result, nil
}

// caller keeps the keys of different people apart. Those of nobody share one
// space: such keys must be as random as the README asks for.
func caller(ctx context.Context) string {
	p := auth.From(ctx)
	if p.Account != "" {
		return p.Account
	}
	return p.Service
}

func fingerprint(ctx context.Context, req proto.Message) (method string, hash []byte, err error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return "", nil, err
	}
	h := sha256.New()
	h.Write(body)
	h.Write([]byte(rpc.IfMatch(ctx)))
	return string(req.ProtoReflect().Descriptor().FullName()), h.Sum(nil), nil
}

// Sweep forgets keys older than [Retention]; it deletes at most limit and
// returns how many.
func Sweep(ctx context.Context, db *pg.DB, limit int) (int64, error) {
	tag, err := db.Exec(ctx, `
		DELETE FROM idempotency WHERE (caller, key) IN (
			SELECT caller, key FROM idempotency WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2)`,
		Retention.Seconds(), limit)
	return tag.RowsAffected(), err
}
