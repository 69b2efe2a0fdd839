package courses

import (
	"context"
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
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// lesson is a lesson as it is shown, in a row with its course.
type lesson struct {
	content

	Published       bool   // the course
	PublishedNumber int32  // of the course
	Gates           string // of what is published
	ID              string // "" when the course has no such lesson
	ModuleID        string
	Place           int32
	Revision        int64 // 0 where it is published
	UpdatedAt       time.Time
	VersionID       int64
	Number          int32
	Hash            []byte
	Renderer        int      // 0 when no HTML is kept
	HTML            []string // of the blocks
}

// shownVersion are the columns of a content v and its rendering r, in a row
// with its course.
const shownVersion = `coalesce(v.created_at, c.created_at) AS updated_at,
			coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview, coalesce(v.body, '[]') AS body,
			coalesce(v.settings, '{}') AS settings, coalesce(v.activity_ref, '') AS activity_ref,
			coalesce(v.id, 0) AS version_id, coalesce(v.number, 0) AS number, v.hash,
			coalesce(r.renderer, 0) AS renderer, coalesce(r.html, '[]') AS html`

const draftLesson = `
		SELECT c.published, c.published_number, '' AS gates, coalesce(i.id, '') AS id, coalesce(i.parent_id, '') AS module_id,
			(SELECT count(*) FROM item s
				WHERE s.course_id = i.course_id AND s.parent_id = i.parent_id AND (s.position, s.id) < (i.position, i.id))::int AS place,
			coalesce(i.revision, 0) AS revision, ` + shownVersion + `
		FROM course c
		LEFT JOIN (item i JOIN item_version v ON v.id = i.version_id LEFT JOIN rendering r ON r.version_id = v.id) ON i.course_id = c.id AND i.id = $2 AND i.kind = 'lesson'
		WHERE c.id = $1`

// publishedLesson takes a course, a lesson, a version and an account, the last
// two as [seen] does.
var publishedLesson = `
		SELECT c.published, s.number AS published_number, coalesce(p.gates, '') AS gates, coalesce(i.item_id, '') AS id, coalesce(i.parent_id, '') AS module_id,
			coalesce(i.position, 0) AS place, 0::bigint AS revision, ` + shownVersion + `
		FROM course c ` + seen("$3", "$4") + ` LEFT JOIN publication p ON p.course_id = c.id AND p.number = s.number
		LEFT JOIN (publication_item i JOIN item_version v ON v.id = i.version_id LEFT JOIN rendering r ON r.version_id = v.id)
			ON i.course_id = c.id AND i.number = s.number AND i.item_id = $2 AND i.kind = 'lesson'
		WHERE c.id = $1 AND ` + shown("$3")

// getLesson returns a lesson to staff, to the enrolled and, when it is a free
// preview of a course in the marketplace, to anybody.
func (s *Service) getLesson(ctx context.Context, courseID, lessonID, view string) (*coursespb.Lesson, error) {
	staff, err := auth.Has(ctx, "course.edit")
	if err != nil {
		return nil, err
	}
	draft, err := seesDraft(ctx, view)
	if err != nil {
		return nil, err
	}
	sql, args := publishedLesson, []any{courseID, lessonID, 0, viewer(ctx, view)}
	if draft {
		sql, args, staff = draftLesson, args[:2], true
	}
	rows, err := s.db.Query(ctx, sql, args...)
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
		if err := s.checkOpen(ctx, courseID, lessonID, l.Gates); err != nil {
			return nil, err
		}
	}
	html, err := s.rendered(ctx, l)
	if err != nil {
		return nil, err
	}
	out, err := protoLesson(courseID, l)
	if err != nil {
		return nil, err
	}
	number := l.PublishedNumber
	if l.Revision > 0 {
		number = 0
	}
	return s.complete(ctx, out, html, number, l.Preview && l.Published)
}

