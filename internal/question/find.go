package question

import (
	"strings"
	"unicode/utf8"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Texts returns the texts of a question but its title, at most so many bytes of
// them, for finding it: what is shown, and what answers are held against.
func Texts(q *pb.QuestionContent, most int) string {
	var all strings.Builder
	add := func(text string) {
		if all.Len() < most {
			all.WriteString(text)
			all.WriteByte('\n')
		}
	}
	eachText(q.ProtoReflect(), "", func(_, text string) { add(text) })
	for _, p := range q.GetShortAnswer().GetPatterns() {
		add(p.GetPattern())
	}
	for _, g := range q.GetBlanks().GetGaps() {
		for _, p := range g.GetTyped().GetPatterns() {
			add(p.GetPattern())
		}
	}
	text := all.String()
	for len(text) > most || !utf8.ValidString(text) {
		text = text[:min(len(text), most+utf8.UTFMax)-1]
	}
	return text
}
