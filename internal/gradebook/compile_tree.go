package gradebook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
)

// root is the course among its groups: it is behind the categories.
func (b *Book) root() int { return len(b.policy.Categories) }

// categories makes the categories ready and hangs them into each other.
func (c *compiler) categories() {
	b := c.b
	b.group = make([]group, len(c.p.Categories)+1)
	b.group[b.root()] = group{parent: none, method: c.p.Method, head: true}
	for i, g := range c.p.Categories {
		path := at("categories", i)
		if _, twice := b.groups[g.Key]; twice || g.Key == "" {
			c.refuse(path+".key", "grading.key_taken", "Give each category a key of its own.")
		}
		b.groups[g.Key] = i
	}
	for i, g := range c.p.Categories {
		path := at("categories", i)
		made := group{
			parent: b.root(), method: g.Method, extra: g.ExtraCredit, lowest: g.DropLowest, highest: g.DropHighest, best: g.KeepHighest,
			curve: g.Curve, cap: g.Cap,
		}
		switch g.Method {
		case "":
			made.method = Points
		case Points, Weighted, Equal:
		default:
			c.refuse(path+".method", "grading.unknown_method", "Grade by points, weighted or equal.")
		}
		if g.Parent != "" {
			parent, ok := b.groups[g.Parent]
			if !ok {
				c.refuse(path+".parent", "grading.unknown_category", "Name a category of the course.")
				parent = b.root()
			}
			made.parent = parent
		}
		switch {
		case g.DropLowest < 0 || g.DropHighest < 0 || g.KeepHighest < 0:
			c.refuse(path, "grading.negative", "Drop or keep 0 or more.")
		case g.KeepHighest > 0 && g.DropLowest+g.DropHighest > 0:
			c.refuse(path+".keep_highest", "grading.keep_or_drop", "Keep the best, or drop, not both.")
		}
		c.curve(path+".curve", g.Curve)
		c.aboveZero(path+".cap", g.Cap)
		c.atLeastZero(path+".weight", g.Weight)
		c.aboveZero(path+".points", g.Points)
		b.group[i] = made
	}
	c.depths()
	for i := range c.p.Categories {
		c.shares(i)
	}
}

// depths refuses categories that are in themselves, or too deep.
func (c *compiler) depths() {
	for i := range c.p.Categories {
		path, depth := []string{c.p.Categories[i].Key}, 1
		for g := c.b.group[i].parent; g != c.b.root(); g = c.b.group[g].parent {
			path = append(path, c.p.Categories[g].Key)
			if g == i {
				c.refuse(at("categories", i)+".parent", "grading.category_cycle", "It is in itself: "+strings.Join(path, " → ")+".")
				break
			}
			if depth++; depth > len(c.p.Categories) {
				break // below a circle, which is told of those in it
			}
		}
		if depth > MaxDepth && depth <= len(c.p.Categories) {
			c.refuse(at("categories", i)+".parent", "grading.too_deep", fmt.Sprintf("Categories may be %d deep.", MaxDepth))
		}
	}
	if len(c.bad) == 0 {
		for i := range c.p.Categories {
			parent := &c.b.group[c.b.group[i].parent]
			parent.groups = append(parent.groups, i)
		}
	}
}

// shares checks what a category counts of where it is inside.
func (c *compiler) shares(i int) {
	g, made, path := c.p.Categories[i], &c.b.group[i], at("categories", i)
	inside := c.b.group[made.parent].method
	if inside == Points {
		if g.Weight != nil {
			c.refuse(path+".weight", "grading.weight_unused", "Leave it out, or grade by weights.")
		}
		if g.Points != nil {
			made.weight, made.worth = *g.Points, true
		}
		made.head = made.worth || made.method != Points || g.Curve != nil || g.Cap != nil
		return
	}
	made.head, made.weight = true, exact.Int(1)
	if g.Points != nil {
		c.refuse(path+".points", "grading.points_unused", "Leave it out, or grade by points.")
	}
	switch {
	case inside == Equal && g.Weight != nil:
		c.refuse(path+".weight", "grading.weight_unused", "Leave it out, or grade by weights.")
	case inside == Weighted && g.Weight == nil:
		c.refuse(path+".weight", "grading.no_weight", "Give each category a weight.")
	case inside == Weighted:
		made.weight = *g.Weight
	}
}

