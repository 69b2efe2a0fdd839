package grades

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// Errors of imports.
var (
	ErrImportNotFound   = fault.New(fault.NotFound, "import.not_found", "There is no such import.")
	ErrImportUnreadable = fault.New(fault.Invalid, "import.unreadable", "The file can't be read as what it is said to be.")
	ErrImportEncoding   = fault.New(fault.Invalid, "import.encoding", "Save the file as UTF-8.")
	ErrImportEmpty      = fault.New(fault.Invalid, "import.empty", "The file has no line with grades.")
	ErrImportTooLarge   = fault.New(fault.TooLarge, "import.too_large", "A file has at most %d MiB, %d lines and %d changes.", maxImportSize>>20, maxImportRows, maxImportChanges)
	ErrImportFinished   = fault.New(fault.Conflict, "import.finished", "This import was applied or given up.")
	ErrImportRefused    = fault.New(fault.Conflict, "import.refused", "Something of the file is refused. Mend the file and upload it again.")
	ErrImportConflicts  = fault.New(fault.Conflict, "import.conflicts", "Some cells have changed since the file was made. Say whether to keep or to overwrite them.")
)

// How long an import is kept, and how many students are compared at a time.
const (
	keepImports   = 7 * 24 * time.Hour
	importRows    = 200
	importReaders = 2 // files that are read at the same time
)

// Outcomes of a value of a file.
const (
	outcomeChange   = "change"
	outcomeConflict = "conflict"
	outcomeRefused  = "refused"
)

// gradeImport is a file of grades, as it is kept.
type gradeImport struct {
	ID        string
	CourseID  string
	State     string
	Rows      int32
	Changes   int32
	Conflicts int32
	Refused   int32
	CreatedBy string
	CreatedAt time.Time
	DeleteAt  time.Time
	BatchID   string
}

const importColumns = `id, course_id, state, rows, changes, conflicts, refused, created_by, created_at, delete_at, batch_id`

func (i *gradeImport) message() *gradespb.GradeImport {
	return &gradespb.GradeImport{
		Id: i.ID, CourseId: i.CourseID, State: i.State, Rows: i.Rows, Changes: i.Changes, Conflicts: i.Conflicts, Refused: i.Refused,
		CreatedBy: i.CreatedBy, CreatedAt: timestamppb.New(i.CreatedAt), ExpiresAt: timestamppb.New(i.DeleteAt), BatchId: i.BatchID,
	}
}

// importChange is what a file would change, as it is kept.
type importChange struct {
	N         int32
	Line      int32
	AccountID string
	ItemID    string
	Before    string
	After     string
	Outcome   string
	Code      string
	Seq       int64
}

