package learning

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// deadline says when an item opens, is due and closes for somebody.
func (w *world) deadline(account, course, item string, from, due, until *time.Time) {
	w.t.Helper()
	err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(context.Background(), `
			INSERT INTO effective_deadline (course_id, account_id, item_id, available_from, due, until, available_from_source, due_source, until_source, extra_days)
			VALUES ($1, $2, $3, $4, $5, $6, 'course', 'course', 'course', 0)
			ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET available_from = EXCLUDED.available_from, due = EXCLUDED.due, until = EXCLUDED.until`,
			course, account, item, from, due, until)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func onDay(n int) *time.Time {
	t := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n)
	return &t
}

// term is a course in a cohort with four lessons of which the third is locked and the
// fourth is hidden by rules.
func term(w *world, account string) (course, cohort string, l []string) {
	course, cohort, l = id.New("course"), id.New("cohort"), newIDs("lesson", 4)
	e := edition(course, 1)
	for i, it := range l {
		p := required(it, "", &need{Kind: "viewed"})
		p.Title = []string{"One; two, \"three\" \\ four", "Zwei " + strings.Repeat("ö", 100), "Locked secret", "Hidden secret"}[i]
		p.Minutes = int32(i)
		if closed := []string{"", "", "lock", "hide"}[i]; closed != "" {
			p.Release = &releasepb.Rule{WhenClosed: closed, Condition: &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: 100}}}
		}
		e.Items = append(e.Items, p)
	}
	hear(w, w.service.coursePublished, e)
	hear(w, w.service.enrollmentStarted, enrolled(course, account, 0))
	hear(w, w.service.cohortChanged, &accesspb.CohortChanged{CohortId: cohort, CourseId: course, Name: "May", StartsAt: timestamppb.New(*onDay(0)), EndsAt: timestamppb.New(*onDay(20)), Version: 2})
	hear(w, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: course, AccountId: account, CohortId: cohort, Version: 1})
	w.deadline(account, course, l[0], onDay(-3), onDay(-1), onDay(2))
	w.deadline(account, course, l[1], nil, onDay(3), nil)
	w.deadline(account, course, l[2], onDay(1), onDay(4), nil)
	w.deadline(account, course, l[3], nil, onDay(5), nil)
	w.deadline(account, course, id.New("lesson"), nil, onDay(6), nil) // which has left the course
	return course, cohort, l
}

