package assessment

import (
	"cmp"
	"container/list"
	"math/rand/v2"
	"slices"
	"strings"
)

// reviewable is what somebody has handed in, for the allocation of reviews.
type reviewable struct {
	id        string
	authors   []string // nobody of whom reviews it
	reviewers []string // those of them who review others' work
}

// pair is that somebody reviews something.
type pair struct {
	id         string // of one that there is
	reviewer   string
	submission string
	begun      bool // or done
	fixed      bool // begun or done by who still takes the course: nobody takes it away
	lost       bool // they have it no more, and do not get it again
	taken      bool // where lost: staff took it by its name, and it is not owed
	handed     bool // in place of somebody else, just now
}

// allocation is who reviews what at an item. It is pure: of the same works, pairs and
// seed comes the same, in whatever order they are read.
type allocation struct {
	works  []*reviewable // in an order that is as good as drawn
	byID   map[string]*reviewable
	of     map[string][]*reviewable // by their author
	rank   map[string]int           // of those who review, drawn as well
	pairs  []*pair
	on     map[string][]*pair // by submission, those that hold
	by     map[string][]*pair // by reviewer, the same
	known  map[[2]string]bool // reviewer and submission of all pairs, also of those that are lost
	gone   map[string]bool    // who has lost reviews: they get no others
	random *rand.Rand
}

// newAllocation returns what there is. Of who hands in twice, as a member of two groups,
// the first counts as what they review for.
func newAllocation(seed int64, works []*reviewable, pairs []*pair) *allocation {
	a := &allocation{
		works: slices.Clone(works), byID: map[string]*reviewable{}, of: map[string][]*reviewable{}, rank: map[string]int{},
		on: map[string][]*pair{}, by: map[string][]*pair{}, known: map[[2]string]bool{}, gone: map[string]bool{},
		random: rand.New(rand.NewPCG(uint64(seed), 0)), //nolint:gosec // drawn by a seed, so that it can be drawn again
	}
	slices.SortFunc(a.works, func(x, y *reviewable) int { return strings.Compare(x.id, y.id) })
	a.random.Shuffle(len(a.works), func(i, j int) { a.works[i], a.works[j] = a.works[j], a.works[i] })
	for _, w := range a.works {
		a.byID[w.id] = w
		for _, author := range w.authors {
			a.of[author] = append(a.of[author], w)
		}
		own := slices.Clone(w.reviewers)
		slices.Sort(own)
		w.reviewers = w.reviewers[:0:0]
		for _, r := range own {
			if _, twice := a.rank[r]; !twice {
				a.rank[r] = len(a.rank)
				w.reviewers = append(w.reviewers, r)
			}
		}
	}
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(x, y *pair) int {
		return cmp.Or(strings.Compare(x.submission, y.submission), strings.Compare(x.reviewer, y.reviewer))
	})
	for _, p := range sorted {
		a.put(p)
	}
	return a
}

// put adds a pair that there is.
func (a *allocation) put(p *pair) {
	a.pairs = append(a.pairs, p)
	a.known[[2]string{p.reviewer, p.submission}] = true
	if p.lost {
		a.gone[p.reviewer] = true
		return
	}
	a.on[p.submission], a.by[p.reviewer] = append(a.on[p.submission], p), append(a.by[p.reviewer], p)
}

// add has somebody review something.
func (a *allocation) add(reviewer, submission string) {
	a.put(&pair{reviewer: reviewer, submission: submission})
}

// drop takes a pair away as if it had never been.
func (a *allocation) drop(p *pair) {
	is := func(o *pair) bool { return o == p }
	a.pairs = slices.DeleteFunc(a.pairs, is)
	a.on[p.submission], a.by[p.reviewer] = slices.DeleteFunc(a.on[p.submission], is), slices.DeleteFunc(a.by[p.reviewer], is)
	delete(a.known, [2]string{p.reviewer, p.submission})
}

// lose takes a pair away from who has not begun it.
func (a *allocation) lose(p *pair) {
	is := func(o *pair) bool { return o == p }
	p.lost = true
	a.gone[p.reviewer] = true
	a.on[p.submission], a.by[p.reviewer] = slices.DeleteFunc(a.on[p.submission], is), slices.DeleteFunc(a.by[p.reviewer], is)
}

