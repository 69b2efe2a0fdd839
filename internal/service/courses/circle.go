package courses

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// A course whose rules ask for another one to be completed can be completed by nobody
// where that one asks for it in turn. What each published version asks for is kept
// with it: a rule of "all" and "any" of courses, which the courses meet that have to
// be completed before it can be. All other conditions are left out, as they may hold.

// maxWalked bounds the courses that are looked at from one.
const maxWalked = 300

// needs is what a version asks of other courses: what each rule of it does, by whose
// it is, which is "" of the course's own.
type needs struct {
	owners []string
	rules  []*releasepb.Rule
}

// rule returns all of it as one, nil where it asks for nothing.
func (n needs) rule() *releasepb.Rule {
	if len(n.rules) == 0 {
		return nil
	}
	return ruleOfAll(n.rules)
}

func ruleOfAll(rules []*releasepb.Rule) *releasepb.Rule {
	if len(rules) == 1 {
		return rules[0]
	}
	return &releasepb.Rule{Condition: &releasepb.Rule_All{All: &releasepb.Rules{Rules: rules}}}
}

// needsOf returns what a version asks of other courses before it can be completed:
// its own rule, and those of all that has to be completed in it. Where a part of it
// is enough only its own counts.
func needsOf(whole *releasepb.Rule, grading *coursespb.GradingPolicy, items []release.Item) needs {
	var n needs
	add := func(owner string, rule *releasepb.Rule) {
		if r := ofCourses(rule); r != nil {
			n.owners, n.rules = append(n.owners, owner), append(n.rules, r)
		}
	}
	add("", whole)
	if grading.GetCompletion().GetKind() == "percent" {
		return n
	}
	byID := make(map[string]*release.Item, len(items))
	for i := range items {
		byID[items[i].ID] = &items[i]
	}
	counts := map[string]bool{}
	for _, it := range items {
		if it.Kind == "module" || !it.Required || len(it.Completion.GetRequirements()) == 0 {
			continue
		}
		for at, step := byID[it.ID], 0; at != nil && step < mostAbove; at, step = byID[at.ParentID], step+1 {
			counts[at.ID] = true
		}
	}
	for _, it := range items {
		if counts[it.ID] {
			add(it.ID, it.Release)
		}
	}
	return n
}

// ofCourses returns what a rule asks of courses, nil for nothing: what may hold
// whatever courses are completed is left out.
func ofCourses(rule *releasepb.Rule) *releasepb.Rule {
	switch c := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		var parts []*releasepb.Rule
		for _, r := range c.All.GetRules() {
			if part := ofCourses(r); part != nil {
				parts = append(parts, part)
			}
		}
		if len(parts) > 0 {
			return ruleOfAll(parts)
		}
	case *releasepb.Rule_Any:
		var parts []*releasepb.Rule
		for _, r := range c.Any.GetRules() {
			part := ofCourses(r)
			if part == nil {
				return nil
			}
			parts = append(parts, part)
		}
		if len(parts) > 0 {
			return &releasepb.Rule{Condition: &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: parts}}}
		}
	case *releasepb.Rule_CourseCompleted:
		return &releasepb.Rule{Condition: &releasepb.Rule_CourseCompleted{CourseCompleted: c.CourseCompleted}}
	}
	return nil
}

// lacking returns which courses a rule of courses fails at; none where it holds.
func lacking(rule *releasepb.Rule, blocked map[string]*releasepb.Rule) []string {
	switch c := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		var out []string
		for _, r := range c.All.GetRules() {
			out = append(out, lacking(r, blocked)...)
		}
		return out
	case *releasepb.Rule_Any:
		var out []string
		for _, r := range c.Any.GetRules() {
			part := lacking(r, blocked)
			if len(part) == 0 {
				return nil
			}
			out = append(out, part...)
		}
		return out
	case *releasepb.Rule_CourseCompleted:
		if id := c.CourseCompleted.GetCourseId(); blocked[id] != nil {
			return []string{id}
		}
	}
	return nil
}

// coursesIn returns the courses that a rule of courses names.
func coursesIn(rule *releasepb.Rule) []string {
	switch c := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		return coursesInAll(c.All.GetRules())
	case *releasepb.Rule_Any:
		return coursesInAll(c.Any.GetRules())
	case *releasepb.Rule_CourseCompleted:
		return []string{c.CourseCompleted.GetCourseId()}
	}
	return nil
}

