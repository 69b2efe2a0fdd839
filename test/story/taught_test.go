package story_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// learning: teachers write, publish, change and take back a course while
// people learn from it, and while processes die; what people were told they have
// done they have done.
func learning(t *testing.T, in *installation) {
	t.Helper()
	c := writeCourse(t, in)
	c.learn(t)
	c.deadlines(t)
	c.twoAuthors(t)
	c.takenOutAndBack(t)
	c.finish(t)
	c.storm(t)
	c.certified(t)
	c.takenAlong(t)
}

// taught is a course with gates, and the people around it.
type taught struct {
	in                                 *installation
	teacher, second                    *person
	student, behind, pinned            *person
	id, path                           string
	intro, next, hidden, marked, later string // its lessons
}

func lessonPath(c *taught, lesson string) string { return c.path + "/lessons/" + lesson }
func itemPath(c *taught, item string) string     { return c.path + "/items/" + item }

// writeCourse makes a course of modules in modules, and enrolls three people, of
// whom one is in a cohort that stays at the first version.
func writeCourse(t *testing.T, in *installation) *taught {
	t.Helper()
	c := &taught{
		in: in, teacher: in.signUp(t, "Tess Teacher"), second: in.signUp(t, "Second Teacher"),
		student: in.signUp(t, "Sam Student"), behind: in.signUp(t, "Student Behind"), pinned: in.signUp(t, "Pinned Student"),
	}
	c.id = c.teacher.do(t, 201, "POST", "/v1/courses", map[string]any{"title": "Step by Step", "language": "en", "description": "In order."}).text("id")
	c.path = "/v1/courses/" + c.id
	pic := c.teacher.do(t, 201, "POST", c.path+"/media?filename=plot.png", picture(t)).text("id")
	mediaReady(t, c.teacher, c.id, pic)
	module := func(title, parent string) string {
		return c.teacher.do(t, 201, "POST", c.path+"/modules", map[string]any{"title": title, "parent_id": parent}).text("id")
	}
	lesson := func(module, title string, settings map[string]any, blocks ...any) string {
		return c.teacher.do(t, 201, "POST", c.path+"/lessons", map[string]any{"module_id": module, "title": title, "blocks": blocks, "settings": settings}).text("id")
	}
	type m = map[string]any
	basics := module("Basics", "")
	deeper := module("Deeper", basics)
	ahead := module("Ahead", "")
	c.intro = lesson(basics, "Beginnings", nil,
		m{"markdown": m{"text": "One word after *the other*."}},
		m{"callout": m{"kind": "tip", "text": "Take your time."}},
		m{"image": m{"media_id": pic, "alt": "A rising line"}})
	c.next = lesson(deeper, "Going on", m{"release": m{"completed": m{"item_id": c.intro}}},
		m{"code": m{"source": "fmt.Println(1)", "language": "go"}}, m{"divider": m{}}, m{"math": m{"source": "e^{i\\pi}"}})
	soonDue := m{"due": m{"after_start": m{"days": 7, "time": "23:59"}}}
	c.hidden = lesson(ahead, "A secret", m{"release": m{"date": m{"from": "2099-01-01T00:00:00Z"}, "when_closed": "hide"}, "schedule": soonDue, "required": false},
		m{"html": m{"source": "<p>Not yet.</p>"}})
	c.marked = lesson(ahead, "An exercise", m{"completion": m{"requirements": []any{m{"kind": "manual", "self": true}}}, "schedule": soonDue},
		m{"markdown": m{"text": "Do it."}})
	c.later = lesson(ahead, "Much later", m{"release": m{"date": m{"from": "2098-01-01T00:00:00Z"}}, "required": false},
		m{"markdown": m{"text": "You have waited."}})
	publish(t, c.teacher, c.id, 0)

	for _, p := range []*person{c.student, c.behind} {
		p.manages(t, "enrolls for nothing", 201, "POST", c.path+"/enrollments", nil)
	}
	cohort := c.teacher.do(t, 201, "POST", c.path+"/cohorts", m{"name": "First", "starts_at": "2026-01-01T00:00:00Z", "seats": 5, "open": true}).text("id")
	c.pinned.do(t, 200, "POST", c.path+"/cohorts/"+cohort+"/join", nil)
	if a := c.teacher.manages(t, "the cohort is pinned", 200, "PUT", c.path+"/cohorts/"+cohort+"/pin", m{"version": 1}); a.number("version") != 1 {
		t.Errorf("pinned: %s", a)
	}
	return c
}

