package question

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Kinds of steps.
const (
	StepAnswer = "answer"  // an answer is saved
	StepCheck  = "check"   // what is saved is scored now
	StepHint   = "hint"    // the next hint is asked for
	StepGiveUp = "give_up" // nothing more is tried
	StepFinish = "finish"  // the attempt ends
	StepMark   = "mark"    // somebody of the staff marks it
)

// Step is something that happened to a question of an attempt. Steps are only ever
// added.
type Step struct {
	Kind   string
	Answer *pb.Answer // of an answer
	Mark   *Mark      // of a mark
}

// Mark is what somebody of the staff gives.
type Mark struct {
	// One of both, or none, which leaves the fraction as it is. Points are those of
	// [Rules.MaxPoints]. What is beyond 1 or below the floor of the question is taken
	// as these.
	Fraction, Points *exact.Number
	// Withdrawn takes back the marks before it: what the engine makes of the answer
	// holds again.
	Withdrawn bool
	Comment   string // Markdown; stands instead of the one before it
}

// Phases of a question in an attempt.
const (
	Todo        = "todo"        // nothing is saved
	Answered    = "answered"    // an answer is saved, not scored
	Invalid     = "invalid"     // what is saved lacks something
	Retry       = "retry"       // a try was not right, another is open
	Complete    = "complete"    // scored, nothing can be changed
	GaveUp      = "gave_up"     // ended without an answer
	ToBeMarked  = NeedsMarking  // ended, and people have to mark it
	Marked      = "marked"      // people have marked it
	Deferred    = "deferred"    // behaviours
	Immediate   = "immediate"   //
	Interactive = "interactive" //
	Manual      = "manual"      //
)

// Rules are how a question is asked in an attempt.
type Rules struct {
	Behaviour string
	// How many tries "interactive" gives; one more than there are hints when 0.
	Tries int
	// What the question is worth there.
	MaxPoints exact.Number
}

// behaviour is when an answer is scored and what a try costs. A method changes the
// state by a step, and returns false where the step has no place, which leaves it.
type behaviour interface {
	// check scores what is saved.
	check(in *Instance, r Rules, s *State) bool
	// hint gives the next hint.
	hint(in *Instance, r Rules, s *State) bool
	// giveUp ends without scoring what is saved.
	giveUp(in *Instance, r Rules, s *State) bool
	// finish ends with what is saved.
	finish(in *Instance, r Rules, s *State)
	// tell says what may be told of a state that has not ended.
	tell(s *State) *pb.OutcomeMask
}

// behaviours are those there are.
var behaviours = map[string]behaviour{
	Deferred:    deferred{},
	Immediate:   immediate{},
	Interactive: interactive{},
	Manual:      manual{},
}

// Behaviours returns the names of the behaviours.
func Behaviours() []string { return []string{Deferred, Immediate, Interactive, Manual} }

// State is what the steps of a question have made. States are values: no function
// changes one that it was given.
type State struct {
	Phase  string
	Answer *pb.Answer // the one that is saved; nil for none
	Scored *pb.Answer // the one that was scored last; nil for none
	Score  Score      // of what was scored last
	// What it gives now: nil where there is nothing yet, as before it is scored and
	// where people have to mark it.
	Fraction *exact.Number
	// What the engine gives by itself: nil before it is scored, and where only people
	// can. It is kept where somebody has marked it since.
	Auto      *exact.Number
	Tries     int    // how many were scored
	TriesLeft int    // how many are open
	Hints     int    // how many were given
	Costs     int    // how many wrong tries and hints have cost the penalty
	Lines     []Line // how the fraction comes about
	Comment   string // of who marked it
	Marks     int    // how many marks there were
	Steps     int    // how many steps it was made of, ignored ones among them
	Ignored   int    // how many of them had no place and changed nothing
}

// Ended reports whether a student can do nothing more.
func (s State) Ended() bool {
	return slices.Contains([]string{Complete, GaveUp, ToBeMarked, Marked}, s.Phase)
}

// Start returns the state without any step. The error is a *[fault.Error] for a
// behaviour that there is not.
func (in *Instance) Start(r Rules) (State, error) {
	if behaviours[r.Behaviour] == nil {
		return State{}, fault.InvalidField("behaviour", "string.in", fmt.Sprintf("Behaviours are %q.", Behaviours()))
	}
	s := State{Phase: Todo}
	if r.Behaviour == Interactive {
		s.TriesLeft = in.triesOf(r)
	} else {
		s.TriesLeft = 1
	}
	return s, nil
}

func (in *Instance) triesOf(r Rules) int {
	if r.Tries > 0 {
		return r.Tries
	}
	return len(in.content.GetHints()) + 1
}

// Fold makes the state of a question of its steps, in their order. The same steps
// make the same state, to the last digit.
//
// Steps that have no place change nothing but [State.Ignored]: those of an unknown
// kind; those without what their kind has; all but marks once it has ended, and marks
// before; answers that are not of the question's kind; a check of nothing, of what
// lacks something, or of the same answer as the check before; and what the behaviour
// does not have. So a step that comes twice changes nothing more than the first time,
// but for answers and marks, of which the last one holds, and hints.
func (in *Instance) Fold(r Rules, steps []Step) (State, error) {
	s, err := in.Start(r)
	if err != nil {
		return State{}, err
	}
	for _, step := range steps {
		s = in.Apply(r, s, step)
	}
	return s, nil
}

