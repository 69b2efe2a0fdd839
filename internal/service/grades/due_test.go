package grades

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestOverdueIsMissing follows a due date: it passes, is moved, passes again, and what
// was handed in is taken back.
func TestOverdueIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, halves(q[:1], q[1:]), q...)
	ana, ben := w.enroll("Ana"), w.enroll("Ben")
	w.give(w.mark(ben, q[0], "8", "10"), w.mark(ben, q[1], "8", "10"), w.mark(ana, q[1], "8", "10"))
	w.settled()
	status := func(account string) string {
		t.Helper()
		w.settled()
		w.check()
		return w.cell(account, q[0]).GetStatus() + " " + w.student(account).GetTotals().GetPostedCurrent().GetPercent()
	}
	expect := func(name, want string) {
		t.Helper()
		if got := status(ana); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	due := may.Add(24 * time.Hour)
	w.dueNow(ana, q[0], due)
	w.dueNow(ben, q[0], due)
	expect("before it is due", "none 80")
	w.timePasses(25 * time.Hour)
	expect("when it has passed", "missing 40")
	if got := status(ben); got != "graded 80" {
		t.Errorf("who has a mark: %s", got)
	}
	w.dueNow(ana, q[0], due.Add(48*time.Hour))
	expect("with an extension", "none 80")
	w.timePasses(48 * time.Hour)
	expect("when that has passed", "missing 40")
	late := w.mark(ana, q[0], "10", "10")
	late.LateSeconds = 100
	w.give(late)
	expect("handed in late", "graded 85")
	gone := w.mark(ana, q[0], "", "10")
	gone.State, gone.SubmittedAt = "none", nil
	w.give(gone)
	expect("taken back", "missing 40")
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new("on_time"), Reason: "Shown in class"})
	expect("staff say it is not", "none 80")
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new(""), Reason: "It was another one"})
	w.mu.Lock()
	delete(w.due, [2]string{ana, q[0]})
	w.mu.Unlock()
	w.publish(2, halves(q[:1], q[1:]), q...) // has everybody asked for
	w.timePasses(0)
	expect("no longer due", "none 80")

	// Who is away misses nothing until they are back.
	cleo := w.enroll("Cleo")
	w.give(w.mark(cleo, q[1], "8", "10"))
	hear(w, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: cleo, Version: 2})
	w.dueNow(cleo, q[0], due)
	if got := status(cleo); got != "none 80" {
		t.Errorf("away: %s", got)
	}
	hear(w, w.service.enrollmentResumed, &accesspb.EnrollmentResumed{CourseId: w.course, AccountId: cleo, Version: 3})
	w.timePasses(0)
	if got := status(cleo); got != "missing 40" {
		t.Errorf("back: %s", got)
	}
	var left int
	if err := w.db.QueryRow(context.Background(), `SELECT count(*) FROM due_task`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d tasks are left, %v", left, err)
	}
}

// TestHiddenIsNotMissed: nobody misses what is hidden from them when it is due. What is
// due anew once it is shown they may.
func TestHiddenIsNotMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	w.publish(1, halves(q[:1], q[1:]), q...)
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[2], "8", "10"))
	w.settled()
	w.hidden[q[0]] = true
	due := may.Add(24 * time.Hour)
	w.dueNow(ana, q[0], due)
	w.dueNow(ana, q[1], due)
	status := func() string {
		t.Helper()
		w.settled()
		w.check()
		g := w.student(ana)
		return g.GetCells()[0].GetStatus() + " " + g.GetCells()[1].GetStatus()
	}
	w.timePasses(25 * time.Hour)
	if got := status(); got != "none missing" {
		t.Errorf("hidden and shown: %s", got)
	}
	w.hidden[q[0]] = false
	w.timePasses(time.Hour)
	if got := status(); got != "none missing" {
		t.Errorf("shown when it was due already: %s", got)
	}
	w.dueNow(ana, q[0], due.Add(48*time.Hour))
	w.timePasses(48 * time.Hour)
	if got := status(); got != "missing missing" {
		t.Errorf("due anew: %s", got)
	}
}

// TestInTimeIsNotMissed: what was handed in at the last moment, and is told after it, was
// at no time missing, for staff and for the student.
func TestInTimeIsNotMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, halves(q[:1], q[1:]), q...)
	ana, ben := w.enroll("Ana"), w.enroll("Ben")
	w.give(w.mark(ana, q[1], "8", "10"), w.mark(ben, q[1], "8", "10"))
	w.settled()
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Points: new("10")}); err != nil {
		t.Fatal(err)
	}
	due := may.Add(24 * time.Hour)
	w.dueNow(ana, q[0], due)
	w.dueNow(ben, q[0], due)
	before := len(told[gradespb.GradePosted](w))
	w.timePasses(24*time.Hour + 2*time.Minute)
	if a, n := w.cell(ana, q[0]), len(told[gradespb.GradePosted](w)); a.GetStatus() != "none" || n != before {
		t.Errorf("on its way: %v, and %d were told of", a, n-before)
	}
	m := w.mark(ana, q[0], "9", "10")
	m.SubmittedAt = timestamppb.New(due)
	w.give(m)
	w.timePasses(10 * time.Minute)
	w.settled()
	w.check()
	for account, want := range map[string]string{ana: "graded 9", ben: "missing 0"} {
		if c := w.cell(account, q[0]); c.GetStatus()+" "+c.GetPoints() != want {
			t.Errorf("%v, want %s", c, want)
		}
	}
	for _, h := range w.history(ana) {
		if h.GetKind() == "overdue" {
			t.Errorf("it was missing: %v", h)
		}
	}
}
