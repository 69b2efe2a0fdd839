package gradebook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// n reads a number.
func n(s string) exact.Number { return exact.MustParse(s) }

// class is a course of a few words: for each category its items as "points/possible",
// "-" in place of points where there are none, "x" where excused, "+" behind for extra
// credit, "!" for never dropped, "?" for hidden, "*2" for a weight, "@p" for a period.
type class struct {
	policy gradebook.Policy
	row    gradebook.Row
}

func (c *class) category(g gradebook.Category, items ...string) *class {
	if g.Key != "" {
		c.policy.Categories = append(c.policy.Categories, g)
	}
	for _, text := range items {
		it := gradebook.Item{ID: fmt.Sprintf("i%d", len(c.policy.Items)+1), Category: g.Key}
		text, it.Period, _ = strings.Cut(text, "@")
		text, weight, weighs := strings.Cut(text, "*")
		if weighs {
			it.Weight = new(n(weight))
		}
		points, of, _ := strings.Cut(strings.TrimRight(text, "+!?"), "/")
		flags := text[len(points)+1+len(of):]
		it.Points, it.ExtraCredit, it.NeverDrop = n(of), strings.Contains(flags, "+"), strings.Contains(flags, "!")
		m := gradebook.Mark{Hidden: strings.Contains(flags, "?")}
		switch points {
		case "-":
		case "x":
			m.Status = gradebook.Excused
		default:
			m.Status, m.Raw = gradebook.Graded, n(points)
		}
		c.policy.Items, c.row.Marks = append(c.policy.Items, it), append(c.row.Marks, m)
	}
	return c
}

func points() *class {
	return &class{policy: gradebook.Policy{Version: 1, Method: gradebook.Points, Rounding: gradebook.Rounding{Mode: exact.HalfUp, Places: 2}}}
}

func weighted() *class {
	c := points()
	c.policy.Method = gradebook.Weighted
	return c
}

func (c *class) result(t *testing.T) *gradebook.Result {
	t.Helper()
	b, err := gradebook.Compile(&c.policy)
	if err != nil {
		t.Fatal(err)
	}
	return b.Student(&c.row)
}

func says(t gradebook.Total) string {
	if !t.Has {
		return "none"
	}
	return t.Rounded.Text(2)
}

func dropped(v *gradebook.View) string {
	var ids []string
	for i, s := range v.Items {
		if s.State == gradebook.DroppedLowest || s.State == gradebook.DroppedHighest {
			ids = append(ids, fmt.Sprint(i+1))
		}
	}
	return strings.Join(ids, " ")
}

