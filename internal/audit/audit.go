// Package audit has services say what they change: who, what, how it was and is,
// and why (I8). An entry is an event in the transaction of the change itself; the
// audit service keeps all of them in one chain.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// Entry is one change of a service's state.
type Entry struct {
	Action string // "noun.verb" in the past tense, such as "role.granted"
	Object string // the id of what changed
	Course string // that it belongs to, if to one
	Person string // whom it is about, if anybody
	Reason string // in the words of who did it, where they were asked

	// How it was and is: a message, or anything that [json.Marshal] makes an
	// object of; nil for what was not there and for what is gone. Never a
	// secret, nor a text that somebody wrote where its id or version says enough.
	Before, After any
}

// maxState bounds Before and After as JSON; what is larger is told by its size
// and hash.
const maxState = 16 << 10

// Record writes the entries in tx, in the name of who calls in ctx. No entries
// are no record.
func Record(ctx context.Context, tx *pg.Tx, entries ...Entry) error {
	events, err := recorded(ctx, tx, entries)
	if err != nil {
		return err
	}
	return bus.Publish(ctx, tx, events...)
}

// Queue writes entries, and events behind them, as one of the statements of a batch,
// which is sent in tx.
func Queue(ctx context.Context, tx *pg.Tx, b *pgx.Batch, entries []Entry, events ...proto.Message) error {
	list, err := recorded(ctx, tx, entries)
	if err != nil {
		return err
	}
	return bus.Queue(ctx, tx, b, append(list, events...)...)
}

// recorded returns entries as events, and notes that the transaction has recorded
// what it does.
func recorded(ctx context.Context, tx *pg.Tx, entries []Entry) ([]proto.Message, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	who, cause := auth.From(ctx), bus.Info(ctx)
	caller := who.Service
	if caller == "" {
		caller = tx.Schema()
	}
	now := timestamppb.New(time.Now().UTC().Truncate(time.Microsecond))
	events := make([]proto.Message, len(entries))
	for i, e := range entries {
		before, err := state(e.Before)
		if err != nil {
			return nil, fmt.Errorf("audit: %s: before: %w", e.Action, err)
		}
		after, err := state(e.After)
		if err != nil {
			return nil, fmt.Errorf("audit: %s: after: %w", e.Action, err)
		}
		event := &recordpb.Recorded{
			EntryId: id.New("entry"), At: now, Service: tx.Schema(), Action: e.Action,
			ActorId: who.Account, SessionId: who.Session, TokenId: who.Token, Caller: caller,
			ObjectId: e.Object, CourseId: e.Course, PersonId: e.Person,
			Before: before, After: after, Reason: e.Reason, RequestId: telemetry.RequestID(ctx),
		}
		if cause.ID != uuid.Nil {
			event.EventId = cause.ID.String()
		}
		events[i] = event
	}
	tx.Recorded()
	return events, nil
}

// state returns v as the JSON object that an entry has.
func state(v any) (string, error) {
	var (
		text []byte
		err  error
	)
	switch v := v.(type) {
	case nil:
		return "", nil
	case proto.Message:
		text, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(v)
	default:
		text, err = json.Marshal(v)
	}
	if err != nil {
		return "", err
	}
	if len(text) > maxState {
		sum := sha256.Sum256(text)
		text, err = json.Marshal(map[string]any{"sha256": hex.EncodeToString(sum[:]), "bytes": len(text)})
	}
	return string(text), err
}
