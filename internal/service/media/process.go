package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// States of a file.
const (
	stateScanning   = "scanning"
	stateWaiting    = "waiting"
	stateProcessing = "processing"
	stateReady      = "ready"
	stateBroken     = "broken"
	stateRefused    = "refused"
)

// Kinds of files, by what is made of them.
const (
	kindImage  = "image"
	kindVideo  = "video"
	kindAudio  = "audio"
	kindSlides = "slides"
	kindFile   = "file" // nothing
)

// kindOf returns the kind of a file of a type.
func kindOf(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	switch major, _, _ := strings.Cut(t, "/"); {
	case major == "image":
		return kindImage
	case major == "video":
		return kindVideo
	case major == "audio", t == "application/ogg":
		return kindAudio
	case t == "application/pdf", t == archives[".pptx"], t == archives[".odp"]:
		return kindSlides
	default:
		return kindFile
	}
}

// ofObject is what names the object of a row of media.
const ofObject = `coalesce(media.object_id, media.id)`

// objectOf returns the id of the object of a file.
func (f *file) objectOf() string { return f.ObjectID }

// stored inserts a file whose bytes are in the bucket, in the state that it
// begins in, and has it processed. It is called once for each file, whatever way
// it came in; one that shares the object of another shares its state.
func (s *Service) stored(ctx context.Context, tx *pg.Tx, f *file) error {
	// Nobody brings the object on while the row is locked; without one nobody does.
	if _, err := tx.Exec(ctx, `SELECT FROM task WHERE object_id = $1 FOR UPDATE`, f.objectOf()); err != nil {
		return err
	}
	err := tx.QueryRow(ctx, `SELECT state, problem, percent FROM media WHERE `+ofObject+` = $1 LIMIT 1`, f.objectOf()).Scan(&f.State, &f.Problem, &f.Percent)
	if err == nil {
		if err := insertFile(ctx, tx, *f); err != nil {
			return err
		}
		return tellLengths(ctx, tx, []file{*f})
	}
	if !pg.NoRows(err) {
		return err
	}
	kind := f.kind()
	switch {
	case s.scanner != nil:
		f.State, f.Percent = stateScanning, 0
	case kind != kindFile:
		f.State, f.Percent = stateWaiting, 0
	default:
		f.State, f.Percent = stateReady, 100
	}
	if err := insertFile(ctx, tx, *f); err != nil || f.State == stateReady {
		return err
	}
	return s.enqueue(ctx, tx, f.objectOf(), f.ContentType)
}

func (s *Service) enqueue(ctx context.Context, tx *pg.Tx, objectID, contentType string) error {
	_, err := tx.Exec(ctx, `INSERT INTO task (object_id, heavy) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT task_pkey DO UPDATE SET next_at = now(), tries = 0`,
		objectID, kindOf(contentType) == kindVideo)
	tx.AfterCommit(s.wakeUp)
	return err
}

// problemError says that a file can't be processed, ever.
type problemError string

func (e problemError) Error() string { return string(e) }

// Problems of files, as they are told.
const (
	problemTool      = "media.tool_missing"   // waits for a tool
	problemRetry     = "media.retrying"       // the machine failed; tried again
	problemScanner   = "media.scanner_away"   // waits for the scanner
	problemScanSize  = "media.scan_too_large" // larger than the scanner takes
	problemMalware   = "media.malware"        // refused
	problemFailed    = "media.failed"         // failed as often as it may
	problemTooHard   = "media.too_complex"    // took more time or room than it may, as often as it may
	problemImage     = "media.image_broken"   // can't be read
	problemImageType = "media.image_unsupported"
	problemSize      = "media.dimensions" // too many pixels, or none
	problemAnimation = "media.animation_large"
	problemVideo     = "media.unreadable" // no video or sound that can be read
	problemStreams   = "media.too_many_streams"
	problemNoTime    = "media.no_duration"
	problemLong      = "media.too_long"
	problemLies      = "media.duration_lies" // it is not as long as it says
	problemSlides    = "media.slides_broken"
	problemEncrypted = "media.encrypted"
	problemPages     = "media.too_many_pages"
	problemBomb      = "media.archive_bomb"
)

// result is what processing has made.
type result struct {
	kind          string
	width, height int
	duration      time.Duration
	parts         []part
}