// When a module opens and is due is in the calendar as for what is in it.
func TestModulesAreInTheCalendar(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana, course, m, lesson := id.New("account"), id.New("course"), id.New("module"), id.New("lesson")
	hear(w, w.service.coursePublished, edition(course, 1, module(m), required(lesson, m, &need{Kind: "viewed"})))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	w.deadline(ana, course, m, onDay(-3), onDay(3), nil)
	told := func() (out []string) {
		res, err := w.calendar.ListCalendar(w.as(ana), &learningpb.ListCalendarRequest{From: "2026-04-01T00:00:00Z", To: "2026-07-01T00:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetItems() {
			if e.GetItemId() != m || e.GetTitle() != "Title of "+m {
				t.Errorf("%v", e)
			}
			out = append(out, fmt.Sprintf("%s %s %t", e.GetAt().AsTime().Format("01-02"), e.GetKind(), e.GetComplete()))
		}
		return out
	}
	if diff := cmp.Diff([]string{"05-01 available false", "05-07 due false"}, told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.view(ana, course, lesson)
	if diff := cmp.Diff([]string{"05-01 available true", "05-07 due true"}, told()); diff != "" {
		t.Errorf("once all in it is completed (-want +got):\n%s", diff)
	}
}

func TestListCalendar(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana := id.New("account")
	course, cohort, l := term(w, ana)
	list := func(from, to string, size int32) ([]string, error) {
		var out []string
		for cursor := ""; ; {
			res, err := w.calendar.ListCalendar(w.as(ana), &learningpb.ListCalendarRequest{From: from, To: to, PageSize: size, Cursor: cursor})
			if err != nil {
				return nil, err
			}
			for _, e := range res.GetItems() {
				n := 0
				for n < 4 && l[n] != e.GetItemId() {
					n++
				}
				out = append(out, fmt.Sprintf("%s %s %d %.8s", e.GetAt().AsTime().Format("01-02"), e.GetKind(), n, e.GetTitle()))
			}
			if cursor = res.GetNextCursor(); cursor == "" {
				return out, nil
			}
		}
	}
	want := []string{
		"05-01 available 0 One; two", "05-03 due 0 One; two", "05-04 cohort_starts 4 May", "05-05 available 2 ", "05-06 until 0 One; two",
		"05-07 due 1 Zwei ööö", "05-08 due 2 ", "05-24 cohort_ends 4 May",
	}
	for _, size := range []int32{0, 1, 3} {
		got, err := list("2026-04-01T00:00:00Z", "2026-07-01T00:00:00+02:00", size)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
	if got, err := list("2026-05-04T12:00:00Z", "2026-05-06T12:00:00Z", 0); err != nil || !cmp.Equal(got, want[2:4]) {
		t.Errorf("a part, its end not included: %v, %v", got, err)
	}
	// It was eased for them, and the cohort was cancelled.
	w.deadline(ana, course, l[0], onDay(-3), onDay(9), onDay(12))
	hear(w, w.service.cohortChanged, &accesspb.CohortChanged{CohortId: cohort, CourseId: course, Name: "May", StartsAt: timestamppb.New(*onDay(0)), Cancelled: true, Version: 4},
		&accesspb.CohortChanged{CohortId: cohort, CourseId: course, Name: "June", StartsAt: timestamppb.New(*onDay(1)), Version: 3})
	if got, err := list("2026-05-08T12:00:01Z", "", 0); err != nil || !cmp.Equal(got, []string{"05-13 due 0 One; two", "05-16 until 0 One; two"}) {
		t.Errorf("eased: %v, %v", got, err)
	}
	hear(w, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: course, AccountId: ana, Version: 2})
	if got, err := list("2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z", 0); err != nil || len(got) != 0 {
		t.Errorf("not enrolled any more: %v, %v", got, err)
	}
	for _, r := range [][2]string{{"yesterday", ""}, {"", "2026-05-04"}, {"2026-05-04T00:00:00Z", "2026-05-04T00:00:00Z"}, {"2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z"}, {"0000-01-01T00:00:00Z", ""}} {
		if _, err := list(r[0], r[1], 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", r, err)
		}
	}
}

// Of more than a calendar has room for, what is over is left out.
func TestFullCalendarFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana, course, next := id.New("account"), id.New("course"), id.New("lesson")
	var items []*coursespb.PublishedItem
	for _, lesson := range newIDs("lesson", maxEntries/3+1) {
		items = append(items, required(lesson, "", &need{Kind: "viewed"}))
	}
	hear(w, w.service.coursePublished, edition(course, 1, append(items, required(next, "", &need{Kind: "viewed"}))...))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	run(t, w, `
		INSERT INTO effective_deadline (course_id, account_id, item_id, available_from, due, until, available_from_source, due_source, until_source, extra_days)
		SELECT course_id, $2, item_id, $3, $3, $3, 'course', 'course', 'course', 0 FROM published_item WHERE course_id = $1`, course, ana, onDay(-100))
	w.deadline(ana, course, next, nil, onDay(3), nil)
	feed, err := w.calendar.CreateCalendarFeed(w.as(ana), &learningpb.CreateCalendarFeedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.service.readFeed(t.Context(), feed.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	if events := parsed(t, res.GetContent()); len(events) != 1 || events["due."+course+"."+next+"@stoa"] == nil {
		t.Errorf("%d events, and not the one that is to come", len(events))
	}
}

func TestCalendarFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana := id.New("account")
	course, _, l := term(w, ana)
	feed, err := w.calendar.CreateCalendarFeed(rpc.WithIdempotencyKey(w.as(ana), "k"), &learningpb.CreateCalendarFeedRequest{})
	if err != nil || len(feed.GetToken()) < 40 || feed.GetPath() != "/v1/calendar/"+feed.GetToken()+".ics" {
		t.Fatalf("feed: %v, %v", feed, err)
	}
	if again, err := w.calendar.CreateCalendarFeed(rpc.WithIdempotencyKey(w.as(ana), "k"), &learningpb.CreateCalendarFeedRequest{}); err != nil || again.GetToken() != "" {
		t.Errorf("shown twice: %v, %v", again, err)
	}
	read := func(token string) (*learningpb.ReadCalendarFeedResponse, error) {
		stream, err := w.calendar.ReadCalendarFeed(context.Background(), &learningpb.ReadCalendarFeedRequest{Token: token})
		if err != nil {
			return nil, err
		}
		res, err := stream.Recv()
		return res, fault.FromStatus(err)
	}
	res, err := read(feed.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	events := parsed(t, res.GetContent())
	if len(events) != 8 {
		t.Errorf("%d events, want 8:\n%s", len(events), res.GetContent())
	}
	due := events["due."+course+"."+l[0]+"@stoa"]
	if due == nil || due.at != onDay(-1).Unix() || due.summary != `Due: One; two, "three" \ four` {
		t.Errorf("the first: %+v", due)
	}
	if z := events["due."+course+"."+l[1]+"@stoa"]; z == nil || !strings.HasSuffix(z.summary, strings.Repeat("ö", 100)) {
		t.Errorf("a long line: %+v", z)
	}
	if bytes.Contains(res.GetContent(), []byte("secret")) {
		t.Error("the title of what is closed is told")
	}
	again, err := read(feed.GetToken())
	if err != nil || again.GetEtag() != res.GetEtag() {
		t.Errorf("the same calendar has another ETag: %v", err)
	}
	w.deadline(ana, course, l[0], onDay(-3), onDay(9), onDay(12))
	moved, err := read(feed.GetToken())
	if err != nil || moved.GetEtag() == res.GetEtag() || parsed(t, moved.GetContent())["due."+course+"."+l[0]+"@stoa"].at != onDay(9).Unix() {
		t.Errorf("moved: %v, %v", moved, err)
	}
	second, err := w.calendar.CreateCalendarFeed(w.as(ana), &learningpb.CreateCalendarFeedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(feed.GetToken()); fault.CodeOf(err) != "calendar_feed.not_found" {
		t.Errorf("the old address: %v", err)
	}
	if _, err := read(second.GetToken()); err != nil {
		t.Errorf("the new address: %v", err)
	}
	if _, err := w.calendar.DeleteCalendarFeed(w.as(ana), &learningpb.DeleteCalendarFeedRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := read(second.GetToken()); fault.CodeOf(err) != "calendar_feed.not_found" {
		t.Errorf("after it was deleted: %v", err)
	}
	if _, err := w.calendar.DeleteCalendarFeed(w.as(ana), &learningpb.DeleteCalendarFeedRequest{}); fault.CodeOf(err) != "calendar_feed.not_found" {
		t.Errorf("deleted twice: %v", err)
	}
}

type parsedEvent struct {
	at      int64
	summary string
}

// parsed reads a calendar with a parser that is not ours, and holds it to RFC 5545.
func parsed(t rapid.TB, content []byte) map[string]*parsedEvent {
	t.Helper()
	for line := range bytes.SplitSeq(bytes.TrimSuffix(content, []byte("\r\n")), []byte("\r\n")) {
		if len(line) > 75 || bytes.ContainsAny(line, "\r\n") {
			t.Fatalf("a line of %d bytes: %q", len(line), line)
		}
	}
	cal, err := ical.NewDecoder(bytes.NewReader(content)).Decode()
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	out := map[string]*parsedEvent{}
	for _, e := range cal.Events() {
		uid, err1 := e.Props.Text(ical.PropUID)
		summary, err2 := e.Props.Text(ical.PropSummary)
		at, err3 := e.DateTimeStart(time.UTC)
		stamp, err4 := e.Props.DateTime(ical.PropDateTimeStamp, time.UTC)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || stamp.IsZero() || out[uid] != nil {
			t.Fatalf("%v %v %v %v", err1, err2, err3, err4)
		}
		out[uid] = &parsedEvent{at.Unix(), summary}
	}
	return out
}

var spaces = regexp.MustCompile(`[\x00-\x20\x7f\x{85}\x{2028}\x{2029}]+`)

// Whatever titles are, another parser reads back what was meant.
func TestCalendarIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		title := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a;,:\\\"\n\rNn ö€😀\t\u2028")))).Draw(t, "title")
		e := entry{At: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0), Kind: "due", CourseID: "course_a", ItemID: "lesson_b", Title: title, CourseTitle: title}
		got := parsed(t, []byte(calendarOf([]entry{e}, time.Unix(1e9, 0))))["due.course_a.lesson_b@stoa"]
		want := strings.Trim(spaces.ReplaceAllString(title, " "), " ")
		if want == "" {
			want = "Something that is not open yet"
		}
		if got == nil || got.summary != "Due: "+want || got.at != e.At.Unix() {
			t.Fatalf("%+v, want %q at %d", got, want, e.At.Unix())
		}
	})
}

