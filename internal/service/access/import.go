package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// The states of an import.
const (
	importUploading = "uploading"
	importQueued    = "queued"
	importRunning   = "running"
	importDone      = "done"
	importFailed    = "failed"
	importCancelled = "cancelled"
)

const (
	maxImports = 10 // of a course that are queued or running, and as many that are uploaded
	// importBatch is how many rows one transaction takes.
	importBatch = 500
	// uploadFor is how long an upload may take, and uploadCounts how long one that
	// may have broken off counts among a course's.
	uploadFor    = 24 * time.Hour
	uploadCounts = time.Hour
	keepImports  = 30 * 24 * time.Hour
)

// importJob is a file of people and how far it has come.
type importJob struct {
	ID         string
	CourseID   string
	State      string
	Code       string
	DryRun     bool
	Invite     bool
	Locale     string
	LookUp     bool
	Total      int32
	Enrolled   int32
	Already    int32
	Invited    int32
	Refused    int32
	AtLine     int32
	Failures   int32
	CreatedBy  string
	CreatedAt  time.Time
	FinishedAt *time.Time
}

const importJobColumns = `id, course_id, state, code, dry_run, invite, locale, look_up, total, enrolled, already, invited, refused,
	at_line, failures, created_by, created_at, finished_at`

func (i importJob) message() *accesspb.Import {
	return &accesspb.Import{
		Id: i.ID, CourseId: i.CourseID, State: i.State, Code: i.Code, DryRun: i.DryRun, Invite: i.Invite, Locale: i.Locale,
		Rows: i.Total, Enrolled: i.Enrolled, Already: i.Already, Invited: i.Invited, Refused: i.Refused,
		CreatedBy: i.CreatedBy, CreatedAt: timestamppb.New(i.CreatedAt), FinishedAt: timestampOf(i.FinishedAt),
	}
}

// entry is the import as the audit log has it.
func (i importJob) entry() map[string]any {
	return map[string]any{
		"state": i.State, "code": i.Code, "dry_run": i.DryRun, "invite": i.Invite, "rows": i.Total,
		"enrolled": i.Enrolled, "already": i.Already, "invited": i.Invited, "refused": i.Refused,
	}
}

// imports returns the rows of a statement that returns importJobColumns.
func imports(ctx context.Context, q pg.Querier, sql string, args ...any) ([]importJob, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("imports: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[importJob])
	if err != nil {
		return nil, fmt.Errorf("imports: %w", err)
	}
	return list, nil
}

// importOf returns an import of a course that is not about to be deleted. lock
// keeps others from changing it until the transaction ends.
func (s *Service) importOf(ctx context.Context, q pg.Querier, courseID, importID, lock string) (importJob, error) {
	list, err := imports(ctx, q, `
		SELECT `+importJobColumns+` FROM import WHERE id = $1 AND course_id = $2 AND (delete_at IS NULL OR delete_at > $3)`+lock, importID, courseID, s.now())
	if err != nil {
		return importJob{}, err
	}
	if len(list) == 0 {
		return importJob{}, ErrImportNotFound
	}
	return list[0], nil
}

// UploadImport implements accesspb.ImportServiceServer.
func (s *Service) UploadImport(stream grpc.ClientStreamingServer[accesspb.UploadImportRequest, accesspb.Import]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrImportEmpty
	}
	if err != nil {
		return err
	}
	got, err := s.upload(stream.Context(), first, &importChunks{stream: stream, rest: first.GetChunk()})
	if err != nil {
		return err
	}
	return stream.SendAndClose(got)
}

// importChunks reads the bytes of an upload.
type importChunks struct {
	stream grpc.ClientStreamingServer[accesspb.UploadImportRequest, accesspb.Import]
	rest   []byte
}

func (c *importChunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		req, err := c.stream.Recv()
		if err != nil {
			// A caller who has gone is not a fault of ours.
			if gone := c.stream.Context().Err(); gone != nil {
				return 0, gone
			}
			return 0, err
		}
		c.rest = req.GetChunk()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// importBytes counts and hashes what is read and stops it at the limit.
type importBytes struct {
	r    io.Reader
	hash hash.Hash
	size int64
}

func (c *importBytes) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.size += int64(n); c.size > maxImportSize {
		return 0, ErrImportSize
	}
	c.hash.Write(p[:n])
	return n, err
}

