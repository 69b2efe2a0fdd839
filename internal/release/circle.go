package release

import (
	"cmp"
	"slices"
)

// circles returns the sets of vertices that wait for each other, in the order of
// the course: Tarjan's strongly connected components that have an edge inside.
func (c *graph) circles() [][]*vertex {
	t := tarjan{graph: c, index: map[*vertex]int{}, low: map[*vertex]int{}, on: map[*vertex]bool{}}
	for _, v := range c.order {
		if _, seen := t.index[v]; !seen {
			t.visit(v)
		}
	}
	place := make(map[*vertex]int, len(c.order))
	for i, v := range c.order {
		place[v] = i
	}
	for _, circle := range t.found {
		sortBy(circle, func(v *vertex) int { return place[v] })
	}
	sortBy(t.found, func(circle []*vertex) int { return place[circle[0]] })
	return t.found
}

type tarjan struct {
	*graph

	index, low map[*vertex]int
	on         map[*vertex]bool
	stack      []*vertex
	found      [][]*vertex
}

func (t *tarjan) visit(v *vertex) {
	t.index[v], t.low[v] = len(t.index), len(t.index)
	t.stack, t.on[v] = append(t.stack, v), true
	self := false
	for _, d := range t.lacks(v) {
		self = self || d == v
		if _, seen := t.index[d]; !seen {
			t.visit(d)
			t.low[v] = min(t.low[v], t.low[d])
		} else if t.on[d] {
			t.low[v] = min(t.low[v], t.index[d])
		}
	}
	if t.low[v] != t.index[v] {
		return
	}
	var circle []*vertex
	for {
		d := t.stack[len(t.stack)-1]
		t.stack, t.on[d] = t.stack[:len(t.stack)-1], false
		circle = append(circle, d)
		if d == v {
			break
		}
	}
	if len(circle) > 1 || self {
		t.found = append(t.found, circle)
	}
}

func sortBy[T any](list []T, place func(T) int) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(place(a), place(b)) })
}
