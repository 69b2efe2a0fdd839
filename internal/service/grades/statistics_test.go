package grades

import (
	"fmt"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestStatisticsOfFew: students see statistics where the course shows them, of what is
// posted to them, and of five posted grades at least: of fewer they could tell those of
// others.
func TestStatisticsOfFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, nil, q...)
	people := make([]string, 6)
	for i := range people {
		people[i] = w.enroll(fmt.Sprintf("Student %d", i))
	}
	sees := func(what, account string, want int32) {
		t.Helper()
		w.settled()
		got, err := w.grades.GetMyItemStatistics(w.as(account), &gradespb.GetMyItemStatisticsRequest{CourseId: w.course, ItemId: q[0]})
		if want == 0 && fault.CodeOf(fault.FromStatus(err)) != ErrNotShown.Code || want > 0 && (err != nil || got.GetCount() != want) {
			t.Errorf("%s: %v, %v; want %d", what, got, err, want)
		}
	}
	for _, p := range people[:5] {
		w.give(w.mark(p, q[0], "7", "10"))
	}
	sees("a course that shows none", people[0], 0)
	if _, err := w.columns.UpdateGradebookSettings(w.staff(), &gradespb.UpdateGradebookSettingsRequest{CourseId: w.course, Statistics: new(true)}); err != nil {
		t.Fatal(err)
	}
	sees("of five", people[0], 5)
	sees("who has no grade", people[5], 0)
	w.set(people[4], q[0], &gradespb.GradeEdit{Posted: new(false)})
	sees("of four that are posted", people[0], 0)
	sees("whose own is not posted", people[4], 0)
	w.give(w.mark(people[5], q[0], "9", "10"))
	sees("of five again", people[5], 5)
}
