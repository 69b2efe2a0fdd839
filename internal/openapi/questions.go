package main

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// questionRoutes are the routes of files of questions, and of their statistics.
func questionRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.assessment.v1.ExchangeService.ExportQuestions": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/questions/export", query: []string{"format", "category_id", "question_ids"}, edit: func(op *spec.Operation) {
				op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{
					Description: "The file. What ends early is none.",
					Headers: spec.Map[*spec.Header]{
						{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
						{Name: "Content-Disposition", Value: &spec.Header{Description: "What to call the file.", Schema: &spec.Schema{Type: "string"}}},
					},
					Content: spec.Map[spec.MediaType]{{Name: "text/plain"}, {Name: "text/csv"}, {Name: "application/xml"}, {Name: "application/zip"}},
				}}}
			}}
		},
		"stoa.assessment.v1.StatisticsService.ExportQuizStatistics": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/items/{item_id}/statistics/export", query: []string{"quiz_id", "attempts"},
				edit: gradesFile("text/csv"),
			}
		},
		"stoa.assessment.v1.ExchangeService.ImportQuestions": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/question-imports", query: []string{"format", "category_id", "dry_run"}, edit: func(op *spec.Operation) {
				op.RequestBody = &spec.RequestBody{
					Description: "The file, with any Content-Type: of at most 64 MiB.", Required: true,
					Content: spec.Map[spec.MediaType]{{Name: "application/octet-stream"}},
				}
				ok, _ := op.Responses.Get("200")
				op.Responses = spec.Map[*spec.Response]{{Name: "201", Value: ok}}
			}}
		},
	}
}
