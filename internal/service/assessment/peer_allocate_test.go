package assessment

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// crowd makes works of groups of some sizes.
func crowd(sizes ...int) []*reviewable {
	var out []*reviewable
	for i, size := range sizes {
		w := &reviewable{id: fmt.Sprintf("work-%03d", i)}
		for j := range size {
			w.authors = append(w.authors, fmt.Sprintf("p%03d-%d", i, j))
		}
		w.reviewers = slices.Clone(w.authors)
		out = append(out, w)
	}
	return out
}

func ones(n int) []int { return slices.Repeat([]int{1}, n) }

// told returns the pairs that hold, in an order.
func (a *allocation) told() []string {
	var out []string
	for _, p := range a.pairs {
		if !p.lost {
			out = append(out, p.reviewer+" "+p.submission)
		}
	}
	slices.Sort(out)
	return out
}

// sound fails where somebody reviews their own, or something twice.
func (a *allocation) sound(t rapid.TB) {
	seen := map[[2]string]bool{}
	n := 0
	for _, p := range a.pairs {
		key := [2]string{p.reviewer, p.submission}
		if seen[key] {
			t.Fatalf("%v twice", key)
		}
		seen[key] = true
		if slices.Contains(a.byID[p.submission].authors, p.reviewer) {
			t.Fatalf("%s reviews their own", p.reviewer)
		}
		if !p.lost {
			n++
		}
	}
	held := 0
	for _, list := range a.on {
		held += len(list)
	}
	if held != n {
		t.Fatalf("%d are held, %d there", held, n)
	}
}

// spread returns the fewest and the most reviews that works get and that people do.
func (a *allocation) spread() (works, people [2]int) {
	works, people = [2]int{1 << 30, 0}, [2]int{1 << 30, 0}
	for _, w := range a.works {
		n := len(a.on[w.id])
		works[0], works[1] = min(works[0], n), max(works[1], n)
	}
	for r := range a.rank {
		if n := len(a.by[r]); !a.gone[r] {
			people[0], people[1] = min(people[0], n), max(people[1], n)
		}
	}
	return works, people
}

func (a *allocation) mutuals() int {
	n := 0
	for _, p := range a.pairs {
		if !p.lost && a.mutual(p.reviewer, a.byID[p.submission]) {
			n++
		}
	}
	return n
}

// Each does n reviews and gets n, nobody their own, no two each other's, and the same
// seed gives the same whatever order the works are read in.
func TestAllocationOfSingles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		people, n := rapid.IntRange(0, 60).Draw(t, "people"), rapid.IntRange(1, 20).Draw(t, "n")
		seed := rapid.Int64().Draw(t, "seed")
		a := newAllocation(seed, crowd(ones(people)...), nil)
		a.allocate(n)
		a.sound(t)
		if people < 2 {
			if len(a.pairs) > 0 {
				t.Fatal("somebody reviews")
			}
			return
		}
		want := min(n, people-1)
		if works, by := a.spread(); works != [2]int{want, want} || by != [2]int{want, want} {
			t.Fatalf("works get %v, people do %v, not %d", works, by, want)
		}
		if people > 2*want && a.mutuals() > 0 {
			t.Fatalf("%d review each other", a.mutuals())
		}
		again := crowd(ones(people)...)
		slices.Reverse(again)
		b := newAllocation(seed, again, nil)
		b.allocate(n)
		if diff := cmp.Diff(a.told(), b.told()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Groups: each of their members does n reviews, and works get as many but for one,
// wherever that can be: a flow says whether it can.
func TestAllocationOfGroups(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5), 2, 12).Draw(t, "sizes")
		n := rapid.IntRange(1, 4).Draw(t, "n")
		a := newAllocation(rapid.Int64().Draw(t, "seed"), crowd(sizes...), nil)
		a.allocate(n)
		a.sound(t)
		want := min(n, len(sizes)-1)
		works, by := a.spread()
		if by != [2]int{want, want} {
			t.Fatalf("people do %v, not %d", by, want)
		}
		if works[1]-works[0] > 1 && canBeEven(sizes, want) {
			t.Fatalf("works get %v, and could get as many but for one", works)
		}
	})
}

