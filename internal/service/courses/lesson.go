package courses

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// lesson is a lesson as it is shown, in a row with its course.
type lesson struct {
	content

	Published       bool   // the course
	PublishedNumber int32  // of the course
	ID              string // "" when the course has no such lesson
	ModuleID        string
	Position        int32
	Revision        int64 // 0 where it is published
	UpdatedAt       time.Time
}

const (
	draftLesson = `
		SELECT c.published, c.published_number, coalesce(i.id, '') AS id, coalesce(i.parent_id, '') AS module_id,
			(SELECT count(*) FROM item s
				WHERE s.course_id = i.course_id AND s.parent_id = i.parent_id AND (s.position, s.id) < (i.position, i.id))::int AS position,
			coalesce(i.revision, 0) AS revision, coalesce(v.created_at, c.created_at) AS updated_at,
			coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview, coalesce(v.body, '[]') AS body
		FROM course c
		LEFT JOIN (item i JOIN item_version v ON v.id = i.version_id) ON i.course_id = c.id AND i.id = $2 AND i.kind = 'lesson'
		WHERE c.id = $1`
	publishedLesson = `
		SELECT c.published, c.published_number, coalesce(i.item_id, '') AS id, coalesce(i.parent_id, '') AS module_id,
			coalesce(i.position, 0) AS position, 0::bigint AS revision, coalesce(v.created_at, c.created_at) AS updated_at,
			coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview, coalesce(v.body, '[]') AS body
		FROM course c
		LEFT JOIN (publication_item i JOIN item_version v ON v.id = i.version_id)
			ON i.course_id = c.id AND i.number = c.published_number AND i.item_id = $2 AND i.kind = 'lesson'
		WHERE c.id = $1 AND c.published_number > 0`
)

// getLesson returns a lesson to staff, to the enrolled and, when it is a free
// preview of a course in the marketplace, to anybody.
func (s *Service) getLesson(ctx context.Context, courseID, lessonID, view string) (*coursespb.Lesson, error) {
	staff, err := auth.Has(ctx, "course.edit")
	if err != nil {
		return nil, err
	}
	sql := publishedLesson
	if staff && view != "published" {
		sql = draftLesson
	}
	rows, err := s.db.Query(ctx, sql, courseID, lessonID)
	if err != nil {
		return nil, err
	}
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[lesson])
	if pg.NoRows(err) {
		return nil, auth.ErrHidden
	}
	if err != nil {
		return nil, err
	}
	switch err := auth.Require(ctx); {
	case staff, l.Preview && l.Published, err == nil:
		auth.Waive(ctx)
	case fault.Is(err, fault.Forbidden) && l.ID != "":
		return nil, ErrNotEnrolled
	case !fault.Is(err, fault.Forbidden):
		return nil, err
	}
	if l.ID == "" {
		return nil, ErrLessonNotFound
	}
	if free := l.Preview && l.Published; !staff && !free {
		if err := s.checkOpen(ctx, courseID, lessonID); err != nil {
			return nil, err
		}
	}
	return s.complete(ctx, protoLesson(courseID, l))
}

func (s *Service) createLesson(ctx context.Context, req *coursespb.CreateLessonRequest) (*coursespb.Lesson, error) {
	courseID := req.GetCourseId()
	c := content{Title: strings.TrimSpace(req.GetTitle()), Preview: req.GetPreview()}
	var err error
	if c.Body, err = s.checkBlocks(ctx, courseID, "blocks", req.GetBlocks()); err != nil {
		return nil, err
	}
	l, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Lesson, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		if _, err := lockItem(ctx, tx, courseID, "module", req.GetModuleId(), ErrModuleNotFound); err != nil {
			return nil, err
		}
		n, err := countItems(ctx, tx, courseID, "lesson")
		if err != nil {
			return nil, err
		}
		if n >= MaxLessons {
			return nil, ErrTooManyLessons
		}
		it := item{ID: id.New("lesson"), ParentID: req.GetModuleId(), Revision: 1}
		if it.VersionID, err = s.insertVersion(ctx, tx, it.ID, c); err != nil {
			return nil, err
		}
		if err := insertItem(ctx, tx, courseID, "lesson", it); err != nil {
			return nil, err
		}
		if err := s.touch(ctx, tx, courseID, audit.Entry{Action: "lesson.created", Object: it.ID, After: it}); err != nil {
			return nil, err
		}
		return saved(ctx, tx, courseID, it.ID)
	})
	if err != nil {
		return nil, err
	}
	return s.complete(ctx, l)
}

