package grades

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestCountGoesOn counts a course in parts: how far it is is seen, views are right
// before it is done, and whoever goes on after a crash goes on where it was.
func TestCountGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, halves(q[:1], q[1:]), q...)
	const students = 25
	people := make([]string, students)
	for i := range people {
		people[i] = w.enroll(fmt.Sprint("Student ", i))
		w.give(w.mark(people[i], q[0], "10", "10"), w.mark(people[i], q[1], "0", "10"))
	}
	w.settled()
	state := func() string {
		t.Helper()
		b, err := w.grid.GetGradebook(w.staff(), &gradespb.GetGradebookRequest{CourseId: w.course})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(b.GetCalculating(), " ", b.GetCalculated(), " of ", b.GetToCalculate())
	}
	expect := func(want string) {
		t.Helper()
		if got := state(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	expect("false 0 of 0")
	w.service.countCells = 30 // 10 students
	next := halves(q[:1], q[1:])
	next.Categories[0].Weight, next.Categories[1].Weight = "90", "10"
	hear(w, w.service.coursePublished, w.publication(2, next, q...))
	expect("true 0 of 25")
	step := func(s *Service) {
		t.Helper()
		if _, err := s.countNext(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	step(w.service)
	expect("true 10 of 25")
	for _, p := range people {
		if got := w.mine(p).GetCurrent().GetPercent(); got != "90" {
			t.Errorf("%s before it is done, want 90", got)
		}
	}
	// Another process goes on.
	another := New(Config{DB: w.db, Log: rpctest.Log(t), Now: w.tick})
	another.countCells = 30
	step(another)
	expect("true 20 of 25")
	// Criteria that come meanwhile begin it again.
	next.Categories[0].Weight, next.Categories[1].Weight = "20", "80"
	hear(w, w.service.coursePublished, w.publication(3, next, q...))
	expect("true 0 of 25")
	step(w.service)
	expect("true 10 of 25")
	// Who is posted meanwhile is counted as well.
	w.set(people[24], q[1], &gradespb.GradeEdit{Points: new("10"), Reason: "Found it"})
	w.settled()
	expect("false 0 of 0")
	w.check()
	if got := w.student(people[0]).GetTotals().GetCurrent().GetPercent(); got != "20" {
		t.Errorf("%s, want 20", got)
	}
	last := map[string]string{}
	for _, e := range told[gradespb.CourseGradeChanged](w) {
		last[e.GetAccountId()] = e.GetPercent()
	}
	if last[people[0]] != "20" || last[people[24]] != "100" {
		t.Errorf("told %s and %s", last[people[0]], last[people[24]])
	}
}

// TestPostMany posts more grades than are counted at once: students see them at once,
// and their totals and events follow.
func TestPostMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const students = postAtOnce + 20
	q, people := w.crowd(students, 2)
	w.settled()
	w.countAll()
	if _, err := w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: q[0]}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.check()
	before := len(told[gradespb.GradePosted](w))
	res, err := w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: q[0]})
	if err != nil || res.GetChanged() != students {
		t.Fatalf("%v, %v", res, err)
	}
	if n := len(told[gradespb.GradePosted](w)); n != before {
		t.Errorf("%d were told with the posting itself", n-before)
	}
	w.settled()
	w.check()
	if n := len(told[gradespb.GradePosted](w)) - before; n != students {
		t.Errorf("%d were told, want %d", n, students)
	}
	// What is hidden again is in no total from then on, whoever is still to be counted.
	if _, err := w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: q[0]}); err != nil {
		t.Fatal(err)
	}
	mine := w.mine(people[0])
	list, err := w.grades.ListMyTotals(w.as(people[0]), &gradespb.ListMyTotalsRequest{})
	if err != nil || len(list.GetItems()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	want := &gradespb.MyTotal{CourseId: w.course, Title: mine.GetTitle(), Current: mine.GetCurrent(), Final: mine.GetFinal()}
	if diff := cmp.Diff(want, list.GetItems()[0], protocmp.Transform()); diff != "" {
		t.Errorf("totals that have what is hidden (-want +got):\n%s", diff)
	}
}