// canBeEven reports whether members of groups of some sizes can each review n others'
// works such that these get as many but for one: by a flow from who reviews to works,
// each of which lets through what it gets at least, and some of them one more.
func canBeEven(sizes []int, n int) bool {
	people := 0
	for _, s := range sizes {
		people += s
	}
	low, more := people*n/len(sizes), people*n%len(sizes)
	const source, extra, sink, first = 0, 1, 2, 3
	room := make([][]int, first+people+len(sizes))
	for i := range room {
		room[i] = make([]int, len(room))
	}
	room[extra][sink] = more
	at := first
	for g, s := range sizes {
		work := first + people + g
		room[work][sink], room[work][extra] = low, 1
		for range s {
			room[source][at] = n
			for other := range sizes {
				if other != g {
					room[at][first+people+other] = 1
				}
			}
			at++
		}
	}
	seen := make([]bool, len(room))
	var push func(at int) bool
	push = func(at int) bool {
		if at == sink {
			return true
		}
		seen[at] = true
		for to, left := range room[at] {
			if left > 0 && !seen[to] && push(to) {
				room[at][to]--
				room[to][at]++
				return true
			}
		}
		return false
	}
	flow := 0
	for ; push(source); flow++ {
		clear(seen)
	}
	return flow == people*n
}

// Some drop out before they have begun, and some hand in late: nothing that was begun
// moves, works get as many reviews as before, and those who stay do as many but for one.
func TestReallocation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		people, n := rapid.IntRange(8, 40).Draw(t, "people"), rapid.IntRange(1, 3).Draw(t, "n")
		seed := rapid.Int64().Draw(t, "seed")
		works := crowd(ones(people + 5)...)
		a := newAllocation(seed, works[:people], nil)
		a.allocate(n)
		for i := range rapid.IntRange(0, 5).Draw(t, "late") {
			late := works[people+i]
			a = newAllocation(seed, append(a.works, late), a.pairs)
			a.join(late, n)
			a.sound(t)
			if got, by := a.spread(); got != [2]int{n, n} || by != [2]int{n, n} {
				t.Fatalf("with one who came late works get %v, people do %v, not %d", got, by, n)
			}
		}
		out := rapid.IntRange(0, len(a.works)/4).Draw(t, "out")
		begun := map[string]bool{}
		var lost []*pair
		for i, w := range a.works {
			for _, p := range a.by[w.authors[0]] {
				if i < out {
					lost = append(lost, p)
				} else if i%2 == 0 {
					p.fixed = true
					begun[p.reviewer+p.submission] = true
				}
			}
		}
		a.reallot(lost)
		a.sound(t)
		got, by := a.spread()
		if got != [2]int{n, n} {
			t.Fatalf("works get %v after %d have dropped out, not %d", got, out, n)
		}
		if by[1]-by[0] > 1 {
			t.Fatalf("people do %v after %d have dropped out", by, out)
		}
		for _, p := range a.pairs {
			delete(begun, p.reviewer+p.submission)
		}
		if len(begun) > 0 {
			t.Fatalf("%d that were begun are gone", len(begun))
		}
	})
}

// Where nothing can be moved any more, who comes late is reviewed by those who have the
// least to do.
func TestJoinWhenAllHaveBegun(t *testing.T) {
	t.Parallel()
	works := crowd(ones(11)...)
	a := newAllocation(3, works[:10], nil)
	a.allocate(2)
	for _, p := range a.pairs {
		p.fixed = true
	}
	a = newAllocation(3, works, a.pairs)
	a.join(works[10], 2)
	a.sound(t)
	if got := len(a.on[works[10].id]); got != 2 {
		t.Errorf("it gets %d reviews", got)
	}
	if got := len(a.by[works[10].authors[0]]); got != 2 {
		t.Errorf("who comes late does %d reviews", got)
	}
	if works, by := a.spread(); works[1] > 3 || by[1] > 3 {
		t.Errorf("works get %v, people do %v", works, by)
	}
}

func BenchmarkAllocate(b *testing.B) {
	works := crowd(ones(10_000)...)
	for b.Loop() {
		newAllocation(1, works, nil).allocate(5)
	}
}
