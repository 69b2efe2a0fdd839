package question

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

func save(a *pb.Answer) Step { return Step{Kind: StepAnswer, Answer: a} }

var (
	check  = Step{Kind: StepCheck}
	hint   = Step{Kind: StepHint}
	giveUp = Step{Kind: StepGiveUp}
	finish = Step{Kind: StepFinish}
)

func give(fraction string) Step {
	f := num(fraction)
	return Step{Kind: StepMark, Mark: &Mark{Fraction: &f, Comment: "By hand"}}
}

func givePoints(points string) Step {
	p := num(points)
	return Step{Kind: StepMark, Mark: &Mark{Points: &p}}
}

// TestFold walks the behaviours. The question has two hints and a penalty of a
// quarter, so that there are three tries.
func TestFold(t *testing.T) {
	t.Parallel()
	none := "-"
	wrong, partly, right := choose("d"), choose("c"), choose("a")
	for name, c := range map[string]struct {
		q         string
		behaviour string
		steps     []Step
		phase     string
		fraction  string
		tries     int
		left      int
		hints     int
		ignored   int
	}{
		"nothing happens":               {"single", Deferred, nil, Todo, none, 0, 1, 0, 0},
		"saved":                         {"single", Deferred, []Step{save(right)}, Answered, none, 0, 1, 0, 0},
		"the last answer counts":        {"single", Deferred, []Step{save(right), save(wrong), finish}, Complete, "0", 1, 0, 0, 0},
		"no check where it is deferred": {"single", Deferred, []Step{save(right), check, hint, giveUp, finish}, Complete, "1", 1, 0, 0, 3},
		"nothing is answered":           {"single", Deferred, []Step{finish}, GaveUp, "0", 0, 0, 0, 0},
		"taken back":                    {"single", Deferred, []Step{save(right), save(&pb.Answer{Content: &pb.Answer_Cleared{Cleared: &pb.ClearedAnswer{}}}), finish}, GaveUp, "0", 0, 0, 0, 0},
		"too late":                      {"single", Deferred, []Step{save(wrong), finish, save(right), finish, check}, Complete, "0", 1, 0, 0, 3},
		"of another kind":               {"single", Deferred, []Step{save(right), save(say("a")), {Kind: StepAnswer}, {Kind: "dance"}, finish}, Complete, "1", 1, 0, 0, 3},

		"checked at once":       {"single", Immediate, []Step{save(partly), check, save(right), check, finish}, Complete, "1/3", 1, 0, 0, 3},
		"not checked":           {"single", Immediate, []Step{save(partly), finish}, Complete, "1/3", 1, 0, 0, 0},
		"nothing to check":      {"single", Immediate, []Step{check}, Todo, none, 0, 1, 0, 1},
		"incomplete to check":   {"matching", Immediate, []Step{save(pairs("it", "r")), check}, Invalid, none, 0, 1, 0, 1},
		"incomplete at the end": {"matching", Immediate, []Step{save(pairs("it", "r")), finish}, Complete, "1/4", 1, 0, 0, 0},
		"given up at once":      {"single", Immediate, []Step{save(right), giveUp, finish}, GaveUp, "0", 0, 0, 0, 1},

		"right at first":      {"single", Interactive, []Step{save(right), check}, Complete, "1", 1, 0, 0, 0},
		"wrong at first":      {"single", Interactive, []Step{save(wrong), check}, Retry, none, 1, 2, 1, 0},
		"right at second":     {"single", Interactive, []Step{save(wrong), check, save(right), check}, Complete, "3/4", 2, 0, 1, 0},
		"right at third":      {"single", Interactive, []Step{save(wrong), check, save(partly), check, save(right), check}, Complete, "1/2", 3, 0, 2, 0},
		"wrong at third":      {"single", Interactive, []Step{save(wrong), check, save(partly), check, save(wrong), check, save(right), check}, Complete, "0", 3, 0, 2, 2},
		"negative is no more": {"single", Interactive, []Step{save(wrong), check, save(choose("b")), check, save(choose("b")), check, finish}, Complete, "-1/3", 2, 0, 2, 1},
		"partly, at third":    {"single", Interactive, []Step{save(wrong), check, save(choose("b")), check, save(partly), check}, Complete, "0", 3, 0, 2, 0},
		"twice the same":      {"single", Interactive, []Step{save(wrong), check, check, save(wrong), check}, Retry, none, 1, 2, 1, 2},
		"a hint costs":        {"single", Interactive, []Step{hint, save(right), check}, Complete, "3/4", 1, 0, 1, 0},
		"no more hints":       {"single", Interactive, []Step{hint, hint, hint, save(right), check}, Complete, "1/2", 1, 0, 2, 1},
		"left while retrying": {"single", Interactive, []Step{save(partly), check, finish}, Complete, "1/3", 1, 0, 1, 0},
		"saved, not checked":  {"single", Interactive, []Step{save(wrong), check, save(right), finish}, Complete, "3/4", 2, 0, 1, 0},
		"given up":            {"single", Interactive, []Step{save(partly), check, save(right), giveUp}, Complete, "1/3", 1, 0, 1, 0},
		"given up before":     {"single", Interactive, []Step{save(right), giveUp}, GaveUp, "0", 0, 0, 0, 0},

		"to be marked":        {"essay", Deferred, []Step{save(write("I think so.")), finish}, ToBeMarked, none, 0, 0, 0, 0},
		"marked":              {"essay", Interactive, []Step{save(write("I think so.")), check, finish, give("2/3")}, Marked, "2/3", 0, 0, 0, 1},
		"marked by points":    {"essay", Deferred, []Step{save(write("I think so.")), finish, givePoints("3")}, Marked, "3/4", 0, 0, 0, 0},
		"marked again":        {"essay", Deferred, []Step{save(write("I think so.")), finish, give("1"), give("1/2")}, Marked, "1/2", 0, 0, 0, 0},
		"too many points":     {"essay", Deferred, []Step{save(write("I think so.")), finish, givePoints("5")}, Marked, "1", 0, 0, 0, 0},
		"too few points":      {"essay", Deferred, []Step{save(write("I think so.")), finish, givePoints("-5")}, Marked, "-1/2", 0, 0, 0, 0},
		"marked before":       {"essay", Deferred, []Step{save(write("I think so.")), give("1")}, Answered, none, 0, 1, 0, 1},
		"nothing to mark":     {"essay", Manual, []Step{save(write(" ")), finish}, GaveUp, "0", 0, 0, 0, 0},
		"marked all the same": {"essay", Manual, []Step{finish, give("1")}, Marked, "1", 0, 0, 0, 0},
		"only a comment":      {"essay", Manual, []Step{save(write("So it is.")), finish, {Kind: StepMark, Mark: &Mark{Comment: "Hm."}}}, ToBeMarked, none, 0, 0, 0, 0},
		"no mark at all":      {"essay", Manual, []Step{save(write("So it is.")), finish, {Kind: StepMark}}, ToBeMarked, none, 0, 0, 0, 1},
		"marked over":         {"single", Deferred, []Step{save(wrong), finish, give("1/2")}, Marked, "1/2", 1, 0, 0, 0},
		"marks taken back":    {"single", Deferred, []Step{save(partly), finish, give("1"), {Kind: StepMark, Mark: &Mark{Withdrawn: true}}}, Complete, "1/3", 1, 0, 0, 0},
		"by hand alone":       {"single", Manual, []Step{save(right), finish}, ToBeMarked, none, 1, 0, 0, 0},
		"by hand, taken back": {"single", Manual, []Step{save(right), finish, give("0"), {Kind: StepMark, Mark: &Mark{Withdrawn: true}}}, ToBeMarked, none, 1, 0, 0, 0},
		"described":           {"description", Deferred, []Step{save(right), finish, give("1")}, Complete, none, 0, 0, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := instance(t, samples()[c.q], Seed{})
			s, err := in.Fold(Rules{Behaviour: c.behaviour, MaxPoints: num("4")}, c.steps)
			if err != nil {
				t.Fatal(err)
			}
			fraction := none
			if s.Fraction != nil {
				fraction = s.Fraction.String()
			}
			if c.fraction != none {
				c.fraction = num(c.fraction).String()
			}
			type seen struct {
				Phase, Fraction             string
				Tries, Left, Hints, Ignored int
			}
			if diff := cmp.Diff(seen{c.phase, c.fraction, c.tries, c.left, c.hints, c.ignored}, seen{s.Phase, fraction, s.Tries, s.TriesLeft, s.Hints, s.Ignored}); diff != "" {
				t.Errorf("%s\n%+v", diff, s.Lines)
			}
			if s.Steps != len(c.steps) {
				t.Errorf("%d steps, want %d", s.Steps, len(c.steps))
			}
		})
	}
	if _, err := instance(t, single(), Seed{}).Fold(Rules{Behaviour: "surprising"}, nil); err == nil {
		t.Error("a behaviour that there is not")
	}
}

