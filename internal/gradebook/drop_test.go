package gradebook_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// TestDropsAreTheBest: of points that differ much, in categories that are searched
// together, no other drops make a better total.
func TestDropsAreTheBest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t, simple: true}
		p := &gradebook.Policy{Version: 1, Method: gradebook.Points}
		row := &gradebook.Row{}
		for i := range rapid.IntRange(1, 3).Draw(t, "categories") {
			g := gradebook.Category{Key: fmt.Sprint(i), Method: gradebook.Points, DropLowest: rapid.IntRange(0, 3).Draw(t, "lowest"), DropHighest: pick(d, "highest", 0, 0, 0, 1)}
			if i > 0 {
				g.ExtraCredit = d.chance(30, "extra")
				g.Parent = pick(d, "parent", "", fmt.Sprint(i-1))
			}
			p.Categories = append(p.Categories, g)
			for range rapid.IntRange(1, 5).Draw(t, "items") {
				of := rapid.SampledFrom([]int64{1, 2, 3, 5, 10, 40, 100, 1000}).Draw(t, "of")
				percent := rapid.Int64Range(0, 110).Draw(t, "percent")
				p.Items = append(p.Items, gradebook.Item{
					ID: fmt.Sprint(len(p.Items)), Category: g.Key, Points: exact.Int(of), NeverDrop: d.chance(10, "never"),
				})
				row.Marks = append(row.Marks, gradebook.Mark{Status: gradebook.Graded, Raw: exact.Ratio(of*percent, 100)})
			}
		}
		n := &naive{p: p, row: row}
		view := compiled(t, p).Student(row).Full.Current
		if want := n.best(""); !equal(view.Total.Has, view.Total.Percent, want) {
			t.Fatalf("got %v %s, want %v", view.Total.Has, view.Total.Percent, want)
		}
	})
}

// TestDropsOfMany: as many as a course may have, of points that all differ.
func TestDropsOfMany(t *testing.T) {
	t.Parallel()
	p := &gradebook.Policy{Version: 1, Method: gradebook.Points, Categories: []gradebook.Category{{Key: "a", DropLowest: 100}, {Key: "b", KeepHighest: 1000}}}
	row := &gradebook.Row{}
	for i := range int64(gradebook.MaxItems) {
		of := 1 + i*7919%997
		p.Items = append(p.Items, gradebook.Item{ID: fmt.Sprint(i), Category: []string{"a", "b"}[i%2], Points: exact.Int(of)})
		row.Marks = append(row.Marks, gradebook.Mark{Status: gradebook.Graded, Raw: exact.Ratio(of*(i*104729%101), 100)})
	}
	view := compiled(t, p).Student(row).Full.Current
	kept, lost := map[string]int{}, map[string]int{}
	ratio := view.Total.Percent.Div(exact.Int(100))
	worth := map[string][2]exact.Number{} // the least that is kept, the most that is dropped
	for i, s := range view.Items {
		c := p.Items[i].Category
		w := row.Marks[i].Raw.Sub(ratio.Mul(p.Items[i].Points))
		least, most := worth[c][0], worth[c][1]
		if s.State == gradebook.DroppedLowest {
			if lost[c]++; lost[c] == 1 || w.Cmp(most) > 0 {
				most = w
			}
		} else if kept[c]++; kept[c] == 1 || w.Cmp(least) < 0 {
			least = w
		}
		worth[c] = [2]exact.Number{least, most}
	}
	if lost["a"] != 100 || kept["b"] != 1000 {
		t.Errorf("dropped %v, kept %v", lost, kept)
	}
	// What the total's ratio itself would choose is chosen: then it is the best.
	for c, w := range worth {
		if w[0].Cmp(w[1]) < 0 {
			t.Errorf("in %s something is dropped that is worth more than what is kept", c)
		}
	}
}
