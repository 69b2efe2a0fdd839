package main

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// archiveRoutes are the routes of archives of courses.
func archiveRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.courses.v1.ArchiveService.ExportCourse": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/archive", query: []string{"version"}, edit: func(op *spec.Operation) {
				op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{
					Description: "The archive. What ends early is none.",
					Headers: spec.Map[*spec.Header]{
						{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
						{Name: "Content-Disposition", Value: &spec.Header{Description: "What to call the file.", Schema: &spec.Schema{Type: "string"}}},
					},
					Content: spec.Map[spec.MediaType]{{Name: "application/zip"}},
				}}}
			}}
		},
		"stoa.courses.v1.ArchiveService.ImportCourse": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/course-imports", query: []string{"dry_run"}, edit: archiveBody}
		},
		"stoa.courses.v1.ArchiveService.ImportModules": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/module-imports", query: []string{"dry_run"}, edit: archiveBody}
		},
	}
}

func archiveBody(op *spec.Operation) {
	op.RequestBody = &spec.RequestBody{
		Description: "The archive, with any Content-Type: of at most 20 GiB unless the platform is set up otherwise.", Required: true,
		Content: spec.Map[spec.MediaType]{{Name: "application/zip"}},
	}
	ok, _ := op.Responses.Get("200")
	op.Responses = spec.Map[*spec.Response]{{Name: "201", Value: ok}}
}
