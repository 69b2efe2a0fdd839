package question

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// matching asks what belongs to each stem. Each of n stems is a part that weighs 1/n
// and gives 1 where its choice is right, as Moodle's matching (question/type/match),
// and wrong_fraction where it is not; or all or nothing.
type matching struct {
	*pb.MatchingQuestion

	wrong exact.Number
}

func normaliseMatching(q *pb.QuestionContent) {
	b := q.GetMatching()
	fill(&b.Scoring, "per_part")
	share(&b.WrongFraction, "0")
	fillKeys(len(b.GetStems()), func(i int) (*string, string) { return &b.Stems[i].Key, b.Stems[i].GetText() })
}

func newMatching(q *pb.QuestionContent, c *checker) kind {
	k := matching{MatchingQuestion: q.GetMatching()}
	stems, choices := k.GetStems(), k.GetChoices()
	c.keys("matching.stems", len(stems), func(i int) string { return stems[i].GetKey() })
	c.keys("matching.choices", len(choices), func(i int) string { return choices[i].GetKey() })
	for i, s := range stems {
		c.refs(index("matching.stems", i)+".right_keys", s.GetRightKeys(), k.hasChoice)
	}
	k.wrong = c.fraction("matching.wrong_fraction", k.GetWrongFraction(), "0", "-1", "0")
	return k
}

func (k matching) hasChoice(key string) bool { _, ok := find(k.GetChoices(), key); return ok }
func (k matching) hasStem(key string) bool   { _, ok := find(k.GetStems(), key); return ok }

func (k matching) accept(c *checker, a *pb.Answer) {
	pairs := a.GetMatching().GetPairs()
	for i, p := range pairs {
		at := index("matching.pairs", i)
		c.ref(at+".stem_key", p.GetStemKey(), k.hasStem)
		c.ref(at+".choice_key", p.GetChoiceKey(), k.hasChoice)
		if slices.ContainsFunc(pairs[:i], func(o *pb.MatchingPair) bool { return o.GetStemKey() == p.GetStemKey() }) {
			c.add(at+".stem_key", "key.twice", "This stem has a choice before.")
		}
	}
}

// chosen returns the choice of a stem, empty for none.
func (k matching) chosen(a *pb.Answer, stem string) string {
	for _, p := range a.GetMatching().GetPairs() {
		if p.GetStemKey() == stem {
			if k.hasChoice(p.GetChoiceKey()) {
				return p.GetChoiceKey()
			}
			return ""
		}
	}
	return ""
}

func (k matching) given(a *pb.Answer) given {
	n := 0
	for _, s := range k.GetStems() {
		if k.chosen(a, s.GetKey()) != "" {
			n++
		}
	}
	switch n {
	case 0:
		return nothing
	case len(k.GetStems()):
		return whole
	}
	return lacking
}

func (k matching) view(in *Instance, v *pb.QuestionView) {
	stems := k.GetStems()
	if k.GetShuffle() {
		stems = shuffle(in.seed.stream("stems"), stems)
	}
	choices := shuffle(in.seed.stream("choices"), byKey(k.GetChoices()))
	v.Body = &pb.QuestionView_Matching{Matching: &pb.MatchingView{Stems: keyed(in, stems), Choices: keyed(in, choices)}}
}

func (k matching) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	weight := exact.Ratio(1, int64(len(k.GetStems())))
	for _, stem := range k.GetStems() {
		switch chosen := k.chosen(a, stem.GetKey()); {
		case chosen == "":
			s.unanswered(stem.GetKey(), weight)
		case slices.Contains(stem.GetRightKeys(), chosen):
			s.part(stem.GetKey(), unit, weight, stem.GetFeedback())
		default:
			s.part(stem.GetKey(), k.wrong, weight, stem.GetFeedback())
		}
	}
	if k.GetScoring() == "all_or_nothing" {
		s.allOrNothing(s.allRight())
	}
	return s
}

func (k matching) right(*Instance) *pb.Answer {
	out := &pb.MatchingAnswer{}
	for _, s := range k.GetStems() {
		out.Pairs = append(out.Pairs, &pb.MatchingPair{StemKey: s.GetKey(), ChoiceKey: s.GetRightKeys()[0]})
	}
	return &pb.Answer{Content: &pb.Answer_Matching{Matching: out}}
}

func (k matching) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	for _, s := range k.GetStems() {
		choice, ok := find(k.GetChoices(), k.chosen(a, s.GetKey()))
		switch {
		case !ok:
		case key == s.GetKey():
			return in.text(choice.GetText())
		case key == "":
			out = append(out, in.text(s.GetText())+" → "+in.text(choice.GetText()))
		}
	}
	return strings.Join(out, "; ")
}

func (k matching) keep(a *pb.Answer, s Score) *pb.Answer {
	out := &pb.MatchingAnswer{}
	for _, p := range s.Parts {
		if p.State == Right {
			out.Pairs = append(out.Pairs, &pb.MatchingPair{StemKey: p.Key, ChoiceKey: k.chosen(a, p.Key)})
		}
	}
	return &pb.Answer{Content: &pb.Answer_Matching{Matching: out}}
}
