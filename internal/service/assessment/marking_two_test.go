package assessment

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func twoMark(tolerance, agreed string) *assessmentpb.AssignmentSettings {
	settings := essaySettings()
	settings.DoubleMarking, settings.TwoMarkers = true, &assessmentpb.TwoMarkers{TolerancePercent: tolerance, Agreed: agreed}
	return settings
}

func TestAgreedPoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b, most, tolerance string
		higher                bool
		want                  string
	}{
		{"7", "7", "10", "0", false, "7"},
		{"7", "7.000001", "10", "0", false, ""},
		{"7", "8", "10", "10", false, "15/2"},
		{"8", "7", "10", "10", true, "8"},
		{"7", "8.000001", "10", "10", false, ""},
		{"20/3", "7", "10", "5", false, "41/6"},
		{"0", "1/3", "1", "33.3333", false, ""},
		{"0", "10", "10", "100", false, "5"},
	} {
		got, agree := agreedPoints(exact.MustParse(c.a), exact.MustParse(c.b), exact.MustParse(c.most), c.tolerance, c.higher)
		if agree != (c.want != "") || agree && !got.Equal(exact.MustParse(c.want)) {
			t.Errorf("%v: %s, %t", c, got, agree)
		}
	}
}

// Two mark the same, each without the other's mark, and agree.
func TestTwoAgree(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(twoMark("10", "mean"))
	students, subs := w.hand(1)
	ben, cleo, dan := w.marker(), w.marker(), w.marker()
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	if my := w.my(students[0]).GetSettings(); my.GetDoubleMarking() || my.GetTwoMarkers() != nil {
		t.Errorf("students are told: %v", my)
	}
	for _, who := range []string{ben, cleo} {
		if m, err := w.next(who); err != nil || m.GetOf().GetSubmissionId() != subs[0] {
			t.Fatal(m, err)
		}
	}
	if _, err := w.next(dan); fault.CodeOf(err) != "marking.nothing_left" {
		t.Error("a third claims it:", err)
	}
	if _, err := w.gives(w.as(dan), subs[0], "1"); fault.CodeOf(err) != "marking.claimed" {
		t.Error(err)
	}
	before := w.submissionOf(cleo, subs[0]).GetEtag()
	mark := func(who, points, comment string) (*assessmentpb.Submission, error) {
		return w.staff.MarkSubmission(rpc.WithIfMatch(w.as(who), w.submissionOf(who, subs[0]).GetEtag()), &assessmentpb.MarkSubmissionRequest{
			CourseId: w.course, SubmissionId: subs[0], Number: 1, Points: points, Comment: comment,
			Comments: []*assessmentpb.InlineComment{{Key: "a", Body: comment, Anchor: &assessmentpb.InlineComment_Text{Text: &assessmentpb.TextAnchor{Start: 0, End: 1}}}},
		})
	}
	if _, err := w.gives(w.as(ben), subs[0], ""); fault.CodeOf(err) != "mark.invalid" {
		t.Error("without points:", err)
	}
	one, err := mark(ben, "6.543210", "From the first.")
	if err != nil || one.GetTwoMarks().GetState() != "to_mark" || one.GetTwoMarks().GetGiven() != 1 || len(one.GetTwoMarks().GetMarks()) != 1 || one.GetVersion().GetMark() != nil {
		t.Fatal(one, err)
	}
	// What the first gave is told to nobody else, nor that it was given by another version.
	for _, who := range []string{cleo, dan, w.teacher} {
		list, err := w.marking.ListGivenMarks(w.as(who), &assessmentpb.ListGivenMarksRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1})
		if err != nil || len(list.GetItems()) != 0 {
			t.Error(list, err)
		}
		hist, err := w.staff.ListMarks(w.as(who), &assessmentpb.ListMarksRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1})
		if err != nil {
			t.Fatal(err)
		}
		told := fmt.Sprint(w.submissionOf(who, subs[0]), w.queue(who, "all", 10), list, hist, w.entries(nil))
		for _, secret := range []string{"6.54321", "From the first."} {
			if strings.Contains(told, secret) {
				t.Errorf("%q is told before both have marked", secret)
			}
		}
	}
	for _, row := range w.query(`SELECT coalesce(string_agg(encode(payload, 'escape'), ' '), '') FROM outbox`) {
		if strings.Contains(row, "6.54321") {
			t.Error("an event tells what one of two gave")
		}
	}
	if _, err := w.marking.SettleMark(w.as(dan), &assessmentpb.SettleMarkRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1, Points: "6"}); fault.CodeOf(err) != "marking.not_both" {
		t.Error(err)
	}
	if my := w.my(students[0]); my.GetPoints() != "" || my.GetState() != "submitted" {
		t.Errorf("a student sees: %v", my)
	}
	// One's own mark can be changed meanwhile, and counts once.
	if _, err := mark(ben, "6.5", "Again."); err != nil {
		t.Fatal(err)
	}
	if _, err := w.next(ben); fault.CodeOf(err) != "marking.nothing_left" {
		t.Error("who has marked it is to mark it again:", err)
	}
	if etag := w.submissionOf(cleo, subs[0]).GetEtag(); etag != before {
		t.Errorf("the other's mark makes another version: %s, %s", before, etag)
	}
	two, err := mark(cleo, "7.2", "From the second.")
	if err != nil {
		t.Fatal(err)
	}
	m := two.GetVersion().GetMark()
	if two.GetTwoMarks().GetState() != "agreed" || len(two.GetTwoMarks().GetMarks()) != 3 || m.GetPoints() != "6.85" || m.GetSource() != "agreement" || m.GetMarkedBy() != "" ||
		m.GetComment() != "Again.\n\nFrom the second." || len(m.GetComments()) != 2 {
		t.Errorf("agreed: %v", two)
	}
	events := outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	if len(events) != 1 || events[0].GetPoints() != "6.85" {
		t.Errorf("told: %v", events)
	}
	if _, err := mark(ben, "9", "More."); fault.CodeOf(err) != "marking.both_given" {
		t.Error(err)
	}
	list, err := w.marking.ListGivenMarks(w.as(dan), &assessmentpb.ListGivenMarksRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1})
	if err != nil || len(list.GetItems()) != 4 || list.GetItems()[0].GetRole() != "settled" || list.GetItems()[3].GetPoints() != "6.54321" {
		t.Errorf("history: %v, %v", list, err)
	}
}