// items makes the items ready and puts them into their categories.
func (c *compiler) items() {
	b := c.b
	b.item = make([]item, len(c.p.Items))
	for i, it := range c.p.Items {
		path := it.Path
		if path == "" {
			path = at("items", i)
		}
		if _, twice := b.items[it.ID]; twice || it.ID == "" {
			c.refuse(path, "grading.item_taken", "Name each item once.")
		}
		b.items[it.ID] = i
		made := item{
			group: none, period: none, of: it.Points, bonus: it.Points.Sign() == 0, weight: exact.Int(1),
			extra: it.ExtraCredit, fixed: it.NeverDrop, path: path,
		}
		c.atLeastZero(path+".points", &it.Points)
		c.atLeastZero(path+".weight", it.Weight)
		if it.Period != "" {
			period, ok := b.periods[it.Period]
			if !ok {
				c.refuse(path+".period", "grading.unknown_period", "Name a period of the course.")
			} else {
				made.period = period
			}
		}
		in := b.root()
		if it.Category != "" {
			category, ok := b.groups[it.Category]
			if !ok {
				c.refuse(path+".category", "grading.unknown_category", "Name a category of the course.")
			} else {
				in = category
			}
		}
		method := b.group[in].method
		switch {
		case it.Weight == nil:
		case method != Weighted || in == b.root():
			c.refuse(path+".weight", "grading.weight_unused", "Leave it out, or put it into a category by weights.")
		default:
			made.weight = *it.Weight
		}
		// By weights, what has no points has no percentage, and what has no weight
		// changes nothing. What is in no category has no share in a weighted course, and
		// what is in no period none where periods have weights.
		weightless := method != Points && (made.bonus || made.weight.Sign() == 0)
		placed := (in != b.root() || method == Points) && (made.period != none || !b.weighted)
		if !it.Excluded && !weightless && placed {
			made.group = in
			b.group[in].items = append(b.group[in].items, i)
		}
		b.item[i] = made
	}
}

// weights checks and adds up the weights.
func (c *compiler) weights() {
	for i := range c.b.group {
		g := &c.b.group[i]
		if g.method == Points {
			continue
		}
		for _, in := range g.groups {
			if !c.b.group[in].extra {
				g.full = g.full.Add(c.b.group[in].weight)
			}
		}
		if i == c.b.root() && !g.full.Equal(hundred) {
			c.refuse("categories", "grading.weights", "The weights are "+g.full.String()+" together. They have to be 100, without extra credit.")
		}
		g.fullIn = make([]exact.Number, len(c.p.Periods))
		for k := range g.fullIn {
			g.fullIn[k] = g.full
		}
		for _, in := range g.items {
			if it := &c.b.item[in]; !it.extra {
				g.full = g.full.Add(it.weight)
				if it.period != none {
					g.fullIn[it.period] = g.fullIn[it.period].Add(it.weight)
				}
			}
		}
	}
}

// worth asks for the points of categories whose own points would depend on what is
// dropped of them, while their percentage is not simply points by points.
func (c *compiler) worth() {
	for i := range c.p.Categories {
		g := &c.b.group[i]
		if c.b.group[g.parent].method == Points && g.head && !g.worth && c.drops(i) {
			c.refuse(at("categories", i)+".points", "grading.points_needed", "Say how many points it is worth: what is dropped in it would decide otherwise.")
		}
	}
}

// drops tells whether anything may be dropped in a category.
func (c *compiler) drops(i int) bool {
	g := &c.b.group[i]
	return g.lowest+g.highest+g.best > 0 || slices.ContainsFunc(g.groups, c.drops)
}