func drawSteps(t *rapid.T, in *Instance) []Step {
	answers := []*pb.Answer{in.kind.right(in), drawAnswer(t, in), drawAnswer(t, in)}
	var steps []Step
	for range rapid.IntRange(0, 12).Draw(t, "steps") {
		step := Step{Kind: rapid.SampledFrom([]string{StepAnswer, StepAnswer, StepCheck, StepCheck, StepHint, StepGiveUp, StepFinish, StepMark, "other"}).Draw(t, "step")}
		if rapid.IntRange(0, 9).Draw(t, "filled") > 0 {
			step.Answer = rapid.SampledFrom(answers).Draw(t, "answer")
			f := exact.Ratio(rapid.Int64Range(-4, 8).Draw(t, "mark"), 4)
			step.Mark = &Mark{Fraction: &f, Withdrawn: rapid.Bool().Draw(t, "withdrawn")}
			if rapid.Bool().Draw(t, "points") {
				step.Mark.Fraction, step.Mark.Points = nil, &f
			}
		}
		steps = append(steps, step)
	}
	return steps
}

// TestFoldIsDeterministic: the same steps make the same state, step by step or at
// once; the fraction is within its bounds; what has ended stays but for marks; what
// has ended has a fraction or waits for people; and no state that was given is
// changed.
func TestFoldIsDeterministic(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		rules := Rules{Behaviour: rapid.SampledFrom(Behaviours()).Draw(t, "behaviour"), Tries: rapid.IntRange(0, 3).Draw(t, "tries"), MaxPoints: exact.Int(2)}
		steps := drawSteps(t, in)
		whole, err := in.Fold(rules, steps)
		if err != nil {
			t.Fatal(err)
		}
		s, err := in.Start(rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			before, kept := s, in.Outcome(rules, s)
			s = in.Apply(rules, s, step)
			if diff := cmp.Diff(kept, in.Outcome(rules, before), protocmp.Transform()); diff != "" {
				t.Fatalf("%s has changed a state that was given: %s", step.Kind, diff)
			}
			if before.Ended() && (!s.Ended() || step.Kind != StepMark && s.Ignored != before.Ignored+1) {
				t.Fatalf("%s after the end: %+v", step.Kind, s)
			}
			if s.Fraction != nil && (s.Fraction.Cmp(in.Floor()) < 0 || s.Fraction.Cmp(unit) > 0) {
				t.Fatalf("%s gives %s", step.Kind, s.Fraction)
			}
			if (s.Fraction != nil) != (s.Phase == Complete || s.Phase == GaveUp || s.Phase == Marked) && in.name != "description" {
				t.Fatalf("%s with %v", s.Phase, s.Fraction)
			}
			if last := len(s.Lines) - 1; s.Fraction != nil && !s.Lines[last].Value.Equal(*s.Fraction) {
				t.Fatalf("the lines end with %s, and the fraction is %s", s.Lines[last].Value, s.Fraction)
			}
		}
		if diff := cmp.Diff(whole, s, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
		// Checks and ends that come twice change nothing.
		var twice []Step
		for _, step := range steps {
			twice = append(twice, step)
			if step.Kind != StepHint {
				twice = append(twice, step)
			}
		}
		doubled, err := in.Fold(rules, twice)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in.Outcome(rules, s), in.Outcome(rules, doubled), protocmp.Transform()); diff != "" {
			t.Fatalf("steps that come twice: %s", diff)
		}
	})
}

