package learning

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// version is a version of a course, made ready to be evaluated. It is shared and
// never changed.
type version struct {
	number   int32
	title    string
	zone     *time.Location
	rule     *release.Rule // of the course as a whole
	source   *releasepb.Rule
	items    []*versionItem
	byID     map[string]*versionItem
	schedule []*versionItem // those that have one
}

// versionItem is an item of a version.
type versionItem struct {
	*coursespb.PublishedItem

	place    int
	parent   *versionItem
	children []*versionItem
	rule     *release.Rule // its own
	chain    *release.Rule // with those of all that it is in and of the course
	path     []string      // the modules that it is in, from the top, and itself
}

// makeVersion compiles what was published.
func makeVersion(e *coursespb.CoursePublished) *version {
	v := &version{
		number: e.GetVersion(), title: e.GetTitle(), zone: release.Zone(e.GetTimeZone()),
		rule: release.Compile(e.GetRelease()), source: e.GetRelease(), byID: map[string]*versionItem{},
	}
	for _, it := range itemsOf(e) {
		item := &versionItem{PublishedItem: it, place: len(v.items), rule: release.Compile(it.GetRelease()), chain: v.rule}
		if parent := v.byID[it.GetParentId()]; parent != nil { // parents come before children
			item.parent, item.chain = parent, parent.chain
			item.path = append(item.path, parent.path...)
			parent.children = append(parent.children, item)
		}
		item.chain = release.Join(item.chain, item.rule)
		item.path = append(item.path, it.GetId())
		if it.GetSchedule() != nil {
			v.schedule = append(v.schedule, item)
		}
		v.items, v.byID[it.GetId()] = append(v.items, item), item
	}
	return v
}

// item returns an item as it was published, nil where the version, or there, is none.
func (v *version) item(itemID string) *coursespb.PublishedItem {
	if v == nil || v.byID[itemID] == nil {
		return nil
	}
	return v.byID[itemID].PublishedItem
}

// rules returns the rules that an item is under, the course's first.
func (v *version) rules(it *versionItem) []*releasepb.Rule {
	var out []*releasepb.Rule
	for at := it; at != nil; at = at.parent {
		if r := at.GetRelease(); r != nil {
			out = append([]*releasepb.Rule{r}, out...)
		}
	}
	if v.source != nil {
		out = append([]*releasepb.Rule{v.source}, out...)
	}
	return out
}

// roll adds the modules that are completed because all that is required in them
// is. One that was completed once stays so, whatever is added to it.
func (v *version) roll(completed map[string]bool) {
	for _, it := range slices.Backward(v.items) { // children before parents
		if it.GetKind() != "module" || completed[it.GetId()] {
			continue
		}
		all, required := true, false
		for _, child := range it.children {
			if child.GetRequired() {
				required = true
				all = all && completed[child.GetId()]
			}
		}
		if all && required {
			completed[it.GetId()] = true
		}
	}
}

// versionKey names a version.
type versionKey struct {
	course string
	number int32
}

// maxCachedItems bounds the compiled versions that are kept, by their items.
const maxCachedItems = 200_000

func newVersions() *otter.Cache[versionKey, *version] {
	return otter.Must(&otter.Options[versionKey, *version]{
		MaximumWeight: maxCachedItems,
		Weigher:       func(_ versionKey, v *version) uint32 { return uint32(len(v.items)) + 1 }, //nolint:gosec // at most 11,000
	})
}

// versionOf returns a version that somebody sees, nil for one that is not there
// any more. It is read by q where it is not in memory; q is not a transaction
// that has stored it.
func (s *Service) versionOf(ctx context.Context, q pg.Querier, courseID string, number int32) (*version, error) {
	v, err := s.versions.Get(ctx, versionKey{courseID, number}, otter.LoaderFunc[versionKey, *version](func(ctx context.Context, key versionKey) (*version, error) {
		return readVersion(context.WithoutCancel(ctx), q, key) // others may wait for it too
	}))
	if errors.Is(err, otter.ErrNotFound) {
		return nil, nil //nolint:nilnil // said above
	}
	return v, err
}

// readVersion returns a version, otter.ErrNotFound for none. One of before
// publications were kept has no rules.
func readVersion(ctx context.Context, q pg.Querier, key versionKey) (*version, error) {
	var text []byte
	err := q.QueryRow(ctx, `SELECT publication FROM course_version WHERE course_id = $1 AND version = $2`, key.course, key.number).Scan(&text)
	if err == nil {
		e := &coursespb.CoursePublished{}
		if err := proto.Unmarshal(text, e); err != nil {
			return nil, fmt.Errorf("version %d of %s: %w", key.number, key.course, err)
		}
		return makeVersion(e), nil
	}
	if !pg.NoRows(err) {
		return nil, fmt.Errorf("read version: %w", err)
	}
	rows, err := q.Query(ctx, `
		SELECT item_id, parent_id, kind, title, required FROM published_item WHERE course_id = $1 AND version = $2 ORDER BY position`, key.course, key.number)
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	e := &coursespb.CoursePublished{CourseId: key.course, Version: key.number}
	e.Items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*coursespb.PublishedItem, error) {
		it := &coursespb.PublishedItem{}
		return it, row.Scan(&it.Id, &it.ParentId, &it.Kind, &it.Title, &it.Required)
	})
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	if len(e.GetItems()) == 0 {
		return nil, otter.ErrNotFound
	}
	return makeVersion(e), nil
}
