package courses

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// entry is an item in a table of contents.
type entry struct {
	PublishedNumber  int32 // of the course
	ID               string
	ParentID         string
	Kind             string // "" for the one row of a course that has none
	Revision         int64  // 0 where it is published
	Title            string
	Preview          bool
	Settings         settings
	ActivityRef      string
	PlayableMediaIDs []string
	CreatedAt        time.Time // of its content
	Gates            string    // of the course's version

	Depth int32 `db:"-"` // in how many modules it is
	Place int32 `db:"-"` // among its siblings
}

// The course is in the query so that one without modules can be told from one
// that there isn't. Siblings are in their order.
const entryVersion = `coalesce(v.title, '') AS title, coalesce(v.preview, false) AS preview, coalesce(v.settings, '{}') AS settings,
			coalesce(v.activity_ref, '') AS activity_ref, coalesce(v.playable_media_ids, '{}') AS playable_media_ids,
			coalesce(v.created_at, c.created_at) AS created_at`

// Both are of a course; siblings are in their order.
var (
	draftOutline = `
		SELECT c.published_number, coalesce(i.id, '') AS id, coalesce(i.parent_id, '') AS parent_id, coalesce(i.kind, '') AS kind,
			coalesce(i.revision, 0) AS revision, '' AS gates, ` + entryVersion + `
		FROM course c LEFT JOIN (item i JOIN item_version v ON v.id = i.version_id) ON i.course_id = c.id
		WHERE c.id = $1 ORDER BY i.position, i.id`
	// publishedOutline takes a version and an account, as [seen] does.
	publishedOutline = `
		SELECT s.number AS published_number, coalesce(i.item_id, '') AS id, coalesce(i.parent_id, '') AS parent_id, coalesce(i.kind, '') AS kind,
			0::bigint AS revision, coalesce(p.gates, '') AS gates, ` + entryVersion + `
		FROM course c ` + seen("$2", "$3") + ` LEFT JOIN publication p ON p.course_id = c.id AND p.number = s.number
		LEFT JOIN (publication_item i JOIN item_version v ON v.id = i.version_id) ON i.course_id = c.id AND i.number = s.number
		WHERE c.id = $1 AND ` + shown("$2") + ` ORDER BY i.position`
)

type outline struct {
	number  int32   // of the course's publication
	gates   string  // of it
	items   []entry // parents before what is in them, siblings in their order
	modules []*outlineModule
}

type outlineModule struct {
	entry

	lessons []entry
}

// readOutline returns the table of contents that one of the queries above
// selects.
func readOutline(ctx context.Context, db pg.Querier, sql, courseID string, args ...any) (outline, error) {
	rows, err := db.Query(ctx, sql, append([]any{courseID}, args...)...)
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
	o := outline{number: entries[0].PublishedNumber, gates: entries[0].Gates}
	children := map[string][]entry{}
	for _, e := range entries {
		if e.Kind != "" {
			children[e.ParentID] = append(children[e.ParentID], e)
		}
	}
	o.walk(children, "", 0)
	return o, nil
}

// walk adds all that is in a module. Modules go at most maxDepth deep.
func (o *outline) walk(children map[string][]entry, parentID string, depth int32) *outlineModule {
	in := &outlineModule{}
	for i, e := range children[parentID] {
		e.Depth, e.Place = depth, int32(i)
		o.items = append(o.items, e)
		switch e.Kind {
		case "module":
			at := len(o.modules)
			o.modules = append(o.modules, nil)
			m := o.walk(children, e.ID, depth+1)
			m.entry = e
			o.modules[at] = m
		case "lesson":
			in.lessons = append(in.lessons, e)
		}
	}
	return in
}

func (s *Service) getOutline(ctx context.Context, courseID, view string) (*coursespb.Outline, error) {
	draft, err := seesDraft(ctx, view)
	if err != nil {
		return nil, err
	}
	sql, args := publishedOutline, []any{0, viewer(ctx, view)}
	if draft {
		sql, args = draftOutline, nil
	}
	o, err := readOutline(ctx, s.db, sql, courseID, args...)
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
