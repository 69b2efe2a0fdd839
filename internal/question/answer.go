package question

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// maxAnswerJSON is how long the JSON of an answer may be: each byte of a text may be
// escaped in six.
const maxAnswerJSON = 6 * MaxAnswer

// ErrAnswerTooLarge is told for an answer that is too large.
var ErrAnswerTooLarge = fault.New(fault.TooLarge, "answer.too_large", "An answer has at most %d KiB.", MaxAnswer>>10)

// DecodeAnswer reads an answer from JSON with the names of the contract, and holds it
// to the limits of the contract. Whether it is of a question is for
// [Instance.CheckAnswer] to say.
func DecodeAnswer(text []byte) (*pb.Answer, error) {
	if len(text) > maxAnswerJSON {
		return nil, ErrAnswerTooLarge
	}
	a := &pb.Answer{}
	if err := protojson.Unmarshal(text, a); err != nil {
		return nil, fault.New(fault.Invalid, "answer.unreadable", "The answer can't be read.")
	}
	return a, limits(a)
}

// limits holds an answer to what its contract says of all questions.
func limits(a *pb.Answer) error {
	if proto.Size(a) > MaxAnswer {
		return ErrAnswerTooLarge
	}
	return rpc.Check(a)
}

// contentOf returns the name of an answer's content, empty for none.
func contentOf(a *pb.Answer) string { return oneof(a.ProtoReflect(), "content") }

// CheckAnswer returns what is wrong with an answer to the question, as a
// *[fault.Error]; nil for nothing. One that lacks something is no fault: students
// save what they have so far.
func (in *Instance) CheckAnswer(a *pb.Answer) error {
	if a == nil {
		return fault.InvalidField("", "required", "Send an answer.")
	}
	if err := limits(a); err != nil {
		return err
	}
	content := contentOf(a)
	if content == "cleared" && in.takes != "" {
		return nil
	}
	if content != in.takes || content == "" {
		hint := "This question takes no answer."
		if in.takes != "" {
			hint = "This question takes " + in.takes + "."
		}
		return fault.InvalidField("content", "answer.kind", hint)
	}
	c := &checker{}
	in.kind.accept(c, a)
	if len(c.faults) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: "answer.invalid", Message: "The answer is not accepted as it is.", Fields: c.faults}
}

// given returns how much of an answer there is: nothing of one that is not of the
// question's kind.
func (in *Instance) given(a *pb.Answer) given {
	if content := contentOf(a); content == "" || content != in.takes {
		return nothing
	}
	return in.kind.given(a)
}
