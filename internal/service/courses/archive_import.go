package courses

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

const (
	// importLease is how long an import is left to a process that says nothing of
	// it, and renewLease how often it says something.
	importLease = 20 * time.Second
	renewLease  = 5 * time.Second
	// maxAttempts is how often an import is begun.
	maxAttempts = 5
)

// Why an import fails, beside what others tell.
const (
	importRefused     = "course_import.refused"
	importInterrupted = "course_import.interrupted"
	importPermission  = "course_import.permission"
	importBroken      = "course_import.broken"
)

// errLost says that an import is another's by now.
var errLost = errors.New("courses: the import is another process's")

// failure is the end of an import that can't become a course.
type failure struct{ code string }

func (f *failure) Error() string { return "courses: import failed: " + f.code }

// runImport works on an import that is due, and reports whether one was.
func (s *Service) runImport(ctx context.Context) (worked bool, err error) {
	node, err := s.importNode()
	if err != nil {
		return false, err
	}
	i, err := s.takeImport(ctx, node)
	if err != nil || i.ID == "" {
		return false, err
	}
	working, cancel := context.WithCancelCause(by(ctx, i.AccountID))
	renewed := make(chan struct{})
	go func(taken courseImport) {
		defer close(renewed)
		s.renew(working, cancel, taken)
	}(i)
	var note findings
	err = s.perform(working, &i, &note)
	cancel(nil)
	<-renewed
	if err == nil {
		s.dropArchive(ctx, i.ID)
		return true, nil
	}
	return true, s.endImport(ctx, i, &note, err)
}

// endImport is what follows when an import has not become a course: it has failed,
// or is tried again.
func (s *Service) endImport(ctx context.Context, i courseImport, note *findings, err error) error {
	if errors.Is(err, errLost) {
		return nil
	}
	if ctx.Err() != nil { // the process stops: the next goes on
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return s.postpone(ctx, i, 0, i.Attempts-1)
	}
	var end *failure
	told, _ := errors.AsType[*fault.Error](err)
	switch {
	case errors.As(err, &end):
		i.Code = end.code
	case told != nil && told.Kind != fault.Internal && told.Kind != fault.Unavailable:
		i.Code = told.Code
	case i.Attempts >= maxAttempts:
		i.Code = importBroken
	default:
		return errors.Join(err, s.postpone(ctx, i, time.Second<<(2*i.Attempts), i.Attempts))
	}
	if failing := s.failImport(by(ctx, i.AccountID), i, note); failing != nil {
		return failing
	}
	s.dropArchive(ctx, i.ID)
	if i.Code == importBroken {
		return err
	}
	return nil
}

// by returns a context in which an account has what it asked for earlier done.
func by(ctx context.Context, accountID string) context.Context {
	return auth.With(ctx, auth.Principal{Account: accountID})
}

// takeImport takes the next import that is due and that this process can work on.
func (s *Service) takeImport(ctx context.Context, node string) (courseImport, error) {
	var i courseImport
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("who works on an import; its end is recorded")
		rows, err := tx.Query(ctx, `
			UPDATE course_import SET state = 'running', attempts = attempts + 1, lease = $2, next_at = $3
			WHERE id = (
				SELECT id FROM course_import WHERE state IN ('queued', 'running') AND next_at <= $4 AND node IN ('', $1)
				ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING `+importColumns, node, rand.Text(), s.now().Add(importLease), s.now())
		if err != nil {
			return err
		}
		i, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[courseImport])
		return err
	})
	if pg.NoRows(err) {
		return courseImport{}, nil
	}
	return i, err
}

// renew says that an import is worked on until ctx ends, and ends the work when it
// is another's.
func (s *Service) renew(ctx context.Context, lost context.CancelCauseFunc, i courseImport) {
	tick := time.NewTicker(renewLease)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.ofImport(ctx, i, `next_at = $3`, s.now().Add(importLease))
		if errors.Is(err, errLost) {
			lost(errLost)
		}
	}
}

