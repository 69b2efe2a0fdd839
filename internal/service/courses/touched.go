package courses

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// placed is an item in a version of a course: where it is and what it has.
type placed struct {
	ID        string
	ParentID  string
	Kind      string
	Place     int32 // among its siblings, from 0
	VersionID int64
	Title     string
}

// side is what is compared: a published version, or the draft where number is 0.
type side struct {
	number int32
	empty  bool // nothing at all: before the first publishing
}

// readPlaces returns the items of a version without their titles, for which their
// contents would have to be looked up, in no order.
func readPlaces(ctx context.Context, db pg.Querier, courseID string, number int32) ([]placed, error) {
	sql := `SELECT item_id AS id, parent_id, kind, position AS place, version_id, '' AS title FROM publication_item WHERE course_id = $1 AND number = $2`
	if number == 0 {
		sql = `SELECT id, parent_id, kind, 0 AS place, version_id, '' AS title FROM item WHERE course_id = $1 AND $2::int = 0`
	}
	rows, err := db.Query(ctx, sql, courseID, number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[placed])
}

// readSide returns the items of a version, parents' children in their order.
func readSide(ctx context.Context, db pg.Querier, courseID string, at side) ([]placed, error) {
	if at.empty {
		return nil, nil
	}
	sql := `
		SELECT i.item_id AS id, i.parent_id, i.kind, i.position AS place, i.version_id, v.title
		FROM publication_item i JOIN item_version v ON v.id = i.version_id
		WHERE i.course_id = $1 AND i.number = $2 ORDER BY i.parent_id, i.position, i.item_id`
	if at.number == 0 {
		sql = `
		SELECT i.id, i.parent_id, i.kind, (row_number() OVER (PARTITION BY i.parent_id ORDER BY i.position, i.id) - 1)::int AS place, i.version_id, v.title
		FROM item i JOIN item_version v ON v.id = i.version_id
		WHERE i.course_id = $1 AND $2::int = 0 ORDER BY i.parent_id, i.position, i.id`
	}
	rows, err := db.Query(ctx, sql, courseID, at.number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[placed])
}

// findTouched returns what publishing the draft, or a version again, would take
// away from those who see the version number.
func findTouched(ctx context.Context, db pg.Querier, courseID string, number, revertTo int32) (touched, error) {
	if number == 0 {
		return touched{}, nil // nobody has seen anything
	}
	before, err := readPlaces(ctx, db, courseID, number)
	if err != nil {
		return touched{}, err
	}
	after, err := readPlaces(ctx, db, courseID, revertTo)
	if err != nil {
		return touched{}, err
	}
	outerBefore, err := courseRule(ctx, db, courseID, number)
	if err != nil {
		return touched{}, err
	}
	outerAfter, err := courseRule(ctx, db, courseID, revertTo)
	if err != nil {
		return touched{}, err
	}
	was, is := byID(before), byID(after)
	rules, schedules, err := readRules(ctx, db, versionsToRead(was, is, !proto.Equal(outerBefore, outerAfter)))
	if err != nil {
		return touched{}, err
	}
	t := compareRules(was, is, outerBefore, outerAfter, rules)
	t.rescheduled = compareSchedules(was, is, schedules)
	return t, nil
}

// tree is the items of a version by id.
type tree map[string]placed

func byID(items []placed) tree {
	out := make(tree, len(items))
	for _, it := range items {
		out[it.ID] = it
	}
	return out
}

func (t tree) parents() map[string]string {
	out := make(map[string]string, len(t))
	for itemID, it := range t {
		out[itemID] = it.ParentID
	}
	return out
}

