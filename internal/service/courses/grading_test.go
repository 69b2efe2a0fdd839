package courses_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// TestGradebook: every field of the criteria is in what is calculated by.
func TestGradebook(t *testing.T) {
	t.Parallel()
	n := func(s string) *exact.Number { return new(exact.MustParse(s)) }
	policy := &coursespb.GradingPolicy{
		Method: "weighted", PassMark: "60", MissingDeduction: "80", Empty: "zero", Judge: "exact", Cap: "105",
		Letters:  []*coursespb.GradingLetter{{Letter: "A", MinPercent: "62.5"}, {Letter: "F", MinPercent: "0"}},
		Late:     &coursespb.LatePolicy{Rate: "10", Interval: "day", Floor: "40", GraceMinutes: 15},
		Rounding: &coursespb.Rounding{Mode: "half_up", Places: 1},
		Curve:    &coursespb.GradingCurve{Kind: "linear", From: []string{"40", "90"}, To: []string{"50", "100"}},
		Categories: []*coursespb.GradingCategory{
			{Key: "work", Title: "Work", Weight: "100", Method: "weighted", DropLowest: 1, DropHighest: 2, NeverDrop: []string{"b"}, ItemIds: []string{"a", "b", "gone"}},
			{Key: "more", Title: "More", Parent: "work", Weight: "5", ExtraCredit: true, KeepHighest: 3, Cap: "100", Curve: &coursespb.GradingCurve{Kind: "add", By: "-2.5"}},
			{Key: "deep", Title: "Deep", Parent: "more", Points: "12.5"},
		},
		Periods:    []*coursespb.GradingPeriod{{Key: "p", Title: "P", Weight: "100", ItemIds: []string{"a", "gone"}}},
		Items:      []*coursespb.GradingItem{{ItemId: "a", Weight: "2"}, {ItemId: "c", ExtraCredit: true, Excluded: true}, {ItemId: "gone"}},
		Calculated: []*coursespb.CalculatedItem{{Key: "sum", Title: "Sum", Formula: "points[a] + points[gone]", Points: "20", Category: "deep", Period: "p", ExtraCredit: true, Excluded: true, NeverDrop: true}},
	}
	got := policy.Gradebook(1, []gradebook.Item{{ID: "c", Title: "C", Points: exact.Int(3)}, {ID: "b"}, {ID: "a", Title: "A", Points: exact.Int(10)}})
	want := &gradebook.Policy{
		Version: 1, Method: gradebook.Weighted, PassMark: n("60"), MissingDeduction: n("80"), Empty: gradebook.AsZero, Judge: gradebook.Exact, Cap: n("105"),
		Letters:  []gradebook.Letter{{Letter: "A", Min: *n("62.5")}, {Letter: "F"}},
		Late:     &gradebook.LatePolicy{Rate: *n("10"), Interval: 86400, Floor: *n("40"), Grace: 900},
		Rounding: gradebook.Rounding{Mode: exact.HalfUp, Places: 1},
		Curve:    &gradebook.Curve{Kind: gradebook.Linear, From: [2]exact.Number{*n("40"), *n("90")}, To: [2]exact.Number{*n("50"), *n("100")}},
		Categories: []gradebook.Category{
			{Key: "work", Title: "Work", Weight: n("100"), Method: gradebook.Weighted, DropLowest: 1, DropHighest: 2},
			{Key: "more", Title: "More", Parent: "work", Weight: n("5"), ExtraCredit: true, KeepHighest: 3, Cap: n("100"), Curve: &gradebook.Curve{Kind: gradebook.Add, By: *n("-2.5")}},
			{Key: "deep", Title: "Deep", Parent: "more", Points: n("12.5")},
		},
		Periods: []gradebook.Period{{Key: "p", Title: "P", Weight: n("100")}},
		Items: []gradebook.Item{
			{ID: "c", Title: "C", Points: *n("3"), Path: "items[1]", ExtraCredit: true, Excluded: true},
			{ID: "b", Path: "categories[0].item_ids[1]", Category: "work", NeverDrop: true},
			{ID: "a", Title: "A", Points: *n("10"), Path: "items[0]", Category: "work", Period: "p", Weight: n("2")},
			{ID: "calculated:sum", Title: "Sum", Path: "calculated[0]", Formula: "points[a] + points[gone]", Points: *n("20"), Category: "deep", Period: "p", ExtraCredit: true, Excluded: true, NeverDrop: true},
			{ID: "gone", Excluded: true},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := gradebook.Compile(got); err != nil {
		t.Error(err)
	}
	usual := (&coursespb.GradingPolicy{Method: "points"}).Gradebook(1, nil)
	if usual.Rounding != (gradebook.Rounding{Places: 2}) || usual.Late != nil {
		t.Errorf("of nothing: %v", usual)
	}
}