// upload takes a file in, whose first message is req. Its rows are kept as they
// come, in an import that is none before the last of them is there: whatever
// happens in between, it is swept.
func (s *Service) upload(ctx context.Context, req *accesspb.UploadImportRequest, content io.Reader) (*accesspb.Import, error) {
	locale, err := inviteLocale(req.GetLocale())
	if err != nil {
		return nil, err
	}
	who := auth.From(ctx)
	i := importJob{
		ID: id.New("import"), CourseID: req.GetCourseId(), DryRun: req.GetDryRun(), Invite: req.GetInvite(), Locale: locale,
		LookUp: who.MayUse(accountRead), CreatedBy: who.Account, CreatedAt: s.now(),
	}
	counted := &importBytes{r: content, hash: sha256.New()}
	file, err := openImportFile(counted, i.CreatedAt)
	if err != nil {
		return nil, err
	}
	key, err := s.beginImport(ctx, i)
	if err != nil {
		return nil, err
	}
	if err := s.stageAll(ctx, i.ID, key, file); err != nil {
		return nil, errors.Join(err, s.discardImport(ctx, i.ID))
	}
	// The request as one message, with the hash in place of the bytes.
	request := &accesspb.UploadImportRequest{
		CourseId: i.CourseID, Invite: i.Invite, DryRun: i.DryRun, Locale: req.GetLocale(), Chunk: counted.hash.Sum(nil),
	}
	out, err := idempotency.Do(ctx, s.db, request, func(tx *pg.Tx) (*accesspb.Import, error) { return s.enqueue(ctx, tx, i, request.GetChunk()) })
	if err != nil {
		return nil, errors.Join(err, s.discardImport(ctx, i.ID))
	}
	if out.GetId() != i.ID { // a repetition: the first upload counts
		if err := s.discardImport(ctx, i.ID); err != nil {
			s.log.WarnContext(ctx, "access: an upload that was sent again is left to the sweep", "import", i.ID, "error", err.Error())
		}
	}
	return out, nil
}

// beginImport notes an upload, and returns the key of its addresses.
func (s *Service) beginImport(ctx context.Context, i importJob) (key *secret.PersonKey, err error) {
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an upload, which is no import before its end, and that is recorded")
		n, err := s.countImports(ctx, tx, i.CourseID, `state = '`+importUploading+`' AND created_at > $2 AND delete_at > $3`, i.CreatedAt.Add(-uploadCounts), i.CreatedAt)
		if err != nil {
			return err
		}
		if n >= maxImports {
			return ErrTooManyImports
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO import (id, course_id, dry_run, invite, locale, look_up, created_by, created_at, delete_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			i.ID, i.CourseID, i.DryRun, i.Invite, i.Locale, i.LookUp, i.CreatedBy, i.CreatedAt, i.CreatedAt.Add(uploadFor)); err != nil {
			return fmt.Errorf("begin import: %w", err)
		}
		key, err = s.vault.KeyIn(ctx, tx, i.ID)
		return err
	})
	return key, err
}