// process does all that is to be done with an object.
func (s *Service) process(ctx context.Context, t *task) error {
	f, err := s.one(ctx, `SELECT `+columns+` FROM media WHERE `+ofObject+` = $1 ORDER BY id LIMIT 1`, t.ObjectID)
	if errors.Is(err, ErrNotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	if s.scanner != nil && !t.Scanned {
		if err := s.scan(ctx, t, f); err != nil {
			return err
		}
	}
	kind := f.kind()
	res := &result{kind: kind}
	if kind != kindFile {
		if err := s.enter(ctx, t, stateProcessing, "", 0); err != nil {
			return err
		}
		j, err := newJob(s.temp)
		if err != nil {
			return err
		}
		defer func() {
			if err := j.close(); err != nil {
				s.log.WarnContext(ctx, "media: a folder is left behind", "folder", j.dir, "error", err.Error())
			}
		}()
		if err := s.fetch(ctx, t.ObjectID, j.path("in")); err != nil {
			return err
		}
		if res, err = s.make(ctx, t, j, f); f.Purpose != purposeLibrary && noPreview(t, err) && ctx.Err() == nil {
			res, err = &result{kind: kind}, nil
		}
		if err != nil {
			return err
		}
		if err := s.keep(ctx, t, res.parts); err != nil {
			return err
		}
	}
	return s.finish(ctx, t, res)
}

// make makes the variants of a file, in a folder that has it as "in".
func (s *Service) make(ctx context.Context, t *task, j *job, f file) (*result, error) {
	switch f.kind() {
	case kindImage:
		return s.makeImages(ctx, j)
	case kindVideo, kindAudio:
		return makeStream(ctx, j, f.ContentType, s.progress(ctx, t))
	default:
		return makeSlides(ctx, j, f.ContentType, s.progress(ctx, t))
	}
}

// fetch copies an object into a file.
func (s *Service) fetch(ctx context.Context, objectID, to string) error {
	in, err := s.bucket.Open(ctx, object(objectID), 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // in a folder of our own
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// progressEvery is how often the percentage is written at most.
const progressEvery = time.Second

// progress returns what writes how far a file is.
func (s *Service) progress(ctx context.Context, t *task) func(done float64) {
	var mu sync.Mutex
	var last time.Time
	return func(done float64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		_, err := s.db.Exec(ctx, `UPDATE media SET percent = $2 WHERE `+ofObject+` = $1 AND state = 'processing' AND percent < $2`,
			t.ObjectID, min(99, max(0, int(done*100))))
		if err != nil && ctx.Err() == nil {
			s.log.DebugContext(ctx, "media: the progress could not be written", "object", t.ObjectID, "error", err.Error())
		}
	}
}

// enter brings the files of an object that a run has into another state. One that
// is ready already is processed without leaving it.
func (s *Service) enter(ctx context.Context, t *task, state, problem string, percent int) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx); err != nil {
			return err
		}
		tx.Exempt("what becomes of a file follows from its upload, which is recorded")
		return s.setState(ctx, tx, t.ObjectID, state, problem, percent, true)
	})
}

// setState changes the state of the files of an object, and tells it. A file that
// is ready stays so where keepReady says it.
func (s *Service) setState(ctx context.Context, tx *pg.Tx, objectID, state, problem string, percent int, keepReady bool) error {
	rows, err := tx.Query(ctx, `
		UPDATE media SET state = $2, problem = $3, percent = $4, state_version = state_version + 1
		WHERE `+ofObject+` = $1 AND NOT ($5 AND state = 'ready') AND (state, problem) <> ($2, $3)
		RETURNING id, course_id, content_type, purpose, state_version,
			(SELECT a.kind FROM asset a WHERE a.object_id = $1), (SELECT a.duration_ms FROM asset a WHERE a.object_id = $1)`,
		objectID, state, problem, percent, keepReady)
	if err != nil {
		return err
	}
	type changed struct {
		ID, CourseID, ContentType, Purpose string
		Version                            int64
		Kind                               *string
		DurationMS                         *int64
	}
	files, err := pgx.CollectRows(rows, pgx.RowToStructByPos[changed])
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Purpose != purposeLibrary { // which nobody else shows
			continue
		}
		event := &mediapb.MediaChanged{
			MediaId: f.ID, CourseId: f.CourseID, State: state, Problem: problem, Percent: int32(percent), Kind: kindOf(f.ContentType), Version: f.Version, //nolint:gosec // 0 to 100
		}
		if f.Kind != nil {
			event.Kind, event.DurationMs = *f.Kind, *f.DurationMS
		}
		if err := bus.Publish(ctx, tx, event); err != nil {
			return err
		}
	}
	return nil
}

// finish makes what was made the object's, and its files ready.
func (s *Service) finish(ctx context.Context, t *task, res *result) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx); err != nil {
			return err
		}
		if err := s.adopt(ctx, tx, t, res); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM task WHERE object_id = $1`, t.ObjectID); err != nil {
			return err
		}
		tx.Exempt("what is made of a file follows from its upload, which is recorded")
		return s.setState(ctx, tx, t.ObjectID, stateReady, "", 100, false)
	})
}

// fail ends the processing of an object for good.
func (s *Service) fail(ctx context.Context, t *task, problem string) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM task WHERE object_id = $1`, t.ObjectID); err != nil {
			return err
		}
		state := stateBroken
		if problem == problemMalware {
			state = stateRefused
		}
		if err := s.setState(ctx, tx, t.ObjectID, state, problem, 0, false); err != nil {
			return err
		}
		if state != stateRefused {
			tx.Exempt("what becomes of a file follows from its upload, which is recorded")
			return nil
		}
		var course string
		if err := tx.QueryRow(ctx, `SELECT course_id FROM media WHERE `+ofObject+` = $1 ORDER BY id LIMIT 1`, t.ObjectID).Scan(&course); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "media.refused", Object: t.ObjectID, Course: course, After: map[string]any{"problem": problem}})
	})
}

// Errors of processing again.
var (
	ErrNotRetryable = fault.New(fault.Conflict, "media.not_retryable", "Only a file that is broken or waits can be processed again.")
	errGone         = errors.New("media: the file is gone")
	errLost         = errors.New("media: somebody else has the task")
)

// retry has a file processed again.
func (s *Service) retry(ctx context.Context, tx *pg.Tx, course, mediaID string) (*mediapb.Media, error) {
	f, err := one(ctx, tx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND purpose = 'library' FOR UPDATE`, mediaID, course)
	if err != nil {
		return nil, err
	}
	if f.State != stateBroken && f.State != stateWaiting {
		return nil, ErrNotRetryable
	}
	if err := s.enqueue(ctx, tx, f.objectOf(), f.ContentType); err != nil {
		return nil, err
	}
	was := f.State
	if err := s.setState(ctx, tx, f.objectOf(), stateWaiting, "", 0, false); err != nil {
		return nil, err
	}
	f.State, f.Problem, f.Percent = stateWaiting, "", 0
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "media.retried", Object: f.ID, Course: f.CourseID, Before: map[string]any{"state": was}, After: map[string]any{"state": f.State},
	}); err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return facts(f), nil
}
