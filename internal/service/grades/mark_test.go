package grades

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

func TestHears(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range New(Config{}).Handlers() {
		got = append(got, h.EventName())
	}
	want := []string{
		"stoa.assessment.v1.MarkChanged", "stoa.courses.v1.CoursePublished", "stoa.access.v1.EnrollmentStarted", "stoa.access.v1.EnrollmentEnded",
		"stoa.access.v1.EnrollmentResumed", "stoa.access.v1.CohortChanged", "stoa.access.v1.CohortMembershipChanged", "stoa.access.v1.GroupChanged",
		"stoa.access.v1.GroupMembershipChanged", "stoa.identity.v1.AccountCreated", "stoa.identity.v1.AccountUpdated",
		"stoa.learning.v1.DeadlinesChanged",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMarkBecomesGrade follows a mark to the student: late policy, drop, weights, letter.
func TestMarkBecomesGrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	w.publish(1, halves(q[:2], q[2:]), q...)
	ana := w.enroll("Ana")

	late := w.mark(ana, q[0], "9", "10")
	late.LateSeconds = 3600 // a day begun: one point
	w.give(late, w.mark(ana, q[1], "3", "10"))
	w.settled()
	exam := w.mark(ana, q[2], "30", "40")
	w.give(exam)
	w.settled()

	got := w.mine(ana)
	want := &gradespb.MyGrades{
		CourseId: w.course, Title: "Stoicism",
		Items: []*gradespb.MyGrade{
			{
				ItemId: q[0], Title: "Quiz 1", Kind: "quiz", Category: "homework", MaxPoints: "10", Status: "graded", Late: true, LateSeconds: 3600,
				SubmittedAt: late.GetSubmittedAt(), Posted: true, Points: "8", Percent: "80", RawPoints: "9", Deducted: "1", Counted: "counted", Passed: true,
			},
			{
				ItemId: q[1], Title: "Quiz 2", Kind: "quiz", Category: "homework", MaxPoints: "10", Status: "graded",
				Posted: true, Points: "3", Percent: "30", RawPoints: "3", Counted: "dropped_lowest",
			},
			{
				ItemId: q[2], Title: "Quiz 3", Kind: "quiz", Category: "exams", MaxPoints: "40", Status: "graded",
				Posted: true, Points: "30", Percent: "75", RawPoints: "30", Counted: "counted", Passed: true,
			},
		},
		Categories: []*gradespb.GroupGrade{{Key: "homework", Title: "Homework", Current: "80", Final: "80"}, {Key: "exams", Title: "Exams", Current: "75", Final: "75"}},
		Current:    &gradespb.GradeTotal{Percent: "77.5", Letter: "B", Passed: true}, Final: &gradespb.GradeTotal{Percent: "77.5", Letter: "B", Passed: true},
	}
	for _, it := range want.GetItems()[1:] {
		it.SubmittedAt = nil
	}
	ignore := protocmp.IgnoreFields(&gradespb.MyGrade{}, "posted_at", "submitted_at")
	if diff := cmp.Diff(want, got, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("own grades (-want +got):\n%s", diff)
	}
	events := told[gradespb.CourseGradeChanged](w)
	if last := events[len(events)-1]; last.GetPercent() != "77.5" || last.GetLetter() != "B" || !last.GetPassed() {
		t.Errorf("told %v", last)
	}
	posted := told[gradespb.GradePosted](w)
	if len(posted) != 3 || posted[0].GetPercent() != "80" || posted[2].GetPercent() != "75" || !posted[2].GetPassed() || posted[1].GetPassed() {
		t.Errorf("told %v", posted)
	}
}

// TestMarksInAnyOrder: marks twice, late, before anything else of the course is known.
func TestMarksInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	ana := id.New("account")
	first, second := w.mark(ana, q[0], "4", "10"), w.mark(ana, q[0], "7", "10")
	w.give(second, first, second)
	w.settled()
	if _, err := w.grid.GetGradebook(w.staff(), &gradespb.GetGradebookRequest{CourseId: w.course}); err != nil {
		t.Fatal(err)
	}
	w.publish(1, nil, q...)
	hear(w, w.service.enrollmentStarted, &accesspb.EnrollmentStarted{CourseId: w.course, AccountId: ana, EnrolledAt: timestamppb.New(may)})
	if got := w.mine(ana).GetCurrent().GetPercent(); got != "70" {
		t.Errorf("%q, want that of the newest mark", got)
	}
	history, err := w.grid.ListGradeHistory(w.staff(), &gradespb.ListGradeHistoryRequest{CourseId: w.course, AccountId: ana})
	if err != nil || len(history.GetItems()) != 1 {
		t.Errorf("%v, %v: want one change", history, err)
	}
	// Taken back, excused.
	gone := w.mark(ana, q[0], "", "10")
	gone.State, gone.SubmittedAt = "none", nil
	w.give(gone)
	if got := w.mine(ana).GetCurrent().GetPercent(); got != "" {
		t.Errorf("%q of a mark that was taken back", got)
	}
	excused := w.mark(ana, q[0], "", "10")
	excused.State = "excused"
	w.give(excused)
	if got := w.cell(ana, q[0]); got.GetStatus() != "excused" || got.GetCounted() != "excused" {
		t.Errorf("%v, want it excused", got)
	}
}