// countImports counts the imports of a course that a condition names. Those who
// count those of one course take turns until their transactions end.
func (s *Service) countImports(ctx context.Context, tx *pg.Tx, courseID, where string, args ...any) (int, error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.import'), hashtext($1))`, courseID); err != nil {
		return 0, fmt.Errorf("take turns: %w", err)
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM import WHERE course_id = $1 AND `+where, append([]any{courseID}, args...)...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count imports: %w", err)
	}
	return n, nil
}

// stageAll keeps all rows of the file.
func (s *Service) stageAll(ctx context.Context, importID string, key *secret.PersonKey, file *importFile) error {
	for {
		rows, err := file.next(importBatch)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		if err := s.stage(ctx, importID, key, rows); err != nil {
			return err
		}
	}
	if file.rows == 0 {
		return ErrImportEmpty
	}
	return nil
}

// addressOfRow is the field of an import that is sealed.
const addressOfRow = "address"

// stage keeps some rows of an upload.
func (s *Service) stage(ctx context.Context, importID string, key *secret.PersonKey, rows []importLine) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("rows of an upload, which is no import before its end, and that is recorded")
		tag, err := tx.Exec(ctx, `UPDATE import SET total = total + $3 WHERE id = $1 AND state = '`+importUploading+`' AND delete_at > $2`, importID, s.now(), len(rows))
		if err != nil {
			return fmt.Errorf("stage rows: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrImportGone
		}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"import_row"},
			[]string{"import_id", "line", "who", "address", "starts_at", "ends_at", "reason", "outcome", "code", "field"},
			pgx.CopyFromSlice(len(rows), func(n int) ([]any, error) {
				r := rows[n]
				if r.code != "" {
					return []any{importID, r.line, nil, nil, nil, nil, nil, outcomeRefused, r.code, r.field}, nil
				}
				who, address := r.account, []byte(nil)
				if who == "" {
					who = hex.EncodeToString(email.Index(s.vault.Keys(), Schema.Name, r.address))
					address = key.Seal(addressOfRow, []byte(r.address))
				}
				return []any{importID, r.line, who, address, r.starts, r.ends, r.reason, outcomeWaiting, nil, nil}, nil
			}))
		if err != nil {
			return fmt.Errorf("stage rows: %w", err)
		}
		return nil
	})
}

// enqueue makes an upload that is complete an import.
func (s *Service) enqueue(ctx context.Context, tx *pg.Tx, i importJob, sum []byte) (*accesspb.Import, error) {
	n, err := s.countImports(ctx, tx, i.CourseID, `state IN ('`+importQueued+`', '`+importRunning+`')`)
	if err != nil {
		return nil, err
	}
	if n >= maxImports {
		return nil, ErrTooManyImports
	}
	// Behind all of the course, whatever the clocks of two processes say: the first
	// one is the first one until its end.
	list, err := imports(ctx, tx, `
		UPDATE import SET state = '`+importQueued+`', next_at = $2, delete_at = NULL, queued_at = greatest($2, (
			SELECT max(queued_at) + interval '1 microsecond' FROM import o WHERE o.course_id = import.course_id AND o.next_at IS NOT NULL))
		WHERE id = $1 AND state = '`+importUploading+`' AND delete_at > $2 RETURNING `+importJobColumns, i.ID, s.now())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrImportGone
	}
	i = list[0]
	after := i.entry()
	after["sha256"] = hex.EncodeToString(sum)
	return i.message(), audit.Record(ctx, tx, audit.Entry{Action: "import.created", Object: i.ID, Course: i.CourseID, After: after})
}

// discardImport has the sweep delete an upload that becomes no import. It is done
// though the caller has gone.
func (s *Service) discardImport(ctx context.Context, importID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, err := s.db.Exec(ctx, `UPDATE import SET delete_at = $2 WHERE id = $1 AND state = '`+importUploading+`'`, importID, s.now())
	if err != nil {
		return fmt.Errorf("discard upload: %w", err)
	}
	return nil
}

// GetImport implements accesspb.ImportServiceServer.
func (s *Service) GetImport(ctx context.Context, req *accesspb.GetImportRequest) (*accesspb.Import, error) {
	i, err := s.importOf(ctx, s.db, req.GetCourseId(), req.GetImportId(), ``)
	if err != nil {
		return nil, err
	}
	return i.message(), nil
}

// ListImports implements accesspb.ImportServiceServer.
func (s *Service) ListImports(ctx context.Context, req *accesspb.ListImportsRequest) (*accesspb.ListImportsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "import")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := imports(ctx, s.db, `
		SELECT `+importJobColumns+` FROM import WHERE course_id = $1 AND (created_at, id) < ($2, $3) AND (delete_at IS NULL OR delete_at > $4)
		ORDER BY created_at DESC, id DESC LIMIT $5`, req.GetCourseId(), before, beforeID, s.now(), size+1)
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListImportsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, i := range list {
		out.Items = append(out.Items, i.message())
	}
	return out, nil
}

// CancelImport implements accesspb.ImportServiceServer.
func (s *Service) CancelImport(ctx context.Context, req *accesspb.CancelImportRequest) (*accesspb.Import, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Import, error) {
		// Waits for the rows that are being applied.
		i, err := s.importOf(ctx, tx, req.GetCourseId(), req.GetImportId(), ` FOR UPDATE`)
		if err != nil {
			return nil, err
		}
		switch i.State {
		case importCancelled:
			return i.message(), nil
		case importDone, importFailed:
			return nil, ErrImportFinished
		}
		if i, err = s.finishImport(ctx, tx, i, importCancelled, ""); err != nil {
			return nil, err
		}
		return i.message(), nil
	})
}

// finishImport gives an import, which is locked, the state that ends it. What is
// sealed of it is unreadable from then on.
func (s *Service) finishImport(ctx context.Context, tx *pg.Tx, i importJob, state, code string) (importJob, error) {
	before, now := i.entry(), s.now()
	i.State, i.Code, i.FinishedAt = state, code, &now
	if _, err := tx.Exec(ctx, `
		UPDATE import SET state = $2, code = $3, finished_at = $4, delete_at = $5, next_at = NULL WHERE id = $1`,
		i.ID, state, code, now, now.Add(keepImports)); err != nil {
		return importJob{}, fmt.Errorf("finish import: %w", err)
	}
	if err := s.vault.Erase(ctx, tx, i.ID); err != nil {
		return importJob{}, err
	}
	entry := map[string]audit.Entry{
		importDone: {Action: "import.finished"}, importFailed: {Action: "import.failed"}, importCancelled: {Action: "import.cancelled"},
	}[state]
	entry.Object, entry.Course, entry.Before, entry.After = i.ID, i.CourseID, before, i.entry()
	return i, audit.Record(ctx, tx, entry)
}

// sweepImports deletes what is kept no longer of one import, or a part of it, and
// returns 0 when there is none.
func (s *Service) sweepImports(ctx context.Context, tx *pg.Tx) (int64, error) {
	var importID string
	err := tx.QueryRow(ctx, `SELECT id FROM import WHERE delete_at <= $1 ORDER BY delete_at LIMIT 1 FOR UPDATE SKIP LOCKED`, s.now()).Scan(&importID)
	if pg.NoRows(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("sweep imports: %w", err)
	}
	const part = 5000
	tag, err := tx.Exec(ctx, `
		DELETE FROM import_row WHERE import_id = $1 AND line <= (
			SELECT max(line) FROM (SELECT line FROM import_row WHERE import_id = $1 ORDER BY line LIMIT $2) AS part)`, importID, part)
	if err != nil {
		return 0, fmt.Errorf("sweep imports: %w", err)
	}
	if tag.RowsAffected() == part {
		return 1, nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM import WHERE id = $1`, importID); err != nil {
		return 0, fmt.Errorf("sweep imports: %w", err)
	}
	return 1, s.vault.Erase(ctx, tx, importID)
}

