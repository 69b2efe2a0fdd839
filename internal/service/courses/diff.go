package courses

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Columns of rows that say when and by whom and not what: all others are content,
// those that come later too.
var (
	notOfVersion     = []string{"id", "item_id", "author_id", "created_at", "hash", "number", "playable_media_ids"}
	notOfPublication = []string{"course_id", "number", "message", "author_id", "published_at", "lesson_count", "reverted_to", "gates", "needs"}
	notOfCourse      = []string{
		"id", "owner_id", "owner_version", "revision", "published", "published_number", "published_at", "published_changes", "sequence",
		"created_at", "require_etag", "edited_by", "edited_at", "archived_at", "closed", "review_state", "review_changes", "review_passed",
	}
)

// courseDiff is how two versions of a course differ, without the contents.
type courseDiff struct {
	was, is tree
	fields  []change
	items   []itemChange
}

// itemChange is what happened to an item.
type itemChange struct {
	placed // as it is, or as it was where it is gone

	before  placed
	changes []string
}

func (c itemChange) has(change string) bool { return slices.Contains(c.changes, change) }

func (d courseDiff) titleBefore(itemID string) string { return d.was[itemID].Title }

func (d courseDiff) summary() *coursespb.DiffSummary {
	out := &coursespb.DiffSummary{CourseFields: int32(len(d.fields))} //nolint:gosec // a few dozen
	for _, c := range d.items {
		for change, n := range map[string]*int32{
			"added": &out.Added, "removed": &out.Removed, "moved": &out.Moved, "renamed": &out.Renamed, "changed": &out.Changed,
		} {
			if c.has(change) {
				*n++
			}
		}
	}
	return out
}

// compare compares two versions of a course.
func (s *Service) compare(ctx context.Context, courseID string, from, to side) (courseDiff, error) {
	before, err := readSide(ctx, s.db, courseID, from)
	if err != nil {
		return courseDiff{}, err
	}
	after, err := readSide(ctx, s.db, courseID, to)
	if err != nil {
		return courseDiff{}, err
	}
	d := courseDiff{was: byID(before), is: byID(after)}
	other, err := otherContents(ctx, s.db, d.was, d.is)
	if err != nil {
		return courseDiff{}, err
	}
	budget := diffBudget
	d.items = compareItems(before, after, other, &budget)
	a, err := readLanding(ctx, s.db, courseID, from)
	if err != nil {
		return courseDiff{}, err
	}
	b, err := readLanding(ctx, s.db, courseID, to)
	if err != nil {
		return courseDiff{}, err
	}
	// Of the draft's row only what is published too can be compared with that.
	if from.number > 0 && to.number == 0 {
		keep(b, a)
	}
	if to.number > 0 && from.number == 0 && !from.empty {
		keep(a, b)
	}
	d.fields = compareFields("", a, b, &budget)
	return d, nil
}

// keep removes what another document has no field for.
func keep(d, other document) {
	maps.DeleteFunc(d, func(key string, _ any) bool {
		_, ok := other[key]
		return !ok
	})
}