func coursesInAll(rules []*releasepb.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, coursesIn(r)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// circle returns the shortest way from a course back to it through courses that wait
// for each other, with it at both ends; nil where there is none. needs are what each
// asks for that is known.
func circle(courseID string, needs map[string]*releasepb.Rule) []string {
	// What can be completed is taken out until nothing is added.
	blocked := maps.Clone(needs)
	for again := true; again; {
		again = false
		for id, rule := range blocked {
			if len(lacking(rule, blocked)) == 0 {
				delete(blocked, id)
				again = true
			}
		}
	}
	if blocked[courseID] == nil {
		return nil
	}
	from := map[string]string{}
	for queue := []string{courseID}; len(queue) > 0; queue = queue[1:] {
		next := lacking(blocked[queue[0]], blocked)
		slices.Sort(next)
		for _, id := range next {
			if id == courseID {
				path := []string{courseID}
				for at := queue[0]; at != courseID; at = from[at] {
					path = append(path, at)
				}
				path = append(path, courseID)
				slices.Reverse(path)
				return path
			}
			if _, ok := from[id]; !ok {
				from[id] = queue[0]
				queue = append(queue, id)
			}
		}
	}
	return nil // it waits for a circle that it is not in
}

// lockNeeds has all who publish a version that asks for other courses take turns, until
// tx ends: of two that ask for each other the second sees the first.
func lockNeeds(ctx context.Context, tx *pg.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('courses.needs'))`)
	return err
}

// refuseCircle refuses what a course would ask for where other courses, as they are
// published, ask for it in turn. It is one statement whatever their number, of which
// the nearest are looked at. Courses that the caller may not see are not named.
func refuseCircle(ctx context.Context, q pg.Querier, courseID, title string, n needs) error {
	rule := n.rule()
	if rule == nil {
		return nil
	}
	rows, err := q.Query(ctx, `
		WITH RECURSIVE walk AS (
			SELECT unnest($2::text[]) AS id
			UNION
			SELECT jsonb_path_query(p.needs, '$.**.course_completed.course_id') #>> '{}'
			FROM walk w JOIN course c ON c.id = w.id JOIN publication p ON p.course_id = c.id AND p.number = c.published_number
			WHERE w.id <> $1
		)
		SELECT c.id, p.needs, CASE WHEN c.published OR c.owner_id = $3 THEN p.title ELSE '' END AS title
		FROM (SELECT id FROM walk LIMIT $4) w JOIN course c ON c.id = w.id JOIN publication p ON p.course_id = c.id AND p.number = c.published_number
		WHERE c.id <> $1 AND p.needs <> '{}'`, courseID, coursesIn(rule), auth.From(ctx).Account, maxWalked)
	if err != nil {
		return err
	}
	known, titles := map[string]*releasepb.Rule{courseID: rule}, map[string]string{courseID: title}
	var id, name string
	var of stored[*releasepb.Rule]
	if _, err := pgx.ForEachRow(rows, []any{&id, &of, &name}, func() error {
		if r := ofCourses(of.M); r != nil {
			known[id], titles[id] = r, name
		}
		return nil
	}); err != nil {
		return err
	}
	path := circle(courseID, known)
	if path == nil {
		return nil
	}
	names := make([]string, len(path))
	for i, id := range path {
		if names[i] = "another course"; titles[id] != "" {
			names[i] = "“" + titles[id] + "”"
		}
	}
	at := "release"
	for i, r := range n.rules {
		if slices.Contains(coursesIn(r), path[1]) {
			if n.owners[i] != "" {
				at = "items." + n.owners[i] + ".release"
			}
			break
		}
	}
	return refused(ErrClosed.Code, ErrClosed.Message, []fault.Field{{
		Path: at, Code: "release.cycle", Hint: fmt.Sprintf("These courses wait for each other: %s.", strings.Join(names, " → ")),
	}})
}

// refuseDraftCircle is refuseCircle for a draft with its items as checkReleases has them.
func refuseDraftCircle(ctx context.Context, q pg.Querier, courseID string, items []release.Item) error {
	var title string
	var whole stored[*releasepb.Rule]
	var grading stored[*coursespb.GradingPolicy]
	if err := q.QueryRow(ctx, `SELECT title, release, grading FROM course WHERE id = $1`, courseID).Scan(&title, &whole, &grading); err != nil {
		return err
	}
	return refuseCircle(ctx, q, courseID, title, needsOf(whole.M, grading.M, items))
}

// publishedNeeds returns what a publication asks of other courses.
func publishedNeeds(e *coursespb.CoursePublished) needs {
	items := make([]release.Item, len(e.GetItems()))
	for i, it := range e.GetItems() {
		items[i] = release.Item{ID: it.GetId(), ParentID: it.GetParentId(), Kind: it.GetKind(), Required: it.GetRequired(), Release: it.GetRelease(), Completion: it.GetCompletion()}
	}
	return needsOf(e.GetRelease(), e.GetGrading(), items)
}
