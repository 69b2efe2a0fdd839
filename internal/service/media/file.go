package media

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// file is an uploaded file. There is a row as soon as all its bytes are stored;
// it is shown to nobody before its state is ready.
type file struct {
	ID          string
	CourseID    string
	Filename    string
	ContentType string
	Size        int64
	SHA256      string
	Public      bool
	UploadedBy  string
	CreatedAt   time.Time
	State       string
	Problem     string
	Percent     int16
	ObjectID    string // names the object that has the bytes; copies share it
	DeletedAt   *time.Time
	Purpose     string // of whom it is: see submission_file.go
	Kept        bool
	Held        bool // see hold.go
}

// object is the name in the bucket of the bytes of a file, by its object id, or of
// an avatar. Their ids begin differently, so that each kind has a prefix of its own.
func object(id string) string { return "media/" + id }

const columns = `id, course_id, filename, content_type, size, sha256, public, uploaded_by, created_at, state, problem, percent,
	coalesce(object_id, id) AS object_id, deleted_at, purpose, kept, held`

func insertFile(ctx context.Context, tx *pg.Tx, f file) error {
	return insertFiles(ctx, tx, []file{f})
}

// insertFiles inserts files, all in one round trip.
func insertFiles(ctx context.Context, tx *pg.Tx, files []file) error {
	if len(files) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, f := range files {
		batch.Queue(`
			INSERT INTO media (id, course_id, filename, content_type, size, sha256, uploaded_by, created_at, state, problem, percent, object_id, purpose, kept)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nullif($12, $1), coalesce(nullif($13, ''), 'library'), $14 OR $13 IN ('', 'library'))`,
			f.ID, f.CourseID, f.Filename, f.ContentType, f.Size, f.SHA256, f.UploadedBy, f.CreatedAt, f.State, f.Problem, f.Percent, f.ObjectID, f.Purpose, f.Kept)
	}
	return tx.SendBatch(ctx, batch).Close()
}

// byID returns a file of any course; who may have it is to be proved by a
// signature.
func (s *Service) byID(ctx context.Context, id string) (file, error) {
	return s.one(ctx, `SELECT `+columns+` FROM media WHERE id = $1`, id)
}

// ofCourse returns a file of one course's library, unless it was deleted.
func (s *Service) ofCourse(ctx context.Context, course, id string) (file, error) {
	return s.one(ctx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND deleted_at IS NULL AND purpose = 'library'`, id, course)
}

func (s *Service) one(ctx context.Context, sql string, args ...any) (file, error) {
	return one(ctx, s.db, sql, args...)
}

func one(ctx context.Context, q pg.Querier, sql string, args ...any) (file, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return file{}, err
	}
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[file])
	if pg.NoRows(err) {
		return file{}, ErrNotFound
	}
	return f, err
}

// batch returns those of the files that are of the course's library, deleted ones too until
// they are gone, so that what shows them goes on to do so.
func (s *Service) batch(ctx context.Context, course string, ids []string) ([]file, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.many(ctx, `SELECT `+columns+` FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose = 'library'`, ids, course)
}

// list returns a page of a course's files, the newest first, and the cursor of
// the next.
func (s *Service) list(ctx context.Context, req *mediapb.ListMediaRequest) ([]file, string, error) {
	size := page.Size(req.GetPageSize())
	at, id, err := page.After(req.GetCursor())
	if err != nil {
		return nil, "", err
	}
	found, err := s.many(ctx, `
		SELECT `+columns+` FROM media
		WHERE course_id = $1 AND (created_at, id) < ($2, $3) AND (deleted_at IS NOT NULL) = $5 AND purpose = 'library'
			AND ($6 = '' OR kind = $6) AND ($7 = '' OR state = $7) AND starts_with(lower(filename), lower($8))
		ORDER BY created_at DESC, id DESC LIMIT $4`,
		req.GetCourseId(), at, id, size+1, req.GetDeleted(), req.GetKind(), req.GetState(), norm.NFC.String(req.GetFilenamePrefix()))
	if err != nil || len(found) <= size {
		return found, "", err
	}
	last := found[size-1]
	return found[:size], page.TimeCursor(last.CreatedAt, last.ID), nil
}

func (s *Service) many(ctx context.Context, sql string, args ...any) ([]file, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[file])
}

// maxFilename bounds a name in characters.
const maxFilename = 200

// cleanName returns the name of a file as it is kept: without folders, in one
// Unicode form, and without characters that are not to be seen, some of which
// make a name read backwards. Of nothing it makes "file".
func cleanName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			return -1
		case unicode.IsSpace(r):
			return ' '
		default:
			return r
		}
	}, strings.ToValidUTF8(name, ""))
	// After that, so that nothing is left between characters that combine.
	name = norm.NFC.String(name)
	if runes := []rune(name); len(runes) > maxFilename {
		name = string(runes[:maxFilename])
	}
	name = strings.TrimSpace(name)
	if strings.Trim(name, ".") == "" {
		return "file"
	}
	return name
}