// TestMask: what the mask leaves out can't be found anywhere in what is told.
func TestMask(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		rules := Rules{Behaviour: rapid.SampledFrom(Behaviours()).Draw(t, "behaviour"), MaxPoints: exact.Int(2)}
		s, err := in.Fold(rules, drawSteps(t, in))
		if err != nil {
			t.Fatal(err)
		}
		o := in.Outcome(rules, s)
		if diff := cmp.Diff(o, Mask(o, Everything()), protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
		nothing := Mask(o, &pb.OutcomeMask{})
		if nothing.GetFraction()+nothing.GetPoints()+nothing.GetRightText()+nothing.GetGeneralFeedback() != "" ||
			len(nothing.GetFeedback())+len(nothing.GetHints())+len(nothing.GetLines())+len(nothing.GetParts()) > 0 || nothing.GetRightAnswer() != nil {
			t.Fatalf("told: %v", nothing)
		}
		if !s.Ended() && rules.Tell(s).GetRightAnswer() {
			t.Fatal("the right answer may be told before the end")
		}
		if !s.Ended() && rules.Behaviour != Interactive && !cmp.Equal(rules.Tell(s), &pb.OutcomeMask{}, protocmp.Transform()) {
			t.Fatalf("%s tells before the end", rules.Behaviour)
		}
	})
}

