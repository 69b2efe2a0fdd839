package story_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
)

// TestUnpostedLeaksNowhere: work is marked, overridden and spoken of before any of it is
// posted. Every read door, what if, one's own files and the live stream answer the student
// and a classmate as they did before, and none has a figure or a word of it. Once it is
// posted, they tell it.
func TestUnpostedLeaksNowhere(t *testing.T) {
	t.Parallel()
	u := writeUnposted(t, shared(t))
	u.handIn(t)
	live := u.listen(t)
	u.settled(t)
	once, before := u.looks(t), u.looks(t)
	frames := live.told()

	u.mark(t)
	u.settled(t)
	for who, now := range u.looks(t) {
		if len(now) < 150 {
			t.Errorf("only %d doors were looked through", len(now))
		}
		for door, got := range now {
			if word := u.secret(got); word != "" {
				t.Errorf("%s tells %s of what is not posted: %s\n%s", door, who, word, got)
			}
			if door == "/v1/marketplace/courses" || door == "/v1/bundles" {
				continue // they have what other stories sell
			}
			if diff := differing(once[who][door], before[who][door], got); len(diff) > 0 {
				t.Errorf("%s tells %s that something has changed: %s", door, who, strings.Join(diff, "; "))
			}
		}
	}
	if more := live.told(); len(more) != len(frames) {
		t.Errorf("the stream tells of it: %s", more[len(frames):])
	}

	u.post(t)
	u.settled(t)
	now := u.looks(t)
	told := map[string]bool{}
	for _, got := range now[u.student.name] {
		for _, word := range u.secrets {
			told[word] = told[word] || has(got, word)
		}
	}
	for _, word := range u.secrets {
		if !told[word] {
			t.Errorf("%q is told by no door when it is posted: the test would not have seen it", word)
		}
	}
	for door, got := range now[u.friend.name] {
		if word := u.secret(got); word != "" && !strings.Contains(door, "statistics") {
			t.Errorf("%s tells another of it: %s\n%s", door, word, got)
		}
	}
}

// unposted is a course whose work is marked and not posted.
type unposted struct {
	in                       *installation
	teacher, student, friend *person
	others                   []*person
	course, path             string
	quiz, assignment, column string // items
	lesson                   string // which opens with a score in the assignment
	ids                      map[string]string
	attempt, submission      string
	secrets                  []string
	witness, known           string // another course, and a column of it
	witnessed                []string
}

