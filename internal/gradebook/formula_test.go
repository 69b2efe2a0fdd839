package gradebook_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// TestFormula: what formulas come to, in a current and in a final total. The course has
// the items i1 of 8/10, i2 of 15/20, i3 without a score, i4 excused and i5 of 3/0, all in
// the category c.
func TestFormula(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1 + 2 * 3":                   "7 7",
		"(1 + 2) * 3":                 "9 9",
		"8 / 2 / 2":                   "2 2",
		"10 - 3 - 2":                  "5 5",
		"2 - -2":                      "4 4",
		"1 / 3 + 1 / 6":               "0.5 0.5",
		"9 ÷ 3 × 2 − 1":               "5 5",
		"points[i1] + points[i2]":     "23 23",
		"percent[i2]":                 "75 75",
		"possible[i3] + possible[i5]": "10 10",
		"points[i3]":                  "none 0",
		"points[i4]":                  "none none",
		"points[i3] + 1":              "none 1",
		"percent[i5]":                 "none none",
		"points[i5]":                  "3 3",
		"avg(points[i1], points[i3])": "8 4",
		"avg(points[i1], points[i4])": "8 8",
		"sum(points[i4])":             "none none",
		"min(points[i1], points[i2], points[i3])":               "8 0",
		"max(points[i1], 2 * points[i2], 4)":                    "30 30",
		"default(points[i4], 5)":                                "5 5",
		"default(points[i1], 5)":                                "8 8",
		"if(points[i1] >= 8, 10, 0)":                            "10 10",
		"if(points[i1] > 8, 10, 0)":                             "0 0",
		"if(points[i3], 1, 2)":                                  "none 2",
		"if(1 != 1, 1, if(2 <= 2, 3, 4))":                       "3 3",
		"(1 < 2) + (1 = 1) + (2 == 3)":                          "2 2",
		"1 / (points[i1] - 8)":                                  "none none",
		"category[c]":                                           "260/3 65", // (8 + 15 + 3) / 30; of 40
		"0.6*category[c]+0.4*percent[i1]":                       "84 71",
		" min( 1 ,2 )\n":                                        "1 1",
		"0.1 + 0.2":                                             "0.3 0.3",
		strings.Repeat("(", 49) + "1" + strings.Repeat(")", 49): "1 1",
	} {
		c := points().category(gradebook.Category{Key: "c"}, "8/10", "15/20", "-/10", "x/10", "3/0")
		c.policy.Items = append(c.policy.Items, gradebook.Item{ID: "it", Points: n("100"), Formula: text, Excluded: true})
		r := c.result(t)
		says := func(v gradebook.View) string {
			if s := v.Items[5]; s.Has {
				return s.Points.String()
			}
			return "none"
		}
		if got := says(r.Full.Current) + " " + says(r.Full.Final); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestFormulaSyntax(t *testing.T) {
	t.Parallel()
	for text, at := range map[string]int{
		"":                        0,
		"1 +":                     3,
		"1 2":                     2,
		"(1":                      2,
		"1)":                      1,
		"points":                  6,
		"points[":                 7,
		"points[]":                7,
		"points[a":                8,
		"points[a b]":             9,
		"hours[a]":                0,
		"if(1, 2)":                8,
		"default(1)":              10,
		"min()":                   4,
		"min(1,)":                 6,
		"1e3":                     0,
		"1..2":                    0,
		"1 < 2 < 3":               6,
		"99999999999999999999999": 0,
		"#":                       0,
		strings.Repeat("(", 51) + "1" + strings.Repeat(")", 51): 50,
		strings.Repeat("-", 60) + "1":                           50,
		"max(" + strings.Repeat("1,", 100) + "1)":               205,
		"\xff": 0,
		strings.Repeat("1+", gradebook.MaxFormula/2) + "1": 0,
	} {
		_, err := gradebook.ParseFormula(text)
		var syntax *gradebook.SyntaxError
		if !errors.As(err, &syntax) || syntax.At != at {
			t.Errorf("%q: got %v, want an error at %d", text, err, at+1)
		}
	}
}

func TestFormulaNames(t *testing.T) {
	t.Parallel()
	f, err := gradebook.ParseFormula("points[a] + category[a] * percent[ b-1 ] + possible[a]")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Items(), " ") + ", " + strings.Join(f.Categories(), " "); got != "a b-1, a" {
		t.Errorf("it names %s", got)
	}
	if got := f.RenameItems(func(name string) string { return "x" + name }); got != "points[xa] + category[a] * percent[ xb-1 ] + possible[xa]" {
		t.Errorf("renamed: %s", got)
	}
}

// FuzzFormula: no text is more than refused, and what is read says the same again.
func FuzzFormula(f *testing.F) {
	for _, seed := range []string{
		"0.6 * percent[exam] + 0.4 * max(percent[essay], category[homework])", "if(points[a] >= 20, sum(points[a], points[b]), 0)",
		"1/3", "((1))", "-−1", "default(1,2)<=3", "points[", "min(,)", "1.", "9÷0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		formula, err := gradebook.ParseFormula(text)
		if err != nil {
			var syntax *gradebook.SyntaxError
			if !errors.As(err, &syntax) || syntax.At < 0 || syntax.At > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := gradebook.ParseFormula(formula.RenameItems(func(name string) string { return name }))
		if err != nil || len(again.Items()) != len(formula.Items()) {
			t.Fatalf("%q is not read again: %v", text, err)
		}
		p := &gradebook.Policy{Version: 1, Method: gradebook.Points}
		for _, id := range formula.Items() {
			p.Items = append(p.Items, gradebook.Item{ID: id, Points: n("10")})
		}
		for _, key := range formula.Categories() {
			p.Categories = append(p.Categories, gradebook.Category{Key: key})
		}
		p.Items = append(p.Items, gradebook.Item{ID: "the formula", Points: n("10"), Formula: text})
		book, err := gradebook.Compile(p)
		if err != nil {
			t.Fatalf("%q: %v, %v", text, err, fields(err))
		}
		row := &gradebook.Row{Marks: []gradebook.Mark{{Status: gradebook.Graded, Raw: n("1/3")}, {Status: gradebook.Missing}}}
		book.Student(row)
	})
}

func fields(err error) []string {
	var bad []string
	if f, ok := errors.AsType[*fault.Error](err); ok {
		for _, field := range f.Fields {
			bad = append(bad, field.Path+" "+field.Code)
		}
	}
	return bad
}