// versionsToRead returns the contents whose rules have to be looked at: those on
// the way to items on whose way something is another content or another module;
// all of them when the course's own rule is another.
func versionsToRead(was, is tree, all bool) []int64 {
	var out []int64
	for itemID := range is {
		if _, ok := was[itemID]; !ok || !all && sameWay(was, is, itemID) {
			continue
		}
		for _, t := range []tree{was, is} {
			at := itemID
			for range mostAbove {
				it, ok := t[at]
				if !ok {
					break
				}
				out = append(out, it.VersionID)
				at = it.ParentID
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sameWay reports whether an item is in the same modules with the same contents
// in both.
func sameWay(was, is tree, itemID string) bool {
	for range mostAbove {
		a, b := was[itemID], is[itemID]
		if a.VersionID != b.VersionID || a.ParentID != b.ParentID {
			return false
		}
		if itemID = b.ParentID; itemID == "" {
			break
		}
	}
	return true
}

// compareRules returns the items that are gone and those under other rules. Of
// modules only what is in them counts.
func compareRules(was, is tree, outerWas, outerIs *releasepb.Rule, rules map[int64]*releasepb.Rule) touched {
	var t touched
	own := func(items tree) map[string]*releasepb.Rule {
		out := map[string]*releasepb.Rule{}
		for itemID, it := range items {
			if r := rules[it.VersionID]; r != nil {
				out[itemID] = r
			}
		}
		return out
	}
	rulesWas, rulesIs := own(was), own(is)
	parentsWas, parentsIs := was.parents(), is.parents()
	outerSame := proto.Equal(outerWas, outerIs)
	for itemID, it := range was {
		if it.Kind == "module" {
			continue
		}
		if _, ok := is[itemID]; !ok {
			t.removed = append(t.removed, itemID)
			continue
		}
		if outerSame && sameWay(was, is, itemID) {
			continue
		}
		before, after := rulesOf(outerWas, itemID, parentsWas, rulesWas), rulesOf(outerIs, itemID, parentsIs, rulesIs)
		if !slices.EqualFunc(before, after, func(a, b *releasepb.Rule) bool { return proto.Equal(a, b) }) {
			t.changed = append(t.changed, &learningpb.ItemRules{ItemId: itemID, Rules: after})
		}
	}
	slices.Sort(t.removed)
	slices.SortFunc(t.changed, func(a, b *learningpb.ItemRules) int { return strings.Compare(a.GetItemId(), b.GetItemId()) })
	return t
}

// compareSchedules returns the items that would be on a way with other schedules, by
// which something may not be available yet, or no more.
func compareSchedules(was, is tree, schedules map[int64]*releasepb.Schedule) []*learningpb.ItemSchedules {
	var out []*learningpb.ItemSchedules
	for itemID, it := range was {
		if _, ok := is[itemID]; !ok || it.Kind == "module" || sameWay(was, is, itemID) {
			continue
		}
		before, after := was.schedules(itemID, schedules), is.schedules(itemID, schedules)
		if slices.EqualFunc(before, after, func(a, b *learningpb.OwnSchedule) bool { return proto.Equal(a, b) }) {
			continue
		}
		own := after[len(after)-1].GetSchedule()
		if own.GetUntil() != nil || own.GetDue() != nil || slices.ContainsFunc(after, func(o *learningpb.OwnSchedule) bool { return o.GetSchedule().GetAvailableFrom() != nil }) {
			out = append(out, &learningpb.ItemSchedules{ItemId: itemID, Way: after})
		}
	}
	slices.SortFunc(out, func(a, b *learningpb.ItemSchedules) int { return strings.Compare(a.GetItemId(), b.GetItemId()) })
	return out
}

// schedules returns the modules that an item is in and itself, from the top, with
// their schedules.
func (t tree) schedules(itemID string, schedules map[int64]*releasepb.Schedule) []*learningpb.OwnSchedule {
	var way []*learningpb.OwnSchedule
	for range mostAbove {
		it, ok := t[itemID]
		if !ok {
			break
		}
		way = append(way, &learningpb.OwnSchedule{ItemId: itemID, Schedule: schedules[it.VersionID]})
		itemID = it.ParentID
	}
	slices.Reverse(way)
	return way
}

// readRules returns the release rules of contents that have one, and the schedules.
func readRules(ctx context.Context, db pg.Querier, versions []int64) (map[int64]*releasepb.Rule, map[int64]*releasepb.Schedule, error) {
	rules, schedules := map[int64]*releasepb.Rule{}, map[int64]*releasepb.Schedule{}
	if len(versions) == 0 {
		return rules, schedules, nil
	}
	rows, err := db.Query(ctx, `SELECT v.id, v.settings FROM item_version v WHERE v.id = ANY($1) AND v.settings ?| ARRAY['release', 'schedule']`, versions)
	if err != nil {
		return nil, nil, err
	}
	var versionID int64
	var set settings
	_, err = pgx.ForEachRow(rows, []any{&versionID, &set}, func() error {
		if r := set.M.GetRelease(); r != nil {
			rules[versionID] = r
		}
		if sc := set.M.GetSchedule(); sc != nil {
			schedules[versionID] = sc
		}
		return nil
	})
	return rules, schedules, err
}

// courseRule returns the rule of a course as a whole, in a version or the draft.
func courseRule(ctx context.Context, db pg.Querier, courseID string, number int32) (*releasepb.Rule, error) {
	sql := `SELECT to_jsonb(p) FROM publication p WHERE p.course_id = $1 AND p.number = $2`
	if number == 0 {
		sql = `SELECT to_jsonb(c) FROM course c WHERE c.id = $1 AND $2::int = 0`
	}
	var doc map[string]json.RawMessage
	if err := db.QueryRow(ctx, sql, courseID, number).Scan(&doc); err != nil {
		if pg.NoRows(err) {
			return nil, nil //nolint:nilnil // what is not there has no rule
		}
		return nil, err
	}
	return ruleIn(doc)
}

// ruleIn returns the release rule that a stored document has, as a column of its
// own or among its settings, as JSON or as bytes; nil where it has none.
func ruleIn(doc map[string]json.RawMessage) (*releasepb.Rule, error) {
	text, ok := doc["release"]
	if !ok {
		var settings map[string]json.RawMessage
		if json.Unmarshal(doc["settings"], &settings) == nil {
			text, ok = settings["release"]
		}
	}
	switch {
	case !ok || len(text) == 0 || string(text) == "null" || string(text) == "{}" || string(text) == `""` || string(text) == `"\\x"`:
		return nil, nil //nolint:nilnil // no rule is a rule like others
	case text[0] == '{':
		r := &releasepb.Rule{}
		return r, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, r)
	}
	var bytea string
	if err := json.Unmarshal(text, &bytea); err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(bytea, `\x`))
	if err != nil {
		return nil, err
	}
	r := &releasepb.Rule{}
	return r, proto.Unmarshal(raw, r)
}
