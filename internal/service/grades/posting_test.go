package grades

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// views are all answers that a student gets about a course, and all events that tell of
// them.
func (w *world) views(account string, items ...string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	show := func(name string, m proto.Message, err error) {
		if err != nil {
			out[name] = fault.CodeOf(fault.FromStatus(err))
			return
		}
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			w.t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			w.t.Fatal(err)
		}
		text, _ = json.Marshal(plain)
		out[name] = string(text)
	}
	ctx := w.as(account)
	mine, err := w.grades.GetMyGrades(ctx, &gradespb.GetMyGradesRequest{CourseId: w.course})
	show("grades", mine, err)
	totals, err := w.grades.ListMyTotals(ctx, &gradespb.ListMyTotalsRequest{})
	show("totals", totals, err)
	for _, basis := range []string{"current", "final"} {
		explained, err := w.grades.ExplainMyGrade(ctx, &gradespb.ExplainMyGradeRequest{CourseId: w.course, Basis: basis})
		show("explanation "+basis, explained, err)
		explained, err = w.grades.ExplainMyGrade(ctx, &gradespb.ExplainMyGradeRequest{CourseId: w.course, Basis: basis, Category: "exams"})
		show("explanation of exams "+basis, explained, err)
	}
	estimate, err := w.grades.EstimateMyGrades(ctx, &gradespb.EstimateMyGradesRequest{CourseId: w.course})
	show("what if", estimate, err)
	for _, it := range items {
		estimate, err := w.grades.EstimateMyGrades(ctx, &gradespb.EstimateMyGradesRequest{
			CourseId: w.course, Assumptions: []*gradespb.Assumption{{ItemId: it, Points: "5"}},
		})
		show("what if "+it, estimate, err)
		stats, err := w.grades.GetMyItemStatistics(ctx, &gradespb.GetMyItemStatisticsRequest{CourseId: w.course, ItemId: it})
		show("statistics "+it, stats, err)
	}
	stream, err := w.files.ExportMyGrades(ctx, &gradespb.ExportMyGradesRequest{CourseId: w.course})
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := stream.Recv()
	show("file", file, err)
	for i, e := range told[gradespb.GradePosted](w) {
		if e.GetAccountId() == account {
			e.ChangedAt = nil
			show(fmt.Sprintf("GradePosted %d", i), e, nil)
		}
	}
	for i, e := range told[gradespb.CourseGradeChanged](w) {
		if e.GetAccountId() == account {
			show(fmt.Sprintf("CourseGradeChanged %d", i), e, nil)
		}
	}
	return out
}