// may reports whether somebody can review something: not their own, and not twice.
func (a *allocation) may(reviewer string, w *reviewable) bool {
	return !slices.Contains(w.authors, reviewer) && !a.known[[2]string{reviewer, w.id}]
}

// mutual reports whether an author of something reviews what its reviewer has handed in.
func (a *allocation) mutual(reviewer string, w *reviewable) bool {
	for _, own := range a.of[reviewer] {
		for _, p := range a.on[own.id] {
			if slices.Contains(w.authors, p.reviewer) {
				return true
			}
		}
	}
	return false
}

// allocate has each of those who review do n reviews, or as many as there are works of
// others. The works stand in a circle that is drawn; where each is of one, who has the
// one at a place reviews the n behind it: each gets n reviews as well, and where there
// are more than 2n works no two review each other. Where groups hand in, works are taken
// in turns, and evened out: how many reviews they get differs by one at most, where the
// groups let it.
func (a *allocation) allocate(n int) {
	n = min(n, len(a.works)-1)
	if n < 1 {
		return
	}
	single := true
	for _, w := range a.works {
		single = single && len(w.authors) == 1 && len(w.reviewers) == 1
	}
	if !single {
		a.deal(n)
		a.level()
		return
	}
	for i, w := range a.works {
		for t := range n {
			a.add(w.reviewers[0], a.works[(i+1+t)%len(a.works)].id)
		}
	}
}

// deal has each take the next works of a queue that they may review, which go to its end.
// Of the next few those are preferred whose authors do not review theirs.
func (a *allocation) deal(n int) {
	const few = 16
	queue := list.New()
	for _, w := range a.works {
		queue.PushBack(w)
	}
	for _, w := range a.works {
		for _, reviewer := range w.reviewers {
			for range n {
				var first, best *list.Element
				looked := 0
				for e := queue.Front(); e != nil && best == nil && (first == nil || looked < few); e = e.Next() {
					w := e.Value.(*reviewable) //nolint:forcetypeassert // nothing else is in it
					if !a.may(reviewer, w) {
						continue
					}
					if first == nil {
						first = e
					} else if len(a.on[w.id]) > len(a.on[first.Value.(*reviewable).id]) { //nolint:forcetypeassert // nothing else is in it
						break
					}
					looked++
					if !a.mutual(reviewer, w) {
						best = e
					}
				}
				if best == nil {
					best = first
				}
				if best == nil {
					break
				}
				a.add(reviewer, best.Value.(*reviewable).id) //nolint:forcetypeassert // nothing else is in it
				queue.MoveToBack(best)
			}
		}
	}
}

// level moves reviews from works that have the most of them to such as have two fewer or
// less, over others in between where that is needed, until there is no way to do so any
// more: then it can't be more even.
func (a *allocation) level() {
	ids := make([]string, len(a.works))
	for i, w := range a.works {
		ids[i] = w.id
	}
	e := evening{
		ids: ids, at: a.on,
		can: func(p *pair, to string) bool { return a.may(p.reviewer, a.byID[to]) },
		move: func(p *pair, to string) {
			a.drop(p)
			a.add(p.reviewer, to)
		},
	}
	for e.one() {
	}
}

// ease does the same for people with the reviews that were handed to them in place of
// others.
func (a *allocation) ease() {
	var ids []string
	for reviewer := range a.rank {
		if !a.gone[reviewer] {
			ids = append(ids, reviewer)
		}
	}
	slices.SortFunc(ids, func(x, y string) int { return cmp.Compare(a.rank[x], a.rank[y]) })
	e := evening{
		ids: ids, at: a.by,
		can: func(p *pair, to string) bool { return p.handed && a.may(to, a.byID[p.submission]) },
		move: func(p *pair, to string) {
			a.drop(p)
			a.put(&pair{reviewer: to, submission: p.submission, handed: true})
		},
	}
	for e.one() {
	}
}

// evening moves pairs from those who have the most of them to those who have the fewest.
type evening struct {
	ids  []string
	at   map[string][]*pair
	can  func(p *pair, to string) bool
	move func(p *pair, to string)
}