func writeUnposted(t *testing.T, in *installation) *unposted {
	t.Helper()
	u := &unposted{in: in, teacher: in.signUp(t, "Marking Teacher"), student: in.signUp(t, "Marked Student"), friend: in.signUp(t, "Curious Classmate")}
	for n := range 4 {
		u.others = append(u.others, in.signUp(t, fmt.Sprintf("Other Student %d", n+1)))
	}
	var lessons []string
	u.course, lessons = draft(t, u.teacher, "What is not posted")
	u.path = "/v1/courses/" + u.course
	teacher := u.teacher
	u.witness, u.witnessed = draft(t, teacher, "For witnesses")
	for _, course := range []string{u.course, u.witness} {
		teacher.do(t, 200, "PATCH", "/v1/courses/"+course, map[string]any{"grading": map[string]any{
			"method": "points", "pass_mark": "40", "letters": []any{map[string]any{"letter": "A", "min_percent": "60"}, map[string]any{"letter": "F", "min_percent": "0"}},
			"completion": map[string]any{"kind": "all", "pass": true},
		}}, "If-Match", teacher.do(t, 200, "GET", "/v1/courses/"+course, nil).header.Get("ETag"))
	}
	publish(t, teacher, u.witness, 0)
	u.known = teacher.manages(t, "a column", 201, "POST", "/v1/courses/"+u.witness+"/gradebook/columns", map[string]any{"title": "Known", "points": "1"}).text("item_id")

	question := teacher.do(t, 201, "POST", u.path+"/questions", map[string]any{"content": map[string]any{"title": "Essay", "prompt": "Say why.", "essay": map[string]any{}}}).text("id")
	quiz := teacher.do(t, 201, "POST", u.path+"/quizzes", map[string]any{"title": "Exam", "settings": map[string]any{
		"max_points": "10", "attempts": 2, "sections": []any{map[string]any{"slots": []any{map[string]any{"points": "10", "question": map[string]any{"question_id": question}}}}},
	}})
	teacher.do(t, 200, "POST", u.path+"/quizzes/"+quiz.text("id")+"/publish", map[string]any{}, "If-Match", quiz.header.Get("ETag"))
	work := teacher.do(t, 201, "POST", u.path+"/assignments", map[string]any{"title": "Work", "settings": map[string]any{"points": "20", "attempts": 2, "text": map[string]any{}, "allow_withdraw": true}})
	teacher.do(t, 200, "POST", u.path+"/assignments/"+work.text("id")+"/publish", map[string]any{}, "If-Match", work.header.Get("ETag"))
	module := teacher.do(t, 201, "POST", u.path+"/modules", map[string]any{"title": "Marked"}).text("id")
	activity := func(kind, ref, title string) string {
		return teacher.do(t, 201, "POST", u.path+"/activities", map[string]any{"kind": kind, "module_id": module, "title": title, "activity_ref": ref, "settings": map[string]any{
			"completion": map[string]any{"requirements": []any{map[string]any{"kind": "scored", "min_percent": "60"}}},
			"schedule":   map[string]any{"due": map[string]any{"at": time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)}},
		}}).text("id")
	}
	u.quiz, u.assignment = activity("quiz", quiz.text("id"), "Exam"), activity("assignment", work.text("id"), "Work")
	u.lesson = teacher.do(t, 201, "POST", u.path+"/lessons", map[string]any{"module_id": module, "title": "For who has passed", "settings": map[string]any{
		"release": map[string]any{"score": map[string]any{"item_id": u.assignment, "min_percent": "50"}}, "required": false,
	}}).text("id")
	publish(t, teacher, u.course, 0)
	u.ids = map[string]string{
		"course_id": u.course, "account_id": u.student.account, "quiz_id": quiz.text("id"), "assignment_id": work.text("id"), "question_id": question, "lesson_id": u.lesson,
	}
	u.enroll(t, lessons)

	teacher.do(t, 200, "PATCH", u.path+"/gradebook/settings", map[string]any{"statistics": true})
	for _, item := range []string{u.quiz, u.assignment} {
		teacher.do(t, 200, "PATCH", u.path+"/gradebook/columns/"+item, map[string]any{"posting": "manual"})
	}
	u.column = teacher.do(t, 201, "POST", u.path+"/gradebook/columns", map[string]any{"title": "By hand", "points": "10", "posting": "manual"}).text("item_id")
	// A grade that all have, and know.
	shown := teacher.do(t, 201, "POST", u.path+"/gradebook/columns", map[string]any{"title": "Posted", "points": "30"}).text("item_id")
	for n, p := range u.all() {
		u.cell(t, shown, p, map[string]any{"points": fmt.Sprint(5 + n)})
	}
	return u
}

// all are those who take the course.
func (u *unposted) all() []*person { return append([]*person{u.student, u.friend}, u.others...) }

func (u *unposted) enroll(t *testing.T, lessons []string) {
	t.Helper()
	for _, p := range u.all() {
		p.manages(t, "the enrollment", 201, "POST", u.path+"/enrollments", nil)
	}
	for _, l := range lessons { // so that nothing but scores is missing to complete the course
		u.student.manages(t, "a view", 200, "POST", u.path+"/lessons/"+l+"/view", nil)
	}
	for _, p := range u.all() {
		u.teacher.sees(t, soon, p.name+" is in the gradebook", u.path+"/gradebook/rows", func(a answer) bool { return strings.Contains(a.String(), p.account) })
	}
}

func (u *unposted) cell(t *testing.T, item string, p *person, edit map[string]any) {
	t.Helper()
	u.teacher.do(t, 200, "PUT", u.path+"/gradebook/items/"+item+"/students/"+p.account, map[string]any{"edit": edit})
}

// handIn has the student hand in both.
func (u *unposted) handIn(t *testing.T) {
	t.Helper()
	p := u.student
	begun := p.manages(t, "the attempt begins", 200, "POST", u.path+"/items/"+u.quiz+"/attempts", map[string]any{})
	u.attempt = begun.text("id")
	p.do(t, 200, "POST", "/v1/attempts/"+u.attempt+"/operations", map[string]any{"client_id": "laptop-1", "operations": []any{
		map[string]any{"client_seq": 1, "kind": "answer", "slot": 1, "answer": map[string]any{"essay": map[string]any{"text": "Because."}}},
	}})
	p.do(t, 200, "POST", "/v1/attempts/"+u.attempt+"/submit", map[string]any{})
	mine := u.path + "/my-assignments/" + u.assignment
	p.manages(t, "a draft", 200, "PUT", mine+"/draft", map[string]any{"content": map[string]any{"text": "All of it."}})
	p.do(t, 200, "POST", mine+"/submit", map[string]any{})
	list := u.teacher.do(t, 200, "GET", u.path+"/items/"+u.assignment+"/submissions?state=handed_in", nil)
	u.submission = list.text("items.0.submission_id")
	u.ids["attempt_id"], u.ids["submission_id"] = u.attempt, u.submission
	u.ids["media_id"] = u.teacher.do(t, 201, "POST", u.path+"/feedback-files?filename=karmin.txt", []byte("See me.")).text("id")
	for _, item := range []string{u.quiz, u.assignment} {
		u.teacher.sees(t, soon, "it is handed in", u.path+"/gradebook/students/"+p.account, func(a answer) bool {
			for _, it := range a.items() {
				if it.text("item_id") == item {
					return it.text("state") == "submitted"
				}
			}
			return strings.Contains(a.String(), "submitted")
		})
	}
	p.sees(t, soon, "it is scored", "/v1/attempts/"+u.attempt, func(a answer) bool { return a.at("scored") == true })
}