func (s *Service) updateLesson(ctx context.Context, req *coursespb.UpdateLessonRequest) (*coursespb.Lesson, error) {
	courseID := req.GetCourseId()
	if req.Position != nil || req.ModuleId != nil || req.Preview != nil {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	var body []block
	if req.GetBlocks() != nil {
		var err error
		if body, err = s.checkBlocks(ctx, courseID, "blocks.items", req.GetBlocks().GetItems()); err != nil {
			return nil, err
		}
	}
	l, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Lesson, error) {
		if req.Position != nil || req.ModuleId != nil {
			if err := lockCourse(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		it, err := lockItem(ctx, tx, courseID, "lesson", req.GetLessonId(), ErrLessonNotFound)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(it.Revision)); err != nil {
			return nil, err
		}
		was := it
		if err := s.rewrite(ctx, tx, &it, req, body); err != nil {
			return nil, err
		}
		parentID := it.ParentID
		if to := req.GetModuleId(); to != "" && to != parentID {
			if _, err := lockItem(ctx, tx, courseID, "module", to, ErrModuleNotFound); err != nil {
				return nil, err
			}
			parentID = to
		}
		if err := s.move(ctx, tx, courseID, &it, parentID, req.Position); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it); err != nil {
			return nil, err
		}
		return saved(ctx, tx, courseID, it.ID)
	})
	if err != nil {
		return nil, err
	}
	return s.complete(ctx, l)
}

// rewrite gives a lesson the content asked for, as a new version when it is
// another than it has.
func (s *Service) rewrite(ctx context.Context, tx *pg.Tx, it *item, req *coursespb.UpdateLessonRequest, body []block) error {
	if req.Title == nil && req.Preview == nil && req.GetBlocks() == nil {
		return nil
	}
	c, err := readVersion(ctx, tx, it.VersionID)
	if err != nil {
		return err
	}
	next := c
	if req.Title != nil {
		next.Title = strings.TrimSpace(req.GetTitle())
	}
	if req.Preview != nil {
		next.Preview = req.GetPreview()
	}
	if req.GetBlocks() != nil {
		next.Body = body
	}
	if next.Title == c.Title && next.Preview == c.Preview && slices.Equal(next.Body, c.Body) {
		return nil
	}
	it.VersionID, err = s.insertVersion(ctx, tx, it.ID, next)
	return err
}

func (s *Service) deleteLesson(ctx context.Context, req *coursespb.DeleteLessonRequest) (*emptypb.Empty, error) {
	courseID := req.GetCourseId()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		it, err := lockItem(ctx, tx, courseID, "lesson", req.GetLessonId(), ErrLessonNotFound)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(it.Revision)); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM item WHERE id = $1`, it.ID); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.touch(ctx, tx, courseID, audit.Entry{Action: "lesson.deleted", Object: it.ID, Before: it})
	})
}

// saved returns a lesson of the draft as tx has left it, without what is made
// for its readers: that is not to be kept with an idempotency key.
func saved(ctx context.Context, tx *pg.Tx, courseID, lessonID string) (*coursespb.Lesson, error) {
	rows, err := tx.Query(ctx, draftLesson, courseID, lessonID)
	if err != nil {
		return nil, err
	}
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[lesson])
	if err != nil {
		return nil, err
	}
	return protoLesson(courseID, l), nil
}

// checkBlocks returns blocks as they are stored, after it has asked media about
// the files they name. path is that of the list in the request.
func (s *Service) checkBlocks(ctx context.Context, courseID, path string, in []*coursespb.Block) ([]block, error) {
	body := make([]block, len(in))
	var uses []use
	for i, b := range in {
		body[i] = newBlock(b)
		if body[i].MediaID != "" {
			uses = append(uses, use{index(path, i) + "." + body[i].Type + ".media_id", body[i].MediaID, body[i].Type == blockImage})
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBody {
		return nil, ErrLessonTooLarge
	}
	return body, s.checkMedia(ctx, courseID, uses)
}

// editsAll refuses who may edit a part of the course and not all of it.
func editsAll(ctx context.Context) error {
	all, err := auth.HasOnCourse(ctx, "course.edit")
	if err == nil && !all {
		err = auth.ErrForbidden
	}
	return err
}