// UploadGradeImport implements gradespb.GradeTransferServiceServer.
func (r *transferServer) UploadGradeImport(stream grpc.ClientStreamingServer[gradespb.UploadGradeImportRequest, gradespb.GradeImport]) error {
	s, ctx := r.service, stream.Context()
	req, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrImportEmpty
	}
	if err != nil {
		return err
	}
	path, sum, err := keepUpload(stream, req.GetChunk())
	if path != "" {
		defer func() { _ = os.Remove(path) }()
	}
	if err != nil {
		return err
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// The request as one message, with the hash in place of the bytes.
	request := &gradespb.UploadGradeImportRequest{CourseId: req.GetCourseId(), Format: req.GetFormat(), Chunk: sum}
	out, err := idempotency.Do(ctx, s.db, request, func(tx *pg.Tx) (*gradespb.GradeImport, error) {
		return s.readImport(ctx, tx, req.GetCourseId(), req.GetFormat(), path)
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(out)
}

// upload counts and hashes what is written to a file.
type upload struct {
	file *os.File
	hash hash.Hash
	size int64
}

func (u *upload) take(chunk []byte) error {
	if u.size += int64(len(chunk)); u.size > maxImportSize {
		return ErrImportTooLarge
	}
	u.hash.Write(chunk)
	_, err := u.file.Write(chunk)
	return err
}

// keepUpload writes an upload to a file, which the caller removes.
func keepUpload(stream grpc.ClientStreamingServer[gradespb.UploadGradeImportRequest, gradespb.GradeImport], chunk []byte) (path string, sum []byte, err error) {
	f, err := os.CreateTemp("", "stoa-grades-*")
	if err != nil {
		return "", nil, err
	}
	u := &upload{file: f, hash: sha256.New()}
	err = u.take(chunk)
	for err == nil {
		var req *gradespb.UploadGradeImportRequest
		if req, err = stream.Recv(); err == nil {
			err = u.take(req.GetChunk())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return f.Name(), u.hash.Sum(nil), errors.Join(err, f.Close())
}

// readImport compares a file with the gradebook and keeps what it would change.
func (s *Service) readImport(ctx context.Context, tx *pg.Tx, courseID, format, path string) (*gradespb.GradeImport, error) {
	b, err := s.bookOf(ctx, tx, courseID)
	if err != nil {
		return nil, err
	}
	file, err := openLines(format, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.close() }()
	now := s.now()
	i := &gradeImport{
		ID: id.New("gradeimport"), CourseID: courseID, State: "ready", CreatedBy: auth.From(ctx).Account, CreatedAt: now, DeleteAt: now.Add(keepImports),
	}
	list, err := s.compareFile(ctx, tx, b, file, i)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO grade_import (`+importColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '')`,
		i.ID, i.CourseID, i.State, i.Rows, i.Changes, i.Conflicts, i.Refused, i.CreatedBy, i.CreatedAt, i.DeleteAt); err != nil {
		return nil, fmt.Errorf("store import: %w", err)
	}
	columns := []string{"import_id", "n", "line", "account_id", "item_id", "before", "after", "outcome", "code", "seq"}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"grade_import_change"}, columns, pgx.CopyFromSlice(len(list), func(n int) ([]any, error) {
		c := list[n]
		return []any{i.ID, n + 1, c.Line, c.AccountID, c.ItemID, c.Before, c.After, c.Outcome, c.Code, c.Seq}, nil
	})); err != nil {
		return nil, fmt.Errorf("store import: %w", err)
	}
	return i.message(), audit.Record(ctx, tx, audit.Entry{
		Action: "grade_import.uploaded", Object: i.ID, Course: courseID,
		After: map[string]any{"rows": i.Rows, "changes": i.Changes, "conflicts": i.Conflicts, "refused": i.Refused},
	})
}

// importOf returns an import of a course.
func (s *Service) importOf(ctx context.Context, q pg.Querier, courseID, importID, lock string) (*gradeImport, error) {
	rows, err := q.Query(ctx, `SELECT `+importColumns+` FROM grade_import WHERE course_id = $1 AND id = $2 AND delete_at > $3`+lock, courseID, importID, s.now())
	if err != nil {
		return nil, fmt.Errorf("read import: %w", err)
	}
	i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[gradeImport])
	if pg.NoRows(err) {
		return nil, ErrImportNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read import: %w", err)
	}
	return i, nil
}

// GetGradeImport implements gradespb.GradeTransferServiceServer.
func (r *transferServer) GetGradeImport(ctx context.Context, req *gradespb.GetGradeImportRequest) (*gradespb.GradeImport, error) {
	i, err := r.service.importOf(ctx, r.service.db, req.GetCourseId(), req.GetImportId(), ``)
	if err != nil {
		return nil, err
	}
	return i.message(), nil
}

func importChanges(ctx context.Context, q pg.Querier, importID, outcome string, after int64, size int) ([]*importChange, error) {
	rows, err := q.Query(ctx, `
		SELECT n, line, account_id, item_id, before, after, outcome, code, seq FROM grade_import_change
		WHERE import_id = $1 AND ($2 = '' OR outcome = $2) AND n > $3 ORDER BY n LIMIT $4`, importID, outcome, after, size)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[importChange])
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	return list, nil
}

// ListGradeImportChanges implements gradespb.GradeTransferServiceServer.
func (r *transferServer) ListGradeImportChanges(ctx context.Context, req *gradespb.ListGradeImportChangesRequest) (*gradespb.ListGradeImportChangesResponse, error) {
	s := r.service
	after, err := cursorSeq(req.GetCursor(), 0)
	if err != nil {
		return nil, err
	}
	i, err := s.importOf(ctx, s.db, req.GetCourseId(), req.GetImportId(), ``)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := importChanges(ctx, s.db, i.ID, req.GetOutcome(), after, size+1)
	if err != nil {
		return nil, err
	}
	out := &gradespb.ListGradeImportChangesResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = seqCursor(int64(list[size-1].N))
	}
	for _, c := range list {
		out.Items = append(out.Items, &gradespb.ImportChange{
			Line: c.Line, AccountId: c.AccountID, ItemId: c.ItemID, Before: c.Before, After: c.After, Outcome: c.Outcome, Code: c.Code,
		})
	}
	return out, nil
}

// CancelGradeImport implements gradespb.GradeTransferServiceServer.
func (r *transferServer) CancelGradeImport(ctx context.Context, req *gradespb.CancelGradeImportRequest) (*gradespb.GradeImport, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.GradeImport, error) {
		tx.Exempt("nothing has changed")
		i, err := s.importOf(ctx, tx, req.GetCourseId(), req.GetImportId(), ` FOR UPDATE`)
		if err != nil {
			return nil, err
		}
		switch i.State {
		case "cancelled":
			return i.message(), nil
		case "applied":
			return nil, ErrImportFinished
		}
		i.State = "cancelled"
		if _, err := tx.Exec(ctx, `UPDATE grade_import SET state = $2 WHERE id = $1`, i.ID, i.State); err != nil {
			return nil, fmt.Errorf("cancel import: %w", err)
		}
		return i.message(), audit.Record(ctx, tx, audit.Entry{Action: "grade_import.cancelled", Object: i.ID, Course: i.CourseID})
	})
}

// sweepImports deletes imports that are kept no longer.
func (s *Service) sweepImports(ctx context.Context) error {
	_, err := s.db.Exec(ctx, `
		DELETE FROM grade_import WHERE id IN (SELECT id FROM grade_import WHERE delete_at <= $1 ORDER BY delete_at LIMIT 10 FOR UPDATE SKIP LOCKED)`, s.now())
	if err != nil {
		return fmt.Errorf("sweep imports: %w", err)
	}
	return nil
}
