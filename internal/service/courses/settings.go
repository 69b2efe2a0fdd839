package courses

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// settings are what is said of an item beside what it shows, without what is
// usual: two that mean the same are the same.
type settings = stored[*coursespb.ItemSettings]

// checkSettings refuses settings of an item of a kind that say nothing which can
// be.
func checkSettings(kind string, set *coursespb.ItemSettings) error {
	if set == nil {
		return nil
	}
	var bad []fault.Field
	if set.GetRelease() != nil {
		bad = append(bad, within("settings.release", release.Validate(set.GetRelease()))...)
	}
	if set.GetCompletion() != nil {
		bad = append(bad, within("settings.completion", release.ValidateCompletion(kind, set.GetCompletion()))...)
	}
	if set.GetSchedule() != nil {
		bad = append(bad, within("settings.schedule", release.ValidateSchedule(set.GetSchedule()))...)
	}
	return refused("release.invalid", "What is said of when this is open, due or completed can't be.", bad)
}

// within puts a path before those of fields.
func within(path string, fields []fault.Field) []fault.Field {
	for i, f := range fields {
		if f.Path == "" {
			fields[i].Path = path
		} else {
			fields[i].Path = path + "." + f.Path
		}
	}
	return fields
}

// refused is the error that names fields, nil without any.
func refused(code, message string, bad []fault.Field) error {
	if len(bad) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: code, Message: message, Fields: bad[:min(len(bad), maxFields)]}
}

// maxFields bounds how many fields one answer names.
const maxFields = 20

// changedSettings returns settings with what a request sets.
func changedSettings(s settings, set *coursespb.ItemSettings) settings {
	if set == nil {
		return s
	}
	next := &coursespb.ItemSettings{}
	if !s.absent() {
		next = proto.CloneOf(s.M)
	}
	for _, name := range set.GetClear() {
		switch name {
		case "release":
			next.Release = nil
		case "completion":
			next.Completion = nil
		case "schedule":
			next.Schedule = nil
		}
	}
	if set.GetRelease() != nil {
		next.Release = set.GetRelease()
	}
	if set.GetCompletion() != nil {
		next.Completion = set.GetCompletion()
	}
	if set.GetSchedule() != nil {
		next.Schedule = set.GetSchedule()
	}
	if set.Required != nil {
		next.Required = set.Required
	}
	if set.Minutes != nil {
		next.Minutes = set.Minutes
	}
	return usual(next)
}

// usual leaves out what is so anyway.
func usual(s *coursespb.ItemSettings) settings {
	if all, ok := s.GetRelease().GetCondition().(*releasepb.Rule_All); ok && len(all.All.GetRules()) == 0 {
		s.Release = nil
	}
	if sc := s.GetSchedule(); sc.GetAvailableFrom() == nil && sc.GetDue() == nil && sc.GetUntil() == nil {
		s.Schedule = nil
	}
	if s.Required != nil && s.GetRequired() {
		s.Required = nil
	}
	if s.GetMinutes() == 0 {
		s.Minutes = nil
	}
	if proto.Size(s) == 0 {
		return settings{}
	}
	return settings{s}
}

// required reports whether the course is completed only when the item is.
func required(s settings) bool { return s.M == nil || s.M.Required == nil || s.M.GetRequired() }

// completion returns what completes an item of a kind, nil for a module.
func completion(kind string, s settings) *releasepb.Completion {
	switch {
	case kind == "module":
		return nil
	case s.M.GetCompletion() != nil:
		return s.M.GetCompletion()
	case kind == "lesson":
		return &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "viewed"}}}
	default:
		return &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "submitted"}}}
	}
}

// checkReleases refuses a draft in which something can never open, by its own rules or
// by those of other courses. The course is locked: two changes that are right each and
// wrong together meet here.
func checkReleases(ctx context.Context, tx *pg.Tx, courseID string) error {
	items, err := releaseItems(ctx, tx, courseID)
	if err != nil {
		return err
	}
	var bad []fault.Field
	for _, f := range release.CheckCourse(items) {
		bad = append(bad, fault.Field{Path: "items." + f.ItemID + ".release", Code: f.Code, Hint: f.Message + " Way: " + strings.Join(f.Path, " → ")})
	}
	if len(bad) > 0 {
		return refused(ErrClosed.Code, ErrClosed.Message, bad)
	}
	return refuseDraftCircle(ctx, tx, courseID, items)
}

// releaseItems returns the items of a draft, none where none has a rule.
func releaseItems(ctx context.Context, q pg.Querier, courseID string) ([]release.Item, error) {
	rows, err := q.Query(ctx, `
		SELECT i.id, i.parent_id, i.kind, v.title, v.settings FROM item i JOIN item_version v ON v.id = i.version_id
		WHERE i.course_id = $1 AND EXISTS (
			SELECT FROM item r JOIN item_version rv ON rv.id = r.version_id WHERE r.course_id = $1 AND rv.settings ? 'release')
		ORDER BY i.id`, courseID)
	if err != nil {
		return nil, err
	}
	type row struct {
		ID, ParentID, Kind, Title string
		Settings                  settings
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, err
	}
	items := make([]release.Item, len(found))
	for i, r := range found {
		items[i] = release.Item{
			ID: r.ID, ParentID: r.ParentID, Kind: r.Kind, Required: required(r.Settings),
			Release: r.Settings.M.GetRelease(), Title: r.Title, Completion: completion(r.Kind, r.Settings),
		}
	}
	return items, nil
}

// asksForItems returns the path to where a rule asks for an item of the course,
// or for a course itself.
func asksForItems(rule *releasepb.Rule, path, courseID string) (bad []fault.Field) {
	list := func(rules []*releasepb.Rule, path string) {
		for i, r := range rules {
			bad = append(bad, asksForItems(r, index(path, i), courseID)...)
		}
	}
	switch c := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		list(c.All.GetRules(), path+".all.rules")
	case *releasepb.Rule_Any:
		list(c.Any.GetRules(), path+".any.rules")
	case *releasepb.Rule_Not:
		return asksForItems(c.Not, path+".not", courseID)
	case *releasepb.Rule_Completed:
		bad = append(bad, fault.Field{Path: path + ".completed", Code: "release.dead_end", Hint: "Nothing of a course can be completed before the course is open."})
	case *releasepb.Rule_Score:
		bad = append(bad, fault.Field{Path: path + ".score", Code: "release.dead_end", Hint: "Nothing of a course can be scored before the course is open."})
	case *releasepb.Rule_CourseCompleted:
		if c.CourseCompleted.GetCourseId() == courseID {
			bad = append(bad, fault.Field{Path: path + ".course_completed.course_id", Code: "release.cycle", Hint: "Name another course."})
		}
	}
	return slices.Clip(bad)
}
