package question

import (
	"testing"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

func inUnits(rules *pb.UnitRules, change func(u *pb.UnitRules)) *pb.NumericQuestion {
	n := near("1.5", "absolute", "0.01")
	n.Units = with(rules, change)
	return n
}

// TestScore holds each type to what its formula makes. The examples of Moodle's
// documentation and of QTI's implementation guide are among them.
func TestScore(t *testing.T) {
	t.Parallel()
	down := func(q *pb.QuestionContent, floor string) *pb.QuestionContent {
		return with(q, func(q *pb.QuestionContent) { q.Floor = floor })
	}
	ignoring := &pb.ShortAnswerQuestion{IgnoreAccents: true, Spaces: "ignore", Patterns: []*pb.AnswerPattern{{Pattern: "café au lait"}}}
	strict := &pb.ShortAnswerQuestion{CaseSensitive: true, Spaces: "keep", Patterns: []*pb.AnswerPattern{{Pattern: "a  B"}}}
	for name, c := range map[string]struct {
		q    *pb.QuestionContent
		want map[string]*pb.Answer
	}{
		"single": {down(single(), "-1/2"), map[string]*pb.Answer{
			"1": choose("a"), "-1/3": choose("b"), "1/3": choose("c"), "0": choose("d"),
		}},
		"single without negative marks": {single(), map[string]*pb.Answer{"0": choose("b")}},
		// Moodle, "Multiple choice question type": three right ones of a third each.
		"weights":          {down(multiple("weights"), "-1"), map[string]*pb.Answer{"1": choose("c", "a", "b"), "2/3": choose("a", "b"), "1/6": choose("a", "b", "d"), "-1": choose("d", "e"), "0": choose("a", "b", "c", "d", "e")}},
		"weights, floor":   {multiple("weights"), map[string]*pb.Answer{"0": choose("d", "e"), "-0": choose("a", "d")}},
		"all or nothing":   {multiple("all_or_nothing"), map[string]*pb.Answer{"1": choose("c", "a", "b"), "0": choose("a", "b"), "-0": choose("a", "b", "c", "d")}},
		"per option":       {multiple("per_option"), map[string]*pb.Answer{"1": choose("a", "b", "c"), "0.8": choose("a", "b"), "0.6": choose("a"), "0.4": choose("a", "d"), "0": choose("d", "e"), "0.2": choose("a", "d", "e"), "2/5": {Content: &pb.Answer_Choice{Choice: &pb.ChoiceAnswer{None: true}}}}},
		"right less wrong": {down(multiple("right_minus_wrong"), "-1/4"), map[string]*pb.Answer{"1": choose("a", "b", "c"), "2/3": choose("a", "b"), "1/3": choose("a", "b", "d"), "-1/4": choose("d", "e"), "0": choose("a", "d")}},
		"true": {trueFalseQuestion(), map[string]*pb.Answer{
			"1": {Content: &pb.Answer_TrueFalse{TrueFalse: &pb.TrueFalseAnswer{Value: true}}}, "0": {Content: &pb.Answer_TrueFalse{TrueFalse: &pb.TrueFalseAnswer{}}},
		}},
		// Moodle, "Short-answer question type": the first answer that matches counts.
		"short answer": {down(shortQuestion(short("Rome", "1", "R*", "1/2", "*", "-1/4")), "-1"), map[string]*pb.Answer{
			"1": say("  rome "), "1/2": say("Ravenna"), "-1/4": say("Paris"), "0.5": say("r"),
		}},
		"wild cards": {shortQuestion(short(`ran*race\*`, "1", `\\*`, "1/2")), map[string]*pb.Answer{
			"1": say("Ran in the race*"), "1.0": say("ranrace*"), "0": say("ran in the race"), "1/2": say(`\anything`), "0.5": say(`\`),
		}},
		"accents, spaces": {shortQuestion(ignoring), map[string]*pb.Answer{"1": say("CAFE\u0301 aulait"), "1.0": say("cafe  au\tlait"), "0": say("cafe au")}},
		"all counts":      {shortQuestion(strict), map[string]*pb.Answer{"1": say("a  B"), "0": say("a B"), "-0": say("a  b")}},
		"folded":          {shortQuestion(short("Straße", "1")), map[string]*pb.Answer{"1": say("STRASSE"), "1.0": say("straße"), "0": say("strase")}},
		"Hindi marks":     {shortQuestion(&pb.ShortAnswerQuestion{IgnoreAccents: true, Patterns: []*pb.AnswerPattern{{Pattern: "कि"}}}), map[string]*pb.Answer{"1": say("कि"), "0": say("क")}},

		"absolute":    {numericQuestion(near("3.14", "absolute", "0.01")), map[string]*pb.Answer{"1": count("3.15"), "1.0": count("3,13"), "0": count("3.1501"), "0.0": count("three")}},
		"relative":    {numericQuestion(near("-200", "relative", "0.05")), map[string]*pb.Answer{"1": count("-210"), "1.0": count("−190"), "0": count("-210.01"), "0.0": count("200")}},
		"geometric":   {numericQuestion(near("10", "geometric", "1")), map[string]*pb.Answer{"1": count("20"), "1.0": count("5"), "0": count("4.99"), "0.0": count("20.01"), "0.00": count("-10")}},
		"exactly":     {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "0.1"}}}), map[string]*pb.Answer{"1": count("0.10"), "1.0": count(".1"), "1.00": count("1e-1"), "0": count("0.1000000000000000001")}},
		"range":       {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Tolerance: &pb.Tolerance{Kind: "range", Low: "1", High: "2"}}}}), map[string]*pb.Answer{"1": count("1"), "1.0": count("2"), "0": count("2.0001")}},
		"open range":  {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Tolerance: &pb.Tolerance{Kind: "range", Low: "1"}}}}), map[string]*pb.Answer{"1": count("1e50"), "0": count("0.9")}},
		"figures":     {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "1.996", Tolerance: &pb.Tolerance{Kind: "significant_figures", Digits: 3}}}}), map[string]*pb.Answer{"1": count("2"), "1.0": count("1.995"), "0": count("1.9949")}},
		"just so":     {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "1500", Tolerance: &pb.Tolerance{Kind: "significant_figures", Digits: 3, Strict: true}}}}), map[string]*pb.Answer{"1": count("1500"), "1.0": count("1.50e3"), "0": count("1.5e3"), "0.0": count("1500.0")}},
		"places":      {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "2.345", Tolerance: &pb.Tolerance{Kind: "decimal_places", Digits: 2, Strict: true}}}}), map[string]*pb.Answer{"1": count("2.35"), "0": count("2.345"), "0.0": count("2.34")}},
		"first fits":  {down(numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "9"}, {Fraction: "1/2", Value: "9", Tolerance: &pb.Tolerance{Kind: "absolute", Size: "1"}}, {Fraction: "-1/2", Tolerance: &pb.Tolerance{Kind: "range"}}}}), "-1"), map[string]*pb.Answer{"1": count("9"), "1/2": count("8"), "-1/2": count("7")}},
		"units":       {numericQuestion(inUnits(metres(), func(*pb.UnitRules) {})), map[string]*pb.Answer{"1": count("1.5 m"), "1.0": count("150cm"), "1.00": count("0.0015 km"), "0": count("1.5"), "0.0": count("1.5 cm"), "0.00": count("1.5 M"), "1.000": count("1.5 metres")}},
		"units, half": {numericQuestion(inUnits(metres(), func(u *pb.UnitRules) { u.Penalty = "1/4" })), map[string]*pb.Answer{"3/4": count("1.5"), "0.75": count("1.5 ft"), "0": count("150 m"), "1": count("150 cm")}},
		"units, optional": {numericQuestion(inUnits(metres(), func(u *pb.UnitRules) { u.Rule, u.Penalty, u.PenaltyOf = "optional", "0.1", "question" })), map[string]*pb.Answer{
			"1": count("1.5"), "9/10": count("1.5 ft"), "0": count("150"),
		}},
		"squares": {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "3"}}, Units: &pb.UnitRules{Units: []*pb.QuestionUnit{{Symbol: "m²"}}}}), map[string]*pb.Answer{"1": count("3 m^2"), "1.0": count("3m2"), "0": count("3 m")}},

		"matching": {matchingQuestion(), map[string]*pb.Answer{"1": pairs("it", "r", "fr", "p", "es", "m", "pt", "l"), "1/2": pairs("it", "r", "fr", "p"), "1/4": pairs("it", "r", "fr", "r", "es", "v"), "0": pairs("it", "v")}},
		"matching, negative": {with(down(matchingQuestion(), "-1"), func(q *pb.QuestionContent) { q.GetMatching().WrongFraction = "-1/3" }), map[string]*pb.Answer{
			"1/6": pairs("it", "r", "es", "v"), "-1/3": pairs("it", "v", "fr", "v", "es", "v", "pt", "v"),
		}},
		"matching, all": {with(matchingQuestion(), func(q *pb.QuestionContent) { q.GetMatching().Scoring = "all_or_nothing" }), map[string]*pb.Answer{"1": pairs("it", "r", "fr", "p", "es", "m", "pt", "l"), "0": pairs("it", "r", "fr", "p", "es", "m")}},

		// Moodle, "Ordering question type": a, b, c, d, e, of which one was moved.
		"places in order": {orderingQuestion("absolute_position", "a", "b", "c", "d", "e"), map[string]*pb.Answer{"1": order("a", "b", "c", "d", "e"), "0": order("b", "c", "d", "e", "a"), "3/5": order("b", "a", "c", "d", "e"), "2/5": order("a", "b")}},
		"next in order":   {orderingQuestion("relative_to_next", "a", "b", "c", "d", "e"), map[string]*pb.Answer{"1": order("a", "b", "c", "d", "e"), "3/5": order("b", "c", "d", "e", "a"), "2/5": order("a", "b", "d", "e", "c"), "1/5": order("a", "b")}},
		"run in order":    {orderingQuestion("longest_increasing", "a", "b", "c", "d", "e"), map[string]*pb.Answer{"1": order("a", "b", "c", "d", "e"), "3/4": order("b", "c", "d", "e", "a"), "0": order("e", "d", "c", "b", "a"), "1/2": order("c", "a", "e", "b", "d")}},
		"all in order":    {orderingQuestion("all_or_nothing", "a", "b", "c"), map[string]*pb.Answer{"1": order("a", "b", "c"), "0": order("a", "c", "b"), "0.0": order("a", "b")}},
		"blanks": {blanksQuestion(), map[string]*pb.Answer{
			"1": gaps("1", "paris", "2", "#f", "3", "2.05", "4", "#seine", "5", "#rhine"), "1/6": gaps("1", "Paris"), "1/12": gaps("1", "Parma"), "1/3": gaps("3", "2,2"), "1/2": gaps("1", "Paris", "3", "2.1", "2", "#g"),
			"5/12": gaps("1", "Paris", "3", "2.1", "2", "#h"),
			// One item can't be in both gaps.
			"2/12": gaps("4", "#seine", "5", "#seine"),
		}},
		"categorise": {down(categoriseQuestion(), "-1"), map[string]*pb.Answer{
			"1": place([]string{"2", "even", "prime"}, []string{"3", "prime"}, []string{"4", "square", "even"}), "1/3": place([]string{"3", "prime"}), "1/6": place([]string{"2", "even"}),
			"0": place([]string{"2", "even", "square"}), "-1/3": place([]string{"15", "even"}), "-0": place([]string{"3", "prime"}, []string{"15", "prime"}),
		}},
		"categorise, all": {with(categoriseQuestion(), func(q *pb.QuestionContent) { q.GetCategorise().Scoring = "all_or_nothing" }), map[string]*pb.Answer{
			"1": place([]string{"2", "even", "prime"}, []string{"3", "prime"}, []string{"4", "square", "even"}), "0": place([]string{"2", "even", "prime"}, []string{"3", "prime"}, []string{"4", "square", "even"}, []string{"15", "even"}),
		}},
		"hot spot": {down(hotSpotQuestion(), "-1"), map[string]*pb.Answer{
			"1": point(100, 150, 320, 120), "1/2": point(100, 100), "1.0": point("right", "left"), "0.5": point(50, 100, 60, 100), "-1/2": point(700, 500, "wall"),
			"1/4": point(100, 100, 450, 300), "-1/4": point("wall"), "0.75": point(100, 100, 130, 100, 700, 10),
			// Two marks where both regions are: each takes one.
			"1.00": point(130, 100, 130, 100),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := instance(t, c.q, Seed{Attempt: 1})
			for want, a := range c.want {
				s := in.Score(a)
				if !s.Fraction.Equal(num(want)) {
					t.Errorf("%v: got %s, want %s: %+v", a, s.Fraction, want, s.Lines)
				}
				if last := s.Lines[len(s.Lines)-1]; last.Code != "total" || !last.Value.Equal(s.Fraction) {
					t.Errorf("%v: the lines end with %+v, not with the total %s", a, last, s.Fraction)
				}
			}
		})
	}
}
