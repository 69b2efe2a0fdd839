package question

import pb "github.com/stoa-lms/stoa/internal/question/questionpb"

// description asks nothing: it takes no answer and has no points.
type description struct{}

func newDescription(*pb.QuestionContent, *checker) kind { return description{} }

func (description) accept(*checker, *pb.Answer) {}
func (description) given(*pb.Answer) given      { return nothing }
func (description) view(_ *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_Description{Description: &pb.DescriptionView{}}
}
func (description) score(*Instance, *pb.Answer) Score          { return Score{} }
func (description) right(*Instance) *pb.Answer                 { return nil }
func (description) words(*Instance, *pb.Answer, string) string { return "" }