// seen returns the parts of the course that somebody sees, by id.
func (c *taught) seen(t *testing.T, p *person) (outline answer, parts map[string]answer) {
	t.Helper()
	parts = map[string]answer{}
	outline = p.sees(t, soon, p.name+" sees the course", c.path+"/learner-outline", func(a answer) bool {
		return a.status == 200 && len(a.items()) > 0
	})
	for _, i := range outline.items() {
		parts[i.text("id")] = i
	}
	return outline, parts
}

// becomes waits until somebody sees a version of the course.
func (c *taught) becomes(t *testing.T, p *person, version int) {
	t.Helper()
	p.sees(t, soon, fmt.Sprintf("%s sees version %d", p.name, version), c.path+"/learner-outline", func(a answer) bool {
		return a.number("version") == version
	})
}

func (c *taught) learn(t *testing.T) {
	t.Helper()
	c.becomes(t, c.student, 1)
	outline, parts := c.seen(t, c.student)
	if len(parts) != 7 || outline.number("total_items") != 3 || parts[c.intro].text("state") != "open" || parts[c.marked].text("state") != "open" {
		t.Errorf("the outline is %s", outline)
	}
	if i := parts[c.next]; i.text("state") != "locked" || i.text("reasons.0") == "" || i.at("opens_at") != nil {
		t.Errorf("what opens by itself: %v", i.json)
	}
	if i := parts[c.later]; i.text("state") != "locked" || i.text("opens_at") != "2098-01-01T00:00:00Z" || i.text("reasons.0") == "" {
		t.Errorf("what opens by time: %v", i.json)
	}
	for _, view := range []string{"/learner-outline", "/outline", "/progress"} {
		if a := c.student.do(t, 200, "GET", c.path+view, nil); strings.Contains(a.String(), c.hidden) || strings.Contains(a.String(), "A secret") {
			t.Errorf("%s shows what is hidden: %s", view, a)
		}
	}
	for _, lesson := range []string{c.next, c.later} {
		if a := c.student.do(t, 403, "GET", lessonPath(c, lesson), nil); a.text("code") != "lesson.locked" || strings.Contains(a.String(), "waited") {
			t.Errorf("locked: %s", a)
		}
		c.student.do(t, 403, "POST", lessonPath(c, lesson)+"/view", nil)
	}
	for method, path := range map[string]string{
		"GET": lessonPath(c, c.hidden), "POST": lessonPath(c, c.hidden) + "/view",
	} {
		c.student.do(t, 404, method, path, nil)
	}
	c.student.do(t, 404, "GET", itemPath(c, c.hidden)+"/release", nil)
	if a := c.student.do(t, 200, "GET", itemPath(c, c.next)+"/release", nil); a.text("state") != "locked" ||
		a.text("rules.0.kind") != "completed" || a.at("rules.0.keeps_closed") != true || a.text("rules.0.reason") == "" {
		t.Errorf("explained: %s", a)
	}

	shown := c.student.do(t, 200, "GET", lessonPath(c, c.intro), nil)
	c.in.nobody().do(t, 200, "GET", shown.text("blocks.2.image.url"), nil)
	if p := c.student.do(t, 200, "POST", lessonPath(c, c.intro)+"/view", nil); p.number("completed_lessons") != 1 || p.number("total_lessons") != 3 || p.number("percent") != 33 {
		t.Errorf("progress: %s", p)
	}
	c.student.sees(t, soon, "the next lesson opens", lessonPath(c, c.next), func(a answer) bool {
		return a.status == 200 && a.text("blocks.0.code.language") == "go"
	})
	if a := c.student.do(t, 200, "GET", itemPath(c, c.next)+"/release", nil); a.text("state") != "open" || a.at("rules.0.holds") != true {
		t.Errorf("explained: %s", a)
	}
	if r := c.student.do(t, 200, "GET", c.path+"/resume", nil); r.text("item_id") != c.intro {
		t.Errorf("resume: %s", r)
	}
	if _, parts := c.seen(t, c.behind); parts[c.next].text("state") != "locked" {
		t.Errorf("it has opened for others too: %v", parts[c.next].json)
	}
}

