package gradebook_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// TestOverrides: what a teacher sets, in a course by points of a and b in it, c and an
// item in none, over two periods.
func TestOverrides(t *testing.T) {
	t.Parallel()
	course := func(p, q *exact.Number) *class {
		c := points()
		c.policy.Periods = []gradebook.Period{{Key: "p", Weight: p}, {Key: "q", Weight: q}}
		c.category(gradebook.Category{Key: "a", DropLowest: 1}, "4/10@p", "9/10@p", "5/10@q")
		c.category(gradebook.Category{Key: "b", Parent: "a"}, "6/10@p", "2/10@q")
		return c.category(gradebook.Category{Key: "c"}, "8/10@q").category(gradebook.Category{}, "10/10@p")
	}
	half := new(n("50"))
	set := func(category, period, percent string) gradebook.Override {
		return gradebook.Override{Category: category, Period: period, Percent: n(percent)}
	}
	for name, c := range map[string]struct {
		class     *class
		overrides []gradebook.Override
		want      string // total; p and q; a, b and c
	}{
		"none":          {course(nil, nil), nil, "66.67; 83.33 50.00; 55.00 40.00 80.00"},
		"none, weights": {course(half, half), nil, "66.67; 83.33 50.00; 55.00 40.00 80.00"},
		// a is 100 of 40 points: 40 + 8 + 10 of 60.
		"a category":          {course(nil, nil), []gradebook.Override{set("a", "", "100")}, "96.67; 83.33 50.00; 100.00 40.00 80.00"},
		"a category, weights": {course(half, half), []gradebook.Override{set("a", "", "100")}, "96.67; 100.00 93.33; 100.00 40.00 80.00"},
		"in a period":         {course(half, half), []gradebook.Override{set("a", "p", "100")}, "75.00; 100.00 50.00; 55.00 40.00 80.00"},
		"a period beats all":  {course(half, half), []gradebook.Override{set("a", "q", "40"), set("a", "", "100")}, "76.67; 100.00 53.33; 100.00 40.00 80.00"},
		// b is 10 of 20 points: 9 + 5 + 10 + 8 + 10 of 60.
		"a category in it":   {course(nil, nil), []gradebook.Override{set("b", "", "50")}, "70.00; 83.33 50.00; 60.00 50.00 80.00"},
		"a period":           {course(half, half), []gradebook.Override{set("", "p", "0")}, "25.00; 0.00 50.00; 55.00 40.00 80.00"},
		"a period without":   {course(nil, nil), []gradebook.Override{set("", "p", "0")}, "66.67; 0.00 50.00; 55.00 40.00 80.00"},
		"the total":          {course(half, half), []gradebook.Override{set("", "", "99.999")}, "100.00; 83.33 50.00; 55.00 40.00 80.00"},
		"the last":           {course(nil, nil), []gradebook.Override{set("", "", "1"), set("", "", "2")}, "2.00; 83.33 50.00; 55.00 40.00 80.00"},
		"what there is not":  {course(nil, nil), []gradebook.Override{set("x", "", "1"), set("", "x", "2"), set("a", "x", "3")}, "66.67; 83.33 50.00; 55.00 40.00 80.00"},
		"a total of nothing": {points(), []gradebook.Override{set("", "", "50")}, "50.00; ; "},
		"a category of nothing": {
			weighted().category(gradebook.Category{Key: "a", Weight: new(n("60"))}).category(gradebook.Category{Key: "b", Weight: new(n("40"))}, "1/2"),
			[]gradebook.Override{set("a", "", "100")},
			"80.00; ; 100.00 50.00",
		},
	} {
		c.class.row.Overrides = c.overrides
		v := c.class.result(t).Full.Current
		show := func(values []gradebook.Value) string {
			var s []string
			for _, one := range values {
				s = append(s, one.Percent.Round(2, exact.HalfUp).Text(2))
			}
			return strings.Join(s, " ")
		}
		if got := says(v.Total) + "; " + show(v.Periods) + "; " + show(v.Categories); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		b, err := gradebook.Compile(&c.class.policy)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAgain(b.Explain(&c.class.row, gradebook.Full, gradebook.Current)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWithoutPeriod: where periods have weights, what is in none does not count.
func TestWithoutPeriod(t *testing.T) {
	t.Parallel()
	c := points()
	c.policy.Periods = []gradebook.Period{{Key: "p", Weight: new(n("100"))}}
	c.category(gradebook.Category{Key: "a"}, "9/10@p", "1/10")
	v := c.result(t).Full.Current
	if says(v.Total) != "90.00" || v.Items[1].State != gradebook.Uncounted || !v.Items[1].Has {
		t.Errorf("total %s, item %v", says(v.Total), v.Items[1])
	}
	c.policy.Periods[0].Weight = nil
	if v = c.result(t).Full.Current; says(v.Total) != "50.00" || v.Items[1].State != gradebook.Counted {
		t.Errorf("without weights: total %s, item %v", says(v.Total), v.Items[1])
	}
}

// everything is a course that has all that there is, and rows that are always the same.
func everything(t *testing.T) (*gradebook.Policy, []*gradebook.Row) {
	t.Helper()
	c := weighted()
	c.policy.Empty, c.policy.Cap, c.policy.Judge = gradebook.AsZero, new(n("104")), gradebook.Exact
	c.policy.Curve = &gradebook.Curve{Kind: gradebook.Linear, From: [2]exact.Number{n("40"), n("95")}, To: [2]exact.Number{n("50"), n("100")}}
	c.policy.Late = &gradebook.LatePolicy{Rate: n("7.5"), Interval: 3600, Floor: n("30"), Grace: 300}
	c.policy.MissingDeduction, c.policy.PassMark = new(n("90")), new(n("62.5"))
	c.policy.Letters = []gradebook.Letter{{Letter: "A", Min: n("87.5")}, {Letter: "B", Min: n("75")}, {Letter: "C", Min: n("50")}, {Letter: "F"}}
	c.policy.Periods = []gradebook.Period{{Key: "p", Weight: new(n("35"))}, {Key: "q", Weight: new(n("65"))}}
	c.category(gradebook.Category{Key: "quiz", Weight: new(n("33.3")), DropLowest: 2, DropHighest: 1}, "-/10@p", "-/7@p", "-/20@p", "-/3@p", "-/12@q", "-/9@q", "-/11@q", "-/10!@q", "-/5+@q", "-/0@p")
	c.category(gradebook.Category{Key: "work", Weight: new(n("46.7")), Method: gradebook.Weighted, KeepHighest: 2, Curve: &gradebook.Curve{Kind: gradebook.Scale, By: n("92")}}, "-/10*2@p", "-/30*3@p", "-/15@p", "-/15*0.5@q", "-/8@q", "-/9+*4@q")
	c.category(gradebook.Category{Key: "exam", Weight: new(n("20")), Method: gradebook.Equal}, "-/60@q")
	c.category(gradebook.Category{Key: "oral", Parent: "exam", KeepHighest: 1, Cap: new(n("95"))}, "-/10@p", "-/17@q", "-/6@p")
	c.category(gradebook.Category{Key: "more", Weight: new(n("4")), ExtraCredit: true}, "-/10@q")
	c.policy.Items = append(c.policy.Items, gradebook.Item{
		ID: "calculated", Category: "more", Period: "p", Points: n("10"), Formula: "if(percent[i1] >= 50, avg(points[i2], category[exam] / 10), default(points[i3] / 3, 2))",
	})
	var rows []*gradebook.Row
	seed := uint64(5)
	next := func(below uint64) int64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int64(seed >> 33 % below) //nolint:gosec // G115: it is below
	}
	for range 40 {
		row := &gradebook.Row{}
		for _, it := range c.policy.Items {
			m := gradebook.Mark{Status: gradebook.Graded, Raw: it.Points.Mul(exact.Ratio(next(106), 101)), Hidden: next(9) == 0}
			switch next(14) {
			case 0:
				m.Late = next(20000)
			case 1:
				m.Status = gradebook.Missing
			case 2:
				m.Status = gradebook.Excused
			case 3:
				m.Status = gradebook.None
			case 4:
				m.Overridden, m.Override = true, exact.Ratio(next(40), 3)
			}
			row.Marks = append(row.Marks, m)
		}
		if next(4) == 0 {
			row.Overrides = []gradebook.Override{{Category: c.policy.Categories[next(5)].Key, Percent: exact.Ratio(next(1000), 7), Hidden: next(2) == 0}}
		}
		rows = append(rows, row)
	}
	return &c.policy, rows
}

// TestVersion1Digits: the digits of version 1, totals and derivations, never change. A
// change of the calculation is a version of its own; this test stays as it is.
func TestVersion1Digits(t *testing.T) {
	t.Parallel()
	p, rows := everything(t)
	book, err := gradebook.Compile(p)
	if err != nil {
		t.Fatal(err, fields(err))
	}
	totals, steps := sha256.New(), sha256.New()
	for _, row := range rows {
		r := book.Student(row)
		for _, seen := range eyes {
			for _, basis := range bases {
				v := r.View(seen, basis)
				fmt.Fprintln(totals, v.Total.Percent, v.Total.Rounded, v.Total.Letter, v.Total.Passed)
				for _, value := range append(v.Categories, v.Periods...) {
					fmt.Fprintln(totals, value.Percent, value.Has, value.Overridden)
				}
				for _, s := range v.Items {
					fmt.Fprintln(totals, s.Points, s.Has, s.State)
				}
				text, err := json.Marshal(book.Explain(row, seen, basis))
				if err != nil {
					t.Fatal(err)
				}
				steps.Write(text)
			}
		}
	}
	want := []string{"9072f008473cbdfb363fa8138f94a6c5395e3a9bf6bf4bce0e640f112ca912cf", "6389104c4e170c98eb01c2677cb1895265c9d240dafc6a2e2ad5efa7dd38e474"}
	if diff := cmp.Diff(want, []string{hex.EncodeToString(totals.Sum(nil)), hex.EncodeToString(steps.Sum(nil))}); diff != "" {
		t.Errorf("digits have changed (-want +got):\n%s", diff)
	}
}

// TestIncremental: marks that change one after the other come to what all of them at
// once come to, whatever was calculated before.
func TestIncremental(t *testing.T) {
	t.Parallel()
	p, rows := everything(t)
	book, err := gradebook.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	var r gradebook.Result
	row := &gradebook.Row{}
	for k, other := range rows {
		for i, m := range other.Marks {
			if (i+k)%3 == 0 {
				row = row.WhatIf(gradebook.Full, gradebook.Change{Item: i, Mark: m})
				book.Into(&r, row)
			}
		}
		row.Overrides = other.Overrides
		book.Into(&r, row)
		again, err := gradebook.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again.Student(row.WhatIf(gradebook.Full)), &r, sameAs); diff != "" {
			t.Fatalf("row %d (-at once +step by step):\n%s", k, diff)
		}
	}
}
