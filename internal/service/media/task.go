package media

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The queue of objects that are to be processed is the table task. Who takes a
// row moves its time on, and keeps doing so while they work: a process that dies
// loses its tasks to the next within the taskLease, however long they take. There is
// one row for each object, so that nothing is processed twice at once.

const (
	taskLease  = 15 * time.Second
	leaseEvery = 4 * time.Second
	pollEvery  = time.Second
	// toolEvery is how often a file that waits for a tool looks for it.
	toolEvery = 15 * time.Second
	mostTries = 5
)

// task is an object that this process works on.
type task struct {
	ObjectID string
	Tries    int
	Scanned  bool
	worker   string // the run that has it
}

// claim takes the task that has waited longest; false when there is none.
func (s *Service) claim(ctx context.Context, heavy bool) (*task, bool, error) {
	t := &task{worker: id.New("run")}
	err := s.db.QueryRow(ctx, `
		UPDATE task SET worker = $1, tries = tries + 1, next_at = now() + $2
		WHERE object_id = (
			SELECT object_id FROM task WHERE next_at <= now() AND (NOT heavy OR $3) ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING object_id, tries, scanned`, t.worker, taskLease, heavy).Scan(&t.ObjectID, &t.Tries, &t.Scanned)
	if pg.NoRows(err) {
		return nil, false, nil
	}
	return t, err == nil, err
}

// lock holds the task to the end of the transaction; an error when another run
// has it.
func (t *task) lock(ctx context.Context, tx *pg.Tx) error {
	var mine bool
	err := tx.QueryRow(ctx, `SELECT worker = $2 FROM task WHERE object_id = $1 FOR UPDATE`, t.ObjectID, t.worker).Scan(&mine)
	if pg.NoRows(err) || err == nil && !mine {
		return errLost
	}
	return err
}

// holdTask keeps the task until ctx ends, and calls lost when it is not ours any more
// or its file is gone.
func (s *Service) holdTask(ctx context.Context, t *task, lost context.CancelCauseFunc) {
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for held := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tag, err := s.db.Exec(ctx, `
			UPDATE task SET next_at = now() + $3
			WHERE object_id = $1 AND worker = $2 AND EXISTS (SELECT FROM media WHERE `+ofObject+` = $1)`, t.ObjectID, t.worker, taskLease)
		switch {
		case err == nil && tag.RowsAffected() == 0:
			lost(errLost)
			return
		case err == nil:
			held = time.Now()
		case time.Since(held) > taskLease: // somebody else may have it
			lost(errLost)
			return
		}
	}
}

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// work processes what there is to process until ctx ends: as many videos at once
// as there are workers, and besides one thing that takes less time.
func (s *Service) work(ctx context.Context) {
	if s.workers < 1 {
		return
	}
	s.clearTemp(ctx)
	var wg sync.WaitGroup
	for range s.workers {
		wg.Go(func() { s.worker(ctx, true) })
	}
	wg.Go(func() { s.worker(ctx, false) })
	wg.Wait()
}