// ofImport changes columns of an import that is worked on; set has its first
// parameter as $3.
func (s *Service) ofImport(ctx context.Context, i courseImport, set string, args ...any) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("how far an import is; its end is recorded")
		tag, err := tx.Exec(ctx, `UPDATE course_import SET `+set+` WHERE id = $1 AND lease = $2 AND state = 'running'`, append([]any{i.ID, i.Lease}, args...)...)
		if err == nil && tag.RowsAffected() == 0 {
			err = errLost
		}
		return err
	})
}

// postpone leaves an import to whoever takes it after a while.
func (s *Service) postpone(ctx context.Context, i courseImport, wait time.Duration, attempts int32) error {
	return s.ofImport(ctx, i, `state = 'queued', lease = '', next_at = $3, attempts = $4`, s.now().Add(wait), attempts)
}

// perform makes of an archive what it is to be. Begun again it comes to the same:
// nothing is there before its last transaction but files, which media makes once.
func (s *Service) perform(ctx context.Context, i *courseImport, note *findings) error {
	if i.Attempts > maxAttempts {
		return &failure{importInterrupted}
	}
	file, err := s.openArchive(ctx, *i)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was read only
	p := readArchive(file, i.Size, s.maxArchive, note)
	if p != nil {
		if err := s.inspect(ctx, p, i.StagingID); err != nil {
			return s.cause(ctx, err)
		}
		i.Modules, i.Lessons = 0, 0 // those of an earlier try
		for _, n := range p.nodes {
			if n.kind == "module" {
				i.Modules++
			} else {
				i.Lessons++
			}
		}
		i.MediaFiles = int32(len(p.media)) //nolint:gosec // at most maxArchiveFiles
	}
	if note.errors > 0 || p == nil {
		return &failure{importRefused}
	}
	if i.CourseID != "" { // looked at again once the course is locked
		if err := roomFor(ctx, s.db, i.CourseID, int(i.Modules), int(i.Lessons)); err != nil {
			return s.cause(ctx, err)
		}
	}
	if i.DryRun {
		return s.finishImport(ctx, i, note, func(*pg.Tx) error { return nil })
	}
	permission := "course.create"
	if i.CourseID != "" {
		permission = "course.edit"
	}
	if err := s.may(ctx, i.AccountID, i.CourseID, permission); fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound) {
		return &failure{importPermission}
	} else if err != nil {
		return s.cause(ctx, err)
	}
	if err := s.ofImport(ctx, *i, `modules = $3, lessons = $4, media_files = $5`, i.Modules, i.Lessons, i.MediaFiles); err != nil {
		return err
	}
	if may, err := s.mayImportCarried(ctx, *i, p); err != nil {
		return s.cause(ctx, err)
	} else if !may {
		return &failure{importPermission}
	}
	media, err := s.takeIn(ctx, i, p, note)
	if err != nil {
		return s.cause(ctx, err)
	}
	if i.CourseID == "" {
		return s.cause(ctx, s.makeCourse(ctx, i, p, media, note))
	}
	return s.cause(ctx, s.addModules(ctx, i, p, media, note))
}

// cause returns why work was ended, where that was not by its own error.
func (s *Service) cause(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errLost) {
		return errLost
	}
	return err
}

// openArchive opens the archive of an import, which is fetched first where it is a
// file of a course.
func (s *Service) openArchive(ctx context.Context, i courseImport) (*os.File, error) {
	if i.SourceMediaID == "" {
		file, err := os.Open(s.archivePath(i.ID))
		if errors.Is(err, os.ErrNotExist) {
			return nil, &failure{importInterrupted}
		}
		return file, err
	}
	file, err := os.OpenFile(s.archivePath(i.ID), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, noRoom(err)
	}
	stream, err := s.library.ReadMedia(ctx, &mediapb.ReadMediaRequest{CourseId: i.SourceCourseID, MediaId: i.SourceMediaID})
	var n int64
	if err == nil {
		n, err = io.Copy(file, io.LimitReader(&mediaReader{stream: stream}, i.Size))
	}
	if err == nil && n != i.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		_ = file.Close() // nothing in it counts
		return nil, noRoom(err)
	}
	return file, nil
}