// mark has staff mark all of it, with words and files, for the student and the others.
func (u *unposted) mark(t *testing.T) {
	t.Helper()
	teacher := u.teacher
	u.secrets = []string{"7.313", "13.377", "6.433", "Zinnober", "Kobalt", "Purpur", "karmin.txt"}
	teacher.do(t, 200, "POST", u.path+"/attempts/"+u.attempt+"/answers/1/marks", map[string]any{"points": "7.313", "comment": "Zinnober"})
	path := u.path + "/submissions/" + u.submission
	got := teacher.do(t, 200, "GET", path, nil)
	teacher.do(t, 200, "PUT", path+"/versions/1/mark", map[string]any{"points": "13.377", "comment": "Kobalt"}, "If-Match", got.header.Get("ETag"))
	teacher.do(t, 200, "POST", path+"/versions/1/feedback-files", map[string]any{"media_id": u.ids["media_id"]})
	u.cell(t, u.column, u.student, map[string]any{"points": "6.433", "feedback": "Purpur"})
	for n, p := range u.all()[1:] { // so that there are statistics
		for _, item := range []string{u.quiz, u.assignment, u.column} {
			u.cell(t, item, p, map[string]any{"points": fmt.Sprint(n + 1), "reason": "Orally"})
		}
	}
	row := u.path + "/gradebook/students/" + u.student.account
	teacher.sees(t, soon, "staff see it", row, func(a answer) bool {
		return strings.Contains(a.String(), "7.313") && strings.Contains(a.String(), "13.377") && strings.Contains(a.String(), "6.433")
	})
}

func (u *unposted) post(t *testing.T) {
	t.Helper()
	for _, item := range []string{u.quiz, u.assignment, u.column} {
		u.teacher.do(t, 200, "POST", u.path+"/gradebook/columns/"+item+"/post", map[string]any{})
	}
	u.student.sees(t, soon, "the course is completed", u.path+"/progress", func(a answer) bool { return a.text("completed_at") != "" })
	u.student.sees(t, soon, "the review tells it", "/v1/attempts/"+u.attempt, func(a answer) bool { return a.text("points") == "7.313" })
}

// settled waits until all that was told before has been heard. Each service handles one
// event at a time, so that it has when it has heard of a grade that was given after.
func (u *unposted) settled(t *testing.T) {
	t.Helper()
	at, p := "/v1/courses/"+u.witness, u.in.signUp(t, "A Witness")
	p.manages(t, "the enrollment", 201, "POST", at+"/enrollments", nil)
	for _, l := range u.witnessed {
		p.manages(t, "a view", 200, "POST", at+"/lessons/"+l+"/view", nil)
	}
	u.teacher.manages(t, "a grade", 200, "PUT", at+"/gradebook/items/"+u.known+"/students/"+p.account, map[string]any{"edit": map[string]any{"points": "1"}})
	p.sees(t, soon, "the witness is told", "/v1/notifications", func(a answer) bool { return strings.Contains(a.String(), "grade_posted") })
	p.sees(t, soon, "the witness has completed", at+"/progress", func(a answer) bool { return a.text("completed_at") != "" })
}

