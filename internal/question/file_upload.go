package question

import (
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// fileUpload asks to hand in files. People mark them. That the files are there, and of
// the kinds and sizes that are accepted, is for the service to see that keeps answers.
type fileUpload struct{ *pb.FileUploadQuestion }

func newFileUpload(q *pb.QuestionContent, c *checker) kind {
	c.fileRules("file_upload.files", q.GetFileUpload().GetFiles())
	return fileUpload{q.GetFileUpload()}
}

func (k fileUpload) accept(c *checker, a *pb.Answer) {
	if most := int(k.GetFiles().GetMaxCount()); len(a.GetFiles().GetMediaIds()) > most {
		c.add("files.media_ids", "files.too_many", "At most %d files can be handed in.", most)
	}
}

func (k fileUpload) given(a *pb.Answer) given {
	switch n := len(a.GetFiles().GetMediaIds()); {
	case n == 0:
		return nothing
	case n < int(k.GetFiles().GetMinCount()):
		return lacking
	}
	return whole
}

func (k fileUpload) view(_ *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_FileUpload{FileUpload: &pb.FileUploadView{Files: proto.CloneOf(k.GetFiles())}}
}

func (k fileUpload) score(*Instance, *pb.Answer) Score { return byHand() }
func (k fileUpload) right(*Instance) *pb.Answer        { return nil }

func (k fileUpload) words(_ *Instance, a *pb.Answer, _ string) string {
	return strings.Join(a.GetFiles().GetMediaIds(), ", ")
}
