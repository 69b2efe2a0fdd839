package grades

import (
	"fmt"
	"testing"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestPartsAreExplained: whatever one's own grades say that a category or a period comes
// to has a derivation, which ends with it, in courses whose periods have weights and in
// those where they have none.
func TestPartsAreExplained(t *testing.T) {
	t.Parallel()
	for _, weights := range [][2]string{{"", ""}, {"30", "70"}} {
		w := newWorld(t)
		q := newIDs("activity", 5)
		c := halves(q[:3], q[3:])
		c.Periods = []*coursespb.GradingPeriod{
			{Key: "autumn", Title: "Autumn", Weight: weights[0], ItemIds: []string{q[0], q[1], q[3]}},
			{Key: "spring", Title: "Spring", Weight: weights[1], ItemIds: []string{q[2], q[4]}},
		}
		w.publish(1, c, q...)
		ana := w.enroll("Ana")
		for i, points := range []string{"9", "4", "7", "6.5", "8"} {
			w.give(w.mark(ana, q[i], points, "10"))
		}
		w.set(ana, q[4], &gradespb.GradeEdit{Posted: new(false)})
		w.settled()
		mine, staff := w.mine(ana), w.student(ana)
		if len(mine.GetCategories()) != 2 || len(mine.GetPeriods()) != 2 || mine.GetCategories()[1].GetCurrent() != "65" || staff.GetCategories()[1].GetCurrent() != "72.5" {
			t.Fatalf("nothing to explain: %v, %v", mine, staff)
		}
		ends := func(of string, d *gradespb.GradeDerivation, err error, want string) {
			t.Helper()
			got := ""
			if n := len(d.GetSteps()); n > 0 && d.GetSteps()[n-1].GetKind() == "total" {
				got = d.GetSteps()[n-1].GetValue()
			}
			if err != nil || got != want || want == "" && len(d.GetSteps()) == 0 {
				t.Errorf("weights %v: %s ends with %q, want %q: %v, %v", weights, of, got, want, d, err)
			}
		}
		both := func(category, period string, mine, full *gradespb.GroupGrade) {
			t.Helper()
			for basis, want := range map[string][2]string{"current": {mine.GetCurrent(), full.GetCurrent()}, "final": {mine.GetFinal(), full.GetFinal()}} {
				own, err := w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course, Basis: basis, Category: category, Period: period})
				ends(fmt.Sprint("own ", basis, category, period), own, err, want[0])
				all, err := w.grades.ExplainStudentGrade(w.staff(), &gradespb.ExplainStudentGradeRequest{CourseId: w.course, AccountId: ana, Basis: basis, Category: category, Period: period})
				ends(fmt.Sprint("full ", basis, category, period), all, err, want[1])
			}
		}
		for i, g := range mine.GetCategories() {
			both(g.GetKey(), "", g, staff.GetCategories()[i])
		}
		for i, p := range mine.GetPeriods() {
			both("", p.GetKey(), p, staff.GetPeriods()[i])
		}
		// Of the homework of autumn the lowest is dropped; nothing of the exams of spring is posted.
		d, err := w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course, Category: "homework", Period: "autumn"})
		ends("homework of autumn", d, err, "90")
		d, err = w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course, Category: "exams", Period: "spring"})
		ends("exams of spring", d, err, "")
		if _, err := w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course, Category: "labs"}); code(err) != "total.unknown_place" {
			t.Errorf("a category that there is not: %v", err)
		}
	}
}
