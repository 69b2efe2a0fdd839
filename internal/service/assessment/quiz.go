package assessment

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Bounds of quizzes.
const (
	maxQuizzes       = 2_000  // of a course
	maxQuizQuestions = 500    // of an attempt
	maxDrawnFrom     = 10_000 // that draws of a quiz can draw from
	maxPlaces        = 100    // that are told of a quiz
)

// Errors of making quizzes.
var (
	ErrQuizzesFull = fault.New(fault.Conflict, "quiz.too_many", "A course has at most %d quizzes.", maxQuizzes)
	ErrQuizEmpty   = &fault.Error{
		Kind: fault.Invalid, Code: "quiz.empty", Message: "The quiz asks nothing.",
		Fields: []fault.Field{{Path: "settings.sections", Code: "quiz.empty", Hint: "Add a section with a question, or one that draws some."}},
	}
)

// quiz is its row.
type quiz struct {
	ID                string
	CourseID          string
	Title             string
	Draft             []byte
	Revision          int64
	Version           int32
	PasswordHash      string
	QuestionCount     int32
	PublishedRevision int64
	EditedBy          string
	EditedAt          *time.Time
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

const quizColumns = `id, course_id, title, draft, revision, version, password_hash, question_count, published_revision, edited_by, edited_at, created_at, updated_at`

// readQuiz returns a quiz of a course; lock is "" or how its row is locked.
func readQuiz(ctx context.Context, q pg.Querier, courseID, quizID, lock string) (quiz, error) {
	rows, err := q.Query(ctx, `SELECT `+quizColumns+` FROM quiz WHERE course_id = $1 AND id = $2 AND deleted_at IS NULL `+lock, courseID, quizID)
	if err != nil {
		return quiz{}, fmt.Errorf("read quiz: %w", err)
	}
	z, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[quiz])
	if pg.NoRows(err) {
		return quiz{}, ErrQuizNotFound
	}
	if err != nil {
		return quiz{}, fmt.Errorf("read quiz: %w", err)
	}
	return z, nil
}

// settings returns the draft.
func (z quiz) settings() (*assessmentpb.QuizSettings, error) {
	out := &assessmentpb.QuizSettings{}
	if err := proto.Unmarshal(z.Draft, out); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", z.ID, err)
	}
	return out, nil
}

func (z quiz) etag() string { return strconv.FormatInt(z.Revision, 10) }

// message tells a quiz, without what it takes another look to know.
func (z quiz) message(whole bool) (*assessmentpb.Quiz, error) {
	out := &assessmentpb.Quiz{
		Id: z.ID, CourseId: z.CourseID, Title: z.Title, Version: z.Version, Changed: z.Revision != z.PublishedRevision,
		HasPassword: z.PasswordHash != "", QuestionCount: z.QuestionCount,
		CreatedAt: timestamppb.New(z.CreatedAt), UpdatedAt: timestamppb.New(z.UpdatedAt), Etag: z.etag(),
	}
	if !whole {
		return out, nil
	}
	var err error
	out.Settings, err = z.settings()
	return out, err
}

// state is what the audit log says of a quiz.
func (z quiz) state() any {
	return map[string]any{"revision": z.Revision, "version": z.Version, "questions": z.QuestionCount, "password": z.PasswordHash != ""}
}

// match holds a change to If-Match, as the drafts of lessons are: who brings none may
// not overwrite what somebody else has changed within the hour.
func (z quiz) match(ctx context.Context, now time.Time) error {
	if rpc.IfMatch(ctx) != "" || z.EditedAt == nil || z.EditedBy == auth.From(ctx).Account || now.Sub(*z.EditedAt) >= time.Hour {
		return rpc.Match(ctx, z.etag())
	}
	return &fault.Error{
		Kind: fault.Precondition, Code: "etag.required", Etag: z.etag(),
		Message: "Somebody else works on this too: say which version your change is based on.",
		Fields:  []fault.Field{{Path: "If-Match", Code: "etag.required", Hint: `Read it, and send its ETag. The current version is "` + z.etag() + `".`}},
	}
}

