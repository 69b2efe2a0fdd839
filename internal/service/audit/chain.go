package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

// head is the newest entry.
type head struct {
	Sequence int64
	Hash     []byte
}

// checkpointEvery is how many entries come between two checkpoints at most, and
// checkpointAge how old the newest entry without one becomes.
const (
	checkpointEvery = 1000
	checkpointAge   = time.Hour
)

// recorded appends what a service tells. An entry that is there already, because
// it was sent again under another event, is not appended again.
func (s *Service) recorded(ctx context.Context, tx *pg.Tx, event *recordpb.Recorded) error {
	var h head
	if err := tx.QueryRow(ctx, `SELECT sequence, hash FROM head FOR UPDATE`).Scan(&h.Sequence, &h.Hash); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	e := newEntry(event, h)
	tag, err := tx.Exec(ctx, `
		INSERT INTO entry (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
		ON CONFLICT ON CONSTRAINT entry_once DO NOTHING`,
		e.Sequence, e.EntryID, e.At, e.Service, e.Action, e.ActorID, e.SessionID, e.TokenID, e.Caller,
		e.ObjectID, e.CourseID, e.PersonID, e.Before, e.After, e.Reason, e.RequestID, e.EventID, e.Hash)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE head SET sequence = $1, hash = $2`, e.Sequence, e.Hash); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if e.Sequence%checkpointEvery == 0 {
		return s.check(ctx, tx, head{e.Sequence, e.Hash})
	}
	return nil
}

// check makes a checkpoint of the head.
func (s *Service) check(ctx context.Context, tx *pg.Tx, h head) error {
	at := s.now()
	_, err := tx.Exec(ctx, `
		INSERT INTO checkpoint (sequence, hash, made_at, mac) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		h.Sequence, h.Hash, at, checkpointMAC(s.keys, h, at))
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func checkpointMAC(keys *secret.Keys, h head, at time.Time) []byte {
	return keys.Index("audit checkpoint", fmt.Sprintf("%d\n%x\n%d", h.Sequence, h.Hash, at.UnixMicro()))
}

// hourly makes a checkpoint where the newest is old and entries have come since.
func (s *Service) hourly(ctx context.Context) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a checkpoint of the audit log")
		var h head
		err := tx.QueryRow(ctx, `
			SELECT h.sequence, h.hash FROM head h
			WHERE h.sequence > coalesce((SELECT max(sequence) FROM checkpoint), 0)
			AND NOT EXISTS (SELECT FROM checkpoint WHERE made_at > $1 AND sequence = (SELECT max(sequence) FROM checkpoint))
			FOR UPDATE OF h`, s.now().Add(-checkpointAge)).Scan(&h.Sequence, &h.Hash)
		if pg.NoRows(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("head: %w", err)
		}
		return s.check(ctx, tx, h)
	})
}

// FaultError is what is wrong with the log, at the first place where something is.
type FaultError struct {
	Sequence int64
	Says     string
}

// Error tells where and what.
func (f *FaultError) Error() string { return fmt.Sprintf("entry %d: %s", f.Sequence, f.Says) }

// Verified is what was found to be whole.
type Verified struct {
	Entries     int64  // that were looked at
	Checkpoints int64  // that were looked at
	Sequence    int64  // of the newest entry
	Hash        []byte // of the newest entry, to be kept elsewhere
}

// Known is an entry that is known to have been in the log: its hash, noted
// elsewhere.
type Known struct {
	Sequence int64
	Hash     []byte
}

const verifyBatch = 1000

// Verify goes through the log from an entry on and returns a *FaultError for the first
// entry that was changed, removed, moved or added, or that is not as it was known
// to be. It takes the entry before the first as true, unless it begins at 1.
func Verify(ctx context.Context, db *pg.DB, keys *secret.Keys, from int64, known []Known) (Verified, error) {
	var v Verified
	at := head{Sequence: 0, Hash: make([]byte, 32)}
	if from > 1 {
		err := db.QueryRow(ctx, `SELECT sequence, hash FROM entry WHERE sequence = $1`, from-1).Scan(&at.Sequence, &at.Hash)
		if pg.NoRows(err) {
			return v, &FaultError{from - 1, "is missing"}
		}
		if err != nil {
			return v, fmt.Errorf("entry %d: %w", from-1, err)
		}
	}
	for {
		list, err := after(ctx, db, at.Sequence, verifyBatch)
		if err != nil {
			return v, err
		}
		first := at.Sequence
		for _, e := range list {
			if at, err = follows(e, at, known); err != nil {
				return v, err
			}
			v.Entries++
		}
		n, err := verifyCheckpoints(ctx, db, keys, first, list)
		if err != nil {
			return v, err
		}
		v.Checkpoints += n
		if len(list) < verifyBatch {
			break
		}
	}
	v.Sequence, v.Hash = at.Sequence, at.Hash
	return v, verifyEnd(ctx, db, at, known)
}

