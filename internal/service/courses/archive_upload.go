package courses

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// maxImports bounds how many imports somebody has that are not finished.
const maxImports = 10

// DefaultMaxArchive is how many bytes an archive has at most when the
// configuration does not say.
const DefaultMaxArchive = 20 << 30

// courseImport is an archive on its way to be a course.
type courseImport struct {
	ID             string
	AccountID      string
	CourseID       string
	StagingID      string
	DryRun         bool
	Node           string
	SourceCourseID string
	SourceMediaID  string
	Size           int64
	SHA256         string `db:"sha256"`
	State          string
	Code           string
	Attempts       int32
	Lease          string
	Carries        bool
	Modules        int32
	Lessons        int32
	MediaFiles     int32
	MediaDone      int32
	Findings       []stored[*coursespb.ArchiveFinding]
	Errors         int32
	Warnings       int32
	CreatedAt      time.Time
	FinishedAt     *time.Time
}

const importColumns = `id, account_id, course_id, staging_id, dry_run, node, source_course_id, source_media_id, size, sha256, state, code, attempts, lease, carries,
	modules, lessons, media_files, media_done, findings, errors, warnings, created_at, finished_at`

func (i courseImport) proto() *coursespb.CourseImport {
	out := &coursespb.CourseImport{
		Id: i.ID, CourseId: i.CourseID, State: i.State, Code: i.Code, DryRun: i.DryRun, Size: i.Size, Modules: i.Modules, Lessons: i.Lessons,
		MediaFiles: i.MediaFiles, MediaDone: i.MediaDone, Errors: i.Errors, Warnings: i.Warnings, CreatedAt: timestamppb.New(i.CreatedAt),
	}
	for _, f := range i.Findings {
		out.Findings = append(out.Findings, f.M)
	}
	if i.FinishedAt != nil {
		out.FinishedAt = timestamppb.New(*i.FinishedAt)
	}
	return out
}

// entry is the import as the audit log has it: no text of the archive.
func (i courseImport) entry() map[string]any {
	return map[string]any{
		"state": i.State, "code": i.Code, "dry_run": i.DryRun, "size": i.Size, "sha256": i.SHA256, "modules": i.Modules, "lessons": i.Lessons,
		"media_files": i.MediaFiles, "errors": i.Errors, "warnings": i.Warnings,
	}
}

// importChunks reads the bytes of an archive that is sent.
type importChunks struct {
	next func() ([]byte, error)
	rest []byte
}