// reportBatch is how many rows one message of a report has.
const reportBatch = 1000

// ExportImportReport implements accesspb.ImportServiceServer.
func (s *Service) ExportImportReport(req *accesspb.ExportImportReportRequest, stream grpc.ServerStreamingServer[accesspb.ExportImportReportResponse]) error {
	ctx := stream.Context()
	i, err := s.importOf(ctx, s.db, req.GetCourseId(), req.GetImportId(), ``)
	if err != nil {
		return err
	}
	for after := req.GetAfter(); ; {
		list, err := s.importReport(ctx, i.ID, req.GetOutcome(), after)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if err := stream.Send(&accesspb.ExportImportReportResponse{Rows: list}); err != nil {
			return err
		}
		if len(list) < reportBatch {
			return nil
		}
		after = list[len(list)-1].GetLine()
	}
}

// importReport returns what became of some rows behind a line.
func (s *Service) importReport(ctx context.Context, importID, outcome string, after int32) ([]*accesspb.ImportRow, error) {
	rows, err := s.db.Query(ctx, `
		SELECT line, outcome, coalesce(code, ''), coalesce(field, ''), coalesce(made_id, '') FROM import_row
		WHERE import_id = $1 AND line > $2 AND ($3 = '' OR outcome = $3) ORDER BY line LIMIT $4`, importID, after, outcome, reportBatch)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*accesspb.ImportRow, error) {
		r := &accesspb.ImportRow{}
		var made string
		if err := row.Scan(&r.Line, &r.Outcome, &r.Code, &r.Field, &made); err != nil {
			return nil, err
		}
		switch r.GetOutcome() {
		case outcomeEnrolled:
			r.EntitlementId = made
		case outcomeInvited:
			r.InvitationId = made
		case outcomeRefused:
			r.Hint = rowHint(r.GetCode())
		}
		return r, nil
	})
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return list, nil
}

// rowHint says what would be accepted in place of what is refused with the code.
func rowHint(code string) string {
	switch code {
	case rowTooLong:
		return "A line has at most 4,096 bytes."
	case rowEncoding:
		return "Save the file as UTF-8."
	case rowControl:
		return "Remove the control characters."
	case rowQuotes:
		return `A value in quotes begins and ends with one on the same line, and has "" for a quote in it.`
	case rowFields:
		return "A line has as many values as the first line has columns."
	case rowNobody:
		return "Name an address or an account."
	case rowEmail:
		return "An address looks like name@example.org."
	case rowID:
		return "An id of an account looks like account_01h455vb4pex5vsknk084sn02q."
	case rowTime:
		return "A time looks like 2026-03-01T12:00:00Z, a date like 2026-03-01."
	case rowPeriod:
		return "Access ends after it begins."
	case rowEnded:
		return "Access ends at a time that is to come."
	case rowReason:
		return "A reason has at most 500 characters."
	case rowQuota:
		return "No more can be invited today. Send the same file again tomorrow: who was let in or invited is left as they are."
	}
	for _, one := range []*fault.Error{ErrOwnCourse, ErrInviteUnpublished, ErrTooManyEmailInvitations} {
		if one.Code == code {
			return one.Message
		}
	}
	if one, ok := errors.AsType[*fault.Error](errAccountUnknown); ok && one.Code == code {
		return one.Message
	}
	return ""
}
