package assessment

import (
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Labels of what is random in an assembly, as slots of the engine's seeds that no
// question has. They never change.
const (
	labelSections = -1
	labelSection  = -1_000 // less the section
	labelDraw     = -2_000 // less the draw
)

// assembled is a question of an attempt.
type assembled struct {
	slot       int // from 1
	section    int // in the settings
	page       int // from 0
	questionID string
	version    int32
	behaviour  string
	points     exact.Number
}

// assemble returns the questions of an attempt in their order. It is pure: the same
// version, seed and earlier questions give the same for ever, so that any attempt can
// be built again. asked are the questions of the account's earlier attempts, which are
// drawn only where there are no others. A page has questions of one section alone.
func (v *quizVersion) assemble(seed int64, asked map[string]bool) []assembled {
	drawn, _ := v.drawAll(seed, asked)
	bySection := make([][]assembled, len(v.Settings.GetSections()))
	for _, slot := range v.slots {
		add := func(q *assessmentpb.FixedQuestion) {
			bySection[slot.section] = append(bySection[slot.section], assembled{
				section: slot.section, questionID: q.GetQuestionId(), version: q.GetVersion(), behaviour: slot.behaviour, points: slot.pointsOf(q),
			})
		}
		if slot.fixed != nil {
			add(slot.fixed)
			continue
		}
		for _, q := range drawn[slot.draw] {
			add(q)
		}
	}
	order := make([]int, len(bySection))
	for i := range order {
		order[i] = i
	}
	if v.Settings.GetShuffleSections() {
		order = question.Draw(question.Seed{Attempt: seed, Slot: labelSections}, len(order), len(order))
	}
	out := make([]assembled, 0, v.count)
	pages, perPage := 0, int(v.Settings.GetQuestionsPerPage())
	for _, i := range order {
		list := bySection[i]
		if v.Settings.GetSections()[i].GetShuffle() {
			list = reordered(list, question.Draw(question.Seed{Attempt: seed, Slot: labelSection - i}, len(list), len(list)))
		}
		for n, one := range list {
			if n == 0 && len(out) > 0 || n > 0 && perPage > 0 && n%perPage == 0 {
				pages++
			}
			one.slot, one.page = len(out)+1, pages
			out = append(out, one)
		}
	}
	return out
}

func reordered[T any](list []T, order []int) []T {
	out := make([]T, len(list))
	for i, from := range order {
		out[i] = list[from]
	}
	return out
}

// drawAll draws for all draws, none of the questions twice and of those that were
// asked as few as can be. The second result is the first draw that can't have what it
// needs, -1 where all have it.
func (v *quizVersion) drawAll(seed int64, asked map[string]bool) (drawn [][]*assessmentpb.FixedQuestion, lacking int) {
	pools := make([][]*assessmentpb.FixedQuestion, len(v.draws))
	for i, d := range v.draws {
		n := len(d.from)
		k := n
		if !v.overlap && !slices.ContainsFunc(d.from, func(q *assessmentpb.FixedQuestion) bool { return asked[q.GetQuestionId()] }) {
			k = d.count
		}
		for _, at := range question.Draw(question.Seed{Attempt: seed, Slot: labelDraw - i}, n, k) {
			pools[i] = append(pools[i], d.from[at])
		}
		if k == n && len(asked) > 0 {
			slices.SortStableFunc(pools[i], func(a, b *assessmentpb.FixedQuestion) int { return rank(asked, a) - rank(asked, b) })
		}
	}
	if v.overlap {
		return v.match(pools, asked)
	}
	for i, d := range v.draws {
		if len(pools[i]) < d.count {
			return nil, i
		}
		pools[i] = pools[i][:d.count]
	}
	return pools, -1
}

func rank(asked map[string]bool, q *assessmentpb.FixedQuestion) int {
	if asked[q.GetQuestionId()] {
		return 1
	}
	return 0
}

// match gives each draw questions of its pool, of which others may want some too: by
// augmenting paths, first over questions that were not asked before and then over all.
// A question that has a draw keeps having one, so that of those that were not asked as
// many are drawn as can be.
func (v *quizVersion) match(pools [][]*assessmentpb.FixedQuestion, asked map[string]bool) ([][]*assessmentpb.FixedQuestion, int) {
	m := matcher{pools: pools, of: map[string]int{}, asked: asked}
	var unit []int // of which draw each is
	for i, d := range v.draws {
		for range d.count {
			unit = append(unit, i)
		}
	}
	m.unit, m.has = unit, make([]*assessmentpb.FixedQuestion, len(unit))
	for _, all := range []bool{false, true} {
		m.all = all
		for u := range unit {
			if m.has[u] == nil {
				m.tried = map[string]bool{}
				m.give(u)
			}
		}
	}
	out := make([][]*assessmentpb.FixedQuestion, len(v.draws))
	for u, q := range m.has {
		if q == nil {
			return nil, unit[u]
		}
		out[unit[u]] = append(out[unit[u]], q)
	}
	return out, -1
}

// matcher finds who gets which question. A unit is one question of one draw.
type matcher struct {
	pools [][]*assessmentpb.FixedQuestion
	unit  []int
	has   []*assessmentpb.FixedQuestion // what each unit has
	of    map[string]int                // the unit that has a question
	asked map[string]bool
	all   bool // whether those that were asked may be had
	tried map[string]bool
}

// give finds a question for a unit; others give theirs up for another where need be.
func (m *matcher) give(u int) bool {
	for _, q := range m.pools[m.unit[u]] {
		id := q.GetQuestionId()
		if m.tried[id] || !m.all && m.asked[id] {
			continue
		}
		if _, taken := m.of[id]; !taken {
			m.tried[id], m.of[id], m.has[u] = true, u, q
			return true
		}
	}
	for _, q := range m.pools[m.unit[u]] {
		id := q.GetQuestionId()
		if m.tried[id] || !m.all && m.asked[id] {
			continue
		}
		m.tried[id] = true
		if m.give(m.of[id]) {
			m.of[id], m.has[u] = u, q
			return true
		}
	}
	return false
}