func (c *taught) deadlines(t *testing.T) {
	t.Helper()
	due := func(p *person, want func(time.Time) bool, source string) {
		t.Helper()
		eventually(t, soon, "the deadlines of "+p.name, func() (bool, string) {
			a, err := p.try(t.Context(), "GET", "/v1/me/deadlines", nil)
			if err != nil || len(a.items()) != 1 {
				return false, a.String()
			}
			at, err := time.Parse(time.RFC3339, a.text("items.0.due.at"))
			return err == nil && a.text("items.0.item_id") == c.marked && want(at) && a.text("items.0.due.source") == source, a.String()
		})
	}
	aWeek := func(at time.Time) bool {
		days := time.Until(at).Hours() / 24
		return days > 6 && days < 9 && at.Minute() == 59
	}
	due(c.student, aWeek, "course")
	due(c.behind, aWeek, "course")
	moved := time.Now().UTC().AddDate(0, 0, 20).Truncate(time.Second)
	c.teacher.do(t, 200, "PUT", itemPath(c, c.marked)+"/deadline-overrides/"+c.student.account, map[string]any{"due": map[string]any{"moment": map[string]any{"at": moved.Format(time.RFC3339)}}})
	due(c.student, moved.Equal, "person")
	due(c.behind, aWeek, "course")

	feed := c.student.do(t, 201, "POST", "/v1/me/calendar-feed", map[string]any{}).text("path")
	text := string(c.in.nobody().do(t, 200, "GET", feed, nil).body)
	if !strings.Contains(text, moved.Format("20060102T150405Z")) || !strings.Contains(text, "An exercise") || strings.Contains(text, "A secret") {
		t.Errorf("the calendar says\n%s", text)
	}
	if a := c.student.do(t, 200, "GET", "/v1/me/calendar", nil); len(a.items()) != 1 || a.text("items.0.item_id") != c.marked {
		t.Errorf("the calendar is %s", a)
	}
}