// follows returns the head that e makes, when it is the one that comes behind at.
func follows(e entry, at head, known []Known) (head, error) {
	if e.Sequence != at.Sequence+1 {
		return at, &FaultError{at.Sequence + 1, "is missing"}
	}
	if string(e.hash(at.Hash)) != string(e.Hash) {
		return at, &FaultError{e.Sequence, "was changed, moved or added: its hash is not that of its content and of the entry before"}
	}
	for _, k := range known {
		if k.Sequence == e.Sequence && string(k.Hash) != string(e.Hash) {
			return at, &FaultError{e.Sequence, "is not the one that was known: the log was made anew from it or from an earlier entry"}
		}
	}
	return head{e.Sequence, e.Hash}, nil
}

// verifyCheckpoints holds the checkpoints of some entries to them.
func verifyCheckpoints(ctx context.Context, db *pg.DB, keys *secret.Keys, first int64, list []entry) (int64, error) {
	if len(list) == 0 {
		return 0, nil
	}
	rows, err := db.Query(ctx, `SELECT sequence, hash, made_at, mac FROM checkpoint WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence`,
		first, list[len(list)-1].Sequence)
	if err != nil {
		return 0, fmt.Errorf("checkpoints: %w", err)
	}
	type checkpoint struct {
		Sequence int64
		Hash     []byte
		MadeAt   time.Time
		MAC      []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[checkpoint])
	if err != nil {
		return 0, fmt.Errorf("checkpoints: %w", err)
	}
	entries := map[int64][]byte{}
	for _, e := range list {
		entries[e.Sequence] = e.Hash
	}
	for _, c := range found {
		switch {
		case string(c.MAC) != string(checkpointMAC(keys, head{c.Sequence, c.Hash}, c.MadeAt)):
			return 0, &FaultError{c.Sequence, "has a checkpoint that was not made by this installation"}
		case string(c.Hash) != string(entries[c.Sequence]):
			return 0, &FaultError{c.Sequence, "is not the one of its checkpoint: the log was made anew from it or from an earlier entry"}
		}
	}
	return int64(len(found)), nil
}

// verifyEnd looks for entries that are missing at the end. The head is read
// after the last entry: what was appended since is no fault.
func verifyEnd(ctx context.Context, db *pg.DB, at head, known []Known) error {
	var sequence, checkpoint, newest int64
	err := db.QueryRow(ctx, `
		SELECT (SELECT sequence FROM head), coalesce((SELECT max(sequence) FROM checkpoint), 0), coalesce((SELECT max(sequence) FROM entry), 0)`).
		Scan(&sequence, &checkpoint, &newest)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if newest < sequence || newest < checkpoint {
		return &FaultError{newest + 1, "is missing, and all behind it"}
	}
	if newest > sequence {
		return &FaultError{sequence + 1, "was added: it is behind the head"}
	}
	for _, k := range known {
		if k.Sequence > newest {
			return &FaultError{at.Sequence + 1, "is missing, and all behind it: a later entry was known"}
		}
	}
	return nil
}

// after returns the entries behind a sequence, oldest first.
func after(ctx context.Context, q pg.Querier, sequence int64, limit int) ([]entry, error) {
	rows, err := q.Query(ctx, `SELECT `+columns+` FROM entry WHERE sequence > $1 ORDER BY sequence LIMIT $2`, sequence, limit)
	if err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	return list, nil
}

// Export calls fn with all entries behind a sequence, in batches, oldest first.
func Export(ctx context.Context, db *pg.DB, sequence int64, fn func([]*auditpb.Entry) error) error {
	const batch = 500
	for {
		list, err := after(ctx, db, sequence, batch)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if err := fn(messages(list)); err != nil {
			return err
		}
		sequence = list[len(list)-1].Sequence
	}
}
