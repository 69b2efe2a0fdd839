package question

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// choice asks to choose one or several of some options.
//
// One: the fraction of what is chosen, as Moodle's multiple choice
// (question/type/multichoice). Several, with R right options (those whose fraction is
// above 0), of which r are chosen, w others that are chosen, and n options in all:
//
//	weights             the sum of the fractions of what is chosen (Moodle; QTI's
//	                    map_response)
//	all_or_nothing      1 where r = R and w = 0 (QTI's match_correct)
//	per_option          (r + n - R - w) / n: each option is a statement that is judged
//	                    (multiple true-false; Kprime without its threshold)
//	right_minus_wrong   (r - w) / R
type choice struct {
	*pb.ChoiceQuestion

	options   map[string]option
	rightOnes int
}

type option struct {
	*pb.ChoiceOption

	fraction exact.Number
}

func (o option) right() bool { return o.fraction.Sign() > 0 }

// readOptions reads the fractions of options.
func (c *checker) readOptions(path string, list []*pb.ChoiceOption) (options map[string]option, rightOnes int, best exact.Number) {
	options = make(map[string]option, len(list))
	c.keys(path, len(list), func(i int) string { return list[i].GetKey() })
	for i, o := range list {
		one := option{o, c.fraction(index(path, i)+".fraction", o.GetFraction(), "0", "-1", "1")}
		if one.right() {
			rightOnes++
		}
		best = exact.Max(best, one.fraction)
		options[o.GetKey()] = one
	}
	return options, rightOnes, best
}

func normaliseChoice(q *pb.QuestionContent) {
	b := q.GetChoice()
	fill(&b.Scoring, "weights")
	fill(&b.Numbering, "none")
	normaliseOptions(b.GetOptions())
}

func normaliseOptions(options []*pb.ChoiceOption) {
	for _, o := range options {
		share(&o.Fraction, "0")
	}
	fillKeys(len(options), func(i int) (*string, string) { return &options[i].Key, options[i].GetText() })
}

func newChoice(q *pb.QuestionContent, c *checker) kind {
	k := choice{ChoiceQuestion: q.GetChoice()}
	var best exact.Number
	k.options, k.rightOnes, best = c.readOptions("choice.options", k.GetOptions())
	n := int32(len(k.GetOptions())) //nolint:gosec // G115: at most 50
	switch {
	case !k.GetMultiple() && best.Cmp(unit) != 0:
		c.add("choice.options", "choice.no_right", `One option has the fraction "1".`)
	case k.GetMultiple() && k.rightOnes == 0 && k.GetScoring() != "per_option":
		c.add("choice.options", "choice.no_right", "At least one option has a fraction above 0.")
	}
	if !k.GetMultiple() && (k.GetMinChosen() != 0 || k.GetMaxChosen() != 0 || k.GetScoring() != "weights") {
		c.add("choice.multiple", "choice.single", "min_chosen, max_chosen and scoring are of questions where several can be chosen.")
	}
	if k.GetMinChosen() > n {
		c.add("choice.min_chosen", "choice.bounds", "There are only %d options.", n)
	}
	if m := k.GetMaxChosen(); m != 0 && m < k.GetMinChosen() {
		c.add("choice.max_chosen", "choice.bounds", "max_chosen is not less than min_chosen.")
	}
	return k
}

func (k choice) most() int {
	switch m := int(k.GetMaxChosen()); {
	case !k.GetMultiple():
		return 1
	case m == 0:
		return len(k.options)
	default:
		return m
	}
}

func (k choice) accept(c *checker, a *pb.Answer) {
	keys := a.GetChoice().GetKeys()
	c.refs("choice.keys", keys, func(key string) bool { _, ok := k.options[key]; return ok })
	if len(keys) > k.most() {
		c.add("choice.keys", "choice.too_many", "Choose at most %d.", k.most())
	}
	if a.GetChoice().GetNone() && (len(keys) > 0 || !k.GetMultiple()) {
		c.add("choice.none", "choice.none", "none is sent alone, where several can be chosen.")
	}
}

func (k choice) given(a *pb.Answer) given {
	keys := k.chosen(a)
	switch {
	case len(keys) == 0 && (!a.GetChoice().GetNone() || !k.GetMultiple()):
		return nothing
	case len(keys) < int(k.GetMinChosen()) || len(keys) > k.most():
		return lacking
	}
	return whole
}