// TestPublishedTotals are totals that others have published, with where.
func TestPublishedTotals(t *testing.T) {
	t.Parallel()
	w := func(s string) *exact.Number { return new(n(s)) }
	// spec/lib/grade_calculator_spec.rb of Canvas, "compute_and_save_scores": two groups
	// of 45 and 55 percent that each drop the lowest, the second of each three muted.
	muted := func(c *class, weight ...*exact.Number) *class {
		c.category(gradebook.Category{Key: "a", DropLowest: 1, Weight: weight[0]}, "35/150@p", "99.6/150?@p", "142.7/150@p")
		return c.category(gradebook.Category{Key: "b", DropLowest: 1, Weight: weight[1]}, "42/150@q", "95/150?@q", "131.4/150@q")
	}
	inPeriods := func(c *class, p, q *exact.Number) *class {
		c.policy.Periods = []gradebook.Period{{Key: "p", Weight: p}, {Key: "q", Weight: q}}
		return c
	}
	withUngraded := inPeriods(muted(points(), nil, nil), w("25"), w("75")).category(gradebook.Category{Key: "c"}, "-/100@q")
	equalCategory := func(method gradebook.Method, items ...string) *class {
		c := weighted()
		return c.category(gradebook.Category{Key: "a", Method: method, Weight: w("100")}, items...)
	}
	for name, c := range map[string]struct {
		class *class
		want  string // full current, full final, posted current, posted final
	}{
		"Canvas, by points":            {inPeriods(muted(points(), nil, nil), nil, nil), "78.12 78.12 91.37 58.52"},
		"Canvas, weighted":             {inPeriods(muted(weighted(), w("45"), w("55")), nil, nil), "77.85 77.85 90.99 58.45"},
		"Canvas, periods of 25 and 75": {withUngraded, "76.79 62.64 89.48 47.32"},
		// The same file: "correctly rounds weighted assignment groups by percent".
		"Canvas, six weights": {
			weighted().
				category(gradebook.Category{Key: "a", Weight: w("12")}, "11.8/12").category(gradebook.Category{Key: "b", Weight: w("10")}, "82/82").
				category(gradebook.Category{Key: "c", Weight: w("15")}, "89.5/100").category(gradebook.Category{Key: "d", Weight: w("21")}, "85/100").
				category(gradebook.Category{Key: "e", Weight: w("21")}, "85/100").category(gradebook.Category{Key: "f", Weight: w("21")}, "83/100"),
			"88.36 88.36 88.36 88.36",
		},
		// The same file: weights of 9.9 and 23.1 with nothing beside; 67 are empty here.
		"Canvas, empty weights": {weighted().
			category(gradebook.Category{Key: "a", Weight: w("9.9")}, "75/100").category(gradebook.Category{Key: "b", Weight: w("23.1")}, "53.75/100").
			category(gradebook.Category{Key: "c", Weight: w("67")}), "60.13 60.13 60.13 60.13"},
		// The same file: "computes grades without dying".
		"Canvas, current and final": {points().category(gradebook.Category{Key: "a"}, "-/10", "5/10"), "50.00 25.00 50.00 25.00"},
		// docs.moodle.org, "Grade aggregation": 70 of 100, 20 of 80 and 10 of 10.
		"Moodle, mean":                 {equalCategory(gradebook.Equal, "70/100", "20/80", "10/10"), "65.00 65.00 65.00 65.00"},
		"Moodle, weighted mean":        {equalCategory(gradebook.Weighted, "70/100*10", "20/80*5", "10/10*3"), "62.50 62.50 62.50 62.50"},
		"Moodle, simple weighted mean": {points().category(gradebook.Category{Key: "a"}, "70/100", "20/80", "10/10"), "52.63 52.63 52.63 52.63"},
		// library.unca.edu, "Moodle gradebook", example 1.
		"UNCA, weights": {equalCategory(gradebook.Weighted, "80/100*2", "45/50", "95/100*2", "90/100*3"), "88.75 88.75 88.75 88.75"},
		// Extra credit by points: 0 points possible, as Canvas advises, or extra.
		"bonus":                      {points().category(gradebook.Category{}, "45/50", "5/0"), "100.00 100.00 100.00 100.00"},
		"extra credit":               {points().category(gradebook.Category{}, "45/50", "5/10+", "-/10+"), "100.00 100.00 100.00 100.00"},
		"extra credit of 5 adds 5":   {weighted().category(gradebook.Category{Key: "a", Weight: w("40")}, "80/100").category(gradebook.Category{Key: "b", Weight: w("60")}).category(gradebook.Category{Key: "c", Weight: w("5"), ExtraCredit: true}, "10/10"), "85.00 85.00 85.00 85.00"},
		"extra credit in a category": {equalCategory(gradebook.Equal, "8/10", "6/10", "-/10", "-/10", "4/10+"), "80.00 45.00 80.00 45.00"},
		"nothing but extra credit":   {points().category(gradebook.Category{}, "5/10+"), "none none none none"},
		"nothing":                    {points(), "none none none none"},
		"excused":                    {points().category(gradebook.Category{}, "x/10", "9/10"), "90.00 90.00 90.00 90.00"},
	} {
		r := c.class.result(t)
		got := strings.Join([]string{says(r.Full.Current.Total), says(r.Full.Final.Total), says(r.Posted.Current.Total), says(r.Posted.Final.Total)}, " ")
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestPublishedDrops are sets of items to drop that others have published.
func TestPublishedDrops(t *testing.T) {
	t.Parallel()
	// After D. and J. Kane, "Dropping Lowest Grades", Mathematics Magazine, June 2006: what
	// goes first is not among the two that go together.
	carl := []string{"100/100", "42/91", "14/55", "3/38"}
	for _, c := range []struct {
		name                  string
		lowest, highest, keep int
		items                 []string
		want, total           string
	}{
		{"Carl without one", 1, 0, 0, carl, "4", "63.41"},
		{"Carl without two", 2, 0, 0, carl, "2 3", "74.64"},
		{"Carl without three", 3, 0, 0, carl, "2 3 4", "100.00"},
		// musemath.blogspot.com, "Upgrading", of the same paper: not the lowest percentage.
		{"Muse", 1, 0, 0, []string{"80/100", "20/100", "1/20"}, "2", "67.50"},
		{"Muse keeps two", 0, 0, 2, []string{"80/100", "20/100", "1/20"}, "2", "67.50"},
		// danthemanhathaway.com, QuizDropper: not the two lowest percentages, and, by
		// R. Ricks, not one greedy step after the other.
		{"Hathaway", 2, 0, 0, []string{"10/10", "6/10", "6/10", "70/100"}, "3 4", "80.00"},
		{"Ricks", 2, 0, 0, []string{"85/100", "85/100", "6.99/20", "1000/1000"}, "1 2", "98.72"},
		// The rules of grade_calculator.rb of Canvas for few items: one is kept, and the
		// highest go only where something is left.
		{"all but one", 5, 0, 0, []string{"1/10", "9/10", "2/10"}, "1 3", "90.00"},
		{"both rules leave none", 1, 1, 0, []string{"1/10", "9/10"}, "1", "90.00"},
		{"both rules", 1, 1, 0, []string{"1/10", "9/10", "5/10", "8/10"}, "1 2", "65.00"},
		{"never", 1, 0, 0, []string{"1/10!", "9/10", "5/10"}, "3", "50.00"},
		{"not counted over extra credit", 1, 0, 0, []string{"1/10+", "3/0", "9/10", "5/10"}, "4", "130.00"},
		{"not over what has no mark", 1, 0, 0, []string{"-/10", "9/10", "5/10"}, "3", "90.00"},
		// Of equals, the earlier one is kept.
		{"equals", 1, 0, 0, []string{"5/10", "5/10", "5/10"}, "3", "50.00"},
		{"equal highest", 0, 1, 0, []string{"10/10", "5/5", "5/5", "1/10"}, "3", "64.00"},
	} {
		class := points().category(gradebook.Category{Key: "a", DropLowest: c.lowest, DropHighest: c.highest, KeepHighest: c.keep}, c.items...)
		v := class.result(t).Full.Current
		if got := dropped(&v); got != c.want || says(v.Total) != c.total {
			t.Errorf("%s: dropped %s for %s, want %s for %s", c.name, got, says(v.Total), c.want, c.total)
		}
	}
}

// TestDropsAcrossCategories: of points below points the total is the best, for which a
// category is not the best that it could be.
func TestDropsAcrossCategories(t *testing.T) {
	t.Parallel()
	// Alone, the category would drop the 2 of 3 and be 60 percent. Beside 9 of 100, it is
	// worth more to keep all the points that are better than 9 percent and weigh most.
	c := points().category(gradebook.Category{Key: "a", DropLowest: 1}, "60/100", "2/3").category(gradebook.Category{Key: "b"}, "9/100")
	r := c.result(t)
	if got := dropped(&r.Full.Current); got != "2" || says(r.Full.Current.Total) != "34.50" {
		t.Errorf("dropped %s for %s", got, says(r.Full.Current.Total))
	}
	alone := points().category(gradebook.Category{Key: "a", DropLowest: 1}, "60/100", "2/3").result(t)
	if got := dropped(&alone.Full.Current); got != "1" || says(alone.Full.Current.Total) != "66.67" {
		t.Errorf("alone: dropped %s for %s", got, says(alone.Full.Current.Total))
	}
}

// TestPublishedLatePolicies: points after lateness, from guides.instructure.com, "How
// do I apply a Late Submission policy in the Gradebook?", and from docs.codio.com,
// "Penalties".
func TestPublishedLatePolicies(t *testing.T) {
	t.Parallel()
	const day = 86400
	for _, c := range []struct {
		raw, of, rate, floor string
		late, grace          int64
		want                 string
	}{
		{"10", "10", "10", "0", 2 * day, 0, "8"},       // Canvas: two days late
		{"10", "10", "10", "0", day * 13 / 10, 0, "8"}, // Canvas: 1.3 days are two
		{"100", "100", "10", "20", 2 * day, 0, "80"},   // Codio's table
		{"30", "100", "10", "20", 2 * day, 0, "20"},
		{"50", "100", "10", "20", 2 * day, 0, "30"},
		{"10", "100", "10", "20", 2 * day, 0, "10"},
		{"20", "100", "10", "20", 2 * day, 0, "20"},
		{"100", "100", "10", "50", 8 * day, 0, "50"}, // Codio: eight intervals, floor 50
		{"7", "9", "33.3", "0", 1, 0, "4.003"},       // one interval is begun
		{"7", "9", "33.3", "0", day, 0, "4.003"},
		{"7", "9", "33.3", "0", day + 1, 0, "1.006"},
		{"7", "9", "33.3", "0", 9 * day, 0, "0"},
		{"12", "10", "10", "0", day, 0, "11"},      // more than possible
		{"-2", "10", "10", "0", day, 0, "-2"},      // below the floor already
		{"5", "0", "10", "0", day, 0, "5"},         // a bonus
		{"10", "10", "10", "0", 600, 600, "10"},    // within the grace
		{"10", "10", "10", "0", day + 1, 600, "8"}, // late from the deadline on
		{"10", "10", "10", "0", 1<<62 + 1, 0, "0"},
	} {
		class := points().category(gradebook.Category{}, c.raw+"/"+c.of)
		class.policy.Late = &gradebook.LatePolicy{Rate: n(c.rate), Interval: day, Floor: n(c.floor), Grace: c.grace}
		class.row.Marks[0].Late = c.late
		if got := class.result(t).Full.Current.Items[0].Points.String(); got != c.want {
			t.Errorf("%s of %s, %d seconds late, %s per day to %s: got %s, want %s", c.raw, c.of, c.late, c.rate, c.floor, got, c.want)
		}
	}
}

// TestMarks are single marks: missing, overridden, excused.
func TestMarks(t *testing.T) {
	t.Parallel()
	g, missing := gradebook.Graded, gradebook.Missing
	for name, c := range map[string]struct {
		deduction string
		mark      gradebook.Mark
		want      string // points and what they count as, in a current and a final total
	}{
		"missing with a deduction":    {"80", gradebook.Mark{Status: missing}, "2 1 2 1"},
		"missing without":             {"", gradebook.Mark{Status: missing}, "none 0 none 2"},
		"submitted":                   {"80", gradebook.Mark{Status: gradebook.Submitted}, "none 0 none 2"},
		"nothing":                     {"80", gradebook.Mark{}, "none 0 none 2"},
		"overridden":                  {"80", gradebook.Mark{Status: g, Raw: n("9"), Late: 1, Overridden: true, Override: n("7")}, "7 1 7 1"},
		"overridden without a mark":   {"", gradebook.Mark{Overridden: true, Override: n("7")}, "7 1 7 1"},
		"missing is overridden":       {"80", gradebook.Mark{Status: missing, Overridden: true}, "0 1 0 1"},
		"excused":                     {"80", gradebook.Mark{Status: gradebook.Excused, Raw: n("9")}, "none 6 none 6"},
		"excused, though overridden":  {"", gradebook.Mark{Status: gradebook.Excused, Overridden: true, Override: n("7")}, "none 6 none 6"},
		"late, though not handed in":  {"", gradebook.Mark{Late: 5}, "none 0 none 2"},
		"late, in a course that asks": {"", gradebook.Mark{Status: g, Raw: n("9"), Late: 5}, "8 1 8 1"},
	} {
		class := points().category(gradebook.Category{}, "-/10")
		class.policy.Late = &gradebook.LatePolicy{Rate: n("10"), Interval: 3600}
		if c.deduction != "" {
			class.policy.MissingDeduction = new(n(c.deduction))
		}
		class.row.Marks[0] = c.mark
		var got []string
		for _, v := range []gradebook.View{class.result(t).Full.Current, class.result(t).Full.Final} {
			score := "none"
			if v.Items[0].Has {
				score = v.Items[0].Points.String()
			}
			got = append(got, score, fmt.Sprint(v.Items[0].State))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", name, s, c.want)
		}
	}
}

// TestRoundedOnce: thirds stay thirds until the end, and a half is what the course says.
func TestRoundedOnce(t *testing.T) {
	t.Parallel()
	third := weighted().category(gradebook.Category{Key: "a", Weight: new(n("33.3"))}, "1/3").category(gradebook.Category{Key: "b", Weight: new(n("66.7"))}, "1/3")
	if got := third.result(t).Full.Current.Total.Percent.String(); got != "100/3" {
		t.Errorf("a third is %s", got)
	}
	for _, c := range []struct {
		raw    string
		mode   exact.Mode
		places int
		judge  gradebook.Judge
		want   string
	}{
		{"59.995", exact.HalfUp, 2, gradebook.Rounded, "60 true P"},
		{"59.995", exact.HalfUp, 2, "", "60 true P"},
		{"59.995", exact.HalfUp, 2, gradebook.Exact, "60 false F"},
		{"62.125", exact.HalfEven, 2, gradebook.Rounded, "62.12 true P"},
		{"62.125", exact.HalfUp, 2, gradebook.Rounded, "62.13 true P"},
		{"59.5", exact.HalfEven, 0, gradebook.Rounded, "60 true P"},
		{"-3", exact.HalfEven, 0, gradebook.Rounded, "-3 false F"},
	} {
		class := points().category(gradebook.Category{}, c.raw+"/100")
		class.policy.Rounding, class.policy.Judge, class.policy.PassMark = gradebook.Rounding{Mode: c.mode, Places: c.places}, c.judge, new(n("60"))
		class.policy.Letters = []gradebook.Letter{{Letter: "P", Min: n("60")}, {Letter: "F"}}
		total := class.result(t).Full.Current.Total
		if got := fmt.Sprintf("%s %v %s", total.Rounded, total.Passed, total.Letter); got != c.want {
			t.Errorf("%s: got %s, want %s", c.raw, got, c.want)
		}
	}
}
