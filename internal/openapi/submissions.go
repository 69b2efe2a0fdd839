package main

import (
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// submissionRoutes are the routes of what students hand in.
func submissionRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.media.v1.SubmissionFileService.UploadSubmissionFile": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/submission-files", query: []string{"filename"}, edit: submissionFile}
		},
		"stoa.media.v1.SubmissionFileService.UploadFeedbackFile": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/feedback-files", query: []string{"filename"}, edit: submissionFile}
		},
		"stoa.assessment.v1.SubmissionService.DownloadSubmissions": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/items/{item_id}/submissions/archive", query: []string{"page_size", "cursor"}, edit: submissionArchive,
			}
		},
		"stoa.assessment.v1.SubmissionService.UploadFeedbackArchive": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/items/{item_id}/feedback-archives", query: []string{"dry_run"}, edit: feedbackArchive,
			}
		},
	}
}

func submissionFile(op *spec.Operation) {
	op.Description, _, _ = strings.Cut(op.Description, " Over REST: ")
	op.RequestBody = &spec.RequestBody{
		Description: "The bytes of the file, with any Content-Type.", Required: true,
		Content: spec.Map[spec.MediaType]{{Name: "application/octet-stream"}},
	}
	for _, p := range op.Parameters {
		switch p.Name {
		case "course_id":
			p.Description = "The course."
		case "filename":
			p.Description, p.Required, p.Schema.MinLength = "The file's name, of which folders are dropped.", true, proto.Uint64(1)
		}
	}
	ok, _ := op.Responses.Get("200")
	op.Responses = spec.Map[*spec.Response]{{Name: "201", Value: ok}}
}

func submissionArchive(op *spec.Operation) {
	text := func(description string) *spec.Header {
		return &spec.Header{Description: description, Schema: &spec.Schema{Type: "string"}}
	}
	op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{
		Description: "The archive. What ends early is none.",
		Headers: spec.Map[*spec.Header]{
			{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
			{Name: "Content-Disposition", Value: text("What to call the file.")},
			{Name: "Stoa-Next-Cursor", Value: text("The cursor of the archive that has those who come next; absent where there are none.")},
		},
		Content: spec.Map[spec.MediaType]{{Name: "application/zip"}},
	}}}
}

func feedbackArchive(op *spec.Operation) {
	op.RequestBody = &spec.RequestBody{
		Description: "The archive, with any Content-Type: of at most 2 GiB unless the platform is set up otherwise.", Required: true,
		Content: spec.Map[spec.MediaType]{{Name: "application/zip"}},
	}
}
