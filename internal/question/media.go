package question

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// RenameMedia returns a text whose files are called otherwise, as [WithMedia] does.
// Names need not be ids.
func RenameMedia(text string, called map[string]string) string {
	for _, at := range slices.Backward(anyName.FindAllStringSubmatchIndex(text, -1)) {
		if to := called[text[at[2]:at[3]]]; to != "" {
			text = text[:at[2]] + to + text[at[3]:]
		}
	}
	return text
}

// WithMedia returns a copy of a question whose files are called otherwise, by what
// they are called now. Those that the map does not have keep their name.
func WithMedia(q *pb.QuestionContent, called map[string]string) *pb.QuestionContent {
	out := proto.CloneOf(q)
	rewriteTexts(out.ProtoReflect(), func(text string) string { return RenameMedia(text, called) })
	if to := called[out.GetHotSpot().GetMediaId()]; to != "" {
		out.GetHotSpot().MediaId = to
	}
	return out
}

// rewriteTexts has f write each text of a message that is shown anew.
func rewriteTexts(m protoreflect.Message, f func(string) string) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() != nil && fd.IsList():
			for i := range v.List().Len() {
				rewriteTexts(v.List().Get(i).Message(), f)
			}
		case fd.Message() != nil:
			rewriteTexts(v.Message(), f)
		case fd.Kind() == protoreflect.StringKind && !fd.IsList() && slices.Contains(textFields, string(fd.Name())):
			m.Set(fd, protoreflect.ValueOfString(f(v.String())))
		}
		return true
	})
}
