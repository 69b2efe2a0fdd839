package question

import (
	"strconv"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// trueFalse asks whether something is true: 1 for the right answer, wrong_fraction
// for the other one, which is 0 as Moodle's (question/type/truefalse) unless an
// author says less.
type trueFalse struct {
	*pb.TrueFalseQuestion

	wrong exact.Number
}

func normaliseTrueFalse(q *pb.QuestionContent) { share(&q.GetTrueFalse().WrongFraction, "0") }

func newTrueFalse(q *pb.QuestionContent, c *checker) kind {
	k := trueFalse{TrueFalseQuestion: q.GetTrueFalse()}
	k.wrong = c.fraction("true_false.wrong_fraction", k.GetWrongFraction(), "0", "-1", "0")
	return k
}

func (k trueFalse) accept(*checker, *pb.Answer) {}

func (k trueFalse) given(a *pb.Answer) given {
	if a.GetTrueFalse() == nil {
		return nothing
	}
	return whole
}

func (k trueFalse) view(_ *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_TrueFalse{TrueFalse: &pb.TrueFalseView{}}
}

func (k trueFalse) score(_ *Instance, a *pb.Answer) Score {
	said := a.GetTrueFalse().GetValue()
	feedback := k.GetFalseFeedback()
	if said {
		feedback = k.GetTrueFeedback()
	}
	s := Score{Feedback: []string{feedback}}
	if said == k.GetRight() {
		s.part("", unit, unit, "")
	} else {
		s.part("", k.wrong, unit, "")
	}
	return s
}

func (k trueFalse) right(*Instance) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_TrueFalse{TrueFalse: &pb.TrueFalseAnswer{Value: k.GetRight()}}}
}

func (k trueFalse) words(_ *Instance, a *pb.Answer, _ string) string {
	if a.GetTrueFalse() == nil {
		return ""
	}
	return strconv.FormatBool(a.GetTrueFalse().GetValue())
}