// Where one of two marks what is not as late any more, the gradebook is told so at once:
// whoever is asked for dates later finds nothing that differs.
func TestLatenessWithOneOfTwo(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(twoMark("10", "mean"))
	ana, ben, due := w.student("Ana"), w.marker(), w.now().Add(time.Hour)
	w.due(ana, due, due.Add(2*time.Hour))
	w.later(time.Hour + time.Minute)
	if got := w.hands(ana, "a"); got.GetLateSeconds() != 60 {
		t.Fatalf("late: %d", got.GetLateSeconds())
	}
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	w.due(ana, due.Add(time.Hour), due.Add(2*time.Hour))
	sub := w.submissionID(ana)
	if _, err := w.gives(rpc.WithIfMatch(w.as(ben), w.submissionOf(ben, sub).GetEtag()), sub, "6"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.staff.RecomputeLateness(w.as(w.teacher), &assessmentpb.RecomputeLatenessRequest{CourseId: w.course, ItemId: w.item}); err != nil {
		t.Fatal(err)
	}
	if told := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(told) != 1 || told[0].GetLateSeconds() != 0 || told[0].GetState() != "submitted" || told[0].GetCause() != "extension" {
		t.Errorf("told: %v", told)
	}
}

// Two who are too far apart: a third settles it, or one of them with both in view.
func TestTwoDiffer(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(twoMark("5", "higher"))
	students, subs := w.hand(2)
	ben, cleo, dan := w.marker(), w.marker(), w.marker()
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	for _, sub := range subs {
		for who, points := range map[string]string{ben: "4", cleo: "4.500001"} {
			if _, err := w.gives(w.as(who), sub, points); err != nil {
				t.Fatal(err)
			}
		}
	}
	if list := w.queue(dan, "to_agree", 1); len(list) != 2 || list[0].GetState() != "to_agree" || list[0].GetGiven() != 2 || list[0].GetPoints() != "" {
		t.Errorf("to agree: %v", list)
	}
	if list := w.queue(dan, "", 10); len(list) != 0 {
		t.Errorf("to mark: %v", list)
	}
	if c := w.count(); c.GetToAgree() != 2 || c.GetToMark() != 0 {
		t.Errorf("count: %v", c)
	}
	if events := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(events) != 0 {
		t.Errorf("told before it is settled: %v", events)
	}
	if my := w.my(students[0]); my.GetPoints() != "" {
		t.Errorf("a student sees: %v", my)
	}
	settle := &assessmentpb.SettleMarkRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1, Points: "4.25", Comment: "Fair.", Reason: "We spoke."}
	shown := w.submissionOf(ben, subs[0])
	if len(shown.GetTwoMarks().GetMarks()) != 2 {
		t.Errorf("both in view: %v", shown)
	}
	empty := proto.CloneOf(settle)
	empty.Points = ""
	if _, err := w.marking.SettleMark(w.as(ben), empty); fault.CodeOf(err) != "mark.invalid" {
		t.Error(err)
	}
	// Two at once with both in view: one is told that it was settled.
	var wg sync.WaitGroup
	codes := make([]string, 2)
	for i, who := range []string{ben, dan} {
		wg.Go(func() {
			_, err := w.marking.SettleMark(rpc.WithIfMatch(w.as(who), shown.GetEtag()), settle)
			if err != nil {
				codes[i] = fault.CodeOf(err)
			}
		})
	}
	wg.Wait()
	if codes[0]+codes[1] != "etag.stale" {
		t.Errorf("settled twice: %q", codes)
	}
	again := proto.CloneOf(settle)
	again.Points = "4.75"
	if _, err := w.marking.SettleMark(w.as(cleo), again); fault.CodeOf(err) != "etag.required" {
		t.Error("blindly:", err)
	}
	settled, err := w.marking.SettleMark(rpc.WithIfMatch(w.as(cleo), w.submissionOf(cleo, subs[0]).GetEtag()), again)
	if err != nil || settled.GetVersion().GetMark().GetPoints() != "4.75" || settled.GetTwoMarks().GetState() != "agreed" || settled.GetTwoMarks().GetMarks()[2].GetReason() != "We spoke." {
		t.Error(settled, err)
	}
	var told []string
	for _, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
		told = append(told, e.GetPoints())
	}
	expect(t, "told", strings.Join(told, " "), "4.25 4.75")
	if events := w.query(`SELECT points FROM given_mark WHERE submission_id = $1 ORDER BY seq`, subs[0]); len(events) != 4 {
		t.Errorf("history: %v", events)
	}
}

