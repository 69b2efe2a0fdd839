package question

import pb "github.com/stoa-lms/stoa/internal/question/questionpb"

// interactive scores each try when it is asked for. One that is right ends it. After
// one that is not, the next hint is given and another try is open, as long as there
// are some; each such try takes the question's penalty from what a later one gives,
// as Moodle's "interactive with multiple tries" (question/behaviour/interactive). A
// hint that is asked for before a try costs as much as a wrong try, and leaves the
// tries as they are.
//
// Where the attempt ends, what is saved and not scored yet counts as one more try.
// Where it is the same as the last one, or nothing is saved, the last try stands.
type interactive struct{}

func (interactive) check(in *Instance, _ Rules, s *State) bool {
	if s.TriesLeft <= 0 {
		return false
	}
	s.Tries++
	s.TriesLeft--
	in.score(s)
	if s.Score.State == Right || s.TriesLeft == 0 {
		s.Phase, s.TriesLeft = Complete, 0
		s.Fraction = s.Auto
		return true
	}
	s.Phase = Retry
	in.help(s)
	return true
}

// help gives the next hint and takes the penalty for it.
func (in *Instance) help(s *State) {
	s.Costs++
	s.Hints = min(s.Hints+1, len(in.content.GetHints()))
}

func (interactive) hint(in *Instance, _ Rules, s *State) bool {
	if s.Hints >= len(in.content.GetHints()) || s.TriesLeft <= 0 {
		return false
	}
	in.help(s)
	return true
}

func (interactive) giveUp(in *Instance, r Rules, s *State) bool {
	if s.Scored == nil {
		s.empty()
		return true
	}
	s.Answer = s.Scored
	interactive{}.finish(in, r, s)
	return true
}

func (interactive) finish(in *Instance, _ Rules, s *State) {
	if s.Scored != nil && in.given(s.Answer) == nothing {
		s.Answer = s.Scored
	}
	in.end(s, false)
}

func (interactive) tell(s *State) *pb.OutcomeMask {
	// What was tried is told until the next answer is saved; hints stay.
	if s.Phase != Retry {
		return &pb.OutcomeMask{Feedback: true}
	}
	return &pb.OutcomeMask{Marks: true, Correctness: true, Feedback: true}
}
