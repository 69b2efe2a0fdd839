package courses

import (
	"context"
	"errors"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// finishImport ends an import well, in one transaction with what it makes.
func (s *Service) finishImport(ctx context.Context, i *courseImport, note *findings, do func(*pg.Tx) error) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.lockImport(ctx, tx, *i); err != nil {
			return err
		}
		if err := do(tx); err != nil {
			return err
		}
		i.State, i.Code = "done", ""
		return s.writeEnd(ctx, tx, *i, note)
	})
}

// failImport ends an import of which nothing comes. What media has made for it is
// given up.
func (s *Service) failImport(ctx context.Context, i courseImport, note *findings) error {
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.lockImport(ctx, tx, i); err != nil {
			return err
		}
		return s.writeFailure(ctx, tx, i, note)
	})
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

func (s *Service) writeFailure(ctx context.Context, tx *pg.Tx, i courseImport, note *findings) error {
	if _, err := tx.Exec(ctx, `UPDATE media_claim SET due_at = $2 WHERE id IN ($1, $1 || '/copy') AND state = 'open'`, i.ID, s.now()); err != nil {
		return err
	}
	if i.Carries {
		if err := bus.Publish(ctx, tx, &coursespb.ActivitiesImported{StagingCourseId: i.StagingID}); err != nil {
			return err
		}
	}
	i.State = "failed"
	return s.writeEnd(ctx, tx, i, note)
}

// lockImport holds an import that is this run's until tx ends.
func (s *Service) lockImport(ctx context.Context, tx *pg.Tx, i courseImport) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM course_import WHERE id = $1 AND lease = $2 AND state = 'running' FOR UPDATE`, i.ID, i.Lease).Scan(&one)
	if pg.NoRows(err) {
		return errLost
	}
	return err
}

// writeEnd writes how an import has ended.
func (s *Service) writeEnd(ctx context.Context, tx *pg.Tx, i courseImport, note *findings) error {
	list := make([]stored[*coursespb.ArchiveFinding], len(note.list))
	for n, f := range note.list {
		list[n].M = f
	}
	i.Errors, i.Warnings = int32(note.errors), int32(note.warnings) //nolint:gosec // bounded by what an archive can have
	if _, err := tx.Exec(ctx, `
		UPDATE course_import SET state = $2, code = $3, course_id = $4, modules = $5, lessons = $6, media_files = $7, media_done = $8,
			findings = $9, errors = $10, warnings = $11, finished_at = $12, lease = '' WHERE id = $1`,
		i.ID, i.State, i.Code, i.CourseID, i.Modules, i.Lessons, i.MediaFiles, i.MediaDone, list, i.Errors, i.Warnings, s.now()); err != nil {
		return err
	}
	tx.AfterCommit(s.wake)
	if i.State == "done" && !i.DryRun {
		return audit.Record(ctx, tx, audit.Entry{Action: "course.imported", Object: i.ID, Course: i.CourseID, After: i.entry()})
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "course_import.finished", Object: i.ID, Course: i.CourseID, After: i.entry()})
}