func TestListTodo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana := id.New("account")
	course, _, l := term(w, ana)
	other, done, m := id.New("course"), id.New("course"), newIDs("lesson", 2)
	for _, c := range []string{other, done} {
		hear(w, w.service.coursePublished, published(c, 1, m...))
		hear(w, w.service.enrollmentStarted, enrolled(c, ana, 2))
	}
	w.view(ana, done, m[0])
	w.view(ana, done, m[1])
	w.view(ana, other, m[0])
	w.deadline(ana, other, m[1], nil, onDay(-2), onDay(-1)) // closed since
	list := func(days int32) []string {
		t.Helper()
		res, err := w.calendar.ListTodo(w.as(ana), &learningpb.ListTodoRequest{Days: days})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range res.GetItems() {
			out = append(out, fmt.Sprintf("%s %.4s %d", e.GetKind(), e.GetTitle(), e.GetMinutes()))
		}
		return out
	}
	if diff := cmp.Diff([]string{"overdue One; 0", "due Zwei 1"}, list(0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"overdue One; 0"}, list(1)); diff != "" {
		t.Error(diff)
	}
	w.deadline(ana, other, m[1], nil, nil, nil)
	w.view(ana, course, l[0])
	if diff := cmp.Diff([]string{"next Less 0", "next Zwei 1"}, list(1)); diff != "" {
		t.Error(diff)
	}
	w.view(ana, course, l[2]) // so it was open
	w.view(ana, course, l[1])
	if diff := cmp.Diff([]string{"next Less 0"}, list(30)); diff != "" { // what is left is hidden
		t.Error(diff)
	}
}
