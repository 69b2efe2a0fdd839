package main

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// sheetType is the type of a workbook.
const sheetType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// gradebookRoutes are the routes of gradebooks as files.
func gradebookRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.grades.v1.GradeTransferService.ExportGrades": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/gradebook/export",
				query: []string{"format", "item_ids", "section_ids", "state"}, edit: gradesFile("text/csv", sheetType),
			}
		},
		"stoa.grades.v1.GradeTransferService.ExportMyGrades": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/me/courses/{course_id}/grades/export", edit: gradesFile("text/csv")}
		},
		"stoa.grades.v1.GradeTransferService.UploadGradeImport": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/gradebook/imports", edit: func(op *spec.Operation) {
				op.RequestBody = &spec.RequestBody{
					Description: "The file: of at most 32 MiB.", Required: true,
					Content: spec.Map[spec.MediaType]{{Name: "text/csv"}, {Name: sheetType}},
				}
				ok, _ := op.Responses.Get("200")
				op.Responses = spec.Map[*spec.Response]{{Name: "201", Value: ok}}
			}}
		},
	}
}

func gradesFile(types ...string) func(op *spec.Operation) {
	return func(op *spec.Operation) {
		var content spec.Map[spec.MediaType]
		for _, t := range types {
			content = append(content, spec.Member[spec.MediaType]{Name: t})
		}
		op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{Description: "The file. What ends early is none.", Content: content}}}
	}
}