// TestUnpostedLeaksNowhere holds everything that a student can see, and every event,
// before and after something unposted is done to be the same.
func TestUnpostedLeaksNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 4)
	w.publish(1, halves(q[:2], q[2:]), q...)
	if _, err := w.columns.UpdateGradebookSettings(w.staff(), &gradespb.UpdateGradebookSettingsRequest{CourseId: w.course, Statistics: new(true)}); err != nil {
		t.Fatal(err)
	}
	sum, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{
		CourseId: w.course, Title: "Secret sum", Points: "20", Category: "exams", Formula: "points[" + q[0] + "] + points[" + q[1] + "]",
	})
	if err != nil {
		t.Fatalf("a calculated column: %v", err)
	}
	hand, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{CourseId: w.course, Title: "By hand", Points: "10", Category: "homework", Posting: "manual"})
	if err != nil {
		t.Fatal(err)
	}
	people := make([]string, 7)
	for i := range people {
		people[i] = w.enroll(fmt.Sprintf("Student %d", i))
		w.give(w.mark(people[i], q[0], fmt.Sprint(4+i), "10"), w.mark(people[i], q[1], "6", "10"), w.mark(people[i], q[3], "5", "10"))
	}
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[2], Posting: new("manual"), Points: new("10")}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	ana, last := people[0], people[6]
	w.set(last, q[0], &gradespb.GradeEdit{Posted: new(false)})
	// They have handed it in, which they know.
	submitted := w.mark(ana, q[2], "", "10")
	submitted.State = "submitted"
	w.give(submitted)
	w.settled()
	items := append(slices.Clone(q), sum.GetItemId(), hand.GetItemId())
	before := w.views(ana, items...)
	if !strings.Contains(before["statistics "+q[0]], `"count":6`) {
		t.Fatalf("no statistics to leak: %v", before)
	}

	for _, step := range []struct {
		name string
		do   func()
	}{
		{"it is marked", func() {
			m := w.mark(ana, q[2], "9", "10")
			m.SubmittedAt, m.MarkedBy = submitted.GetSubmittedAt(), w.teacher
			w.give(m)
		}},
		{"it is overridden", func() { w.set(ana, q[2], &gradespb.GradeEdit{Points: new("1"), Reason: "Copied"}) }},
		{"feedback is written", func() { w.set(ana, q[2], &gradespb.GradeEdit{Feedback: new("See me after class")}) }},
		{"it is excused", func() { w.set(ana, q[2], &gradespb.GradeEdit{Status: new("excused"), Reason: "Ill"}) }},
		{"it is late by say", func() {
			w.set(ana, q[2], &gradespb.GradeEdit{Status: new("late"), LateSeconds: 100_000, Reason: "The clock was wrong"})
		}},
		{"it is missing by say", func() { w.set(ana, q[2], &gradespb.GradeEdit{Status: new("missing"), Reason: "Empty"}) }},
		{"a column of staff is marked", func() { w.set(ana, hand.GetItemId(), &gradespb.GradeEdit{Points: new("3")}) }},
		{"others are marked", func() {
			for _, p := range people[1:] {
				w.give(w.mark(p, q[2], "10", "10"))
				w.set(p, hand.GetItemId(), &gradespb.GradeEdit{Points: new("9")})
			}
		}},
		{"what is hidden of somebody in an item that is posted changes", func() { w.give(w.mark(last, q[0], "0", "10")) }},
		{"a total is set", func() {
			if _, err := w.grades.SetTotal(w.staff(), &gradespb.SetTotalRequest{CourseId: w.course, AccountId: ana, Percent: "12", Reason: "To think about"}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a category is set", func() {
			if _, err := w.grades.SetTotal(w.staff(), &gradespb.SetTotalRequest{CourseId: w.course, AccountId: ana, Category: "exams", Percent: "99", Reason: "To think about"}); err != nil {
				t.Fatal(err)
			}
		}},
		{"everything is counted anew", func() {
			if _, err := w.columns.RecalculateGradebook(w.staff(), &gradespb.RecalculateGradebookRequest{CourseId: w.course}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		step.do()
		w.settled()
		if diff := cmp.Diff(before, w.views(ana, items...)); diff != "" {
			t.Errorf("%s, and the student sees it (-before +after):\n%s", step.name, diff)
		}
		w.check()
	}
	full := w.student(ana).GetTotals()
	if full.GetCurrent().GetPercent() != "12" || full.GetPostedCurrent().GetPercent() == "12" {
		t.Errorf("staff see %v", full)
	}
	// And posted, it is there.
	if _, err := w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: q[2]}); err != nil {
		t.Fatal(err)
	}
	after := w.views(ana, items...)
	if before["grades"] == after["grades"] || len(after) == len(before) {
		t.Error("a posted grade is not seen")
	}
	// Hidden again, all is as before but for the events that say so.
	if _, err := w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: q[2]}); err != nil {
		t.Fatal(err)
	}
	again := w.views(ana, items...)
	for name, text := range before {
		if again[name] != text {
			t.Errorf("hidden again, %s is another:\n%s", name, cmp.Diff(text, again[name]))
		}
	}
}

