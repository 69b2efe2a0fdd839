package story_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // to read it
	"image/png"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// soon is how long an event may take to have its effect; it takes a few
// milliseconds, and this is a machine full of tests.
const soon = 2 * time.Minute

// TestJourney goes from a first lesson written to the last one learned.
func TestJourney(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, journey)
}

func picture(t testing.TB) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for x := range 40 {
		img.Set(x, x*30/40, color.RGBA{200, 30, 30, 255})
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// draft makes a course with two modules and three lessons, of which the first
// is a free preview with a picture and a file.
func draft(t testing.TB, teacher *person, title string) (course string, lessons []string) {
	t.Helper()
	c := teacher.do(t, 201, "POST", "/v1/courses", map[string]any{
		"title": title, "subtitle": "From nothing", "description": "All of **it**.",
		"language": "en", "level": "beginner", "category": "Programming", "tags": []string{"python"},
	})
	course = c.text("id")
	pic := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=plot.png", picture(t))
	data := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=data.csv", []byte("a,b\n1,2\n"))
	mediaReady(t, teacher, course, pic.text("id"))
	teacher.do(t, 200, "PATCH", "/v1/courses/"+course, map[string]any{"cover_media_id": pic.text("id")}, "If-Match", c.header.Get("ETag"))
	for m := range 2 {
		module := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/modules", map[string]any{"title": fmt.Sprintf("Part %d", m+1)})
		for range 2 - m {
			n := len(lessons)
			blocks := []any{map[string]any{"markdown": map[string]any{"text": fmt.Sprintf("# Lesson %d\n\nText with *stress* and <script>alert(1)</script>.", n+1)}}}
			if n == 0 {
				blocks = append(blocks,
					map[string]any{"image": map[string]any{"media_id": pic.text("id"), "alt": "A rising line"}},
					map[string]any{"file": map[string]any{"media_id": data.text("id"), "title": "The data"}})
			}
			l := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/lessons", map[string]any{
				"module_id": module.text("id"), "title": fmt.Sprintf("Lesson %d", n+1), "blocks": blocks, "preview": n == 0,
			})
			lessons = append(lessons, l.text("id"))
		}
	}
	return course, lessons
}

// publish publishes a course with a price and waits until it is found.
func publish(t testing.TB, teacher *person, course string, amount int) {
	t.Helper()
	teacher.do(t, 200, "PUT", "/v1/courses/"+course+"/price", map[string]any{"price": map[string]any{"amount": amount, "currency": "EUR"}})
	teacher.do(t, 200, "POST", "/v1/courses/"+course+"/publish", map[string]any{"message": "First"})
	there := func(a answer) bool { return a.status == 200 }
	teacher.in.nobody().sees(t, soon, "the course is in the marketplace", "/v1/marketplace/courses/"+course, there)
	// What anybody may do with it is known a moment later.
	who := teacher.in.stranger
	who.once.Do(func() { who.person = teacher.in.signUp(t, "A Stranger") })
	who.sees(t, soon, "the course is there for anybody", "/v1/courses/"+course, there)
}