// TestInteractive looks at what is told on the way.
func TestInteractive(t *testing.T) {
	t.Parallel()
	in := instance(t, samples()["matching"], Seed{})
	rules := Rules{Behaviour: Interactive, MaxPoints: num("4")}
	first := save(pairs("it", "r", "fr", "v", "es", "v", "pt", "l"))
	s, err := in.Fold(rules, []Step{first, check})
	if err != nil {
		t.Fatal(err)
	}
	o := Mask(in.Outcome(rules, s), rules.Tell(s))
	if o.GetRightAnswer() != nil || o.GetFraction() != "" || o.GetState() != Partly || len(o.GetHints()) != 1 || o.GetHints()[0] != "First hint" {
		t.Errorf("after the first try: %v", o)
	}
	if diff := cmp.Diff(pairs("it", "r", "pt", "l"), o.GetKept(), protocmp.Transform()); diff != "" {
		t.Errorf("kept: %s", diff)
	}
	second := in.Apply(rules, s, save(pairs("it", "r", "fr", "p", "es", "v", "pt", "l")))
	if o := Mask(in.Outcome(rules, second), rules.Tell(second)); len(o.GetParts()) > 0 || o.GetState() != "" || len(o.GetHints()) != 1 || len(o.GetFeedback()) > 0 {
		t.Errorf("while the second is thought of: %v", o)
	}
	s = in.Apply(rules, second, check)
	if o := Mask(in.Outcome(rules, s), rules.Tell(s)); o.GetRightParts() != 3 || o.GetTriesLeft() != 1 || o.GetPenalty() != "0.5" {
		t.Errorf("after the second try: %v", o)
	}
	s = in.Apply(rules, s, finish)
	o = Mask(in.Outcome(rules, s), rules.Tell(s))
	if o.GetFraction() != "0.5" || o.GetPoints() != "2" || o.GetRightText() == "" || o.GetGeneralFeedback() != "In general" {
		t.Errorf("at the end: %v", o)
	}
	if diff := cmp.Diff([]*pb.OutcomeLine{
		{Code: "part", Key: "it", Fraction: "1", Weight: "0.25", Value: "0.25"},
		{Code: "part", Key: "fr", Fraction: "1", Weight: "0.25", Value: "0.25"},
		{Code: "part", Key: "es", Fraction: "0", Weight: "0.25", Value: "0"},
		{Code: "part", Key: "pt", Fraction: "1", Weight: "0.25", Value: "0.25"},
		{Code: "total", Value: "0.75"},
		{Code: "penalty", Fraction: "0.25", Weight: "1", Value: "0.5"},
	}, o.GetLines(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
