package assessment

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// pinnedNames makes questions named q0, q1 and so on.
func pinnedNames(names ...int) []*assessmentpb.FixedQuestion {
	out := make([]*assessmentpb.FixedQuestion, len(names))
	for i, n := range names {
		out[i] = &assessmentpb.FixedQuestion{QuestionId: fmt.Sprint("q", n), Version: int32(n + 1), Points: "1", Kind: "choice"} //nolint:gosec // small
	}
	return out
}

// drawQuiz draws a quiz of 30 questions at most: some fixed, others drawn from pools
// that may overlap.
func drawQuiz(t *rapid.T) *assessmentpb.QuizSettings {
	next, draws := 0, 0
	fixed := func() *assessmentpb.QuizSlot {
		next++
		slot := &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Question{Question: pinnedNames(100 + next)[0]}}
		slot.Points = rapid.SampledFrom([]string{"", "2", "0.5"}).Draw(t, "points")
		return slot
	}
	set := &assessmentpb.QuizSettings{
		ShuffleSections: rapid.Bool().Draw(t, "shuffle sections"), QuestionsPerPage: rapid.Int32Range(0, 3).Draw(t, "per page"),
		Behaviour: rapid.SampledFrom([]string{"", "immediate"}).Draw(t, "behaviour"),
	}
	for range rapid.IntRange(1, 4).Draw(t, "sections") {
		s := &assessmentpb.QuizSection{Shuffle: rapid.Bool().Draw(t, "shuffle")}
		for range rapid.IntRange(0, 4).Draw(t, "slots") {
			if draws == 4 || rapid.Bool().Draw(t, "fixed") { // as many as all ways can be tried of
				s.Slots = append(s.Slots, fixed())
				continue
			}
			draws++
			pool := rapid.SliceOfNDistinct(rapid.IntRange(0, 12), 1, 8, rapid.ID[int]).Draw(t, "pool")
			s.Slots = append(s.Slots, &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{
				Count: int32(rapid.IntRange(1, min(3, len(pool))).Draw(t, "count")), DrawnFrom: pinnedNames(pool...), //nolint:gosec // small
			}}})
		}
		set.Sections = append(set.Sections, s)
	}
	return set
}

// mostFresh returns how many questions that were not asked can be drawn at most with
// all draws satisfied, -1 where these can't be: by trying everything.
func mostFresh(draws []versionDraw, asked, used map[string]bool) int {
	if len(draws) == 0 {
		return 0
	}
	best := -1
	var choose func(from int, left int, fresh int)
	choose = func(from, left, fresh int) {
		if left == 0 {
			if rest := mostFresh(draws[1:], asked, used); rest >= 0 {
				best = max(best, fresh+rest)
			}
			return
		}
		for i := from; i < len(draws[0].from); i++ {
			q := draws[0].from[i].GetQuestionId()
			if used[q] {
				continue
			}
			used[q] = true
			choose(i+1, left-1, fresh+1-rank(asked, draws[0].from[i]))
			delete(used, q)
		}
	}
	choose(0, draws[0].count, 0)
	return best
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := drawQuiz(t)
		v := newQuizVersion("", "", 1, "", set)
		asked := map[string]bool{}
		for _, n := range rapid.SliceOfDistinct(rapid.IntRange(0, 12), rapid.ID[int]).Draw(t, "asked") {
			asked[fmt.Sprint("q", n)] = true
		}
		seed := rapid.Int64().Draw(t, "seed")
		most := mostFresh(v.draws, asked, map[string]bool{})
		pools, lacking := v.drawAll(seed, asked)
		if (lacking >= 0) != (most < 0) {
			t.Fatalf("draw %d lacks something, and the most is %d", lacking, most)
		}
		if most < 0 {
			return
		}
		fresh, used := 0, map[string]bool{}
		for i, d := range v.draws {
			if len(pools[i]) != d.count {
				t.Fatalf("draw %d has %d of %d", i, len(pools[i]), d.count)
			}
			for _, q := range pools[i] {
				if used[q.GetQuestionId()] || !slices.Contains(d.from, q) {
					t.Fatalf("draw %d has %s twice, or of another pool", i, q.GetQuestionId())
				}
				used[q.GetQuestionId()] = true
				fresh += 1 - rank(asked, q)
			}
		}
		if fresh != most {
			t.Fatalf("%d were not asked before, %d could be", fresh, most)
		}
		got := v.assemble(seed, asked)
		if diff := cmp.Diff(got, v.assemble(seed, asked), cmp.AllowUnexported(assembled{})); diff != "" {
			t.Fatalf("made again:\n%s", diff)
		}
		if len(got) != v.count {
			t.Fatalf("%d questions, want %d", len(got), v.count)
		}
		checkOrder(t, set, got)
	})
}

