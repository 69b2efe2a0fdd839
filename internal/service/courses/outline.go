package courses

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// entry is a module or a lesson in a table of contents.
type entry struct {
	PublishedNumber int32 // of the course
	ID              string
	ParentID        string
	Kind            string // "" for the one row of a course that has none
	Revision        int64  // 0 where it is published
	Title           string
	Preview         bool
	CreatedAt       time.Time // of its content
}

// The course is in the query so that one without modules can be told from one
// that there isn't. "module" comes after "lesson" in the alphabet.
const (
	draftOutline = `
		SELECT c.published_number, coalesce(i.id, '') AS id, coalesce(i.parent_id, '') AS parent_id, coalesce(i.kind, '') AS kind,
			coalesce(i.revision, 0) AS revision, coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview,
			coalesce(v.created_at, c.created_at) AS created_at
		FROM course c LEFT JOIN (item i JOIN item_version v ON v.id = i.version_id) ON i.course_id = c.id
		WHERE c.id = $1 ORDER BY i.kind DESC, i.position, i.id`
	publishedOutline = `
		SELECT c.published_number, coalesce(i.item_id, '') AS id, coalesce(i.parent_id, '') AS parent_id, coalesce(i.kind, '') AS kind,
			0::bigint AS revision, coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview,
			coalesce(v.created_at, c.created_at) AS created_at
		FROM course c
		LEFT JOIN (publication_item i JOIN item_version v ON v.id = i.version_id) ON i.course_id = c.id AND i.number = c.published_number
		WHERE c.id = $1 AND c.published_number > 0 ORDER BY i.kind DESC, i.position`
)

type outline struct {
	number  int32 // of the course's publication
	modules []*outlineModule
}

type outlineModule struct {
	entry

	lessons []entry
}

// readOutline returns the table of contents that one of the queries above
// selects.
func readOutline(ctx context.Context, db pg.Querier, sql, courseID string) (outline, error) {
	rows, err := db.Query(ctx, sql, courseID)
	if err != nil {
		return outline{}, err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		return outline{}, err
	}
	if len(entries) == 0 {
		return outline{}, auth.ErrHidden
	}
	o := outline{number: entries[0].PublishedNumber}
	byID := map[string]*outlineModule{}
	for _, e := range entries {
		switch e.Kind {
		case "module":
			m := &outlineModule{entry: e}
			o.modules = append(o.modules, m)
			byID[e.ID] = m
		case "lesson":
			if m := byID[e.ParentID]; m != nil {
				m.lessons = append(m.lessons, e)
			}
		}
	}
	return o, nil
}

func (s *Service) getOutline(ctx context.Context, courseID, view string) (*coursespb.Outline, error) {
	draft, err := seesDraft(ctx, view)
	if err != nil {
		return nil, err
	}
	sql := publishedOutline
	if draft {
		sql = draftOutline
	}
	o, err := readOutline(ctx, s.db, sql, courseID)
	if err != nil {
		return nil, err
	}
	if draft {
		o.number = 0
	} else if err := s.leaveOut(ctx, courseID, &o); err != nil {
		return nil, err
	}
	return protoOutline(courseID, o), nil
}
