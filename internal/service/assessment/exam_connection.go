package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// connectionLease is how long a process of the edge counts as being there after it was
	// heard. It says every ten seconds that it is, in one row for all its connections: a
	// student who stays connected costs no write.
	connectionLease = 30 * time.Second
	// connectionGone is when what a process held is given up, so that it comes as a change
	// to those who watch.
	connectionGone = 45 * time.Second
	// watchSweep is how often it is looked for such processes, and for old events.
	watchSweep = 15 * time.Second
)

// NoteConnections implements [assessmentpb.ExamServiceServer].
func (h *examServer) NoteConnections(ctx context.Context, req *assessmentpb.NoteConnectionsRequest) (*assessmentpb.NoteConnectionsResponse, error) {
	s, out := h.service, &assessmentpb.NoteConnectionsResponse{}
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("who is connected, which passes")
		now := s.time()
		if req.GetEnds() {
			return dropProcess(ctx, tx, req.GetProcessId(), now)
		}
		if req.GetAnew() {
			// What it has said before it was forgotten may be wrong by now.
			if err := dropProcess(ctx, tx, req.GetProcessId(), now); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO exam_edge AS e (process_id, seen_at) SELECT $1, $2 WHERE $3 OR EXISTS (SELECT FROM exam_edge WHERE process_id = $1)
			ON CONFLICT ON CONSTRAINT exam_edge_pkey DO UPDATE SET seen_at = GREATEST(e.seen_at, EXCLUDED.seen_at)`, req.GetProcessId(), now, req.GetAnew())
		if err != nil {
			return fmt.Errorf("note process: %w", err)
		}
		if out.Unknown = tag.RowsAffected() == 0; out.GetUnknown() {
			return nil
		}
		if len(req.GetOpened()) > 0 {
			if _, err := tx.Exec(ctx, `
				INSERT INTO exam_connection (attempt_id, process_id, since) SELECT id, $2, $3 FROM attempt WHERE id = ANY ($1) ORDER BY id
				ON CONFLICT ON CONSTRAINT exam_connection_pkey DO NOTHING`, req.GetOpened(), req.GetProcessId(), now); err != nil {
				return fmt.Errorf("note connections: %w", err)
			}
		}
		if len(req.GetClosed()) > 0 {
			if _, err := tx.Exec(ctx, `DELETE FROM exam_connection WHERE process_id = $2 AND attempt_id = ANY ($1)`, req.GetClosed(), req.GetProcessId()); err != nil {
				return fmt.Errorf("note connections: %w", err)
			}
		}
		return heard(ctx, tx, append(req.GetOpened(), req.GetClosed()...), now)
	})
	return out, err
}

// heard notes when students were heard, and with it that something has changed.
func heard(ctx context.Context, tx *pg.Tx, attempts []string, at time.Time) error {
	if len(attempts) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO exam_attempt AS x (attempt_id, item_id, account_id, heard_at) SELECT id, item_id, account_id, $2 FROM attempt WHERE id = ANY ($1) ORDER BY id
		ON CONFLICT ON CONSTRAINT exam_attempt_pkey DO UPDATE SET heard_at = GREATEST(x.heard_at, EXCLUDED.heard_at)`, attempts, at); err != nil {
		return fmt.Errorf("note who was heard: %w", err)
	}
	return nil
}

// dropProcess forgets a process with all its connections, whose students were heard last
// when it was.
func dropProcess(ctx context.Context, tx *pg.Tx, process string, at time.Time) error {
	if _, err := tx.Exec(ctx, `SELECT FROM exam_edge WHERE process_id = $1 FOR UPDATE`, process); err != nil {
		return fmt.Errorf("forget process: %w", err)
	}
	rows, err := tx.Query(ctx, `DELETE FROM exam_connection WHERE process_id = $1 RETURNING attempt_id`, process)
	if err != nil {
		return fmt.Errorf("forget connections: %w", err)
	}
	attempts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("forget connections: %w", err)
	}
	if err := heard(ctx, tx, attempts, at); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM exam_edge WHERE process_id = $1`, process); err != nil {
		return fmt.Errorf("forget process: %w", err)
	}
	return nil
}

// forgetConnections gives up what a process held that is not there any more, and reports
// whether there may be another one.
func (s *Service) forgetConnections(ctx context.Context) (bool, error) {
	found := false
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("who is connected, which passes")
		var process string
		var seen time.Time
		err := tx.QueryRow(ctx, `SELECT process_id, seen_at FROM exam_edge WHERE seen_at < $1 ORDER BY seen_at LIMIT 1 FOR UPDATE SKIP LOCKED`, s.time().Add(-connectionGone)).
			Scan(&process, &seen)
		if found = err == nil; !found {
			if pg.NoRows(err) {
				return nil
			}
			return err
		}
		return dropProcess(ctx, tx, process, seen)
	})
	if err != nil {
		return false, fmt.Errorf("forget connections: %w", err)
	}
	return found, nil
}

// keepWatch gives up connections of processes that are gone, and deletes events that are
// old, until ctx ends. Any number of processes may run it.
func (s *Service) keepWatch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, step := range []func(context.Context) (bool, error){s.forgetConnections, s.forgetEvents} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "exams could not be cleaned up yet", "error", err.Error())
				}
			}
		}
		s.wait(ctx, nil, watchSweep)
	}
}
