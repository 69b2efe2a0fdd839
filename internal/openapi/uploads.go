package main

import (
	"net/http"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// uploadRoutes are the routes of the protocol tus and of parts.
func uploadRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	const all, one = "/v1/courses/{course_id}/uploads", "/v1/courses/{course_id}/uploads/{upload_id}"
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.media.v1.UploadService.CreateUpload": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: all, edit: func(op *spec.Operation) {
				tusOperation(op, "201", "Location is the upload's address.", true,
					tusHeader("Upload-Length", "How many bytes there will be.", false),
					tusHeader("Upload-Defer-Length", "1 when that is not known yet.", false),
					tusHeader("Upload-Metadata", "Keys with values in base 64, with commas between: filename, and sha256 in hex to be compared at the end.", false),
					tusHeader("Upload-Checksum", "Of the bytes that come with the request: md5, sha1 or sha256, a space, and the checksum in base 64.", false))
			}}
		},
		"stoa.media.v1.UploadService.AppendUpload": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPatch, path: one, edit: func(op *spec.Operation) {
				tusOperation(op, "204", "Upload-Offset says where the upload goes on; with the last byte Stoa-Media-Id is the file that it has become.", true,
					tusHeader("Upload-Offset", "Where the bytes go on: what HEAD at this address answers.", true),
					tusHeader("Upload-Length", "How many bytes there will be, where that was deferred.", false),
					tusHeader("Upload-Checksum", "md5, sha1 or sha256, a space, and the checksum of the bytes in base 64.", false))
			}}
		},
		"stoa.media.v1.UploadService.DeleteUpload": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodDelete, path: one, edit: func(op *spec.Operation) {
				tusOperation(op, "204", "It is given up.", false)
			}}
		},
		"stoa.media.v1.MultipartService.PutPart": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodPut, path: "/v1/uploads/{upload_id}/parts/{number}", query: []string{"expires", "size", "sha256", "signature"},
				edit: func(op *spec.Operation) {
					op.RequestBody = &spec.RequestBody{
						Description: "The bytes of the part.", Required: true, Content: spec.Map[spec.MediaType]{{Name: "application/octet-stream"}},
					}
					ok, _ := op.Responses.Get("200")
					ok.Headers = spec.Map[*spec.Header]{
						{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
						{Name: "ETag", Value: &spec.Header{Description: "What completing the upload has to name.", Schema: &spec.Schema{Type: "string"}}},
					}
				},
			}
		},
	}
}

func tusHeader(name, description string, required bool) *spec.Parameter {
	return &spec.Parameter{Name: name, In: "header", Description: description, Required: required, Schema: &spec.Schema{Type: "string"}}
}

func tusOperation(op *spec.Operation, status, says string, body bool, headers ...*spec.Parameter) {
	version := tusHeader("Tus-Resumable", "The version of the protocol.", true)
	version.Schema.Const = "1.0.0"
	op.Parameters = append(append(op.Parameters, version), headers...)
	if body {
		op.RequestBody = &spec.RequestBody{
			Description: "The next bytes.", Required: status == "204", Content: spec.Map[spec.MediaType]{{Name: "application/offset+octet-stream"}},
		}
	}
	answer := spec.Map[*spec.Header]{{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}}}
	if body {
		for _, h := range [][2]string{
			{"Upload-Offset", "How many bytes are stored."}, {"Upload-Expires", "Until when the next have to come."}, {"Stoa-Media-Id", "The file that the upload has become."},
		} {
			answer = append(answer, spec.Member[*spec.Header]{Name: h[0], Value: &spec.Header{Description: h[1], Schema: &spec.Schema{Type: "string", MaxLength: proto.Uint64(100)}}})
		}
	}
	if status == "201" {
		answer = append(answer, spec.Member[*spec.Header]{Name: "Location", Value: &spec.Header{Description: "The upload's address.", Schema: &spec.Schema{Type: "string"}}})
	}
	op.Responses = spec.Map[*spec.Response]{{Name: status, Value: &spec.Response{Description: says, Headers: answer}}}
}
