package gradebook

import (
	"fmt"
	"slices"
	"strings"
)

// maxSize bounds what one formula draws in, through others and through categories, in
// numbers. Exact fractions grow with it.
const maxSize = 10000

// formulas reads the formulas, binds what they name, and refuses circles.
func (c *compiler) formulas() {
	if len(c.bad) > 0 {
		return // what they name may be what is wrong
	}
	for i := range c.p.Items {
		if c.p.Items[i].Formula != "" {
			c.formula(i)
		}
	}
	if len(c.bad) > 0 {
		return
	}
	walk := &walk{c: c, item: make([]visit, len(c.b.item)), group: make([]visit, len(c.b.group))}
	for i := range c.b.item {
		if made := &c.b.item[i]; made.formula != nil && walk.ofItem(i) > maxSize && len(c.bad) == 0 {
			c.refuse(made.path+".formula", "grading.formula_too_large", fmt.Sprintf("It draws in more than %d numbers.", maxSize))
		}
	}
}

func (c *compiler) formula(i int) {
	made := &c.b.item[i]
	path := made.path + ".formula"
	f, err := ParseFormula(c.p.Items[i].Formula)
	if err != nil {
		c.refuse(path, "grading.formula", "It can't be read "+err.Error()+".")
		return
	}
	made.formula = f
	for _, r := range f.refs {
		index, known := c.b.items[r.name]
		if r.kind == "category" {
			index, known = c.b.groups[r.name]
		}
		if !known {
			c.refuse(path, "grading.formula_unknown", fmt.Sprintf("There is no %q: name items and categories of the course.", r.name))
			continue
		}
		made.sources = append(made.sources, source{r.kind, index})
		if r.kind == "category" {
			// Its percentage is asked for before that of what it is in is known.
			c.b.group[index].head = true
		}
	}
}

// visit is how far a walk is with something.
type visit struct {
	state uint8 // 0 not seen, 1 on the path, 2 done
	size  int
}

// walk goes along what is calculated of what.
type walk struct {
	c     *compiler
	item  []visit
	group []visit
	path  []string
	// The formulas on the path: whose they are.
	of []string
}

// ofItem returns how many numbers an item draws in.
func (w *walk) ofItem(i int) int {
	made := &w.c.b.item[i]
	if made.formula == nil {
		return 1
	}
	id := w.c.p.Items[i].ID
	return w.visit(&w.item[i], id, func() int {
		w.of = append(w.of, made.path)
		defer func() { w.of = w.of[:len(w.of)-1] }()
		size := len(made.formula.ops)
		for _, s := range made.sources {
			switch s.kind {
			case "possible":
			case "category":
				size += w.ofGroup(s.index)
			default:
				size += w.ofItem(s.index)
			}
		}
		return size
	})
}

func (w *walk) ofGroup(i int) int {
	g := &w.c.b.group[i]
	return w.visit(&w.group[i], "category["+w.c.p.Categories[i].Key+"]", func() int {
		size := 1
		for _, in := range g.items {
			size += w.ofItem(in)
		}
		for _, in := range g.groups {
			size += w.ofGroup(in)
		}
		return size
	})
}

func (w *walk) visit(v *visit, name string, size func() int) int {
	switch v.state {
	case 2:
		return v.size
	case 1:
		if len(w.c.bad) == 0 {
			around := append(slices.Clone(w.path[slices.Index(w.path, name):]), name)
			w.c.refuse(w.of[len(w.of)-1]+".formula", "grading.formula_cycle", "It is calculated of itself: "+strings.Join(around, " → ")+".")
		}
		return 0
	}
	v.state = 1
	w.path = append(w.path, name)
	v.size = min(size(), maxSize+1)
	w.path = w.path[:len(w.path)-1]
	v.state = 2
	return v.size
}