// TestPointsOfAnItem: what was handed in last says out of how many points an item is, in
// whatever order marks come; staff may say otherwise.
func TestPointsOfAnItem(t *testing.T) {
	t.Parallel()
	q := newIDs("activity", 2)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		w := newWorld(t)
		w.publish(1, nil, q...)
		people := []string{w.enroll("Ana"), w.enroll("Ben"), w.enroll("Cleo")}
		marks := []*assessmentpb.MarkChanged{w.mark(people[0], q[0], "5", "10"), w.mark(people[1], q[0], "9", "18"), w.mark(people[2], q[0], "10", "20")}
		for _, i := range order {
			w.give(marks[i])
		}
		w.settled()
		for i, p := range people {
			if c := w.cell(p, q[0]); c.GetPoints() != "10" || c.GetPercent() != "50" {
				t.Errorf("order %v: person %d has %s points, %s %%; want 10 and 50", order, i, c.GetPoints(), c.GetPercent())
			}
		}
		if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Points: new("100")}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		if c := w.cell(people[1], q[0]); c.GetPoints() != "50" || c.GetRawPoints() != "50" {
			t.Errorf("%v, want 50 of 100", c)
		}
		w.check()
	}
}

// check holds what is stored of all students to what is counted anew.
func (w *world) check() {
	w.t.Helper()
	ctx := context.Background()
	accounts, err := collectTexts(w.db.Query(ctx, `SELECT account_id FROM student WHERE course_id = $1 ORDER BY account_id`, w.course))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, account := range accounts {
		l, err := w.service.ledgerOf(ctx, w.db, w.course, account, ErrStudentNotFound)
		if err != nil {
			w.t.Fatal(err)
		}
		now := totalsOf(&l.result)
		if l.Totals == nil {
			w.t.Errorf("%s was never counted", account)
			continue
		}
		if diff := cmp.Diff(now, *l.Totals); diff != "" {
			w.t.Errorf("totals of %s (-anew +stored):\n%s", account, diff)
		}
		if l.ToldPercent != now.PostedCurrent.Percent || l.ToldPassed != now.PostedFinal.Passed {
			w.t.Errorf("%s was told %s, has %s", account, l.ToldPercent, now.PostedCurrent.Percent)
		}
		for i, it := range l.book.present {
			s, c := l.result.Full.Current.Items[i], l.cells[it.ItemID]
			switch {
			case c == nil && s.Has:
				w.t.Errorf("%s has a score in %s and no cell", account, it.ItemID)
			case c != nil && (c.Score != nil) != s.Has, c != nil && s.Has && *c.Score != rounded(s.Points):
				w.t.Errorf("%s has %v in %s, stored is %v", account, s, it.ItemID, c.Score)
			case c != nil && c.counted() != c.counts(l.book, it):
				w.t.Errorf("attempt %d of %s counts in %s, stored is %d", c.counts(l.book, it), account, it.ItemID, c.counted())
			case c != nil && c.Counted != countedWord(s.State) && (c.Counted != "" || s.Has):
				w.t.Errorf("%s is %s in %s, stored is %s", account, countedWord(s.State), it.ItemID, c.Counted)
			}
		}
	}
}

func TestMissingBySay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, halves(q[:1], q[1:]), q...)
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[1], "8", "10"))
	ben := w.enroll("Ben")
	w.give(w.mark(ben, q[0], "8", "10")) // so that it has points
	w.settled()
	c := w.set(ana, q[0], &gradespb.GradeEdit{Status: new("missing"), Reason: "Nothing came"})
	if c.GetStatus() != "missing" || c.GetPoints() != "0" || !c.GetPosted() {
		t.Errorf("%v, want it missing, with nothing", c)
	}
	w.check()
	if got := w.mine(ana).GetItems()[0]; got.GetDeducted() != "10" || got.GetStatus() != "missing" {
		t.Errorf("%v, want 10 deducted", got)
	}
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new(""), Reason: "It came after all"})
	if got := w.mine(ana).GetItems()[0]; got.GetStatus() != "none" || got.GetPoints() != "" {
		t.Errorf("%v, want nothing", got)
	}
	w.check()
}