// pay presses the button of the pay page.
func pay(t testing.TB, buyer *person, order answer) {
	t.Helper()
	page := buyer.in.nobody().do(t, 200, "GET", order.text("pay_url"), nil)
	if !strings.Contains(string(page.body), "EUR 49.00") {
		t.Fatalf("the pay page does not show the price: %s", page.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, order.text("pay_url"), strings.NewReader("outcome=succeed"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := buyer.in.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("paying answered %d", res.StatusCode)
	}
}

func enrolled(t testing.TB, p *person, course string) func() (bool, string) {
	return func() (bool, string) {
		a, err := p.try(t.Context(), "GET", "/v1/me/enrollments", nil)
		if err != nil {
			return false, err.Error()
		}
		for _, e := range a.items() {
			if e.text("course_id") == course && e.text("state") == "active" {
				return true, ""
			}
		}
		return false, a.String()
	}
}

func journey(t *testing.T, in *installation) {
	teacher, student, second := in.signUp(t, "Ada Teacher"), in.signUp(t, "Sam Student"), in.signUp(t, "Second Student")
	nobody := in.nobody()

	// Nobody sees a draft, and nobody but its owner can touch it.
	course, lessons := draft(t, teacher, "Python for plotting")
	nobody.do(t, 401, "GET", "/v1/courses/"+course, nil)
	student.do(t, 404, "GET", "/v1/courses/"+course, nil)
	student.do(t, 404, "PATCH", "/v1/courses/"+course, map[string]any{"title": "Mine"})
	student.do(t, 404, "GET", "/v1/courses/"+course+"/lessons/"+lessons[0], nil)
	publish(t, teacher, course, 4900)
	free, freeLessons := draft(t, teacher, "A free taste")
	publish(t, teacher, free, 0)

	// The student finds it, with a typing mistake too.
	for _, query := range []string{"plotting", "ploting"} {
		found := false
		for _, l := range student.do(t, 200, "GET", "/v1/marketplace/courses?query="+query, nil).items() {
			found = found || l.text("course_id") == course
		}
		if !found {
			t.Fatalf("searching %q does not find the course", query)
		}
	}
	listing := nobody.do(t, 200, "GET", "/v1/marketplace/courses/"+course, nil)
	if listing.number("price.amount") != 4900 || listing.number("lesson_count") != 3 {
		t.Fatalf("listing %s", listing)
	}
	eventually(t, soon, "the cover is public and the teacher has a name", func() (bool, string) {
		l, err := nobody.try(t.Context(), "GET", "/v1/marketplace/courses/"+course, nil)
		if err != nil {
			return false, err.Error()
		}
		cover, err := nobody.try(t.Context(), "GET", l.text("cover_url"), nil)
		return err == nil && cover.status == 200 && l.text("teacher_name") == "Ada Teacher", l.String() + cover.String()
	})

	// Paid lessons are refused, the preview opens to anybody.
	lesson := func(n int) string { return "/v1/courses/" + course + "/lessons/" + lessons[n] }
	nobody.do(t, 401, "GET", lesson(1), nil)
	if a := student.do(t, 403, "GET", lesson(1), nil); a.text("code") != "lesson.not_enrolled" {
		t.Fatalf("refused with %s", a)
	}
	preview := nobody.do(t, 200, "GET", lesson(0), nil)
	if html := preview.text("blocks.0.markdown.html"); !strings.Contains(html, "<em>stress</em>") || strings.Contains(html, "<script") {
		t.Fatalf("rendered %s", html)
	}
	img := nobody.do(t, 200, "GET", preview.text("blocks.1.image.url"), nil)
	// The same picture, written anew.
	shown, format, err := image.Decode(bytes.NewReader(img.body))
	if err != nil || format != "jpeg" && format != "png" || shown.Bounds().Dx() != 40 || img.header.Get("ETag") == "" {
		t.Fatalf("the picture came as %d bytes of %s: %v", len(img.body), img.header.Get("Content-Type"), err)
	}
	part := nobody.do(t, 206, "GET", preview.text("blocks.2.file.url"), nil, "Range", "bytes=4-6")
	if string(part.body) != "1,2" || !strings.HasPrefix(part.header.Get("Content-Disposition"), "attachment") && !strings.HasPrefix(part.header.Get("Content-Disposition"), "inline") {
		t.Fatalf("range came as %q", part.body)
	}
	nobody.do(t, 404, "GET", strings.Replace(preview.text("blocks.2.file.url"), "/parts/", "/parts/x", 1), nil)

	// Order, decline nothing, pay, and be enrolled by the event.
	order := student.do(t, 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}}, "Idempotency-Key", "order-1")
	again := student.do(t, 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}}, "Idempotency-Key", "order-1")
	if order.text("id") != again.text("id") || order.number("total.amount") != 4900 {
		t.Fatalf("ordered %s and %s", order, again)
	}
	second.do(t, 404, "GET", "/v1/orders/"+order.text("id"), nil)
	pay(t, student, order)
	eventually(t, soon, "the student is enrolled", enrolled(t, student, course))
	student.sees(t, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" })

	// Read to the end.
	for n, id := range lessons {
		student.do(t, 200, "GET", lesson(n), nil)
		eventually(t, soon, "viewing counts", func() (bool, string) {
			p, err := student.try(t.Context(), "POST", "/v1/courses/"+course+"/lessons/"+id+"/view", nil)
			return err == nil && p.status == 200 && p.number("completed_lessons") == n+1, p.String()
		})
	}
	// Learning may hear of the enrollment after the last view: then it completes.
	student.sees(t, soon, "the course is complete", "/v1/courses/"+course+"/progress", func(a answer) bool {
		return a.number("percent") == 100 && a.text("completed_at") != ""
	})

	// The teacher sees both, and both are told.
	sales := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/sales", nil)
	if len(sales.items()) != 1 || sales.text("items.0.buyer_id") != student.account || sales.number("items.0.price.amount") != 4900 {
		t.Fatalf("sales %s", sales)
	}
	eventually(t, soon, "the teacher sees the enrollment and the progress", func() (bool, string) {
		e, err := teacher.try(t.Context(), "GET", "/v1/courses/"+course+"/enrollments", nil)
		if err != nil {
			return false, err.Error()
		}
		l, err := teacher.try(t.Context(), "GET", "/v1/courses/"+course+"/learners", nil)
		return err == nil && len(e.items()) == 1 && e.text("items.0.account_name") == "Sam Student" && e.text("items.0.source") == "order" &&
			l.number("items.0.percent") == 100, e.String() + l.String()
	})
	student.do(t, 403, "GET", "/v1/courses/"+course+"/sales", nil)
	student.do(t, 403, "GET", "/v1/courses/"+course+"/enrollments", nil)
	second.do(t, 403, "GET", "/v1/courses/"+course+"/learners", nil)
	told(t, teacher, "welcome", "new_student", "sale")
	told(t, student, "welcome", "enrollment", "receipt", "course_completed")

	// A second student takes the free course, and cannot buy it.
	if a := second.do(t, 400, "POST", "/v1/orders", map[string]any{"course_ids": []string{free}}); a.text("code") != "order.course_free" {
		t.Fatalf("a free course was refused with %s", a)
	}
	if a := second.do(t, 403, "POST", "/v1/courses/"+course+"/enrollments", nil); a.text("code") != "enrollment.not_free" {
		t.Fatalf("a paid course was refused with %s", a)
	}
	second.manages(t, "enrolls for nothing", 201, "POST", "/v1/courses/"+free+"/enrollments", nil)
	second.do(t, 200, "GET", "/v1/courses/"+free+"/lessons/"+freeLessons[2], nil)
	second.do(t, 403, "GET", lesson(1), nil)

	// What is changed shows after publishing only, and progress stays.
	changed := teacher.do(t, 200, "GET", lesson(1), nil)
	teacher.do(t, 200, "PATCH", lesson(1), map[string]any{"title": "Renamed"}, "If-Match", changed.header.Get("ETag"))
	if a := teacher.do(t, 412, "PATCH", lesson(1), map[string]any{"title": "Lost"}, "If-Match", changed.header.Get("ETag")); a.text("code") != "etag.stale" {
		t.Fatalf("a stale write was refused with %s", a)
	}
	if a := student.do(t, 200, "GET", lesson(1), nil); a.text("title") != "Lesson 2" {
		t.Fatalf("a draft is shown: %s", a)
	}
	teacher.do(t, 200, "POST", "/v1/courses/"+course+"/publish", map[string]any{"message": "Second"})
	if a := student.do(t, 200, "GET", lesson(1), nil); a.text("title") != "Renamed" {
		t.Fatalf("the new version is not shown: %s", a)
	}
	if a := student.do(t, 200, "GET", "/v1/courses/"+course+"/progress", nil); a.number("percent") != 100 {
		t.Fatalf("progress after publishing again: %s", a)
	}

	// A picture of oneself, which anybody sees.
	face := second.do(t, 200, "PUT", "/v1/me/avatar", picture(t))
	second.sees(t, soon, "the profile shows the picture", "/v1/me", func(me answer) bool {
		return me.text("avatar_url") == face.text("url") && me.header.Get("ETag") != `"1"`
	})
	seen := nobody.do(t, 200, "GET", face.text("url"), nil)
	if c, kind, err := image.DecodeConfig(bytes.NewReader(seen.body)); err != nil || kind != "jpeg" || c.Width != 256 || c.Height != 256 {
		t.Fatalf("the picture came as %s of %d × %d, %v", kind, c.Width, c.Height, err)
	}
	if a := second.do(t, 400, "PUT", "/v1/me/avatar", []byte("<svg/>")); a.text("code") != "avatar.type_refused" || a.text("hint") == "" {
		t.Fatalf("an SVG was refused with %s", a)
	}
	nobody.do(t, 401, "PUT", "/v1/me/avatar", picture(t))
	second.do(t, 204, "DELETE", "/v1/me/avatar", nil)
	nobody.do(t, 404, "GET", face.text("url"), nil)
	second.sees(t, soon, "the profile shows no picture", "/v1/me", func(me answer) bool {
		return me.status == 200 && me.text("avatar_url") == ""
	})

	// Signed out is signed out.
	session := ""
	for _, s := range second.do(t, 200, "GET", "/v1/sessions", nil).items() {
		if s.at("current") == true {
			session = s.text("id")
		}
	}
	second.do(t, 204, "DELETE", "/v1/sessions/"+session, nil)
	second.sees(t, 3*time.Second, "the token is refused", "/v1/me", func(a answer) bool {
		return a.status == 401 && a.text("code") == "auth.token_invalid"
	})
}

