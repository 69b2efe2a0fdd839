package courses_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// after is a rule that asks for courses: all of them, or any.
func after(ids ...string) *releasepb.Rule { return all(eachOf(ids)...) }

func afterAny(ids ...string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: eachOf(ids)}}}
}

func eachOf(ids []string) []*releasepb.Rule {
	var out []*releasepb.Rule
	for _, courseID := range ids {
		out = append(out, &releasepb.Rule{Condition: &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: courseID}}})
	}
	return out
}

// small makes a course of one lesson.
func (f *fixture) small(title string) (course, module, lesson string) {
	f.t.Helper()
	course = must(f.CreateCourse(f.teacher, &coursespb.CreateCourseRequest{Title: title})).GetId()
	module = f.module(course, "m")
	return course, module, f.lesson(course, module, "l")
}

func (f *fixture) ask(course string, rule *releasepb.Rule) error {
	_, err := f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: course, Release: rule})
	return err
}

// circleIn is the field and the way of the circle that an error tells.
func circleIn(err error) string {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Code != "release.closed" || len(e.Fields) != 1 || e.Fields[0].Code != "release.cycle" {
		return fmt.Sprint(err)
	}
	return e.Fields[0].Path + ": " + e.Fields[0].Hint
}

func TestCoursesThatWaitForEachOther(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, _, _ := f.small("Arete")
	b, m, l := f.small("Bia")
	c, _, _ := f.small("Chara")
	free, _, _ := f.small("Free")
	const way = "These courses wait for each other: "

	// Drafts bind nobody.
	for _, one := range [][2]string{{a, b}, {b, a}} {
		if err := f.ask(one[0], after(one[1])); err != nil {
			t.Fatal(err)
		}
	}
	f.publish(a)
	_, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: b})
	same(t, "publish", "release: "+way+"“Bia” → “Arete” → “Bia”.", circleIn(err))
	preview := must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: b}))
	var told []string
	for _, finding := range preview.GetFindings() {
		if finding.GetLevel() == "error" {
			told = append(told, finding.GetCode()+" "+finding.GetMessage())
		}
	}
	same(t, "preview", []string{"release.closed With this, something in the course could never open. " + way + "“Bia” → “Arete” → “Bia”."}, told)
	if preview.GetPublishable() {
		t.Error("the preview says that it can be published")
	}
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: b, Clear: []string{"release"}}))
	f.publish(b)
	same(t, "save", "release: "+way+"“Bia” → “Arete” → “Bia”.", circleIn(f.ask(b, after(free, a))))
	same(t, "in parts", "release: "+way+"“Bia” → “Arete” → “Bia”.", circleIn(f.ask(b, all(later("lock"), afterAny(a, a)))))
	for name, rule := range map[string]*releasepb.Rule{
		"another way":             afterAny(a, free),
		"a way that is no course": {Condition: &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: append(eachOf([]string{a}), later("lock"))}}},
		"not":                     {Condition: &releasepb.Rule_Not{Not: after(a)}},
		"one that is not there":   after(id.New("course")),
	} {
		if err := f.ask(b, rule); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: b, Clear: []string{"release"}}))

	// Through a third one, and by what is in a course.
	if err := f.ask(c, after(a)); err != nil {
		t.Fatal(err)
	}
	f.publish(c)
	settings := &coursespb.ItemSettings{Release: after(c)}
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: b, LessonId: l, Settings: settings})
	same(t, "a lesson", "items."+l+".release: "+way+"“Bia” → “Chara” → “Arete” → “Bia”.", circleIn(err))
	_, err = f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: b, ModuleId: m, Settings: settings})
	same(t, "a module", "items."+m+".release: "+way+"“Bia” → “Chara” → “Arete” → “Bia”.", circleIn(err))
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: b, LessonId: l, Settings: &coursespb.ItemSettings{Release: after(b)}})
	same(t, "the course itself", "items."+l+".release: "+way+"“Bia” → “Bia”.", circleIn(err))
	if _, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: b, LessonId: l, Settings: &coursespb.ItemSettings{Release: after(c), Required: new(false)}}); err != nil {
		t.Errorf("a lesson that need not be completed: %v", err)
	}
	f.publish(b)
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: b, LessonId: l, Settings: &coursespb.ItemSettings{Required: new(true)}})
	same(t, "it has to be", "items."+l+".release: "+way+"“Bia” → “Chara” → “Arete” → “Bia”.", circleIn(err))

	// What somebody may not see is not named.
	if _, err := f.db.Exec(t.Context(), `UPDATE course SET published = false, owner_id = '' WHERE id = $1`, a); err != nil {
		t.Fatal(err)
	}
	same(t, "unseen", "release: "+way+"“Bia” → another course → “Bia”.", circleIn(f.ask(b, after(a))))

	// Going back to a version asks as well.
	if err := f.ask(a, after(free)); err != nil {
		t.Fatal(err)
	}
	must(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: a}))
	if err := f.ask(b, after(a)); err != nil {
		t.Fatal(err)
	}
	must(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: b}))
	_, err = f.RevertCourse(f.teacher, &coursespb.RevertCourseRequest{CourseId: a, Version: 1})
	same(t, "revert", "release: "+way+"“Arete” → “Bia” → “Arete”.", circleIn(err))
}