// takeIn has media take in the files of an archive with their captions, and
// returns their ids by their names.
func (s *Service) takeIn(ctx context.Context, i *courseImport, p *archivePlan, note *findings) (map[string]string, error) {
	if err := s.claimImport(ctx, *i, i.ID, i.StagingID, ""); err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(p.media))
	i.MediaDone = 0
	for _, f := range p.media {
		m, err := s.takeInOne(ctx, *i, p, f)
		if fault.Is(err, fault.Invalid) {
			note.add(f.GetPath(), fault.CodeOf(err), "The file is not taken as it is.")
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.GetPath(), err)
		}
		if m.GetContentType() != f.GetContentType() {
			note.add(f.GetPath(), "archive.media_type", "By its bytes it is "+shownPath(m.GetContentType())+", and "+mediaFile+" says something else.")
		}
		ids[f.GetId()] = m.GetId()
		if i.MediaDone++; i.MediaDone%20 == 0 || i.MediaDone == i.MediaFiles {
			if err := s.ofImport(ctx, *i, `media_done = $3`, i.MediaDone); err != nil {
				return nil, err
			}
		}
	}
	if note.errors > 0 {
		return nil, &failure{importRefused}
	}
	return ids, s.takeInCaptions(ctx, i, p, ids, note)
}

// takeInOne has media take in a file, once however often it is called.
func (s *Service) takeInOne(ctx context.Context, i courseImport, p *archivePlan, f *coursespb.ArchiveMediaFile) (*mediapb.Media, error) {
	ctx, cancel := context.WithCancel(rpc.WithIdempotencyKey(ctx, i.ID+"/"+f.GetId()))
	defer cancel()
	stream, err := s.library.ImportMedia(ctx)
	if err != nil {
		return nil, err
	}
	req := &mediapb.ImportMediaRequest{CourseId: i.StagingID, Filename: f.GetFilename(), Sha256: p.listed[f.GetPath()].GetSha256(), AccountId: i.AccountID}
	in, buf := p.zip.open(p.zip.files[f.GetPath()]), make([]byte, exportChunk)
	for first := true; ; first = false {
		n, err := in.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n > 0 || first {
			req.Chunk = buf[:n]
			if stream.Send(req) != nil {
				break // it says why at the end
			}
			req = &mediapb.ImportMediaRequest{}
		}
		if err != nil {
			break
		}
	}
	m, err := stream.CloseAndRecv()
	return m, fault.FromStatus(err)
}

// never is when what an import has had media make is given up: when it ends.
const never = 100 * 365 * 24 * time.Hour

// claimImport notes what an import is about to have media make in a course.
func (s *Service) claimImport(ctx context.Context, i courseImport, claimID, courseID, from string) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what an import is about to need; its end is recorded")
		_, err := tx.Exec(ctx, `
			INSERT INTO media_claim (id, caller, key, course_id, from_course_id, due_at) VALUES ($1, $2, $1, $3, $4, $5)
			ON CONFLICT ON CONSTRAINT media_claim_pkey DO NOTHING`, claimID, i.AccountID, courseID, from, s.now().Add(never))
		return err
	})
}

