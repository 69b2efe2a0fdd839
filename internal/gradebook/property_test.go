package gradebook_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

var (
	eyes   = []gradebook.Seen{gradebook.Full, gradebook.Posted}
	bases  = []gradebook.Basis{gradebook.Current, gradebook.Final}
	sameAs = cmpopts.IgnoreUnexported(gradebook.Result{})
)

func compiled(t interface{ Fatal(args ...any) }, p *gradebook.Policy) *gradebook.Book {
	b, err := gradebook.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(has bool, got exact.Number, want *big.Rat) bool {
	if want == nil || !has {
		return want == nil && !has
	}
	return rat(got).Cmp(want) == 0
}

// TestAsNaive holds totals to an implementation that tries all drops.
func TestAsNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t}
		c := d.course()
		row := d.row(&c)
		book := compiled(t, c.policy)
		result := book.Student(row)
		for _, seen := range eyes {
			for _, basis := range bases {
				n := &naive{p: c.policy, row: row, seen: seen, basis: basis, exprs: c.exprs}
				view := result.View(seen, basis)
				agree(t, book, n, view, &c)
				if t.Failed() {
					t.Logf("seen %d, basis %d", seen, basis)
				}
			}
		}
	})
}

func agree(t *rapid.T, book *gradebook.Book, n *naive, view *gradebook.View, c *course) {
	dropped := map[int]bool{}
	for i, s := range view.Items {
		if want := n.score(i); !equal(s.Has, s.Points, want) {
			t.Fatalf("item %d: got %v, want %v", i, s, want)
		}
		dropped[i] = s.State == gradebook.DroppedLowest || s.State == gradebook.DroppedHighest
	}
	// With what the engine dropped, everything is what the naive one makes of it.
	if got, want := view.Total, n.total(func(p string) *big.Rat { return n.period(p, dropped) }); !equal(got.Has, got.Percent, want) {
		t.Fatalf("total with these drops: got %v %s, want %v", got.Has, got.Percent, want)
	}
	if !n.weighted() {
		for k, g := range c.policy.Categories {
			if got, want := view.Categories[k], n.evaluate(g.Key, "", dropped).percent; !equal(got.Has, got.Percent, want) {
				t.Fatalf("category %s: got %v %s, want %v", g.Key, got.Has, got.Percent, want)
			}
		}
	}
	// And no other drops make a better total.
	if !c.overrides {
		if got, want := view.Total, n.total(n.best); !equal(got.Has, got.Percent, want) {
			t.Fatalf("best total: got %v %s, want %v", got.Has, got.Percent, want)
		}
		for k, p := range c.policy.Periods {
			want := n.best(p.Key)
			if got := view.Periods[k]; !equal(got.Has, got.Percent, want) {
				t.Fatalf("period %s: got %v %s, want %v", p.Key, got.Has, got.Percent, want)
			}
		}
	}
	judge(t, book, view.Total)
}

// judge holds what is made of a total to what the policy says.
func judge(t *rapid.T, book *gradebook.Book, total gradebook.Total) {
	if !total.Has {
		if total.Letter != "" || total.Passed {
			t.Fatalf("nothing is judged: %v", total)
		}
		return
	}
	p := book.Policy()
	if want := total.Percent.Round(p.Rounding.Places, p.Rounding.Mode); !total.Rounded.Equal(want) {
		t.Fatalf("rounded: got %s, want %s", total.Rounded, want)
	}
	by := rat(total.Rounded)
	if p.Judge == gradebook.Exact {
		by = rat(total.Percent)
	}
	letter := "F"
	if by.Cmp(big.NewRat(125, 2)) >= 0 {
		letter = "B"
	}
	if by.Cmp(num(90)) >= 0 {
		letter = "A"
	}
	if total.Letter != letter || total.Passed != (by.Cmp(num(60)) >= 0) {
		t.Fatalf("%s of %s: letter %s, passed %v", p.Judge, total.Percent, total.Letter, total.Passed)
	}
}

// TestDeterminism: the same row has the same result, whoever was calculated before in
// the same room, and whether one asks for a view, all, or how it came about.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t}
		c := d.course()
		one, two := d.row(&c), d.row(&c)
		book, again := compiled(t, c.policy), compiled(t, c.policy)
		var room gradebook.Result
		for _, row := range []*gradebook.Row{one, two, one} {
			book.Into(&room, row)
			if diff := cmp.Diff(again.Student(row), &room, sameAs); diff != "" {
				t.Fatalf("in room that was used:\n%s", diff)
			}
		}
		for _, seen := range eyes {
			for _, basis := range bases {
				told, want := total(book.Explain(one, seen, basis)), &room.View(seen, basis).Total
				if told == nil && want.Has || told != nil && (!want.Has || !told.Equal(want.Rounded)) {
					t.Fatalf("explained %v, want %v", told, want)
				}
			}
		}
	})
}

func total(d *gradebook.Derivation) *exact.Number {
	if d.Total < 0 {
		return nil
	}
	return &d.Nodes[d.Total].Value
}

// TestHiddenIsUnseen: whatever hidden marks and overrides are, posted totals and how
// they came about are the same to the byte.
func TestHiddenIsUnseen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t}
		c := d.course()
		row := d.row(&c)
		book := compiled(t, c.policy)
		other := row.WhatIf(gradebook.Full)
		for i := range other.Marks {
			if other.Marks[i].Hidden {
				other.Marks[i] = d.mark()
				other.Marks[i].Hidden = true
			}
		}
		for i := range other.Overrides {
			if other.Overrides[i].Hidden {
				other.Overrides[i].Percent = d.number("other", "0", "100", "61/7")
			}
		}
		posted := func(row *gradebook.Row) []byte {
			text, err := json.Marshal(map[string]any{
				"result":  book.Student(row).Posted,
				"current": book.Explain(row, gradebook.Posted, gradebook.Current), "final": book.Explain(row, gradebook.Posted, gradebook.Final),
			})
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		if diff := cmp.Diff(string(posted(row)), string(posted(other))); diff != "" {
			t.Fatalf("hidden marks show:\n%s", diff)
		}
		// What would be if is calculated without them.
		if diff := cmp.Diff(book.Student(row).Posted, book.Student(row.WhatIf(gradebook.Posted)).Posted); diff != "" {
			t.Fatalf("what if nothing:\n%s", diff)
		}
	})
}

// TestBetterMarksDoNotHarm: without drops of the highest and formulas no better mark
// makes a total less.
func TestBetterMarksDoNotHarm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t, simple: true}
		c := d.course()
		row := d.row(&c)
		if len(row.Marks) == 0 {
			return
		}
		book := compiled(t, c.policy)
		i := rapid.IntRange(0, len(row.Marks)-1).Draw(t, "better")
		m := row.Marks[i]
		m.Raw, m.Override = m.Raw.Add(exact.MustParse("0.75")), m.Override.Add(exact.MustParse("0.75"))
		before, after := book.Student(row), book.Student(row.WhatIf(gradebook.Full, gradebook.Change{Item: i, Mark: m}))
		for _, seen := range eyes {
			for _, basis := range bases {
				a, b := before.View(seen, basis).Total, after.View(seen, basis).Total
				if a.Has != b.Has || b.Percent.Cmp(a.Percent) < 0 {
					t.Fatalf("%s became %s", a.Percent, b.Percent)
				}
			}
		}
	})
}