// Apply returns the state after one more step. The rules are those that the state was
// made with.
func (in *Instance) Apply(r Rules, s State, step Step) State {
	b := behaviours[r.Behaviour]
	next := s
	if b == nil || !in.step(b, r, &next, step) {
		next = s
		next.Ignored++
	}
	next.Steps++
	return next
}

// step changes a state, and returns false where the step has no place.
func (in *Instance) step(b behaviour, r Rules, s *State, step Step) bool {
	if step.Kind == StepMark {
		return s.Ended() && in.name != "description" && in.mark(r, s, step.Mark)
	}
	if s.Ended() {
		return false
	}
	switch step.Kind {
	case StepAnswer:
		return in.save(s, step.Answer)
	case StepCheck:
		if in.given(s.Answer) != whole || s.Scored != nil && proto.Equal(s.Scored, s.Answer) {
			return false
		}
		return !in.Manual() && b.check(in, r, s)
	case StepHint:
		return !in.Manual() && b.hint(in, r, s)
	case StepGiveUp:
		return b.giveUp(in, r, s)
	case StepFinish:
		b.finish(in, r, s)
		return true
	}
	return false
}

// save keeps an answer.
func (in *Instance) save(s *State, a *pb.Answer) bool {
	if a == nil {
		return false
	}
	if a.GetCleared() != nil {
		s.Answer = nil
		s.Phase = Todo
		if s.Tries > 0 {
			s.Phase = Retry
		}
		return true
	}
	if contentOf(a) != in.takes || in.takes == "" {
		return false
	}
	s.Answer = a
	switch in.given(a) {
	case nothing:
		s.Phase = Todo
	case lacking:
		s.Phase = Invalid
	case whole:
		s.Phase = Answered
	}
	if s.Scored != nil && (s.Phase == Todo || proto.Equal(s.Scored, a)) {
		s.Phase = Retry
	}
	return true
}

// score scores what is saved, with the penalty of what was tried before: the
// fraction f of the answer becomes f - penalty, but no less than it would be without
// or than 0, whichever is less.
func (in *Instance) score(s *State) {
	s.Score = in.Score(s.Answer)
	s.Scored = s.Answer
	s.Lines = slices.Clone(s.Score.Lines)
	f := s.Score.Fraction
	if s.Costs > 0 && f.Sign() > 0 {
		f = exact.Max(f.Sub(in.cost(s)), exact.Number{})
		s.Lines = append(s.Lines, Line{Code: "penalty", Fraction: in.penalty, Weight: exact.Int(int64(s.Costs)), Value: f})
	}
	s.Auto = &f
}

// cost returns what was taken away for wrong tries and hints.
func (in *Instance) cost(s *State) exact.Number { return in.penalty.Mul(exact.Int(int64(s.Costs))) }

// end ends with what is saved: scored, or left to people. Without an answer it gives
// 0, whatever penalties there were.
func (in *Instance) end(s *State, people bool) {
	switch {
	case in.name == "description":
		s.Phase = Complete
	case in.given(s.Answer) == nothing:
		s.empty()
	case in.Manual():
		in.endManual(s)
	default:
		// An answer that was scored and not changed since is no other try.
		if s.Scored == nil || !proto.Equal(s.Scored, s.Answer) {
			s.Tries++
			in.score(s)
		}
		s.Phase = Complete
		s.Fraction = s.Auto
		if people {
			s.Phase, s.Fraction = ToBeMarked, nil
		}
	}
	s.TriesLeft = 0
}

// endManual leaves an answer to people.
func (in *Instance) endManual(s *State) {
	s.Score = in.Score(s.Answer)
	s.Scored = s.Answer
	s.Phase = ToBeMarked
}

// empty ends without an answer.
func (s *State) empty() {
	s.Phase = GaveUp
	s.Score = Score{State: Unanswered, Lines: []Line{{Code: "total"}}}
	s.Scored = nil
	s.Lines = s.Score.Lines
	s.Auto = new(exact.Number)
	s.Fraction = s.Auto
	s.TriesLeft = 0
}

// mark sets what somebody of the staff gives.
func (in *Instance) mark(r Rules, s *State, m *Mark) bool {
	if m == nil || m.Fraction != nil && m.Points != nil {
		return false
	}
	f := m.Fraction
	if m.Points != nil {
		if r.MaxPoints.Sign() <= 0 {
			return false
		}
		of := m.Points.Div(r.MaxPoints)
		f = &of
	}
	s.Comment = m.Comment
	s.Marks++
	switch {
	case m.Withdrawn:
		s.Fraction = s.Auto
		s.Lines = byEngine(s.Lines)
		s.Phase = Complete
		if s.Auto == nil || r.Behaviour == Manual {
			s.Phase, s.Fraction = ToBeMarked, nil
		}
		if s.Scored == nil && s.Auto != nil {
			s.Phase, s.Fraction = GaveUp, s.Auto
		}
	case f != nil:
		given := exact.Max(exact.Min(*f, unit), in.floor)
		s.Fraction = &given
		s.Lines = append(byEngine(s.Lines), Line{Code: "manual", Value: given})
		s.Phase = Marked
	}
	return true
}

// byEngine returns the lines without those of marks.
func byEngine(lines []Line) []Line {
	return slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Code == "manual" })
}
