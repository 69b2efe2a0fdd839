package courses

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	importEvery = time.Second
	// tidyEvery is how many looks for imports go by between two tidyings.
	tidyEvery = 30
	// nodeLost is after how long a folder is given up of which no process has said
	// that it has it.
	nodeLost = 10 * time.Minute
	// strayFor is how old a file in the folder is that belongs to no import.
	strayFor = 24 * time.Hour
	// keepImports is how long what has become of an import can be asked for.
	keepImports = 30 * 24 * time.Hour
)

// Run works on imports, and tidies up what imports and copies have left, until ctx
// ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(importEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := s.runImports(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "courses: an import, trying again", "error", err.Error())
		}
		if n%tidyEvery == 0 {
			if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "courses: what imports and copies have left, trying again", "error", err.Error())
			}
		}
		select {
		case <-tick.C:
		case <-s.woken:
		case <-ctx.Done():
			return nil
		}
	}
}

// runImports works on imports until none is due.
func (s *Service) runImports(ctx context.Context) error {
	for {
		worked, err := s.runImport(ctx)
		if err != nil || !worked || ctx.Err() != nil {
			return err
		}
	}
}

// Tidy says that this process is here, fails the imports of those that have gone,
// and deletes what nothing needs any more.
func (s *Service) Tidy(ctx context.Context) error {
	return errors.Join(s.seen(ctx), s.failLost(ctx), s.sweepClaims(ctx), s.forgetImports(ctx), s.sweepFolder(ctx))
}

// seen says that a process has this folder.
func (s *Service) seen(ctx context.Context) error {
	node, err := s.importNode()
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("which processes there are")
		if _, err := tx.Exec(ctx, `
			INSERT INTO import_node (id, seen_at) VALUES ($1, $2)
			ON CONFLICT ON CONSTRAINT import_node_pkey DO UPDATE SET seen_at = greatest(import_node.seen_at, $2)`, node, s.now()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM import_node WHERE seen_at < $1`, s.now().Add(-keepImports))
		return err
	})
}

// failLost fails the imports whose archives are in a folder that no process has
// any more.
func (s *Service) failLost(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `
		SELECT id, account_id FROM course_import i WHERE state IN ('queued', 'running') AND node <> '' AND next_at < $1
		AND NOT EXISTS (SELECT FROM import_node n WHERE n.id = i.node AND n.seen_at > $1) LIMIT 100`, s.now().Add(-nodeLost))
	if err != nil {
		return err
	}
	lost, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ ID, AccountID string }])
	for _, one := range lost {
		err = errors.Join(err, s.db.InTx(ctx, func(tx *pg.Tx) error {
			ctx := by(ctx, one.AccountID)
			rows, err := tx.Query(ctx, `SELECT `+importColumns+` FROM course_import WHERE id = $1 AND state IN ('queued', 'running') FOR UPDATE`, one.ID)
			if err != nil {
				return err
			}
			i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[courseImport])
			if pg.NoRows(err) {
				return nil
			}
			if err != nil {
				return err
			}
			i.Code = importInterrupted
			return s.writeFailure(ctx, tx, i, &findings{})
		}))
	}
	return err
}

// forgetImports deletes what has become of imports long ago.
func (s *Service) forgetImports(ctx context.Context) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("imports that ended long ago; their ends are recorded")
		_, err := tx.Exec(ctx, `DELETE FROM course_import WHERE finished_at < $1`, s.now().Add(-keepImports))
		return err
	})
}

// sweepFolder deletes archives that belong to no import: of uploads that broke
// off, and of imports that have ended.
func (s *Service) sweepFolder(ctx context.Context) error {
	entries, err := os.ReadDir(s.imports)
	if err != nil {
		return err
	}
	old := map[string]bool{}
	for _, e := range entries {
		importID, isArchive := strings.CutSuffix(e.Name(), ".zip")
		info, err := e.Info()
		if isArchive && err == nil && time.Since(info.ModTime()) > strayFor {
			old[importID] = true
		}
	}
	if len(old) == 0 {
		return nil
	}
	ids := make([]string, 0, len(old))
	for importID := range old {
		ids = append(ids, importID)
	}
	rows, err := s.db.Query(ctx, `SELECT id FROM course_import WHERE id = ANY($1) AND state IN ('queued', 'running')`, ids)
	if err != nil {
		return err
	}
	live, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, importID := range live {
		delete(old, importID)
	}
	for importID := range old {
		s.dropArchive(ctx, importID)
	}
	return nil
}
