package gradebook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// TestCompileRefuses: what can't be graded by, each with the fields that are told.
func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	type category = gradebook.Category
	w := func(s string) *exact.Number { return new(n(s)) }
	for name, c := range map[string]struct {
		change func(p *gradebook.Policy)
		want   string
	}{
		"version":           {func(p *gradebook.Policy) { p.Version = 2 }, "version grading.unknown_version"},
		"no version":        {func(p *gradebook.Policy) { p.Version = 0 }, "version grading.unknown_version"},
		"method":            {func(p *gradebook.Policy) { p.Method = "equal" }, "method grading.unknown_method"},
		"empty":             {func(p *gradebook.Policy) { p.Empty = "one" }, "empty grading.unknown_empty"},
		"judge":             {func(p *gradebook.Policy) { p.Judge = "me" }, "judge grading.unknown_judge"},
		"late":              {func(p *gradebook.Policy) { p.Late = &gradebook.LatePolicy{Rate: n("101"), Floor: n("-1"), Grace: -1} }, "late.rate grading.above_hundred, late.floor grading.above_hundred, late.interval grading.not_above_zero, late.grace grading.negative"},
		"missing deduction": {func(p *gradebook.Policy) { p.MissingDeduction = w("100.1") }, "missing_deduction grading.above_hundred"},
		"pass mark":         {func(p *gradebook.Policy) { p.PassMark = w("-1") }, "pass_mark grading.above_hundred"},
		"cap":               {func(p *gradebook.Policy) { p.Cap = w("0") }, "cap grading.not_above_zero"},
		"rounding":          {func(p *gradebook.Policy) { p.Rounding = gradebook.Rounding{Mode: 9, Places: 5} }, "rounding.places grading.places, rounding.mode grading.unknown_mode"},
		"curve kind":        {func(p *gradebook.Policy) { p.Curve = &gradebook.Curve{Kind: "sqrt"} }, "curve.kind grading.unknown_curve"},
		"curve scale":       {func(p *gradebook.Policy) { p.Curve = &gradebook.Curve{Kind: gradebook.Scale} }, "curve.by grading.not_above_zero"},
		"curve falls": {func(p *gradebook.Policy) {
			p.Categories = []category{{Key: "a", Curve: &gradebook.Curve{Kind: gradebook.Linear, From: [2]exact.Number{n("0"), n("1")}, To: [2]exact.Number{n("1"), n("0")}}}}
		}, "categories[0].curve grading.curve_falls"},
		"letters": {func(p *gradebook.Policy) {
			p.Letters = []gradebook.Letter{{"A", n("50")}, {"A", n("50")}, {"F", n("1")}}
		}, "letters[1].min_percent grading.letters_order, letters[1].letter grading.letter_twice, letters[2].min_percent grading.letters_end"},
		"periods": {func(p *gradebook.Policy) {
			p.Periods = []gradebook.Period{{Key: "p", Weight: w("60")}, {Key: "p", Weight: w("41")}, {Key: "q"}}
		}, "periods[1].key grading.key_taken, periods[2].weight grading.no_weight, periods grading.weights"},
		"keys":            {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a"}, {Key: "a"}, {}} }, "categories[1].key grading.key_taken, categories[2].key grading.key_taken"},
		"parent":          {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a", Parent: "b"}} }, "categories[0].parent grading.unknown_category"},
		"category method": {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a", Method: "best"}} }, "categories[0].method grading.unknown_method"},
		"in itself": {func(p *gradebook.Policy) {
			p.Categories = []category{{Key: "a", Parent: "b"}, {Key: "b", Parent: "a"}, {Key: "c", Parent: "a"}}
		}, "categories[0].parent grading.category_cycle, categories[1].parent grading.category_cycle"},
		"too deep": {func(p *gradebook.Policy) { p.Categories = deep(6) }, "categories[5].parent grading.too_deep"},
		"drops": {func(p *gradebook.Policy) {
			p.Categories = []category{{Key: "a", DropLowest: -1}, {Key: "b", DropLowest: 1, KeepHighest: 1}}
		}, "categories[0] grading.negative, categories[1].keep_highest grading.keep_or_drop"},
		"weight by points": {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a", Weight: w("1")}} }, "categories[0].weight grading.weight_unused"},
		"points by weight": {func(p *gradebook.Policy) {
			p.Method = gradebook.Weighted
			p.Categories = []category{{Key: "a", Weight: w("100"), Points: w("1")}}
		}, "categories[0].points grading.points_unused"},
		"no weight": {func(p *gradebook.Policy) {
			p.Method = gradebook.Weighted
			p.Categories = []category{{Key: "a"}, {Key: "b", Weight: w("-1")}, {Key: "c", Method: gradebook.Equal, Weight: w("1")}, {Key: "d", Parent: "c", Weight: w("1")}}
		}, "categories[1].weight grading.negative, categories[0].weight grading.no_weight, categories[3].weight grading.weight_unused"},
		"weights": {func(p *gradebook.Policy) {
			p.Method = gradebook.Weighted
			p.Categories = []category{{Key: "a", Weight: w("60")}, {Key: "b", Weight: w("40"), ExtraCredit: true}}
		}, "categories grading.weights"},
		"weights of none": {func(p *gradebook.Policy) { p.Method = gradebook.Weighted }, "categories grading.weights"},
		"no worth":        {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a", Points: w("0")}} }, "categories[0].points grading.not_above_zero"},
		"worth is needed": {func(p *gradebook.Policy) {
			p.Categories = []category{{Key: "a", Method: gradebook.Equal}, {Key: "b", Parent: "a", DropLowest: 1}}
		}, "categories[0].points grading.points_needed"},
		"worth for a curve": {func(p *gradebook.Policy) { p.Categories = []category{{Key: "a", KeepHighest: 1, Cap: w("100")}} }, "categories[0].points grading.points_needed"},
		"worth for a formula": {func(p *gradebook.Policy) {
			p.Categories, p.Items = []category{{Key: "a", DropHighest: 1}}, []gradebook.Item{{ID: "x", Formula: "category[a]"}}
		}, "categories[0].points grading.points_needed"},
		"items": {func(p *gradebook.Policy) {
			p.Items = []gradebook.Item{{ID: "x", Points: n("-1")}, {ID: "x", Category: "a", Period: "p", Path: "categories[0].item_ids[1]"}, {ID: "y", Weight: w("1")}, {}}
		}, "items[0].points grading.negative, categories[0].item_ids[1] grading.item_taken, categories[0].item_ids[1].period grading.unknown_period, categories[0].item_ids[1].category grading.unknown_category, items[2].weight grading.weight_unused, items[3] grading.item_taken"},
		"formula":           {func(p *gradebook.Policy) { p.Items = []gradebook.Item{{ID: "x", Formula: "1 +"}} }, "items[0].formula grading.formula"},
		"formula unknown":   {func(p *gradebook.Policy) { p.Items = []gradebook.Item{{ID: "x", Formula: "points[y] + category[x]"}} }, "items[0].formula grading.formula_unknown, items[0].formula grading.formula_unknown"},
		"formula of itself": {func(p *gradebook.Policy) { p.Items = []gradebook.Item{{ID: "x", Formula: "points[x]"}} }, "items[0].formula grading.formula_cycle"},
		"formula around": {func(p *gradebook.Policy) {
			p.Categories = []category{{Key: "a"}, {Key: "b", Parent: "a"}}
			p.Items = []gradebook.Item{{ID: "x", Formula: "points[y]"}, {ID: "y", Formula: "category[a]"}, {ID: "z", Category: "b", Formula: "1 + percent[y]"}}
		}, "items[2].formula grading.formula_cycle"},
		"formula too large": {func(p *gradebook.Policy) {
			for i := range 15 {
				id := fmt.Sprintf("x%d", i)
				p.Items = append(p.Items, gradebook.Item{ID: id, Formula: "1"})
				if i > 0 {
					p.Items[i].Formula = fmt.Sprintf("points[x%d] * points[x%d]", i-1, i-1)
				}
			}
		}, "items[12].formula grading.formula_too_large"},
		"too many": {func(p *gradebook.Policy) {
			p.Items, p.Letters = make([]gradebook.Item, 5001), make([]gradebook.Letter, 31)
		}, "items grading.too_many, letters grading.too_many"},
	} {
		p := &gradebook.Policy{Version: gradebook.Version, Method: gradebook.Points}
		c.change(p)
		_, err := gradebook.Compile(p)
		if got := strings.Join(fields(err), ", "); got != c.want || !fault.Is(err, fault.Invalid) || fault.CodeOf(err) != "grading.invalid" {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
	}
}

func deep(levels int) []gradebook.Category {
	var chain []gradebook.Category
	for i := range levels {
		c := gradebook.Category{Key: fmt.Sprint(i)}
		if i > 0 {
			c.Parent = fmt.Sprint(i - 1)
		}
		chain = append(chain, c)
	}
	return chain
}

// TestCycleIsTold: the way around is in the hint.
func TestCycleIsTold(t *testing.T) {
	t.Parallel()
	_, err := gradebook.Compile(&gradebook.Policy{
		Version: 1, Method: gradebook.Points, Categories: []gradebook.Category{{Key: "hw"}},
		Items: []gradebook.Item{{ID: "a", Formula: "points[b]"}, {ID: "b", Formula: "category[hw]"}, {ID: "c", Category: "hw", Formula: "points[b]"}},
	})
	if err == nil || !strings.Contains(err.Error(), "b → category[hw] → c → b") {
		t.Errorf("told: %v", err)
	}
	_, err = gradebook.Compile(&gradebook.Policy{Version: 1, Method: gradebook.Points, Categories: []gradebook.Category{{Key: "a", Parent: "b"}, {Key: "b", Parent: "a"}}})
	if err == nil || !strings.Contains(err.Error(), "a → b → a") {
		t.Errorf("told: %v", err)
	}
}

// TestCompileTakes: what is near to what is refused.
func TestCompileTakes(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*gradebook.Policy{
		"five deep":                    {Categories: deep(5)},
		"curve of a category, no drop": {Categories: []gradebook.Category{{Key: "a", Curve: &gradebook.Curve{Kind: gradebook.Add}}}},
		"formula of a category":        {Categories: []gradebook.Category{{Key: "a"}}, Items: []gradebook.Item{{ID: "x", Formula: "category[a]"}}},
	} {
		p.Version, p.Method = 1, gradebook.Points
		if _, err := gradebook.Compile(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