func (s *Service) worker(ctx context.Context, heavy bool) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		did, err := s.workOnce(ctx, heavy)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "media: the tasks could not be read, trying again", "error", err.Error())
		}
		if did {
			s.wakeUp() // another may be free for what is behind it
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// workOnce takes a task and does it; false when there was none.
func (s *Service) workOnce(ctx context.Context, heavy bool) (bool, error) {
	t, ok, err := s.claim(ctx, heavy)
	if err != nil || !ok {
		return false, err
	}
	running, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	held := make(chan struct{})
	go func() {
		defer close(held)
		s.holdTask(running, t, lost)
	}()
	if t.Tries > mostTries {
		err = errTried // each time the process died with it
	} else {
		err = s.process(running, t)
	}
	if cause := context.Cause(running); err != nil && cause != nil && ctx.Err() == nil {
		err = cause
	}
	// What is said of it is said though the process is being stopped.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = s.settleTask(last, t, err, ctx.Err() != nil)
	lost(nil)
	<-held
	return true, err
}

var errTried = errors.New("media: tried as often as it may be")

// settleTask does what follows from how the work on a task went.
func (s *Service) settleTask(ctx context.Context, t *task, err error, stopping bool) error {
	if err == nil {
		return nil
	}
	problem, bad := errors.AsType[problemError](err)
	_, noTool := errors.AsType[*missingError](err)
	_, noScanner := errors.AsType[*scannerError](err)
	run, ran := errors.AsType[*runError](err)
	switch {
	case errors.Is(err, errLost):
		// The parts that were stored are swept; a file that is gone has no task.
		_, err := s.db.Exec(ctx, `DELETE FROM task WHERE object_id = $1 AND worker = $2 AND NOT EXISTS (SELECT FROM media WHERE `+ofObject+` = $1)`, t.ObjectID, t.worker)
		return err
	case errors.Is(err, errGone):
		_, err := s.db.Exec(ctx, `DELETE FROM task WHERE object_id = $1 AND worker = $2`, t.ObjectID, t.worker)
		return err
	case stopping:
		return s.later(ctx, t, "", "", 0, false)
	case bad:
		s.log.InfoContext(ctx, "media: a file is not shown", "object", t.ObjectID, "problem", string(problem))
		return s.ended(s.fail(ctx, t, string(problem)))
	case noTool:
		s.log.WarnContext(ctx, "media: a file waits for a tool", "object", t.ObjectID, "error", err.Error())
		return s.later(ctx, t, stateWaiting, problemTool, s.toolEvery, false)
	case noScanner:
		s.log.WarnContext(ctx, "media: a file waits for the scanner", "object", t.ObjectID, "error", err.Error())
		return s.later(ctx, t, stateScanning, problemScanner, min(time.Minute, time.Second<<min(t.Tries, 6)), false)
	case fault.Is(err, fault.Unavailable):
		s.log.WarnContext(ctx, "media: a file waits for a server", "object", t.ObjectID, "error", err.Error())
		return s.later(ctx, t, stateWaiting, problemRetry, 5*time.Second, false)
	case t.Tries >= mostTries:
		s.log.ErrorContext(ctx, "media: a file could not be processed", "object", t.ObjectID, "error", err.Error())
		if ran && (run.slow || run.large || run.code < 0 || run.code > 128) {
			return s.ended(s.fail(ctx, t, problemTooHard))
		}
		return s.ended(s.fail(ctx, t, problemFailed))
	default:
		s.log.WarnContext(ctx, "media: a file could not be processed, trying again", "object", t.ObjectID, "try", t.Tries, "error", err.Error())
		return s.later(ctx, t, stateWaiting, problemRetry, s.backOff<<min(t.Tries-1, 6), true)
	}
}

// ended is what there is to say when the task was another's by then: nothing.
func (s *Service) ended(err error) error {
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// later puts a task back. An empty state leaves that of the files. A try that
// says nothing of the file is not counted.
func (s *Service) later(ctx context.Context, t *task, state, problem string, after time.Duration, counted bool) error {
	return s.ended(s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE task SET worker = NULL, next_at = now() + $2, tries = tries - $3 WHERE object_id = $1`,
			t.ObjectID, after, map[bool]int{false: 1}[counted]); err != nil {
			return err
		}
		tx.Exempt("when a file is processed follows from its upload, which is recorded")
		if state == "" {
			return nil
		}
		return s.setState(ctx, tx, t.ObjectID, state, problem, 0, true)
	}))
}

// clearTemp deletes folders of runs whose process died.
func (s *Service) clearTemp(ctx context.Context) {
	parent := s.temp
	if parent == "" {
		parent = os.TempDir()
	}
	left, _ := filepath.Glob(filepath.Join(parent, "stoa-media-*"))
	for _, dir := range left {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			s.log.WarnContext(ctx, "media: a folder is left behind", "folder", dir, "error", err.Error())
		}
	}
}
