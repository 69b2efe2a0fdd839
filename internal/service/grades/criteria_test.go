package grades

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestCriteria grades by all that criteria may say: categories in categories, periods,
// curves, calculated items, items that only add or do not count.
func TestCriteria(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 5)
	w.publish(1, &coursespb.GradingPolicy{
		Method: "weighted", Empty: "redistribute", Judge: "exact", PassMark: "60", Cap: "100", Curve: &coursespb.GradingCurve{Kind: "add", By: "5"},
		Categories: []*coursespb.GradingCategory{
			{Key: "work", Title: "Work", Weight: "60", Method: "weighted"},
			{Key: "quizzes", Title: "Quizzes", Parent: "work", Weight: "50", KeepHighest: 1, Method: "equal", ItemIds: q[:2]},
			{Key: "essays", Title: "Essays", Parent: "work", Weight: "50", ItemIds: q[2:3]},
			{Key: "exams", Title: "Exams", Weight: "40", ItemIds: q[3:5]},
		},
		Periods: []*coursespb.GradingPeriod{{Key: "one", Title: "One", ItemIds: q[:3]}, {Key: "two", Title: "Two", ItemIds: q[3:]}},
		Items:   []*coursespb.GradingItem{{ItemId: q[4], ExtraCredit: true}},
		Calculated: []*coursespb.CalculatedItem{
			{Key: "share", Title: "Share of the essay", Formula: "points[" + q[2] + "] / 4", Points: "5", Excluded: true},
		},
		Rounding: &coursespb.Rounding{Mode: "half_up", Places: 1},
	}, q...)
	ana := w.enroll("Ana")
	for i, points := range []string{"5", "9", "6", "7", "1"} {
		w.give(w.mark(ana, q[i], points, "10"))
	}
	w.settled()
	w.check()
	g := w.mine(ana)
	// Quizzes 90, essays 60: work 75. Exams 70 + 10 of extra credit: 80. 0.6 × 75 + 0.4 × 80 + 5.
	if g.GetCurrent().GetPercent() != "82" || !g.GetCurrent().GetPassed() {
		t.Errorf("the total is %v, want 82", g.GetCurrent())
	}
	var got []string
	for _, c := range append(g.GetCategories(), g.GetPeriods()...) {
		got = append(got, c.GetKey()+" "+c.GetCurrent())
	}
	want := []string{"work 75", "quizzes 90", "essays 60", "exams 80", "one 75", "two 80"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if last := g.GetItems()[5]; last.GetTitle() != "Share of the essay" || last.GetKind() != "calculated" || last.GetPoints() != "1.5" || last.GetCounted() != "uncounted" {
		t.Errorf("%v, want 1.5 points that do not count", last)
	}
	// What the course says is not changed here; a column of staff may join.
	_, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: "calculated:share", Points: new("10")})
	if code(err) != "column.not_yours" {
		t.Errorf("%v", err)
	}
	c, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{CourseId: w.course, Title: "Oral", Points: "10", Category: "exams", Period: "two"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(ana, c.GetItemId(), &gradespb.GradeEdit{Points: new("9")})
	w.settled()
	w.check()
	if got := w.mine(ana).GetCurrent().GetPercent(); got != "84" {
		t.Errorf("%s, want 84: exams are 16 of 20 and 1 more", got)
	}
	for _, req := range []*gradespb.CreateColumnRequest{
		{Title: "Nowhere", Points: "10", Category: "gone"},
		{Title: "Broken", Points: "10", Formula: "points["},
		{Title: "Of itself", Points: "10", Formula: "points[column_x]"},
	} {
		req.CourseId = w.course
		if _, err := w.columns.CreateColumn(w.staff(), req); code(err) != "grading.invalid" {
			t.Errorf("%s: %v", req.GetTitle(), err)
		}
	}
	// The category leaves the course: the column counts no more, and says so.
	w.publish(2, &coursespb.GradingPolicy{Method: "points"}, q...)
	w.check()
	b, err := w.grid.GetGradebook(w.staff(), &gradespb.GetGradebookRequest{CourseId: w.course})
	if err != nil || len(b.GetProblems()) == 0 || b.GetProblems()[0].GetPath() != "columns."+c.GetItemId()+".category" {
		t.Errorf("%v, %v", b.GetProblems(), err)
	}
}