// chosen returns the options that were chosen, each once.
func (k choice) chosen(a *pb.Answer) []option {
	keys := a.GetChoice().GetKeys()
	out := make([]option, 0, len(keys))
	for i, key := range keys {
		if o, ok := k.options[key]; ok && !slices.Contains(keys[:i], key) {
			out = append(out, o)
		}
	}
	return out
}

func (k choice) view(in *Instance, v *pb.QuestionView) {
	options := k.GetOptions()
	if k.GetShuffle() {
		options = shuffleUnless(in.seed.stream("options"), options, (*pb.ChoiceOption).GetFixed)
	}
	v.Body = &pb.QuestionView_Choice{Choice: &pb.ChoiceView{
		Multiple: k.GetMultiple(), Options: keyed(in, options), Numbering: k.GetNumbering(),
		MinChosen: k.GetMinChosen(), MaxChosen: k.GetMaxChosen(),
	}}
}

func (k choice) score(_ *Instance, a *pb.Answer) Score {
	chosen := k.chosen(a)
	var s Score
	if len(chosen) > k.most() {
		// It was refused when it came; nothing is gained by choosing all.
		return s
	}
	if !k.GetMultiple() {
		s.part(chosen[0].GetKey(), chosen[0].fraction, unit, "")
		s.Feedback = []string{chosen[0].GetFeedback()}
		return s
	}
	n := int64(len(k.options))
	r := int64(0)
	for _, o := range chosen {
		judged := exact.Int(-1)
		if o.right() {
			judged = unit
			r++
		}
		switch k.GetScoring() {
		case "all_or_nothing":
			s.Parts = append(s.Parts, Part{o.GetKey(), stateOf(judged), exact.Max(judged, exact.Number{}), exact.Number{}, o.GetFeedback()})
		case "per_option":
			s.part(o.GetKey(), exact.Max(judged, exact.Number{}), exact.Ratio(1, n), o.GetFeedback())
		case "right_minus_wrong":
			s.part(o.GetKey(), judged, exact.Ratio(1, int64(k.rightOnes)), o.GetFeedback())
		default:
			s.Parts = append(s.Parts, Part{o.GetKey(), stateOf(judged), o.fraction, unit, o.GetFeedback()})
			s.line(o.GetKey(), o.fraction, unit)
		}
	}
	w, rightOnes := int64(len(chosen))-r, int64(k.rightOnes)
	switch k.GetScoring() {
	case "all_or_nothing":
		s.allOrNothing(r == rightOnes && w == 0)
	case "per_option":
		// Those that were not chosen together, so that it is not told which were missed.
		if left := n - int64(len(chosen)); left > 0 {
			s.line("", exact.Ratio(n-rightOnes-w, left), exact.Ratio(left, n))
		}
		s.rule("per_option")
	case "right_minus_wrong":
		s.rule("right_minus_wrong")
	default:
		s.rule("weights")
	}
	return s
}

func (k choice) right(*Instance) *pb.Answer {
	var keys []option
	for _, o := range k.GetOptions() {
		if one := k.options[o.GetKey()]; one.right() && (k.GetMultiple() || one.fraction.Cmp(unit) == 0) {
			keys = append(keys, one)
		}
	}
	// Where not all can be chosen, those that give most.
	slices.SortStableFunc(keys, func(a, b option) int { return b.fraction.Cmp(a.fraction) })
	keys = keys[:min(len(keys), k.most())]
	out := &pb.ChoiceAnswer{None: len(keys) == 0}
	for _, o := range k.GetOptions() {
		if slices.ContainsFunc(keys, func(one option) bool { return one.GetKey() == o.GetKey() }) {
			out.Keys = append(out.Keys, o.GetKey())
		}
	}
	return &pb.Answer{Content: &pb.Answer_Choice{Choice: out}}
}

func (k choice) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	for _, o := range k.chosen(a) {
		if key == "" || o.GetKey() == key {
			out = append(out, in.text(o.GetText()))
		}
	}
	return strings.Join(out, "; ")
}

func (k choice) keep(a *pb.Answer, _ Score) *pb.Answer {
	out := &pb.ChoiceAnswer{}
	for _, o := range k.chosen(a) {
		if o.right() && (k.GetMultiple() || o.fraction.Cmp(unit) == 0) {
			out.Keys = append(out.Keys, o.GetKey())
		}
	}
	return &pb.Answer{Content: &pb.Answer_Choice{Choice: out}}
}
