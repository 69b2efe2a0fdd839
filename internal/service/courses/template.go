package courses

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// template is a course that others are made of.
type template struct {
	CourseID   string
	Title      string
	Subtitle   string
	Language   string
	Visibility string
	Lessons    int32
	MarkedAt   time.Time
}

func (t template) proto() *coursespb.Template {
	return &coursespb.Template{
		CourseId: t.CourseID, Title: t.Title, Subtitle: t.Subtitle, Language: t.Language, Visibility: t.Visibility, Lessons: t.Lessons,
		MarkedAt: timestamppb.New(t.MarkedAt),
	}
}

// ofTemplate selects templates t with their courses c.
const ofTemplate = `
	SELECT t.course_id, c.title, c.subtitle, c.language, t.visibility, t.marked_at,
		(SELECT count(*) FROM item i WHERE i.course_id = t.course_id AND i.kind <> 'module')::int AS lessons `

// forEverybody is the visibility of a template that everybody may use.
const forEverybody = "platform"

func (s *Service) markTemplate(ctx context.Context, req *coursespb.MarkTemplateRequest) (*coursespb.Template, error) {
	courseID := req.GetCourseId()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Template, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		var published bool
		if err := tx.QueryRow(ctx, `SELECT published FROM course WHERE id = $1`, courseID).Scan(&published); err != nil {
			return nil, err
		}
		if published {
			return nil, ErrTemplateShown
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO template (course_id, visibility, marked_by, marked_at) VALUES ($1, 'own', $2, $3)
			ON CONFLICT ON CONSTRAINT template_pkey DO NOTHING`, courseID, auth.From(ctx).Account, s.now())
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() > 0 {
			if err := audit.Record(ctx, tx, audit.Entry{Action: "template.marked", Object: courseID, Course: courseID}); err != nil {
				return nil, err
			}
		}
		return readTemplate(ctx, tx, courseID)
	})
}

func readTemplate(ctx context.Context, tx *pg.Tx, courseID string) (*coursespb.Template, error) {
	rows, err := tx.Query(ctx, ofTemplate+`FROM template t JOIN course c ON c.id = t.course_id WHERE t.course_id = $1`, courseID)
	if err != nil {
		return nil, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[template])
	return t.proto(), err
}

func (s *Service) showTemplate(ctx context.Context, req *coursespb.ShowTemplateRequest) (*coursespb.Template, error) {
	courseID, visibility := req.GetTemplateId(), req.GetVisibility()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Template, error) {
		var was string
		err := tx.QueryRow(ctx, `SELECT visibility FROM template WHERE course_id = $1 FOR UPDATE`, courseID).Scan(&was)
		if pg.NoRows(err) {
			return nil, ErrTemplateNotFound
		}
		if err != nil {
			return nil, err
		}
		if was != visibility {
			if _, err := tx.Exec(ctx, `UPDATE template SET visibility = $2 WHERE course_id = $1`, courseID, visibility); err != nil {
				return nil, err
			}
			if err := audit.Record(ctx, tx, audit.Entry{
				Action: "template.shown", Object: courseID, Course: courseID,
				Before: map[string]any{"visibility": was}, After: map[string]any{"visibility": visibility},
			}); err != nil {
				return nil, err
			}
		}
		return readTemplate(ctx, tx, courseID)
	})
}

func (s *Service) unmarkTemplate(ctx context.Context, req *coursespb.UnmarkTemplateRequest) (*emptypb.Empty, error) {
	courseID := req.GetCourseId()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		var was string
		err := tx.QueryRow(ctx, `DELETE FROM template WHERE course_id = $1 RETURNING visibility`, courseID).Scan(&was)
		if pg.NoRows(err) {
			return &emptypb.Empty{}, nil
		}
		if err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "template.unmarked", Object: courseID, Course: courseID, Before: map[string]any{"visibility": was},
		})
	})
}

// refuseTemplate refuses to publish a template. The course is locked.
func refuseTemplate(ctx context.Context, tx *pg.Tx, courseID string) error {
	var is bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM template WHERE course_id = $1)`, courseID).Scan(&is); err != nil {
		return err
	}
	if is {
		return ErrIsTemplate
	}
	return nil
}

// listTemplates returns a page of the templates that an account may use, last
// marked first, and the cursor of the next. Both kinds are read in the order of
// an index.
func (s *Service) listTemplates(ctx context.Context, visibility string, size int, cursor string) (*coursespb.ListTemplatesResponse, error) {
	at, courseID, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT * FROM (
			(`+ofTemplate+`FROM template t JOIN course c ON c.id = t.course_id
			WHERE t.visibility = 'platform' AND $5 <> 'own' AND (t.marked_at, t.course_id) < ($2, $3)
			ORDER BY t.marked_at DESC, t.course_id DESC LIMIT $4)
			UNION ALL
			(`+ofTemplate+`FROM course c JOIN template t ON t.course_id = c.id
			WHERE t.visibility = 'own' AND $5 <> 'platform' AND c.owner_id = $1 AND (t.marked_at, t.course_id) < ($2, $3)
			ORDER BY t.marked_at DESC, t.course_id DESC LIMIT $4)) both_kinds
		ORDER BY marked_at DESC, course_id DESC LIMIT $4`, auth.From(ctx).Account, at, courseID, size+1, visibility)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[template])
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListTemplatesResponse{}
	if len(found) > size {
		found = found[:size]
		res.NextCursor = page.TimeCursor(found[size-1].MarkedAt, found[size-1].CourseID)
	}
	for _, t := range found {
		res.Items = append(res.Items, t.proto())
	}
	return res, nil
}

// createFromTemplate makes a course of a template for who may make courses.
func (s *Service) createFromTemplate(ctx context.Context, req *coursespb.CreateFromTemplateRequest) (*coursespb.CourseCopy, error) {
	var visibility string
	err := s.db.QueryRow(ctx, `SELECT visibility FROM template WHERE course_id = $1`, req.GetTemplateId()).Scan(&visibility)
	if pg.NoRows(err) {
		return nil, ErrTemplateNotFound
	}
	if err != nil {
		return nil, err
	}
	if visibility != forEverybody {
		err := s.may(ctx, auth.From(ctx).Account, req.GetTemplateId(), "course.edit")
		if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden) {
			err = ErrTemplateNotFound
		}
		if err != nil {
			return nil, err
		}
	}
	return s.duplicate(ctx, req, duplicate{
		method: "from_template", source: "template", courseID: req.GetTemplateId(), title: req.GetTitle(), days: req.GetShiftDays(), newStart: req.GetNewStart(),
	})
}