func TestPostBySectionAndStudent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, nil, q...)
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Posting: new("manual")}); err != nil {
		t.Fatal(err)
	}
	people := []string{w.enroll("Ana"), w.enroll("Ben"), w.enroll("Cleo"), w.enroll("Dan")}
	for _, p := range people[:3] {
		w.give(w.mark(p, q[0], "5", "10"))
	}
	cohort, group := newIDs("cohort", 1)[0], newIDs("group", 1)[0]
	hear(w, w.service.cohortChanged, &accesspb.CohortChanged{CohortId: cohort, CourseId: w.course, Name: "Spring", Version: 1})
	hear(w, w.service.groupChanged, &accesspb.GroupChanged{GroupId: group, CourseId: w.course, Name: "Red", Version: 1})
	hear(w, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: w.course, AccountId: people[0], CohortId: cohort, Version: 1})
	hear(w, w.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{CourseId: w.course, AccountId: people[1], GroupId: group, Member: true, Version: 2})
	hear(w, w.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{CourseId: w.course, AccountId: people[1], GroupId: group, Member: false, Version: 1})
	seen := func() string {
		out := ""
		for _, p := range people {
			out += map[bool]string{true: "+", false: "-"}[w.mine(p).GetItems()[0].GetPosted()]
		}
		return out
	}
	post := func(want string, wantChanged int32, req *gradespb.PostGradesRequest) {
		t.Helper()
		req.CourseId, req.ItemId = w.course, q[0]
		res, err := w.columns.PostGrades(w.staff(), req)
		if err != nil {
			t.Fatal(err)
		}
		if got := seen(); got != want || res.GetChanged() != wantChanged {
			t.Errorf("%v: %s, %d changed; want %s, %d", req, got, res.GetChanged(), want, wantChanged)
		}
		w.settled()
		w.check()
	}
	if got := seen(); got != "----" {
		t.Errorf("%s before anything is posted", got)
	}
	post("+---", 1, &gradespb.PostGradesRequest{SectionIds: []string{cohort}})
	post("++--", 1, &gradespb.PostGradesRequest{SectionIds: []string{group, cohort}})
	post("++--", 0, &gradespb.PostGradesRequest{AccountIds: []string{people[3]}})
	post("+++-", 1, &gradespb.PostGradesRequest{})
	w.give(w.mark(people[3], q[0], "9", "10"))
	if got := seen(); got != "+++-" {
		t.Errorf("%s, but what comes later is not posted under a manual policy", got)
	}
	res, err := w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: q[0], AccountIds: people[:1]})
	if err != nil || seen() != "-++-" || res.GetChanged() != 1 {
		t.Errorf("%v, %v, %s", res, err, seen())
	}
	// A mark that changes stays posted, or hidden.
	w.give(w.mark(people[0], q[0], "6", "10"), w.mark(people[1], q[0], "7", "10"))
	if got := seen(); got != "-++-" {
		t.Errorf("%s after marks have changed", got)
	}
	// Undone as one.
	if _, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_BatchId{BatchId: res.GetBatchId()}}); err != nil || seen() != "+++-" {
		t.Errorf("%v, %s", err, seen())
	}
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Posting: new("automatic")}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if got := seen(); got != "+++-" {
		t.Errorf("%s, but what nobody has posted stays hidden when the policy changes", got)
	}
	w.check()
	var got []string
	for _, e := range told[gradespb.PostingChanged](w) {
		got = append(got, fmt.Sprintf("%s %v %d", e.GetPolicy(), e.GetPosted(), len(e.GetAccountIds())))
	}
	want := []string{"manual false 0", "manual true 1", "manual true 1", "manual true 1", "manual false 1", "manual true 1", "automatic false 1", "automatic true 0"}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	_, err = w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: q[0], SectionIds: newIDs("group", 1)})
	if fault.CodeOf(fault.FromStatus(err)) != "section.not_found" {
		t.Errorf("%v of an unknown section", err)
	}
}