// twoAuthors: two write in the same lesson; who is late compares, merges and
// loses nothing.
func (c *taught) twoAuthors(t *testing.T) {
	t.Helper()
	type m = map[string]any
	c.teacher.do(t, 200, "POST", c.path+"/roles", m{"account_id": c.second.account, "role": "co_teacher"})
	first := c.second.sees(t, soon, "the second teacher may write", lessonPath(c, c.intro), func(a answer) bool { return a.status == 200 })
	edited := func(n int, kind, text string) m {
		blocks, _ := first.at("blocks").([]any)
		blocks = slices.Clone(blocks)
		block := maps.Clone(blocks[n].(m)[kind].(m))
		block["text"] = text
		blocks[n] = m{kind: block}
		return m{"items": blocks}
	}
	tag := first.header.Get("ETag")
	won := c.teacher.do(t, 200, "PATCH", lessonPath(c, c.intro), m{"blocks": edited(1, "callout", "Hurry up.")}, "If-Match", tag)
	mine := m{"title": "The beginning", "blocks": edited(0, "markdown", "One line after *the other*.")}
	lost := c.second.do(t, 412, "PATCH", lessonPath(c, c.intro), mine, "If-Match", tag)
	if lost.text("code") != "etag.stale" || lost.text("current_etag") == "" || strings.Trim(lost.text("current_etag"), `"`) != strings.Trim(won.header.Get("ETag"), `"`) {
		t.Errorf("the late one is told %s, the etag is %s", lost, won.header.Get("ETag"))
	}
	compared := c.second.do(t, 200, "POST", itemPath(c, c.intro)+"/compare", m{"base_etag": first.text("etag"), "edit": mine})
	if conflicts, _ := compared.at("conflicts").([]any); len(conflicts) != 0 || compared.text("etag") != won.text("etag") || compared.text("theirs.blocks.0.type") != "callout" {
		t.Fatalf("compared: %s", compared)
	}
	c.second.do(t, 200, "PATCH", lessonPath(c, c.intro), compared.at("merged"), "If-Match", `"`+compared.text("etag")+`"`)
	publishing := c.teacher.do(t, 200, "GET", c.path+"/publication-preview", nil)
	if publishing.at("publishable") != true || publishing.number("version") != 2 || publishing.number("impact.learners") != 0 || publishing.number("summary.changed") != 1 {
		t.Errorf("the preview is %s", publishing)
	}
	c.teacher.do(t, 200, "POST", c.path+"/publish", m{"message": "Merged", "draft_etag": publishing.text("draft_etag")})
	c.becomes(t, c.student, 2)
	if a := c.student.do(t, 200, "GET", lessonPath(c, c.intro), nil); a.text("title") != "The beginning" ||
		!strings.HasPrefix(a.text("blocks.0.markdown.text"), "One line") || a.text("blocks.1.callout.text") != "Hurry up." {
		t.Errorf("something was lost: %s", a)
	}
	c.pinned.sees(t, soon, "the pinned see what they saw", lessonPath(c, c.intro), func(a answer) bool {
		return a.text("title") == "Beginnings" && a.text("blocks.1.callout.text") == "Take your time."
	})
	c.becomes(t, c.pinned, 1)
	diff := c.teacher.do(t, 200, "GET", c.path+"/diff?from=1&to=2", nil)
	if len(diff.items()) != 1 || diff.text("items.0.item_id") != c.intro || diff.text("items.0.title_before") != "Beginnings" || diff.text("items.0.title_after") != "The beginning" ||
		diff.text("items.0.blocks.0.fields.0.path") == "" {
		t.Errorf("the difference is %s", diff)
	}
}

// takenOutAndBack: a lesson leaves the course against a warning, and comes back
// with what people had done in it.
func (c *taught) takenOutAndBack(t *testing.T) {
	t.Helper()
	type m = map[string]any
	now := func(lesson string) string {
		return c.teacher.do(t, 200, "GET", lessonPath(c, lesson), nil).header.Get("ETag")
	}
	if a := c.teacher.do(t, 400, "DELETE", lessonPath(c, c.intro), nil, "If-Match", now(c.intro)); !strings.Contains(a.String(), "release.closed") {
		t.Errorf("what others wait for is removed: %s", a)
	}
	c.teacher.do(t, 200, "PATCH", lessonPath(c, c.next), m{"settings": m{"clear": []string{"release"}}}, "If-Match", now(c.next))
	c.teacher.do(t, 204, "DELETE", lessonPath(c, c.intro), nil, "If-Match", now(c.intro))
	preview := c.teacher.do(t, 200, "GET", c.path+"/publication-preview", nil)
	if preview.number("impact.learners") != 1 || preview.text("impact.items.0.item_id") != c.intro || preview.text("impact.items.0.change") != "removed" ||
		preview.text("impact.items.0.account_ids.0") != c.student.account {
		t.Errorf("the preview is %s", preview)
	}
	if a := c.teacher.do(t, 412, "POST", c.path+"/publish", m{"message": "Shorter"}); a.text("code") != "publication.touches_learners" {
		t.Errorf("refused with %s", a)
	}
	c.teacher.do(t, 200, "POST", c.path+"/publish", m{"message": "Shorter", "accept_impact": preview.text("impact.token")})
	c.becomes(t, c.student, 3)
	c.student.do(t, 404, "GET", lessonPath(c, c.intro), nil)
	if p := c.student.do(t, 200, "GET", c.path+"/progress", nil); p.number("completed_lessons") != 0 || p.number("total_lessons") != 2 {
		t.Errorf("without the lesson: %s", p)
	}
	c.pinned.do(t, 200, "GET", lessonPath(c, c.intro), nil)

	// To go back closes a lesson that is open to who is behind.
	back := m{"version": 2, "message": "Back"}
	asked := c.teacher.do(t, 412, "POST", c.path+"/revert", back)
	if asked.text("code") != "publication.touches_learners" || asked.text("fields.0.hint") == "" {
		t.Fatalf("refused with %s", asked)
	}
	_, token, _ := strings.Cut(asked.text("fields.0.hint"), `"`)
	back["accept_impact"], _, _ = strings.Cut(token, `"`)
	c.teacher.do(t, 200, "POST", c.path+"/revert", back)
	c.becomes(t, c.student, 4)
	if p := c.student.do(t, 200, "GET", c.path+"/progress", nil); p.number("completed_lessons") != 1 || p.text("lessons.0.lesson_id") != c.intro {
		t.Errorf("what was done is lost: %s", p)
	}
	c.behind.do(t, 403, "GET", lessonPath(c, c.next), nil)
	history := c.teacher.do(t, 200, "GET", c.path+"/versions", nil)
	var told []string
	for _, v := range history.items() {
		told = append(told, fmt.Sprintf("%d %s %d", v.number("number"), v.text("message"), v.number("reverted_to")))
	}
	if want := []string{"4 Back 2", "3 Shorter 0", "2 Merged 0", "1 First 0"}; !slices.Equal(told, want) {
		t.Errorf("the history is %q", told)
	}
	if a := c.teacher.do(t, 200, "GET", itemPath(c, c.intro)+"/versions", nil); len(a.items()) != 3 || a.items()[0].at("in_draft") != true {
		t.Errorf("the lesson was %s", a)
	}
}

