package gradebook

import (
	"fmt"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
)

// none is the index of what is nowhere.
const none = -1

// item is an item made ready.
type item struct {
	group   int // none where it does not count
	period  int
	of      exact.Number // points possible
	bonus   bool         // of 0 points
	weight  exact.Number
	extra   bool
	fixed   bool // never dropped
	formula *Formula
	sources []source // of the formula's references
	path    string
}

// source is what a reference of a formula names.
type source struct {
	kind  string
	index int // of an item, or of a category
}

// group is a category made ready, or what has all of them: the course.
type group struct {
	parent int // none for the course
	method Method
	// Whether its percentage is calculated by itself. One that is not is by points
	// within points, whose drops are chosen together with those around it.
	head bool
	// What it counts of where it is inside: its weight, or the points it is worth.
	// Within points, only where worth says so.
	weight exact.Number
	worth  bool
	extra  bool
	items  []int
	groups []int
	// All weights in it that are not extra credit: over all, and in each period.
	full                  exact.Number
	fullIn                []exact.Number
	lowest, highest, best int
	curve                 *Curve
	cap                   *exact.Number
}

// compiler makes a policy ready and notes what is wrong with it.
type compiler struct {
	p   *Policy
	b   *Book
	bad []fault.Field
}

var hundred = exact.Int(100)

func compile(p *Policy) (*Book, error) {
	c := &compiler{p: p, b: &Book{
		policy: *p, code: calculations[p.Version],
		items: make(map[string]int, len(p.Items)), groups: make(map[string]int, len(p.Categories)), periods: make(map[string]int, len(p.Periods)),
	}}
	if c.sizes() {
		c.course()
		c.periods()
		c.categories()
		c.items()
		c.formulas()
		if len(c.bad) == 0 {
			c.weights()
			c.worth()
		}
	}
	if len(c.bad) > 0 {
		return nil, &fault.Error{Kind: fault.Invalid, Code: "grading.invalid", Message: "By these criteria nothing can be graded.", Fields: c.bad}
	}
	return c.b, nil
}

func (c *compiler) refuse(path, code, hint string) {
	c.bad = append(c.bad, fault.Field{Path: path, Code: code, Hint: hint})
}

func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

func (c *compiler) sizes() bool {
	for _, s := range []struct {
		path     string
		has, max int
	}{
		{"categories", len(c.p.Categories), MaxCategories},
		{"items", len(c.p.Items), MaxItems},
		{"periods", len(c.p.Periods), MaxPeriods},
		{"letters", len(c.p.Letters), MaxLetters},
	} {
		if s.has > s.max {
			c.refuse(s.path, "grading.too_many", fmt.Sprintf("There may be %d.", s.max))
		}
	}
	return len(c.bad) == 0
}

// percent refuses what is not from 0 to 100.
func (c *compiler) percent(path string, n *exact.Number) {
	if n != nil && (n.Sign() < 0 || n.Cmp(hundred) > 0) {
		c.refuse(path, "grading.above_hundred", "Name a percentage from 0 to 100.")
	}
}

func (c *compiler) atLeastZero(path string, n *exact.Number) {
	if n != nil && n.Sign() < 0 {
		c.refuse(path, "grading.negative", "Name 0 or more.")
	}
}

func (c *compiler) aboveZero(path string, n *exact.Number) {
	if n != nil && n.Sign() <= 0 {
		c.refuse(path, "grading.not_above_zero", "Name more than 0.")
	}
}

// course checks what is said of the course as a whole.
func (c *compiler) course() {
	p := c.p
	if c.b.code == nil {
		c.refuse("version", "grading.unknown_version", fmt.Sprintf("Name a calculation from 1 to %d.", Version))
	}
	if p.Method != Points && p.Method != Weighted {
		c.refuse("method", "grading.unknown_method", "Grade by points or weighted.")
	}
	if p.Empty != "" && p.Empty != Redistribute && p.Empty != AsZero {
		c.refuse("empty", "grading.unknown_empty", "Redistribute empty weights, or count them as zero.")
	}
	if p.Judge != "" && p.Judge != Rounded && p.Judge != Exact {
		c.refuse("judge", "grading.unknown_judge", "Judge by the rounded or by the exact total.")
	}
	if l := p.Late; l != nil {
		c.percent("late.rate", &l.Rate)
		c.percent("late.floor", &l.Floor)
		if l.Interval <= 0 {
			c.refuse("late.interval", "grading.not_above_zero", "Name more than 0.")
		}
		if l.Grace < 0 {
			c.refuse("late.grace", "grading.negative", "Name 0 or more.")
		}
	}
	c.percent("missing_deduction", p.MissingDeduction)
	c.percent("pass_mark", p.PassMark)
	c.curve("curve", p.Curve)
	c.aboveZero("cap", p.Cap)
	if r := p.Rounding; r.Places < 0 || r.Places > 4 {
		c.refuse("rounding.places", "grading.places", "Name 0 to 4 places.")
	}
	if r := p.Rounding; r.Mode != exact.HalfEven && r.Mode != exact.HalfUp {
		c.refuse("rounding.mode", "grading.unknown_mode", "Round half to even or half up.")
	}
	c.letters()
}

func (c *compiler) curve(path string, curve *Curve) {
	switch {
	case curve == nil || curve.Kind == Add:
	case curve.Kind == Scale:
		c.aboveZero(path+".by", &curve.By)
	case curve.Kind != Linear:
		c.refuse(path+".kind", "grading.unknown_curve", "Add, scale, or draw a line.")
	case curve.From[0].Cmp(curve.From[1]) >= 0 || curve.To[0].Cmp(curve.To[1]) > 0:
		c.refuse(path, "grading.curve_falls", "The second percentage is above the first, and what it becomes is not below.")
	}
}

func (c *compiler) letters() {
	seen := map[string]bool{}
	for i, l := range c.p.Letters {
		path := at("letters", i)
		c.percent(path+".min_percent", &l.Min)
		switch {
		case i > 0 && l.Min.Cmp(c.p.Letters[i-1].Min) >= 0:
			c.refuse(path+".min_percent", "grading.letters_order", "Each letter begins below the one before.")
		case i == len(c.p.Letters)-1 && l.Min.Sign() != 0:
			c.refuse(path+".min_percent", "grading.letters_end", "The last letter begins at 0.")
		}
		if seen[l.Letter] {
			c.refuse(path+".letter", "grading.letter_twice", "Name each letter once.")
		}
		seen[l.Letter] = true
	}
}

// periods checks the grading periods.
func (c *compiler) periods() {
	var sum exact.Number
	for i, p := range c.p.Periods {
		path := at("periods", i)
		if _, twice := c.b.periods[p.Key]; twice || p.Key == "" {
			c.refuse(path+".key", "grading.key_taken", "Give each period a key of its own.")
		}
		c.b.periods[p.Key] = i
		c.percent(path+".weight", p.Weight)
		if (p.Weight == nil) != (c.p.Periods[0].Weight == nil) {
			c.refuse(path+".weight", "grading.no_weight", "Give each period a weight, or none.")
			continue
		}
		if p.Weight != nil {
			sum = sum.Add(*p.Weight)
		}
	}
	c.b.weighted = len(c.p.Periods) > 0 && c.p.Periods[0].Weight != nil
	if c.b.weighted && !sum.Equal(hundred) {
		c.refuse("periods", "grading.weights", "The weights are "+sum.String()+" together. They have to be 100.")
	}
}