func (s *Service) createLesson(ctx context.Context, req *coursespb.CreateLessonRequest) (*coursespb.Lesson, error) {
	courseID := req.GetCourseId()
	if err := checkSettings("lesson", req.GetSettings()); err != nil {
		return nil, err
	}
	w, err := s.checkBlocks(ctx, courseID, "blocks", req.GetBlocks())
	if err != nil {
		return nil, err
	}
	c := content{
		Title: strings.TrimSpace(req.GetTitle()), Preview: req.GetPreview(), Body: w.body, Settings: changedSettings(settings{}, req.GetSettings()),
	}
	l, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Lesson, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		if _, err := lockItem(ctx, tx, courseID, "module", req.GetModuleId(), ErrModuleNotFound); err != nil {
			return nil, err
		}
		if err := checkActivities(ctx, tx, courseID, w.uses); err != nil {
			return nil, err
		}
		it := item{ID: id.New("lesson"), Kind: "lesson", ParentID: req.GetModuleId(), Revision: 1}
		if err := s.add(ctx, tx, courseID, &it, c, w.html); err != nil {
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
	w.tell(l)
	return s.complete(ctx, l, s.renderProto(l), 0, false)
}

func (s *Service) updateLesson(ctx context.Context, req *coursespb.UpdateLessonRequest) (*coursespb.Lesson, error) {
	courseID := req.GetCourseId()
	structural := req.Position != nil || req.ModuleId != nil || req.GetSettings() != nil
	if structural || req.Preview != nil {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	if err := checkSettings("lesson", req.GetSettings()); err != nil {
		return nil, err
	}
	var w written
	if req.GetBlocks() != nil {
		var err error
		if w, err = s.checkBlocks(ctx, courseID, "blocks.items", req.GetBlocks().GetItems()); err != nil {
			return nil, err
		}
	}
	l, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Lesson, error) {
		if structural {
			if err := lockCourse(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		it, err := lockItem(ctx, tx, courseID, "lesson", req.GetLessonId(), ErrLessonNotFound)
		if err != nil {
			return nil, err
		}
		if err := s.matchItem(ctx, tx, courseID, it, req.Title != nil || req.Preview != nil || req.GetBlocks() != nil); err != nil {
			return nil, err
		}
		if err := checkActivities(ctx, tx, courseID, w.uses); err != nil {
			return nil, err
		}
		was := it
		if err := s.rewrite(ctx, tx, &it, req, w); err != nil {
			return nil, err
		}
		if err := s.place(ctx, tx, courseID, &it, named(req.ModuleId), req.Position); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it, req.GetSettings() != nil); err != nil {
			return nil, err
		}
		return saved(ctx, tx, courseID, it.ID)
	})
	if err != nil {
		return nil, err
	}
	w.tell(l)
	return s.complete(ctx, l, s.renderProto(l), 0, false)
}

// rewrite gives a lesson the content asked for, as a new version when it never
// had it.
func (s *Service) rewrite(ctx context.Context, tx *pg.Tx, it *item, req *coursespb.UpdateLessonRequest, w written) error {
	if req.Title == nil && req.Preview == nil && req.GetBlocks() == nil && req.GetSettings() == nil {
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
	next.Settings = changedSettings(c.Settings, req.GetSettings())
	html := w.html
	if req.GetBlocks() != nil {
		next.Body = w.body
	} else {
		html = s.render(next.Body) // mostly known to the renderer
	}
	return s.replace(ctx, tx, it, c, next, html)
}

func (s *Service) deleteLesson(ctx context.Context, req *coursespb.DeleteLessonRequest) (*emptypb.Empty, error) {
	return s.deleteItem(ctx, req, req.GetCourseId(), "lesson", req.GetLessonId(), ErrLessonNotFound)
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
	return protoLesson(courseID, l)
}

// renderProto returns the HTML of a lesson's blocks that has just been saved.
func (s *Service) renderProto(l *coursespb.Lesson) []string {
	body := make([]block, len(l.GetBlocks()))
	for i, b := range l.GetBlocks() {
		body[i] = newBlock(b)
	}
	return s.render(body)
}

// editsAll refuses who may edit a part of the course and not all of it.
func editsAll(ctx context.Context) error {
	all, err := auth.HasOnCourse(ctx, "course.edit")
	if err == nil && !all {
		err = auth.ErrForbidden
	}
	return err
}