// Read implements [io.Reader].
func (c *importChunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, err := c.next()
		if err != nil {
			return 0, err
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// uploadCourse takes in an archive that becomes a course.
func (s *Service) uploadCourse(stream grpc.ClientStreamingServer[coursespb.ImportCourseRequest, coursespb.CourseImport]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrImportEmpty
	}
	if err != nil {
		return err
	}
	in := &importChunks{rest: first.GetChunk(), next: func() ([]byte, error) {
		req, err := stream.Recv()
		return req.GetChunk(), gone(stream.Context(), err)
	}}
	got, err := s.upload(stream.Context(), "", first.GetDryRun(), in, func(sum []byte) proto.Message {
		return &coursespb.ImportCourseRequest{DryRun: first.GetDryRun(), Chunk: sum}
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(got)
}

// uploadModules takes in an archive whose modules are put into a course.
func (s *Service) uploadModules(stream grpc.ClientStreamingServer[coursespb.ImportModulesRequest, coursespb.CourseImport]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrImportEmpty
	}
	if err != nil {
		return err
	}
	in := &importChunks{rest: first.GetChunk(), next: func() ([]byte, error) {
		req, err := stream.Recv()
		return req.GetChunk(), gone(stream.Context(), err)
	}}
	got, err := s.upload(stream.Context(), first.GetCourseId(), first.GetDryRun(), in, func(sum []byte) proto.Message {
		return &coursespb.ImportModulesRequest{CourseId: first.GetCourseId(), DryRun: first.GetDryRun(), Chunk: sum}
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(got)
}

// gone is the error of a stream. A caller who has gone is no fault of ours.
func gone(ctx context.Context, err error) error {
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// upload keeps an archive in this process's folder, and the import of it once all
// of it is there. request is what was asked for, with the hash in place of the
// bytes.
func (s *Service) upload(ctx context.Context, courseID string, dryRun bool, in io.Reader, request func(sum []byte) proto.Message) (*coursespb.CourseImport, error) {
	if err := s.countImports(ctx, s.db); err != nil {
		return nil, err
	}
	done, err := s.receive(auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	defer done()
	node, err := s.importNode()
	if err != nil {
		return nil, err
	}
	i := courseImport{
		ID: id.New("import"), AccountID: auth.From(ctx).Account, CourseID: courseID, StagingID: id.New("course"), DryRun: dryRun,
		Node: node, State: "queued", CreatedAt: s.now(),
	}
	file, err := os.OpenFile(s.archivePath(i.ID), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, noRoom(err)
	}
	defer func() { _ = file.Close() }() // what matters was synced
	hash := sha256.New()
	i.Size, err = io.Copy(io.MultiWriter(file, hash), io.LimitReader(in, s.maxArchive+1))
	if err == nil {
		err = s.acceptable(file, i.Size)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		s.dropArchive(ctx, i.ID)
		return nil, noRoom(err)
	}
	i.SHA256 = hex.EncodeToString(hash.Sum(nil))
	out, err := idempotency.Do(ctx, s.db, request(hash.Sum(nil)), func(tx *pg.Tx) (*coursespb.CourseImport, error) { return s.enqueue(ctx, tx, i) })
	if err != nil || out.GetId() != i.ID { // a repetition: the first one counts
		s.dropArchive(ctx, i.ID)
	}
	return out, err
}

// maxReceived bounds how many archives of somebody a process receives at a time.
const maxReceived = 3

// receive counts an archive that somebody sends until done is called.
func (s *Service) receive(accountID string) (done func(), err error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if s.received[accountID] >= maxReceived {
		return nil, ErrTooManyImports
	}
	s.received[accountID]++
	return func() {
		s.receiving.Lock()
		defer s.receiving.Unlock()
		if s.received[accountID]--; s.received[accountID] == 0 {
			delete(s.received, accountID)
		}
	}, nil
}

// acceptable refuses what is no archive by its list of files alone: the caller
// hears of it at once.
func (s *Service) acceptable(file io.ReaderAt, size int64) error {
	switch {
	case size == 0:
		return ErrImportEmpty
	case size > s.maxArchive:
		return errArchiveSize(s.maxArchive)
	}
	var note findings
	if _, err := openZip(file, size, s.maxArchive, &note); err != nil {
		return ErrNotArchive
	}
	if note.errors == 0 {
		return nil
	}
	refused := &fault.Error{Kind: ErrArchiveRefused.Kind, Code: ErrArchiveRefused.Code, Message: ErrArchiveRefused.Message}
	for _, f := range note.list[:min(len(note.list), maxFields)] {
		refused.Fields = append(refused.Fields, fault.Field{Path: f.GetPath(), Code: f.GetCode(), Hint: f.GetHint()})
	}
	return refused
}

func errArchiveSize(most int64) error {
	return fault.New(fault.TooLarge, "course_import.too_large", "An archive has at most %d bytes.", most)
}

// noRoom tells a full disk as what it is.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ErrImportNoRoom
	}
	return err
}

// countImports refuses somebody who has too many imports that are not finished.
func (s *Service) countImports(ctx context.Context, q pg.Querier) error {
	var n int
	err := q.QueryRow(ctx, `SELECT count(*) FROM course_import WHERE account_id = $1 AND state IN ('queued', 'running')`, auth.From(ctx).Account).Scan(&n)
	if err == nil && n >= maxImports {
		err = ErrTooManyImports
	}
	return err
}

// enqueue adds an import whose bytes are there.
func (s *Service) enqueue(ctx context.Context, tx *pg.Tx, i courseImport) (*coursespb.CourseImport, error) {
	// Those who count the imports of one account take turns.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.course_import'), hashtext($1))`, i.AccountID); err != nil {
		return nil, err
	}
	if err := s.countImports(ctx, tx); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO course_import (id, account_id, course_id, staging_id, dry_run, node, source_course_id, source_media_id, size, sha256, next_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)`,
		i.ID, i.AccountID, i.CourseID, i.StagingID, i.DryRun, i.Node, i.SourceCourseID, i.SourceMediaID, i.Size, i.SHA256, i.CreatedAt); err != nil {
		return nil, err
	}
	tx.AfterCommit(s.wake)
	return i.proto(), audit.Record(ctx, tx, audit.Entry{Action: "course_import.requested", Object: i.ID, Course: i.CourseID, After: i.entry()})
}

// wake has the worker of this process look for an import now.
func (s *Service) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// importUploaded makes an import of a file of a course.
func (s *Service) importUploaded(ctx context.Context, req *coursespb.ImportUploadedRequest) (*coursespb.CourseImport, error) {
	permission := "course.create"
	if req.GetIntoCourseId() != "" {
		permission = "course.edit"
	}
	if err := s.may(ctx, auth.From(ctx).Account, req.GetIntoCourseId(), permission); err != nil {
		return nil, err
	}
	res, err := s.media.BatchGetMedia(ctx, &mediapb.BatchGetMediaRequest{CourseId: req.GetCourseId(), MediaIds: []string{req.GetMediaId()}})
	if err != nil {
		return nil, err
	}
	if len(res.GetItems()) == 0 || res.GetItems()[0].GetDeletedAt() != "" {
		return nil, errMediaNotFound
	}
	m := res.GetItems()[0]
	switch {
	case m.GetState() != "ready":
		return nil, ErrMediaNotReady
	case m.GetSize() > s.maxArchive:
		return nil, errArchiveSize(s.maxArchive)
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.CourseImport, error) {
		return s.enqueue(ctx, tx, courseImport{
			ID: id.New("import"), AccountID: auth.From(ctx).Account, CourseID: req.GetIntoCourseId(), StagingID: id.New("course"), DryRun: req.GetDryRun(),
			SourceCourseID: req.GetCourseId(), SourceMediaID: m.GetId(), Size: m.GetSize(), SHA256: m.GetSha256(), State: "queued", CreatedAt: s.now(),
		})
	})
}

var errMediaNotFound = fault.New(fault.NotFound, "media.not_found", "There is no such file.")

// getImport returns an import of the caller.
func (s *Service) getImport(ctx context.Context, importID string) (*coursespb.CourseImport, error) {
	rows, err := s.db.Query(ctx, `SELECT `+importColumns+` FROM course_import WHERE id = $1 AND account_id = $2`, importID, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[courseImport])
	if pg.NoRows(err) {
		return nil, ErrImportNotFound
	}
	return i.proto(), err
}

// listImports returns a page of the caller's imports, newest first.
func (s *Service) listImports(ctx context.Context, size int, cursor string) (*coursespb.ListCourseImportsResponse, error) {
	at, importID, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+strings.Replace(importColumns, "findings", "'[]'::jsonb AS findings", 1)+` FROM course_import
		WHERE account_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`, auth.From(ctx).Account, at, importID, size+1)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[courseImport])
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListCourseImportsResponse{}
	if len(found) > size {
		found = found[:size]
		res.NextCursor = page.TimeCursor(found[size-1].CreatedAt, found[size-1].ID)
	}
	for _, i := range found {
		res.Items = append(res.Items, i.proto())
	}
	return res, nil
}

// archivePath is where the archive of an import is while it is worked on.
func (s *Service) archivePath(importID string) string {
	return filepath.Join(s.imports, importID+".zip")
}

func (s *Service) dropArchive(ctx context.Context, importID string) {
	if err := os.Remove(s.archivePath(importID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.WarnContext(ctx, "courses: an archive is left to the sweep", "import", importID, "error", err.Error())
	}
}

// importNode returns the name of the folder that this process keeps archives in,
// which is made when it is not there. Processes that share one have one name.
func (s *Service) importNode() (string, error) {
	if err := os.MkdirAll(s.imports, 0o700); err != nil {
		return "", fmt.Errorf("courses: folder for archives: %w", noRoom(err))
	}
	path := filepath.Join(s.imports, "node")
	for range 2 {
		name, err := os.ReadFile(path) //nolint:gosec // in the folder of the configuration
		if err == nil && len(name) > 0 {
			return string(name), nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("courses: folder for archives: %w", err)
		}
		// Written apart and linked, so that nobody reads half a name.
		fresh := path + "." + rand.Text()
		if err := os.WriteFile(fresh, []byte(rand.Text()), 0o600); err != nil {
			return "", fmt.Errorf("courses: folder for archives: %w", noRoom(err))
		}
		err = os.Link(fresh, path)
		if err := os.Remove(fresh); err != nil {
			return "", fmt.Errorf("courses: folder for archives: %w", err)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("courses: folder for archives: %w", err)
		}
	}
	return "", errors.New("courses: folder for archives has no name")
}