// A long line of courses is no circle, and is one once its ends meet, by one statement.
// What lies farther than is looked at is let be.
func TestLongCircles(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, c := range []struct {
		n    int
		told bool
	}{{150, true}, {400, false}} {
		first, _, _ := f.small("First")
		line := []string{first}
		for range c.n {
			line = append(line, id.New("course"))
		}
		if _, err := f.db.Exec(t.Context(), `
			WITH l AS (SELECT * FROM unnest($1::text[], $2::text[]) AS u (id, next)), made AS (
				INSERT INTO course (id, owner_id, title, subtitle, description, language, level, category, tags, outcomes, created_at, published, published_number)
				SELECT id, '', '', '', '', '', '', '', '{}', '{}', now(), true, 1 FROM l)
			INSERT INTO publication (course_id, number, message, author_id, published_at, lesson_count, title, subtitle, description, language, level, category, tags, outcomes, cover_media_id, needs)
			SELECT id, 1, '', '', now(), 1, 'Course', '', '', '', '', '', '{}', '{}', '', jsonb_build_object('course_completed', jsonb_build_object('course_id', next)) FROM l`,
			line[1:], append(line[2:len(line):len(line)], first)); err != nil {
			t.Fatal(err)
		}
		got := circleIn(f.ask(first, after(line[1])))
		if c.told != (strings.Count(got, " → ") == c.n+1) || !c.told && got != "<nil>" {
			t.Errorf("%d courses: %.200s", c.n, got)
		}
	}
}

// Of two courses that ask for each other and are published at the same time one is
// refused, whichever.
func TestCirclesAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 15 {
		var ids [3]string
		for i := range ids {
			ids[i], _, _ = f.small(fmt.Sprint("Course ", i))
		}
		for i, courseID := range ids {
			if err := f.ask(courseID, after(ids[(i+1)%len(ids)])); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		var errs [len(ids)]error
		for i, courseID := range ids {
			wg.Go(func() { _, errs[i] = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID}) })
		}
		wg.Wait()
		refused := 0
		for _, err := range errs {
			if err != nil {
				refused++
				if got := circleIn(err); strings.Count(got, " → ") != len(ids) {
					t.Errorf("refused: %s", got)
				}
			}
		}
		if refused != 1 {
			t.Errorf("%d were refused, want 1: %v", refused, errs)
		}
	}
}

// The migration says of publications of before what publishing says of new ones.
func TestGatesOfRowsOfBefore(t *testing.T) {
	t.Parallel()
	before := fstest.MapFS{}
	for _, name := range must(fs.Glob(courses.Schema.Migrations, "*.sql")) {
		if name < "0006" {
			before[name] = &fstest.MapFile{Data: must(fs.ReadFile(courses.Schema.Migrations, name))}
		}
	}
	url := pgtest.New(t, pg.Schema{Name: courses.Schema.Name, Migrations: before})
	conn := must(pgx.Connect(t.Context(), url))
	defer func() { _ = conn.Close(context.Background()) }()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`SET search_path = courses`)
	const asks, hides, when = `{"course_completed": {"course_id": "course_x"}}`, `{"when_closed": "hide", "date": {"from": "2090-01-01T00:00:00Z"}}`, `{"at": "2090-01-01T00:00:00Z"}`
	for name, c := range map[string]struct{ whole, item, gates, needs string }{
		"nothing":  {`{}`, `{}`, "none", `{}`},
		"due":      {`{}`, `{"schedule": {"due": ` + when + `}}`, "none", `{}`},
		"waits":    {`{}`, `{"schedule": {"available_from": ` + when + `}}`, "lock", `{}`},
		"asks":     {asks, `{}`, "lock", `{"all": {"rules": [` + asks + `]}}`},
		"hides":    {`{}`, `{"release": {"all": {"rules": [` + hides + `]}}}`, "hide", `{}`},
		"an item":  {`{}`, `{"release": ` + asks + `}`, "lock", `{"all": {"rules": [` + asks + `]}}`},
		"optional": {`{}`, `{"required": false, "release": ` + asks + `}`, "lock", `{}`},
	} {
		exec(`INSERT INTO course (id, owner_id, title, subtitle, description, language, level, category, tags, outcomes, created_at) VALUES ($1, '', '', '', '', '', '', '', '{}', '{}', now())`, name)
		exec(`INSERT INTO publication (course_id, number, message, author_id, published_at, lesson_count, title, subtitle, description, language, level, category, tags, outcomes, cover_media_id, release)
			VALUES ($1, 1, '', '', now(), 1, $2, '', '', '', '', '', '{}', '{}', $3, $4::text::jsonb)`, name, c.gates, "", c.whole)
		exec(`WITH v AS (INSERT INTO item_version (item_id, title, preview, body, author_id, created_at, settings) VALUES ($1, $2::text, false, '[]', '', now(), $3::text::jsonb) RETURNING id)
			INSERT INTO publication_item (course_id, number, item_id, parent_id, kind, position, version_id) SELECT $1, 1, $1, 'm', 'lesson', 0, id FROM v`, name, c.needs, c.item)
	}
	if err := pg.Migrate(t.Context(), url, courses.Schema); err != nil {
		t.Fatal(err)
	}
	rows := must(conn.Query(t.Context(), `
		SELECT p.course_id, p.gates, p.title, p.needs = v.title::jsonb FROM publication p JOIN item_version v ON v.item_id = p.course_id`))
	var name, gates, want string
	var needs bool
	n := 0
	if _, err := pgx.ForEachRow(rows, []any{&name, &gates, &want, &needs}, func() error {
		n++
		if gates != want || !needs {
			t.Errorf("%s: gates %s, want %s; needs as wanted: %v", name, gates, want, needs)
		}
		return nil
	}); err != nil || n != 7 {
		t.Fatal(n, err)
	}
}