// one moves one pair, and others along the way to where it goes, and reports whether
// there was a way.
func (e *evening) one() bool {
	least, most := 1<<30, 0
	for _, id := range e.ids {
		least, most = min(least, len(e.at[id])), max(most, len(e.at[id]))
	}
	type step struct {
		from string
		p    *pair
	}
	for load := most; load-least >= 2; load-- {
		came := map[string]step{}
		var queue []string
		for _, id := range e.ids {
			if len(e.at[id]) == load {
				came[id] = step{}
				queue = append(queue, id)
			}
		}
		for ; len(queue) > 0; queue = queue[1:] {
			for _, p := range e.at[queue[0]] {
				if p.fixed {
					continue
				}
				for _, to := range e.ids {
					if _, seen := came[to]; seen || !e.can(p, to) {
						continue
					}
					came[to] = step{queue[0], p}
					if len(e.at[to]) > load-2 {
						queue = append(queue, to)
						continue
					}
					for at := to; came[at].p != nil; at = came[at].from {
						e.move(came[at].p, at)
					}
					return true
				}
			}
		}
	}
	return false
}

// hand has the one with the fewest reviews take a review of something, and reports
// whether anybody can. Of those who have as few, one whose work its authors do not review
// is preferred.
func (a *allocation) hand(w *reviewable) bool {
	best, bestKey := "", [3]int{}
	for reviewer, rank := range a.rank {
		if a.gone[reviewer] || !a.may(reviewer, w) {
			continue
		}
		key := [3]int{len(a.by[reviewer]), 0, rank}
		if best != "" && key[0] > bestKey[0] {
			continue
		}
		if a.mutual(reviewer, w) {
			key[1] = 1
		}
		if best == "" || slices.Compare(key[:], bestKey[:]) < 0 {
			best, bestKey = reviewer, key
		}
	}
	if best != "" {
		a.put(&pair{reviewer: best, submission: w.id, handed: true})
	}
	return best != ""
}

// reallot takes reviews away from who has not begun them, and hands each to another.
func (a *allocation) reallot(lost []*pair) {
	for _, p := range lost {
		a.lose(p)
	}
	// What has lost the most is handed out first.
	slices.SortStableFunc(lost, func(x, y *pair) int {
		return cmp.Compare(len(a.on[x.submission]), len(a.on[y.submission]))
	})
	for _, p := range lost {
		if w := a.byID[p.submission]; w != nil {
			a.hand(w)
		}
	}
	a.ease()
}

// join takes in what is handed in late: of n reviews that nobody has begun each, it takes
// the place in the circle between who reviews and what they review, so that all have as
// much to do as before, and get as much. Where there are not so many, those with the
// fewest reviews take more.
func (a *allocation) join(w *reviewable, n int) {
	n = min(n, len(a.works)-1)
	for _, reviewer := range w.reviewers {
		for range n {
			if p := a.between(reviewer, w); p != nil {
				to := a.byID[p.submission]
				a.drop(p)
				a.add(p.reviewer, w.id)
				a.add(reviewer, to.id)
				continue
			}
			if to := a.lightest(reviewer); to != nil {
				a.add(reviewer, to.id)
			}
			a.hand(w)
		}
	}
}

// between returns a review between which and its work another work can come, best such
// that nobody reviews each other then; nil for none.
func (a *allocation) between(reviewer string, w *reviewable) *pair {
	var first *pair
	for _, of := range a.works {
		for _, p := range a.on[of.id] {
			if p.fixed || of == w || p.reviewer == reviewer || !a.may(p.reviewer, w) || !a.may(reviewer, of) {
				continue
			}
			if !a.mutual(p.reviewer, w) && !a.mutual(reviewer, of) && !slices.Contains(of.authors, p.reviewer) {
				return p
			}
			if first == nil {
				first = p
			}
		}
	}
	return first
}

// lightest returns what has the fewest reviews of what somebody can review, nil for
// nothing.
func (a *allocation) lightest(reviewer string) *reviewable {
	var best *reviewable
	for _, w := range a.works {
		if a.may(reviewer, w) && (best == nil || len(a.on[w.id]) < len(a.on[best.id])) {
			best = w
		}
	}
	return best
}
