package question

import (
	"slices"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// View returns what a client shows: the same for the same question and seed.
func (in *Instance) View() *pb.QuestionView {
	v := &pb.QuestionView{
		Engine: int32(in.engine), Kind: in.name, Prompt: in.text(in.content.GetPrompt()), Language: in.content.GetLanguage(), //nolint:gosec // G115: few
		Points: in.Points().String(),
	}
	in.kind.view(in, v)
	v.MediaIds = mediaOf(v)
	return v
}

// Values returns the variables with their values as they are told, in their order:
// what an attempt shows to staff.
func (in *Instance) Values() [][2]string {
	out := make([][2]string, len(in.values))
	for i, v := range in.values {
		out[i] = [2]string{v.name, v.text}
	}
	return out
}

// mediaOf returns the pictures that a view names.
func mediaOf(v *pb.QuestionView) []string {
	var out []string
	eachText(v.ProtoReflect(), "", func(_, text string) {
		for _, id := range pictures(text) {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	})
	if id := v.GetHotSpot().GetMediaId(); id != "" && !slices.Contains(out, id) {
		out = append(out, id)
	}
	return out
}