// looks returns what each read door answers the student and a classmate, by their names.
func (u *unposted) looks(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for _, p := range []*person{u.student, u.friend} {
		seen := map[string]string{}
		for _, path := range u.addresses(t) {
			a, err := p.try(t.Context(), http.MethodGet, path, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if a.status >= 500 {
				t.Errorf("%s as %s: %s", path, p.name, a)
			}
			seen[path] = fmt.Sprintf("%d %s %s", a.status, a.header.Get("ETag"), a.body)
		}
		for _, item := range []string{"", u.quiz, u.assignment, u.column} {
			body := map[string]any{}
			if item != "" {
				body["assumptions"] = []any{map[string]any{"item_id": item, "points": "5"}}
			}
			seen["what if "+item] = p.do(t, 200, "POST", "/v1/me/courses/"+u.course+"/grades/what-if", body).String()
		}
		out[p.name] = seen
	}
	return out
}

// asked is what doors have to be asked besides what is in their path.
var asked = map[string][]string{
	"/v1/courses/{course_id}/questions/export":      {"format=gift"},
	"/v1/courses/{course_id}/question-export-check": {"format=gift"},
	"/v1/courses/{course_id}/explain":               {"permission=course.view"},
	"/v1/me/explain":                                {"permission=course.view"},
	"/v1/courses/{course_id}/holders":               {"permission=course.view"},
	"/v1/courses/{course_id}/items/{item_id}/diff":  {"from=1"},
	"/v1/me/courses/{course_id}/grades/explanation": {"basis=current", "basis=final"},
	"/v1/courses/{course_id}/gradebook/export":      {"format=csv", "format=xlsx"},
}

// addresses are all that can be read, of all items that this is about.
func (u *unposted) addresses(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, d := range doors(t) {
		if d.path == "" || d.method != http.MethodGet || d.rule.Scope == authpb.Scope_SCOPE_EDGE {
			continue
		}
		for _, item := range []string{u.quiz, u.assignment, u.column, u.lesson} {
			path := d.path
			for name, value := range u.ids {
				path = strings.ReplaceAll(path, "{"+name+"}", value)
			}
			path = strings.NewReplacer("{item_id}", item, "{activity_id}", item, "{number}", "1", "{version}", "1", "{slot}", "1").Replace(path)
			path = variable.ReplaceAllStringFunc(path, func(v string) string { // of what there is none
				field := d.input.Fields().ByName(protoreflect.Name(strings.Trim(v, "{}")))
				if kind, _ := proto.GetExtension(field.Options(), authpb.E_Id).(string); kind != "" {
					return kind + "_01h455vb4pex5vsknk084sn02q"
				}
				return "0000-0000-0000-0000"
			})
			for _, q := range append([]string{""}, asked[d.path]...) {
				if q != "" {
					path, _, _ = strings.Cut(path, "?")
					path += "?" + q
				}
				out = append(out, path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// has reports whether an answer has a word, or a figure that is not within another.
func has(answer, word string) bool {
	return regexp.MustCompile(`(^|[^0-9.:])` + regexp.QuoteMeta(word) + `($|[^0-9])`).MatchString(answer)
}

// secret returns what an answer has of what is not posted.
func (u *unposted) secret(answer string) string {
	for _, word := range u.secrets {
		if has(answer, word) {
			return word
		}
	}
	return ""
}

// signed is what addresses have that are signed for some minutes.
var signed = regexp.MustCompile(`(expires|signature|request_id)"?[=:]"?[^&"]*|/parts/[^/"]*`)

// differing says where an answer is another than before. What was another between two
// looks at which nothing had happened, such as the time, may be.
func differing(once, before, now string) []string {
	first, second, third := leaves(once), leaves(before), leaves(now)
	var out []string
	for at := range third {
		if _, ok := second[at]; !ok {
			out = append(out, fmt.Sprintf("%s is new: %q", at, third[at]))
		}
	}
	for at, value := range second {
		if first[at] == value && third[at] != value {
			out = append(out, fmt.Sprintf("%s was %q and is %q", at, value, third[at]))
		}
	}
	slices.Sort(out)
	return out
}

// leaves are the values of an answer by where they are.
func leaves(answer string) map[string]string {
	answer = signed.ReplaceAllString(answer, "")
	out := map[string]string{}
	status, rest, _ := strings.Cut(answer, " ")
	tag, body, _ := strings.Cut(rest, " ")
	out["status"], out["etag"] = status, tag
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		out["body"] = body
		return out
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for name, member := range x {
				walk(at+"."+name, member)
			}
		case []any:
			for i, member := range x {
				walk(fmt.Sprintf("%s.%d", at, i), member)
			}
		default:
			out[at] = fmt.Sprint(v)
		}
	}
	walk("", v)
	return out
}

// listening is somebody at the stream of an attempt.
type listening struct {
	mu     sync.Mutex
	frames []string
}

func (l *listening) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.frames)
}

// listen has the student listen to the stream of their attempt until the end.
func (u *unposted) listen(t *testing.T) *listening {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c, _, err := websocket.Dial(ctx, strings.Replace(u.in.edge, "http", "ws", 1)+"/v1/attempts/"+u.attempt+"/stream", &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPHeader: http.Header{"Authorization": {"Bearer " + u.student.token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &listening{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			_, text, err := c.Read(ctx)
			if err != nil {
				return
			}
			l.mu.Lock()
			l.frames = append(l.frames, string(bytes.TrimSpace(text)))
			l.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); _ = c.CloseNow(); wg.Wait() })
	eventually(t, soon, "the stream begins", func() (bool, string) { return len(l.told()) > 0, "" })
	return l
}