// makeCourse makes the course of an archive whose files are there.
func (s *Service) makeCourse(ctx context.Context, i *courseImport, p *archivePlan, media map[string]string, note *findings) error {
	if _, err := s.access.AssignCourseRole(ctx, &accesspb.AssignCourseRoleRequest{CourseId: i.StagingID, AccountId: i.AccountID, Role: "owner"}); err != nil {
		return err
	}
	to := p.newTarget(i.StagingID, media)
	p.note = &findings{} // all has been noted
	if err := s.importCarried(ctx, i, p, to, note); err != nil {
		return err
	}
	return s.finishImport(ctx, i, note, func(tx *pg.Tx) error {
		if err := s.insertCourse(ctx, tx, i.StagingID, i.AccountID, s.landing(ctx, p, to)); err != nil {
			return err
		}
		if err := insertOrigin(ctx, tx, i.StagingID, p.origin, "archive", ""); err != nil {
			return err
		}
		if err := s.insertNodes(ctx, tx, p, to, func(n int) int64 { return int64(n+1) * gap }); err != nil {
			return err
		}
		i.CourseID = i.StagingID
		if err := p.tellCarried(ctx, tx, *i); err != nil {
			return err
		}
		return s.keepClaim(ctx, tx, i.ID)
	})
}

// addModules adds the modules of an archive, whose files are there, to a course.
func (s *Service) addModules(ctx context.Context, i *courseImport, p *archivePlan, media map[string]string, note *findings) error {
	c := mediaClaim{ID: i.ID + "/copy", CourseID: i.CourseID, FromCourseID: i.StagingID, State: "open"}
	if err := s.claimImport(ctx, *i, c.ID, c.CourseID, c.FromCourseID); err != nil {
		return err
	}
	staged := make([]string, 0, len(media))
	for _, f := range p.media {
		staged = append(staged, media[f.GetId()])
	}
	copies, err := s.copyInto(ctx, &c, i.StagingID, staged)
	if err != nil {
		return err
	}
	there := make(map[string]string, len(media))
	for name, mediaID := range media {
		there[name] = copies[mediaID]
	}
	to := p.newTarget(i.CourseID, there)
	p.note = &findings{}
	if err := s.importCarried(ctx, i, p, to, note); err != nil {
		return err
	}
	top := 0
	for _, n := range p.nodes {
		if n.above < 0 {
			top++
		}
	}
	return s.finishImport(ctx, i, note, func(tx *pg.Tx) error {
		if err := lockCourse(ctx, tx, i.CourseID); err != nil {
			return err
		}
		if err := roomFor(ctx, tx, i.CourseID, int(i.Modules), int(i.Lessons)); err != nil {
			return err
		}
		positions, err := positionsAt(ctx, tx, i.CourseID, MaxModules+MaxLessons, top)
		if err != nil {
			return err
		}
		if err := s.insertNodes(ctx, tx, p, to, func(n int) int64 { return positions[n] }); err != nil {
			return err
		}
		if err := s.keepClaim(ctx, tx, c.ID); err != nil {
			return err
		}
		if err := p.tellCarried(ctx, tx, *i); err != nil {
			return err
		}
		// What was put into the staging course goes: the copies share its bytes.
		if _, err := tx.Exec(ctx, `UPDATE media_claim SET due_at = $2 WHERE id = $1`, i.ID, s.now()); err != nil {
			return err
		}
		return s.touch(ctx, tx, i.CourseID, audit.Entry{Action: "modules.imported", Object: i.CourseID, After: map[string]any{
			"import": i.ID, "origin": p.origin, "modules": i.Modules, "lessons": i.Lessons,
		}})
	})
}

// insertNodes adds the items of an archive to a draft.
func (s *Service) insertNodes(ctx context.Context, tx *pg.Tx, p *archivePlan, to target, at func(n int) int64) error {
	w := &itemWriter{s: s, tx: tx, courseID: to.course}
	place := map[int]int{}
	for _, n := range p.nodes {
		c, ok := s.item(ctx, p, n, to)
		if !ok {
			return fmt.Errorf("courses: %s is not what it was: %v", n.file(), p.note.first())
		}
		it := item{ID: n.id, Kind: n.kind, Position: int64(place[n.above]+1) * gap}
		if n.above >= 0 {
			it.ParentID = p.nodes[n.above].id
		} else {
			it.Position = at(place[n.above])
		}
		place[n.above]++
		if err := w.add(ctx, newItem{it, c}); err != nil {
			return err
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	return checkReleases(ctx, tx, to.course)
}