// CreateQuiz implements assessmentpb.QuizServiceServer.
func (r *quizServer) CreateQuiz(ctx context.Context, req *assessmentpb.CreateQuizRequest) (*assessmentpb.Quiz, error) {
	s := r.service
	d, err := newDraft(req.GetSettings())
	if err != nil {
		return nil, err
	}
	if err := s.checkInstructions(ctx, req.GetCourseId(), quizInstructions(d.settings)); err != nil {
		return nil, err
	}
	known, hash, err := sealPassword(ctx, req, req.GetPassword(), func(m *assessmentpb.CreateQuizRequest, digest string) { m.Password = digest })
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*assessmentpb.Quiz, error) {
		z := quiz{ID: id.New("quiz"), CourseID: req.GetCourseId(), Title: strings.TrimSpace(req.GetTitle()), PasswordHash: hash}
		if err := s.insertQuiz(ctx, tx, &z, d, ""); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "quiz.created", Object: z.ID, Course: z.CourseID, After: z.state()}); err != nil {
			return nil, err
		}
		return z.message(true)
	})
}

// insertQuiz adds a quiz with a draft, which is checked.
func (s *Service) insertQuiz(ctx context.Context, tx *pg.Tx, z *quiz, d draft, from string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.quizzes'), hashtext($1))`, z.CourseID); err != nil {
		return fmt.Errorf("lock quizzes: %w", err)
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM quiz WHERE course_id = $1 AND deleted_at IS NULL`, z.CourseID).Scan(&n); err != nil {
		return fmt.Errorf("count quizzes: %w", err)
	}
	if n >= maxQuizzes {
		return ErrQuizzesFull
	}
	if err := d.checkIn(ctx, tx, z.CourseID); err != nil {
		return err
	}
	now, who := s.time(), auth.From(ctx).Account
	z.Draft, z.Revision, z.QuestionCount, z.EditedBy, z.EditedAt, z.CreatedAt, z.UpdatedAt = d.bytes, 1, d.count, who, &now, now, now
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz (id, course_id, title, draft, revision, password_hash, question_count, edited_by, edited_at, created_by, created_at, updated_at, copied_from)
		VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $7, $8, $8, $9)`,
		z.ID, z.CourseID, z.Title, z.Draft, z.PasswordHash, z.QuestionCount, who, now, from); err != nil {
		return fmt.Errorf("insert quiz: %w", err)
	}
	return d.storeUses(ctx, tx, z.ID)
}