// checkOrder holds the questions of an attempt to what a quiz says of their order.
func checkOrder(t *rapid.T, set *assessmentpb.QuizSettings, got []assembled) {
	var sections []int
	onPage := 0
	for i, q := range got {
		if q.slot != i+1 {
			t.Fatalf("slot %d at %d", q.slot, i)
		}
		if i == 0 || got[i-1].section != q.section {
			sections = append(sections, q.section)
		}
		switch {
		case i == 0 && q.page != 0, i > 0 && q.page != got[i-1].page && q.page != got[i-1].page+1:
			t.Fatalf("page %d of slot %d", q.page, q.slot)
		case i == 0 || q.page != got[i-1].page:
			onPage = 1
		default:
			if onPage++; q.section != got[i-1].section {
				t.Fatalf("page %d has questions of two sections", q.page)
			}
		}
		if per := int(set.GetQuestionsPerPage()); per > 0 && onPage > per {
			t.Fatalf("page %d has %d questions", q.page, onPage)
		}
		if i > 0 && got[i-1].section == q.section && got[i-1].page != q.page && set.GetQuestionsPerPage() == 0 {
			t.Fatalf("section %d has two pages", q.section)
		}
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(sections))); len(distinct) != len(sections) {
		t.Fatalf("sections are mixed: %v", sections)
	}
	if !set.GetShuffleSections() && !slices.IsSorted(sections) {
		t.Fatalf("sections are not in their order: %v", sections)
	}
	for i, s := range set.GetSections() {
		if s.GetShuffle() {
			continue
		}
		var want, have []string
		for _, slot := range s.GetSlots() {
			if q := slot.GetQuestion(); q != nil {
				want = append(want, q.GetQuestionId())
			}
		}
		for _, q := range got {
			if q.section == i && strings.HasPrefix(q.questionID, "q1") && len(q.questionID) == 4 {
				have = append(have, q.questionID)
			}
		}
		if !slices.Equal(want, have) {
			t.Fatalf("section %d asks %v, want %v", i, have, want)
		}
	}
}

// What a seed makes never changes: attempts are built again from it.
func TestAssembleIsFrozen(t *testing.T) {
	t.Parallel()
	slot := func(count int32, names ...int) *assessmentpb.QuizSlot {
		return &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{Count: count, DrawnFrom: pinnedNames(names...)}}}
	}
	fixed := func(n int) *assessmentpb.QuizSlot {
		return &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Question{Question: pinnedNames(n)[0]}}
	}
	sections := func(slots ...*assessmentpb.QuizSlot) *assessmentpb.QuizSettings {
		return &assessmentpb.QuizSettings{ShuffleSections: true, QuestionsPerPage: 2, Sections: []*assessmentpb.QuizSection{
			{Shuffle: true, Slots: slots}, {Slots: []*assessmentpb.QuizSlot{fixed(90), fixed(91)}}, {Shuffle: true, Slots: []*assessmentpb.QuizSlot{fixed(92), fixed(93), fixed(94)}},
		}}
	}
	apart := newQuizVersion("", "", 1, "", sections(slot(2, 0, 1, 2, 3, 4), slot(2, 5, 6, 7)))
	over := newQuizVersion("", "", 1, "", sections(slot(2, 0, 1, 2, 3, 4), slot(2, 3, 4, 5)))
	show := func(v *quizVersion, seed int64, asked map[string]bool) string {
		var out []string
		for _, q := range v.assemble(seed, asked) {
			out = append(out, fmt.Sprintf("%d/%s", q.page, q.questionID))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ got, want string }{
		{show(apart, 1, nil), frozen[0]},
		{show(apart, -7, nil), frozen[1]},
		{show(apart, 1, map[string]bool{"q0": true, "q5": true, "q6": true}), frozen[2]},
		{show(over, 1, nil), frozen[3]},
		{show(over, 1, map[string]bool{"q1": true, "q5": true}), frozen[4]},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

var frozen = []string{
	"0/q1 0/q7 1/q6 1/q2 2/q94 2/q92 3/q93 4/q90 4/q91",
	"0/q5 0/q7 1/q3 1/q4 2/q90 2/q91 3/q94 3/q92 4/q93",
	"0/q1 0/q6 1/q7 1/q2 2/q94 2/q92 3/q93 4/q90 4/q91",
	"0/q1 0/q5 1/q4 1/q2 2/q94 2/q92 3/q93 4/q90 4/q91",
	"0/q2 0/q3 1/q4 1/q0 2/q94 2/q92 3/q93 4/q90 4/q91",
}

func BenchmarkAssemble(b *testing.B) {
	names := make([]int, 200)
	for i := range names {
		names[i] = i
	}
	set := &assessmentpb.QuizSettings{QuestionsPerPage: 5}
	for i := range 4 {
		s := &assessmentpb.QuizSection{Shuffle: true}
		for j := range 10 {
			s.Slots = append(s.Slots, &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Question{Question: pinnedNames(1000 + 100*i + j)[0]}})
		}
		s.Slots = append(s.Slots, &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{Count: 3, DrawnFrom: pinnedNames(names[50*i : 50*i+50]...)}}})
		set.Sections = append(set.Sections, s)
	}
	over := &assessmentpb.QuizSettings{}
	for range 4 {
		over.Sections = append(over.Sections, &assessmentpb.QuizSection{Slots: []*assessmentpb.QuizSlot{
			{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{Count: 13, DrawnFrom: pinnedNames(names...)}}},
		}})
	}
	for name, v := range map[string]*quizVersion{"52 questions": newQuizVersion("", "", 1, "", set), "52 of overlapping pools": newQuizVersion("", "", 1, "", over)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			seed := int64(0)
			for b.Loop() {
				seed++
				if len(v.assemble(seed, nil)) != 52 {
					b.Fatal("another number of questions")
				}
			}
		})
	}
}
