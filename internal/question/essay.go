package question

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// essay asks for a text, and for files where wanted. People mark it.
type essay struct{ *pb.EssayQuestion }

func normaliseEssay(q *pb.QuestionContent) { fill(&q.GetEssay().Format, "plain") }

func newEssay(q *pb.QuestionContent, c *checker) kind {
	k := essay{q.GetEssay()}
	if m := k.GetMaxWords(); m != 0 && m < k.GetMinWords() {
		c.add("essay.max_words", "essay.bounds", "max_words is not less than min_words.")
	}
	c.fileRules("essay.attachments", k.GetAttachments())
	if k.GetFormat() == "none" && k.GetAttachments() == nil {
		c.add("essay.attachments", "essay.nothing", "There is neither a text nor files to hand in.")
	}
	return k
}

func (c *checker) fileRules(path string, r *pb.FileRules) {
	if r != nil && r.GetMinCount() > r.GetMaxCount() {
		c.add(path+".min_count", "files.bounds", "min_count is not more than max_count.")
	}
}

func (k essay) accept(c *checker, a *pb.Answer) {
	text, files := a.GetEssay().GetText(), len(a.GetEssay().GetMediaIds())
	switch {
	case len(text) > MaxEssay:
		c.add("essay.text", "string.max_bytes", "A text has at most %d bytes.", MaxEssay)
	case k.GetFormat() == "none" && text != "":
		c.add("essay.text", "essay.no_text", "Only files are handed in here.")
	}
	if most := int(k.GetAttachments().GetMaxCount()); files > most {
		c.add("essay.media_ids", "files.too_many", "At most %d files can be added.", most)
	}
}

func (k essay) given(a *pb.Answer) given {
	text := a.GetEssay().GetText()
	if blank(text) && len(a.GetEssay().GetMediaIds()) == 0 || !blank(text) && strings.TrimSpace(text) == strings.TrimSpace(k.GetTemplate()) && len(a.GetEssay().GetMediaIds()) == 0 {
		return nothing
	}
	words := Words(text)
	if words < int(k.GetMinWords()) || k.GetMaxWords() > 0 && words > int(k.GetMaxWords()) ||
		len(a.GetEssay().GetMediaIds()) < int(k.GetAttachments().GetMinCount()) {
		return lacking
	}
	return whole
}

// Words returns how many words a text has: what is between white space.
func Words(text string) int {
	n := 0
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}

func (k essay) view(in *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_Essay{Essay: &pb.EssayView{
		Format: k.GetFormat(), MinWords: k.GetMinWords(), MaxWords: k.GetMaxWords(), Template: in.text(k.GetTemplate()),
		Attachments: proto.CloneOf(k.GetAttachments()), Lines: k.GetLines(),
	}}
}

// byHand is the score of what people have to mark.
func byHand() Score {
	return Score{State: NeedsMarking, Parts: []Part{{State: NeedsMarking, Weight: unit}}}
}

func (k essay) score(*Instance, *pb.Answer) Score { return byHand() }
func (k essay) right(*Instance) *pb.Answer        { return nil }

func (k essay) words(_ *Instance, a *pb.Answer, _ string) string {
	text := a.GetEssay().GetText()
	if k.GetFormat() != "markdown" {
		text = plainText(text)
	}
	if n := len(a.GetEssay().GetMediaIds()); n > 0 {
		text = strings.TrimSpace(fmt.Sprintf("%s\n\n+ %d", text, n))
	}
	return text
}