// finish completes the course: what is left of it.
func (c *taught) finish(t *testing.T) {
	t.Helper()
	c.student.do(t, 409, "POST", itemPath(c, c.next)+"/mark", map[string]any{"done": true})
	c.student.do(t, 200, "POST", lessonPath(c, c.next)+"/view", nil)
	c.student.do(t, 200, "POST", lessonPath(c, c.marked)+"/view", nil)
	if p := c.student.do(t, 200, "GET", itemPath(c, c.marked)+"/progress", nil); p.text("state") != "begun" || p.at("requirements.0.met") == true {
		t.Errorf("viewed alone: %s", p)
	}
	for _, done := range []bool{true, false, true} {
		c.student.do(t, 200, "POST", itemPath(c, c.marked)+"/mark", map[string]any{"done": done})
	}
	if p := c.student.do(t, 200, "GET", c.path+"/progress", nil); p.number("percent") != 100 || p.text("completed_at") == "" {
		t.Errorf("all is done: %s", p)
	}
}

// certified: once, and not whoever has not finished.
func (c *taught) certified(t *testing.T) {
	t.Helper()
	serial := c.student.sees(t, soon, "the certificate is there", "/v1/me/certificates", func(a answer) bool {
		return len(a.items()) == 1 && a.text("items.0.person_name") == c.student.name
	}).text("items.0.serial")
	if page := string(c.in.nobody().do(t, 200, "GET", "/certificates/"+serial, nil).body); !strings.Contains(page, "is valid") || !strings.Contains(page, "Step by Step") {
		t.Errorf("the page says\n%s", page)
	}
	if a := c.teacher.do(t, 200, "GET", c.path+"/certificates", nil); len(a.items()) != 1 {
		t.Errorf("certificates: %s", a)
	}
}

// takenAlong exports the course and imports it as another.
func (c *taught) takenAlong(t *testing.T) {
	t.Helper()
	archive := c.teacher.do(t, 200, "GET", c.path+"/archive", nil).body
	done := importEnded(t, c.second, c.second.do(t, 201, "POST", "/v1/course-imports", archive), soon)
	if done.text("state") != "done" {
		t.Fatalf("the import is %s", done)
	}
	titles := func(p *person, course string) (all []string) {
		for _, i := range p.do(t, 200, "GET", "/v1/courses/"+course+"/outline", nil).items() {
			all = append(all, fmt.Sprintf("%d %s %s", i.number("depth"), i.text("kind"), i.text("title")))
		}
		return all
	}
	if was, is := titles(c.teacher, c.id), titles(c.second, done.text("course_id")); len(was) != 8 || !slices.Equal(was, is) {
		t.Errorf("it was %q and is %q", was, is)
	}
}
