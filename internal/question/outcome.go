package question

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Everything is the mask that leaves nothing out.
func Everything() *pb.OutcomeMask {
	return &pb.OutcomeMask{Marks: true, Correctness: true, Feedback: true, RightAnswer: true}
}

// Both returns the mask of what two allow.
func Both(a, b *pb.OutcomeMask) *pb.OutcomeMask {
	return &pb.OutcomeMask{
		Marks: a.GetMarks() && b.GetMarks(), Correctness: a.GetCorrectness() && b.GetCorrectness(),
		Feedback: a.GetFeedback() && b.GetFeedback(), RightAnswer: a.GetRightAnswer() && b.GetRightAnswer(),
	}
}

// Tell returns what a behaviour allows to be told of a state: all of what has ended.
// What the review matrix of a quiz says holds beside it; see [Both].
func (r Rules) Tell(s State) *pb.OutcomeMask {
	if s.Ended() {
		return Everything()
	}
	if b := behaviours[r.Behaviour]; b != nil {
		return b.tell(&s)
	}
	return &pb.OutcomeMask{}
}

// Outcome returns all that there is to tell of a state; see [Mask] and [Rules.Tell].
func (in *Instance) Outcome(r Rules, s State) *pb.Outcome {
	out := &pb.Outcome{
		Engine: int32(in.engine), Phase: s.Phase, MaxPoints: r.MaxPoints.String(), Tries: int32(s.Tries), TriesLeft: int32(s.TriesLeft), //nolint:gosec // G115: few
		Comment: s.Comment,
	}
	if s.Costs > 0 {
		out.Penalty = in.cost(&s).String()
	}
	if s.Fraction != nil {
		out.Fraction, out.Points = s.Fraction.String(), s.Fraction.Mul(r.MaxPoints).String()
	}
	for _, h := range in.content.GetHints()[:min(s.Hints, len(in.content.GetHints()))] {
		out.Hints = append(out.Hints, in.text(h.GetText()))
	}
	right := in.kind.right(in)
	if right != nil {
		out.RightAnswer, out.RightText = right, in.kind.words(in, right, "")
	}
	if s.Ended() || s.Phase == Retry {
		in.scored(out, s, right)
	}
	if s.Ended() {
		out.GeneralFeedback = in.text(in.content.GetGeneralFeedback())
	}
	out.MediaIds = told(out)
	return out
}

// scored tells what was scored last.
func (in *Instance) scored(out *pb.Outcome, s State, right *pb.Answer) {
	out.State = s.Score.State
	switch s.Phase {
	case ToBeMarked:
		out.State = NeedsMarking
	case Marked:
		out.State = stateOf(*s.Fraction)
	}
	combined := map[string]string{
		Right: in.content.GetRightFeedback(), Partly: in.content.GetPartlyFeedback(), Wrong: in.content.GetWrongFeedback(),
	}[out.GetState()]
	for _, text := range append([]string{combined}, s.Score.Feedback...) {
		if text != "" {
			out.Feedback = append(out.Feedback, in.text(text))
		}
	}
	rightParts := int32(0)
	for _, p := range s.Score.Parts {
		one := &pb.OutcomePart{Key: p.Key, State: p.State, Weight: p.Weight.String(), Feedback: in.text(p.Feedback), Given: in.kind.words(in, s.Scored, p.Key)}
		if p.State != NeedsMarking {
			one.Fraction = p.Fraction.String()
		}
		if p.State == Right {
			rightParts++
		}
		if right != nil {
			one.RightText = in.kind.words(in, right, p.Key)
		}
		out.Parts = append(out.Parts, one)
	}
	for _, l := range s.Lines {
		out.Lines = append(out.Lines, line(l))
	}
	if s.Phase == Retry && s.Hints > 0 {
		hint := in.content.GetHints()[s.Hints-1]
		if hint.GetShowCount() {
			out.RightParts = rightParts
		}
		if k, ok := in.kind.(keeper); ok && hint.GetClearWrong() {
			out.Kept = k.keep(s.Scored, s.Score)
		}
	}
}

func line(l Line) *pb.OutcomeLine {
	out := &pb.OutcomeLine{Code: l.Code, Key: l.Key, Value: l.Value.String()}
	if l.Code == "part" || l.Code == "penalty" {
		out.Fraction, out.Weight = l.Fraction.String(), l.Weight.String()
	}
	return out
}

// told returns the pictures that an outcome names.
func told(o *pb.Outcome) []string {
	var out []string
	texts := slices.Concat(o.GetFeedback(), o.GetHints(), []string{o.GetGeneralFeedback(), o.GetRightText(), o.GetComment()})
	for _, p := range o.GetParts() {
		texts = append(texts, p.GetFeedback(), p.GetGiven(), p.GetRightText())
	}
	for _, text := range texts {
		for _, id := range pictures(text) {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// Mask returns a copy of an outcome without what may not be told.
func Mask(o *pb.Outcome, m *pb.OutcomeMask) *pb.Outcome {
	o = proto.CloneOf(o)
	if !m.GetMarks() {
		o.Fraction, o.Points, o.Penalty, o.Lines, o.Comment = "", "", "", nil, ""
	}
	if !m.GetCorrectness() {
		o.RightParts, o.Kept = 0, nil
		if o.GetState() != Unanswered && o.GetState() != NeedsMarking {
			o.State = ""
		}
	}
	if !m.GetFeedback() {
		o.Feedback, o.GeneralFeedback, o.Hints = nil, "", nil
	}
	if !m.GetRightAnswer() {
		o.RightAnswer, o.RightText = nil, ""
	}
	for _, p := range o.GetParts() {
		if !m.GetMarks() {
			p.Fraction, p.Weight = "", ""
		}
		if !m.GetCorrectness() && p.GetState() != Unanswered && p.GetState() != NeedsMarking {
			p.State = ""
		}
		if !m.GetFeedback() {
			p.Feedback = ""
		}
		if !m.GetRightAnswer() {
			p.RightText = ""
		}
	}
	if !m.GetMarks() && !m.GetCorrectness() && !m.GetFeedback() && !m.GetRightAnswer() {
		o.Parts = nil // which there are may tell something, as of marks on a picture
	}
	o.MediaIds = told(o)
	return o
}

// Points returns what a fraction gives of what the question is worth there.
func (r Rules) Points(fraction exact.Number) exact.Number { return fraction.Mul(r.MaxPoints) }