// readLanding returns the course's own page and settings in a version.
func readLanding(ctx context.Context, db pg.Querier, courseID string, at side) (document, error) {
	if at.empty {
		return document{}, nil
	}
	sql, not := `SELECT to_jsonb(p) - $3::text[] FROM publication p WHERE p.course_id = $1 AND p.number = $2`, notOfPublication
	if at.number == 0 {
		sql, not = `SELECT to_jsonb(c) - $3::text[] FROM course c WHERE c.id = $1 AND $2::int = 0`, notOfCourse
	}
	var text json.RawMessage
	err := db.QueryRow(ctx, sql, courseID, at.number, not).Scan(&text)
	if pg.NoRows(err) {
		return nil, ErrVersionNotFound
	}
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// otherContents returns which items that are in both have another content or other
// settings, their titles aside. The database compares.
func otherContents(ctx context.Context, db pg.Querier, was, is tree) (map[string]bool, error) {
	var ids []string
	var a, b []int64
	for itemID, it := range is {
		if old, ok := was[itemID]; ok && old.VersionID != it.VersionID {
			ids, a, b = append(ids, itemID), append(a, old.VersionID), append(b, it.VersionID)
		}
	}
	out := map[string]bool{}
	if len(ids) == 0 {
		return out, nil
	}
	rows, err := db.Query(ctx, `
		SELECT q.id FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS q (id, a, b)
		JOIN item_version va ON va.id = q.a JOIN item_version vb ON vb.id = q.b
		WHERE to_jsonb(va) - $4::text[] <> to_jsonb(vb) - $4::text[]`, ids, a, b, append(slices.Clone(notOfVersion), "title"))
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, itemID := range found {
		out[itemID] = true
	}
	return out, err
}

// compareItems returns the items that differ: those of the later version in its
// order, then those that it does not have in theirs. Both lists have siblings in
// their order. Of siblings in another order as few as can be have moved.
func compareItems(before, after []placed, other map[string]bool, budget *int) []itemChange {
	was, is := byID(before), byID(after)
	childrenWas, childrenIs := children(before), children(after)
	moved := map[string]bool{}
	for parentID, list := range childrenIs {
		// Siblings in both, in the order of either.
		both := func(list []placed, in tree) (ids []string) {
			for _, it := range list {
				if there, ok := in[it.ID]; ok && there.ParentID == parentID {
					ids = append(ids, it.ID)
				}
			}
			return ids
		}
		a, b := both(childrenWas[parentID], is), both(list, was)
		n := numbered(a, b)
		_, came := compareSequences(n[0], n[1], budget)
		for j, itemID := range b {
			moved[itemID] = came[j]
		}
	}
	var out []itemChange
	visit(childrenIs, func(it placed) {
		old, ok := was[it.ID]
		c := itemChange{placed: it, before: old}
		switch {
		case !ok:
			c.changes = []string{"added"}
		default:
			if old.ParentID != it.ParentID || moved[it.ID] {
				c.changes = append(c.changes, "moved")
			}
			if old.Title != it.Title {
				c.changes = append(c.changes, "renamed")
			}
			if other[it.ID] {
				c.changes = append(c.changes, "changed")
			}
		}
		if len(c.changes) > 0 {
			out = append(out, c)
		}
	})
	visit(childrenWas, func(it placed) {
		if _, ok := is[it.ID]; !ok {
			out = append(out, itemChange{placed: it, before: it, changes: []string{"removed"}})
		}
	})
	return out
}

// children returns items by their parents.
func children(items []placed) map[string][]placed {
	out := map[string][]placed{}
	for _, it := range items {
		out[it.ParentID] = append(out[it.ParentID], it)
	}
	return out
}

// visit goes through all items, parents before their children.
func visit(of map[string][]placed, do func(placed)) {
	var from func(parentID string, depth int)
	from = func(parentID string, depth int) {
		for _, it := range of[parentID] {
			do(it)
			if depth < mostAbove {
				from(it.ID, depth+1)
			}
		}
	}
	from("", 0)
}

// readDocuments returns contents by their ids.
func readDocuments(ctx context.Context, db pg.Querier, versions ...int64) (map[int64]document, error) {
	rows, err := db.Query(ctx, `SELECT id, to_jsonb(v) - $2::text[] FROM item_version v WHERE id = ANY($1)`, versions, notOfVersion)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[int64]document{}
	for rows.Next() {
		var versionID int64
		var text json.RawMessage
		if err := rows.Scan(&versionID, &text); err != nil {
			return nil, err
		}
		if out[versionID], err = parse(text); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}

// Bounds of an answer in bytes: a page ends behind the item with which it is
// larger than the first, and no item tells more than the second.
const (
	maxPage = 1 << 20
	maxItem = 512 << 10
)

// diffVersions returns a page of how two versions of a course differ.
func (s *Service) diffVersions(ctx context.Context, req *coursespb.DiffVersionsRequest) (*coursespb.DiffVersionsResponse, error) {
	courseID := req.GetCourseId()
	c, err := readCourse(ctx, s.db, draftOf+`WHERE c.id = $1`, courseID)
	if err != nil {
		return nil, err
	}
	from, to := sideOf(req.GetFrom()), sideOf(req.GetTo())
	if req.GetFrom() == "" {
		from = side{number: c.PublishedNumber, empty: c.PublishedNumber == 0}
	}
	d, err := s.compare(ctx, courseID, from, to)
	if err != nil {
		return nil, err
	}
	out := &coursespb.DiffVersionsResponse{Summary: d.summary()}
	if from == (side{}) || to == (side{}) {
		out.DraftEtag = etag(c.Changes)
	}
	items := d.items
	after, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	if after == nil {
		var t told
		out.Course = t.changes(d.fields)
	} else {
		i := slices.IndexFunc(items, func(c itemChange) bool { return c.ID == after[0] })
		if i < 0 {
			return nil, page.ErrCursor
		}
		items = items[i+1:]
	}
	budget, size := diffBudget, 0
	// A few at a time: a page of long lessons does not bring all of them here.
	const batch = 10
	for left := page.Size(req.GetPageSize()); left > 0 && len(items) > 0 && size < maxPage; {
		next := items[:min(batch, left, len(items))]
		var versions []int64
		for _, c := range next {
			versions = append(versions, c.before.VersionID, c.VersionID)
		}
		docs, err := readDocuments(ctx, s.db, versions...)
		if err != nil {
			return nil, err
		}
		for _, c := range next {
			before, after := docs[c.before.VersionID], docs[c.VersionID]
			switch {
			case c.has("added"):
				before = nil
			case c.has("removed"):
				after = nil
			}
			item, n := diffItem(c, before, after, &budget)
			out.Items, size, left, items = append(out.Items, item), size+n, left-1, items[1:]
			if size >= maxPage {
				break
			}
		}
	}
	if len(items) > 0 {
		out.NextCursor = page.Cursor(out.GetItems()[len(out.GetItems())-1].GetItemId())
	}
	return out, nil
}

// sideOf reads a number or "draft", which it is when empty.
func sideOf(text string) side { return side{number: int32(refOf(text).number)} } //nolint:gosec // nine digits

// diffItemVersions compares two contents of an item.
func (s *Service) diffItemVersions(ctx context.Context, req *coursespb.DiffItemVersionsRequest) (*coursespb.ItemDiff, error) {
	courseID, itemID := req.GetCourseId(), req.GetItemId()
	kind, err := kindOf(ctx, s.db, courseID, itemID)
	if err != nil {
		return nil, err
	}
	from, err := refOf(req.GetFrom()).find(ctx, s.db, itemID)
	if err != nil {
		return nil, err
	}
	to, err := refOf(req.GetTo()).find(ctx, s.db, itemID)
	if err != nil {
		return nil, err
	}
	docs, err := readDocuments(ctx, s.db, from, to)
	if err != nil {
		return nil, err
	}
	return diffContents(itemID, kind, docs[from], docs[to]), nil
}