// Many mark the same at the same time: two of them do, and never one twice.
func TestTwoMarkersRace(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(twoMark("100", "mean"))
	_, subs := w.hand(1)
	var wg sync.WaitGroup
	for range 5 {
		who := w.marker()
		for range 2 {
			wg.Go(func() {
				if _, err := w.gives(w.as(who), subs[0], "5"); err != nil && fault.CodeOf(err) != "marking.both_given" {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if got := w.query(`SELECT DISTINCT account_id FROM given_marker`); len(got) != 2 {
		t.Errorf("marked by %v", got)
	}
	if got := w.query(`SELECT points::text FROM submission_mark`); len(got) != 1 {
		t.Errorf("marks: %v", got)
	}
}

// What two chose in a rubric is shown as what they agreed on, not what each gave.
func TestTwoByRubric(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	r := w.guide(&assessmentpb.AttachRubricRequest{AssignmentId: w.assign(twoMark("20", ""))})
	students, subs := w.hand(1)
	for who, marks := range map[string]*assessmentpb.RubricMarks{w.marker(): chose(r, "4", "2"), w.marker(): chose(r, "5", "2")} {
		if _, err := w.staff.MarkSubmission(w.as(who), &assessmentpb.MarkSubmissionRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1, Rubric: marks}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.GetMySubmission(w.as(students[0]), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	// 6/9 and 7/9 of 10 are 65/9 on average.
	if m := got.GetMark(); m.GetPoints() != "7.222222" || m.GetRubric().GetPoints() != "6.5" || m.GetRubric().GetCriteria()[0].GetPoints() != "4.5" || m.GetRubric().GetCriteria()[0].GetComment() != "Deep." {
		t.Errorf("a student sees %v", m)
	}
}