// ListQuizzes implements assessmentpb.QuizServiceServer.
func (r *quizServer) ListQuizzes(ctx context.Context, req *assessmentpb.ListQuizzesRequest) (*assessmentpb.ListQuizzesResponse, error) {
	before := "quiz`" // sorts after every id
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	if values != nil {
		if before = values[0]; !id.Valid("quiz", before) {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	rows, err := r.service.db.Query(ctx, `
		SELECT `+strings.Replace(quizColumns, "draft", "''::bytea AS draft", 1)+` FROM quiz
		WHERE course_id = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3`, req.GetCourseId(), before, size+1)
	if err != nil {
		return nil, fmt.Errorf("list quizzes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[quiz])
	if err != nil {
		return nil, fmt.Errorf("list quizzes: %w", err)
	}
	out := &assessmentpb.ListQuizzesResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ID)
	}
	for _, z := range list {
		m, err := z.message(false)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// GetQuiz implements assessmentpb.QuizServiceServer.
func (r *quizServer) GetQuiz(ctx context.Context, req *assessmentpb.GetQuizRequest) (*assessmentpb.Quiz, error) {
	db := r.service.db
	z, err := readQuiz(ctx, db, req.GetCourseId(), req.GetQuizId(), "")
	if err != nil {
		return nil, err
	}
	out, err := z.message(true)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, `SELECT item_id, title FROM placement WHERE ref = $1 AND course_id = $2 AND present ORDER BY item_id LIMIT $3`, z.ID, z.CourseID, maxPlaces)
	if err != nil {
		return nil, fmt.Errorf("places of quiz: %w", err)
	}
	out.Places, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QuizPlace, error) {
		p := &assessmentpb.QuizPlace{}
		return p, row.Scan(&p.ItemId, &p.Title)
	})
	if err != nil {
		return nil, fmt.Errorf("places of quiz: %w", err)
	}
	err = db.QueryRow(ctx, `
		SELECT count(*) FROM quiz_question u JOIN question q ON q.id = u.question_id
		WHERE u.quiz_id = $1 AND u.published_version > 0 AND u.published_version <> q.version`, z.ID).Scan(&out.OutdatedQuestions)
	if err != nil {
		return nil, fmt.Errorf("outdated questions: %w", err)
	}
	return out, nil
}

// UpdateQuiz implements assessmentpb.QuizServiceServer.
func (r *quizServer) UpdateQuiz(ctx context.Context, req *assessmentpb.UpdateQuizRequest) (*assessmentpb.Quiz, error) {
	s := r.service
	var d draft
	var err error
	if req.GetSettings() != nil {
		if d, err = newDraft(req.GetSettings()); err != nil {
			return nil, err
		}
		if err := s.checkInstructions(ctx, req.GetCourseId(), quizInstructions(d.settings)); err != nil {
			return nil, err
		}
	}
	known, hash, err := sealPassword(ctx, req, req.GetPassword(), func(m *assessmentpb.UpdateQuizRequest, digest string) { m.Password = &digest })
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*assessmentpb.Quiz, error) {
		z, err := readQuiz(ctx, tx, req.GetCourseId(), req.GetQuizId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		now := s.time()
		if err := z.match(ctx, now); err != nil {
			return nil, err
		}
		was := z.state()
		if req.Title != nil {
			z.Title = strings.TrimSpace(req.GetTitle())
		}
		if req.Password != nil {
			z.PasswordHash = hash
		}
		if req.GetSettings() != nil {
			if err := d.checkIn(ctx, tx, z.CourseID); err != nil {
				return nil, err
			}
			if err := d.storeUses(ctx, tx, z.ID); err != nil {
				return nil, err
			}
			z.Draft, z.QuestionCount = d.bytes, d.count
		}
		// The password counts at once: alone it leaves nothing to be published.
		if req.Title == nil && req.GetSettings() == nil && z.Revision == z.PublishedRevision {
			z.PublishedRevision++
		}
		z.Revision, z.EditedBy, z.EditedAt, z.UpdatedAt = z.Revision+1, auth.From(ctx).Account, &now, now
		if _, err := tx.Exec(ctx, `
			UPDATE quiz SET title = $2, draft = $3, revision = $4, password_hash = $5, question_count = $6, edited_by = $7, edited_at = $8, updated_at = $8, published_revision = $9
			WHERE id = $1`, z.ID, z.Title, z.Draft, z.Revision, z.PasswordHash, z.QuestionCount, z.EditedBy, now, z.PublishedRevision); err != nil {
			return nil, fmt.Errorf("update quiz: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "quiz.updated", Object: z.ID, Course: z.CourseID, Before: was, After: z.state()}); err != nil {
			return nil, err
		}
		return z.message(true)
	})
}

// DeleteQuiz implements assessmentpb.QuizServiceServer. Attempts that are only
// prepared go with it: who begins one at the same time is before it, and it stays, or
// behind it, and finds none.
func (r *quizServer) DeleteQuiz(ctx context.Context, req *assessmentpb.DeleteQuizRequest) (*emptypb.Empty, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		z, err := readQuiz(ctx, tx, req.GetCourseId(), req.GetQuizId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := z.match(ctx, s.time()); err != nil {
			return nil, err
		}
		if err := dropPrepared(ctx, tx, `quiz_id = $1`, z.ID); err != nil {
			return nil, err
		}
		var begun, placed bool
		if err := tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM attempt WHERE quiz_id = $1 AND NOT preview),
				EXISTS (SELECT FROM placement WHERE ref = $1 AND course_id = $2 AND present)`, z.ID, z.CourseID).Scan(&begun, &placed); err != nil {
			return nil, fmt.Errorf("uses of quiz: %w", err)
		}
		switch {
		case begun:
			return nil, ErrQuizBegun
		case placed:
			return nil, ErrQuizPlaced
		}
		for _, sql := range []string{
			`DELETE FROM quiz_question WHERE quiz_id = $1`, `DELETE FROM quiz_category WHERE quiz_id = $1`, `UPDATE quiz SET deleted_at = now() WHERE id = $1`,
		} {
			if _, err := tx.Exec(ctx, sql, z.ID); err != nil {
				return nil, fmt.Errorf("delete quiz: %w", err)
			}
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "quiz.deleted", Object: z.ID, Course: z.CourseID, Before: z.state()})
	})
}