// TestHiddenItems: an item that is hidden from a student is in none of their answers by
// name, unless a grade of it is posted.
func TestHiddenItems(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	ana := w.enroll("Ana")
	w.give(w.mark(w.enroll("Ben"), q[1], "1", "2"))
	w.settled()
	w.hidden[q[1]] = true
	for name, text := range w.views(ana) {
		if strings.Contains(text, "Quiz 2") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if _, err := w.grades.EstimateMyGrades(w.as(ana), &gradespb.EstimateMyGradesRequest{CourseId: w.course, Assumptions: []*gradespb.Assumption{{ItemId: q[1], Points: "2"}}}); fault.CodeOf(fault.FromStatus(err)) != "item.not_found" {
		t.Errorf("%v", err)
	}
	w.give(w.mark(ana, q[1], "2", "2"))
	if got := w.mine(ana); len(got.GetItems()) != 2 || got.GetItems()[1].GetPoints() != "2" {
		t.Errorf("%v, want the posted grade", got)
	}
	if _, err := w.grades.GetMyGrades(w.as(w.teacher), &gradespb.GetMyGradesRequest{CourseId: w.course}); fault.CodeOf(fault.FromStatus(err)) != "gradebook.not_found" {
		t.Errorf("who is in no gradebook: %v", err)
	}
}

// TestUnpostedIsNotEstimated: a calculated grade that is not posted is in no answer to what
// would be, although all that it is calculated of is posted. What would be if nothing were
// another is what there is.
func TestUnpostedIsNotEstimated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	sum, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{
		CourseId: w.course, Title: "Bonus", Points: "10", Formula: "points[" + q[0] + "] / 4", Posting: "manual",
	})
	if err != nil {
		t.Fatal(err)
	}
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[0], "9", "10"), w.mark(ana, q[1], "6", "10"))
	w.settled()
	item := sum.GetItemId()
	look := func(want string, assume ...*gradespb.Assumption) *gradespb.GradeEstimate {
		t.Helper()
		e, err := w.grades.EstimateMyGrades(w.as(ana), &gradespb.EstimateMyGradesRequest{CourseId: w.course, Assumptions: assume})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.GetItems()[2]; got.GetItemId() != item || got.GetPoints() != want {
			t.Errorf("with %v: %v, want %q", assume, got, want)
		}
		staff, err := w.grades.EstimateStudentGrades(w.staff(), &gradespb.EstimateStudentGradesRequest{CourseId: w.course, AccountId: ana, Seen: "posted", Assumptions: assume})
		if diff := cmp.Diff(e, staff, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("staff are told otherwise: %v\n%s", err, diff)
		}
		return e
	}
	asIs := func(e *gradespb.GradeEstimate) {
		t.Helper()
		mine := w.mine(ana)
		if diff := cmp.Diff([]proto.Message{mine.GetCurrent(), mine.GetFinal()}, []proto.Message{e.GetCurrent(), e.GetFinal()}, protocmp.Transform()); diff != "" {
			t.Errorf("what would be is another than what there is (-is +would be):\n%s", diff)
		}
	}
	asIs(look(""))
	asIs(look("", &gradespb.Assumption{ItemId: item}))
	look("", &gradespb.Assumption{ItemId: q[0], Points: "4"})
	look("", &gradespb.Assumption{ItemId: q[1], Excused: true}, &gradespb.Assumption{ItemId: item})
	look("", &gradespb.Assumption{ItemId: item, Excused: true})
	look("7", &gradespb.Assumption{ItemId: item, Points: "7"})
	if c := w.cell(ana, item); c.GetPoints() != "2.25" {
		t.Errorf("staff see %v", c)
	}
	w.set(ana, item, &gradespb.GradeEdit{Posted: new(true)})
	asIs(look("2.25"))
	look("1", &gradespb.Assumption{ItemId: q[0], Points: "4"})
}

// TestNewItemsArePostedAsSaid: that new items are posted by hand is said before there is
// one, behind that those of before are not.
func TestNewItemsArePostedAsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	w.publish(1, halves(q[:1], q[1:2]), q[:2]...)
	set := func(posting string) {
		t.Helper()
		if _, err := w.columns.UpdateGradebookSettings(w.staff(), &gradespb.UpdateGradebookSettingsRequest{CourseId: w.course, Posting: new(posting)}); err != nil {
			t.Fatal(err)
		}
	}
	set("manual")
	w.publish(2, halves(q[:1], q[1:]), q...)
	set("automatic")
	var got []string
	var version int64
	for _, e := range told[gradespb.PostingChanged](w) {
		of := "all others"
		if i := slices.Index(q, e.GetItemId()); i >= 0 {
			of = fmt.Sprint("q", i)
		}
		got = append(got, fmt.Sprint(of, " ", e.GetPolicy(), " ", e.GetPosted()))
		if e.GetVersion() <= version || len(e.GetAccountIds()) > 0 {
			t.Errorf("after version %d: %v", version, e)
		}
		version = e.GetVersion()
	}
	slices.Sort(got[:2]) // by their ids
	want := []string{"q0 automatic true", "q1 automatic true", "all others manual false", "q2 manual false", "all others automatic true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