// told waits until a person has exactly the notifications of these kinds.
func told(t testing.TB, p *person, kinds ...string) {
	t.Helper()
	eventually(t, soon, p.name+" is told", func() (bool, string) {
		a, err := p.try(t.Context(), "GET", "/v1/notifications?page_size=100", nil)
		if err != nil {
			return false, err.Error()
		}
		count := map[string]int{}
		for _, n := range a.items() {
			count[n.text("kind")]++
		}
		for _, k := range kinds {
			if count[k] != 1 {
				return false, a.String()
			}
		}
		return len(a.items()) == len(kinds), a.String()
	})
}

// TestSecondStartIsRefused: one data folder is one process's; the second says
// so and harms nothing.
func TestSecondStartIsRefused(t *testing.T) {
	t.Parallel()
	in := oneProcess(t)
	second := in.add("second", []string{"serve"}, append(slices.Clone(in.processes["stoa"].env), "STOA_HTTP_ADDR=127.0.0.1:0")...)
	second.start()
	eventually(t, soon, "the second process ends", func() (bool, string) { return second.ended(), "" })
	if said := second.tail(); !strings.Contains(said, "the folder is in use") || strings.Contains(said, "panic") {
		t.Errorf("it said:\n%s", said)
	}
	in.nobody().do(t, 200, "GET", "/readyz", nil)
}

// TestStopEndsAllThatWasStarted: after a stop and after kill -9 the next start
// finds what was there.
func TestStopEndsAllThatWasStarted(t *testing.T) {
	t.Parallel()
	in := oneProcess(t)
	p := in.signUp(t, "Still There")
	for _, end := range []func(){in.processes["stoa"].stop, in.processes["stoa"].kill} {
		end()
		eventually(t, 10*time.Second, "the database ends with it", func() (bool, string) {
			out, err := exec.CommandContext(t.Context(), "pgrep", "-f", in.dir).Output() //nolint:gosec // our own folder
			return err != nil && len(out) == 0, string(out)
		})
		in.processes["stoa"].start()
		in.waitReady()
		p.do(t, 200, "GET", "/v1/me", nil)
	}
}
