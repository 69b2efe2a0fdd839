package courses

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// compareEdit compares an edit with what others have made of the same meanwhile.
func (s *Service) compareEdit(ctx context.Context, req *coursespb.CompareEditRequest) (*coursespb.Comparison, error) {
	courseID, itemID := req.GetCourseId(), req.GetItemId()
	kind, err := kindOf(ctx, s.db, courseID, itemID)
	if err != nil {
		return nil, err
	}
	baseID, err := s.baseOf(ctx, req)
	if err != nil {
		return nil, err
	}
	var currentID, revision int64
	err = s.db.QueryRow(ctx, `SELECT version_id, revision FROM item WHERE course_id = $1 AND id = $2`, courseID, itemID).Scan(&currentID, &revision)
	if pg.NoRows(err) {
		return nil, ErrItemNotFound
	}
	if err != nil {
		return nil, err
	}
	docs, err := readDocuments(ctx, s.db, baseID, currentID)
	if err != nil {
		return nil, err
	}
	base, current := docs[baseID], docs[currentID]
	yours, err := edited(base, req.GetEdit())
	if err != nil {
		return nil, err
	}
	budget := diffBudget
	m := &merger{budget: &budget}
	merged := m.documents(base, current, yours)
	out := &coursespb.Comparison{
		Etag:   etag(revision),
		Theirs: diffContents(itemID, kind, base, current), Yours: diffContents(itemID, kind, base, yours),
	}
	if out.Merged, err = editOf(current, merged); err != nil {
		return nil, err
	}
	for _, c := range m.conflicts {
		out.Conflicts = append(out.Conflicts, &coursespb.Conflict{Path: c.path, Base: c.base, Current: c.current, Yours: c.yours})
	}
	for _, side := range []struct {
		to        **coursespb.ItemContent
		versionID int64
	}{{&out.Base, baseID}, {&out.Current, currentID}} {
		if *side.to, err = itemContent(ctx, s.db, courseID, itemID, versionRef{versionID: side.versionID}); err != nil {
			return nil, err
		}
		if _, err = s.completed(ctx, *side.to); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// baseOf returns the content that an edit was made on.
func (s *Service) baseOf(ctx context.Context, req *coursespb.CompareEditRequest) (int64, error) {
	if n := req.GetBaseVersion(); n > 0 {
		return versionRef{number: int64(n)}.find(ctx, s.db, req.GetItemId())
	}
	tag := strings.Trim(strings.TrimPrefix(strings.TrimSpace(req.GetBaseEtag()), "W/"), `"`)
	if tag == "" {
		return 0, fault.InvalidField("base_etag", "base.missing", "Say what was edited: its etag, or the number of its version.")
	}
	revision, err := strconv.ParseInt(tag, 10, 64)
	if err != nil {
		return 0, ErrItemVersionNotFound
	}
	var versionID int64
	err = s.db.QueryRow(ctx, `SELECT version_id FROM item_revision WHERE item_id = $1 AND revision = $2`, req.GetItemId(), revision).Scan(&versionID)
	if pg.NoRows(err) {
		err = ErrItemVersionNotFound
	}
	return versionID, err
}

// edited returns a content with an edit made, as it would be stored.
func edited(base document, e *coursespb.ItemEdit) (document, error) {
	// By way of its text, so that the result is as one that was read.
	d := maps.Clone(base)
	if e.Title != nil {
		d["title"] = strings.TrimSpace(e.GetTitle())
	}
	if e.Preview != nil {
		d["preview"] = e.GetPreview()
	}
	if e.GetBlocks() == nil {
		return d, nil
	}
	body := make([]block, len(e.GetBlocks().GetItems()))
	for i, b := range e.GetBlocks().GetItems() {
		body[i] = newBlock(b)
	}
	text, err := json.Marshal(map[string]any{"body": body})
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBody {
		return nil, ErrLessonTooLarge
	}
	stored, err := parse(text)
	d["body"] = stored["body"]
	return d, err
}

// editOf returns what makes of one content another.
func editOf(current, to document) (*coursespb.ItemEdit, error) {
	out := &coursespb.ItemEdit{}
	if title, ok := to["title"].(string); ok && title != current["title"] {
		out.Title = &title
	}
	if preview, ok := to["preview"].(bool); ok && preview != current["preview"] {
		out.Preview = &preview
	}
	if textOf(to["body"]) == textOf(current["body"]) {
		return out, nil
	}
	var body []block
	if err := json.Unmarshal([]byte(textOf(to["body"])), &body); err != nil {
		return nil, err
	}
	out.Blocks = &coursespb.Blocks{}
	for _, b := range body {
		out.Blocks.Items = append(out.Blocks.Items, b.proto())
	}
	return out, nil
}
