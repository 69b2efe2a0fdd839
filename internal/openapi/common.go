package main

import (
	"maps"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// common returns what operations refer to, but for the schemas.
func common() spec.Components {
	c := spec.Components{
		Parameters: spec.Map[*spec.Parameter]{
			{Name: "IdempotencyKey", Value: &spec.Parameter{
				Name: "Idempotency-Key", In: "header",
				Description: "A random text of your choice. A write that is repeated with the same key and the same request happens once, and is answered as the first time; with another request it is refused. Keys are kept for 48 hours.",
				Schema:      visibleASCII(),
			}},
			{Name: "IfMatch", Value: &spec.Parameter{
				Name: "If-Match", In: "header",
				Description: "The ETag of what you have read. The write is refused with 412 when it has changed since. Without it the last write wins.",
				Schema:      visibleASCII(),
			}},
		},
		Headers: spec.Map[*spec.Header]{
			{Name: "RequestId", Value: &spec.Header{
				Description: "Finds the request in the log: the X-Request-Id that came with it, or a new one.", Schema: &spec.Schema{Type: "string"},
			}},
			{Name: "ETag", Value: &spec.Header{
				Description: "The version, to be sent as If-Match with a change to it: the field etag in quotes. Absent where that is empty, as it is of what is published.", Schema: &spec.Schema{Type: "string", Examples: []string{`"3"`}},
			}},
			{Name: "RetryAfter", Value: &spec.Header{
				Description: "When to come back, in seconds.", Schema: &spec.Schema{Type: "integer", Minimum: proto.Int64(1)},
			}},
			{Name: "SessionCookie", Value: &spec.Header{
				Description: "The cookie stoa_session with the token, for browsers.", Schema: &spec.Schema{Type: "string"},
			}},
			{Name: "WWWAuthenticate", Value: &spec.Header{
				Description: "How to sign in.", Schema: &spec.Schema{Type: "string", Const: `Bearer realm="stoa"`},
			}},
		},
		SecuritySchemes: spec.Map[spec.SecurityScheme]{
			{Name: "bearer", Value: spec.SecurityScheme{
				Type: "http", Scheme: "bearer", Description: "The token that signing in answered with.",
			}},
			{Name: "cookie", Value: spec.SecurityScheme{
				Type: "apiKey", In: "cookie", Name: "stoa_session", Description: "The same token in the cookie that signing in has set. Writes with it are taken from Stoa's own pages only.",
			}},
		},
	}
	for _, s := range shared {
		c.Responses.Add(s.name, problemResponse(s.status, s.errors))
	}
	return c
}

func visibleASCII() *spec.Schema {
	return &spec.Schema{Type: "string", MinLength: proto.Uint64(1), MaxLength: proto.Uint64(255), Pattern: "^[ -~]+$"}
}

// problemSchemas describe the error that the edge writes; a test of the edge
// holds them to it.
func problemSchemas() spec.Map[*spec.Schema] {
	text := func(description string) *spec.Schema { return &spec.Schema{Type: "string", Description: description} }
	kind := text("Always about:blank: code says more.")
	kind.Const = "about:blank"
	code := text("Which error it is: stable, to be branched on.")
	code.Examples = []string{"course.no_lessons"}
	return spec.Map[*spec.Schema]{
		{Name: "Problem", Value: &spec.Schema{
			Type: "object", Description: "An error as RFC 9457 tells it.",
			Required: []string{"type", "title", "status", "detail", "code", "request_id"},
			Properties: spec.Map[*spec.Schema]{
				{Name: "type", Value: kind},
				{Name: "title", Value: text("The sort of error, the same for all codes of a status.")},
				{Name: "status", Value: &spec.Schema{Type: "integer", Format: "int32", Description: "The HTTP status.", Minimum: proto.Int64(400), Maximum: proto.Int64(599)}},
				{Name: "detail", Value: text("One sentence for a person.")},
				{Name: "code", Value: code},
				{Name: "field", Value: text("The first field that is wrong; absent when none is.")},
				{Name: "hint", Value: text("What would be accepted there; absent when no field is wrong.")},
				{Name: "fields", Value: &spec.Schema{
					Type: "array", Description: "Every field that is wrong, at most 20; absent when none is.", MaxItems: proto.Uint64(20),
					Items: &spec.Schema{Ref: "#/components/schemas/ProblemField"},
				}},
				{Name: "current_etag", Value: text("The version that it has now, for If-Match; only where another was named.")},
				{Name: "request_id", Value: text("Finds the request in the log.")},
			},
		}},
		{Name: "ProblemField", Value: &spec.Schema{
			Type: "object", Description: "A field of a request that is wrong.", Required: []string{"field", "code", "hint"},
			Properties: spec.Map[*spec.Schema]{
				{Name: "field", Value: func() *spec.Schema {
					s := text("Its path, or the name of a header.")
					s.Examples = []string{"blocks[2].markdown.text"}
					return s
				}()},
				{Name: "code", Value: text("What is wrong with it: stable.")},
				{Name: "hint", Value: text("What would be accepted.")},
			},
		}},
	}
}

// handWritten are the routes of the edge that move files: streams over gRPC, so
// that no HTTP rule can name them.
func handWritten() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	routes := map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.media.v1.MediaService.UploadMedia": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/media", query: []string{"filename"}, edit: upload}
		},
		"stoa.access.v1.ImportService.UploadImport": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPost, path: "/v1/courses/{course_id}/imports", query: []string{"invite", "dry_run", "locale"}, edit: importFile}
		},
		"stoa.access.v1.ImportService.ExportImportReport": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/courses/{course_id}/imports/{import_id}/report", query: []string{"after", "outcome"}, edit: importReport,
			}
		},
		"stoa.media.v1.MediaService.DownloadMedia": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/media/{media_id}/content", edit: download}
		},
		"stoa.media.v1.ProcessingService.DownloadPart": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/media/{media_id}/parts/{token}/{part}", edit: downloadPart}
		},
		"stoa.learning.v1.NoteService.ExportNotes": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/me/notes/export", edit: exportNotes}
		},
		"stoa.learning.v1.CalendarService.ReadCalendarFeed": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/calendar/{token}.ics", edit: readCalendar}
		},
		"stoa.media.v1.AvatarService.UploadAvatar": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodPut, path: "/v1/me/avatar", edit: uploadAvatar}
		},
		"stoa.learning.v1.CertificateService.DownloadCertificate": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/me/certificates/{certificate_id}/pdf", edit: certificateFile("application/pdf")}
		},
		"stoa.learning.v1.CertificateService.DownloadBadge": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/me/certificates/{certificate_id}/badge", query: []string{"format"},
				edit: certificateFile("application/vc+ld+json", "application/vc+jwt"),
			}
		},
		"stoa.learning.v1.CertificateService.DownloadSharedBadge": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/certificates/{serial}/badge", query: []string{"format"},
				edit: certificateFile("application/vc+ld+json", "application/vc+jwt"),
			}
		},
		"stoa.learning.v1.CertificateService.DownloadBadgeDocument": func(md protoreflect.MethodDescriptor) route {
			return route{
				rpc: md, method: http.MethodGet, path: "/v1/badges/{kind}/{id}",
				edit: certificateFile("application/ld+json", "application/vc+ld+json", "application/jwk+json"),
			}
		},
		"stoa.media.v1.AvatarService.DownloadAvatar": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/avatars/{avatar_id}", edit: downloadAvatar}
		},
	}
	maps.Copy(routes, uploadRoutes())
	maps.Copy(routes, archiveRoutes())
	maps.Copy(routes, questionRoutes())
	maps.Copy(routes, submissionRoutes())
	maps.Copy(routes, gradebookRoutes())
	maps.Copy(routes, invoiceRoutes())
	maps.Copy(routes, statementRoutes())
	return routes
}

func exportNotes(op *spec.Operation) {
	op.Description = strings.Replace(op.Description, " Over REST: GET /v1/me/notes/export.", "", 1)
	op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{
		Description: "The text.", Headers: spec.Map[*spec.Header]{{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}}},
		Content: spec.Map[spec.MediaType]{{Name: "text/markdown", Value: spec.MediaType{Schema: &spec.Schema{Type: "string"}}}},
	}}}
}

func readCalendar(op *spec.Operation) {
	op.Description = strings.Replace(op.Description, " Over REST: GET\n/v1/calendar/{token}.ics.", " No session is needed: whoever has the address reads it.", 1)
	headers := spec.Map[*spec.Header]{
		{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
		{Name: "ETag", Value: &spec.Header{Description: "Changes with what the calendar says.", Schema: &spec.Schema{Type: "string"}}},
	}
	op.Responses = spec.Map[*spec.Response]{
		{Name: "200", Value: &spec.Response{
			Description: "The calendar, text of RFC 5545.", Headers: headers,
			Content: spec.Map[spec.MediaType]{{Name: "text/calendar", Value: spec.MediaType{Schema: &spec.Schema{Type: "string"}}}},
		}},
		{Name: "304", Value: &spec.Response{Description: "The caller has it already.", Headers: headers}},
	}
}

func uploadAvatar(op *spec.Operation) {
	op.Description = strings.Replace(op.Description, " Over REST: PUT /v1/me/avatar with the bytes as body.", "", 1)
	op.RequestBody = &spec.RequestBody{
		Description: "The bytes of the picture, with any Content-Type: at most 5 MiB.", Required: true,
		Content: spec.Map[spec.MediaType]{{Name: "application/octet-stream"}},
	}
}

func downloadAvatar(op *spec.Operation) {
	op.Description = strings.Replace(op.Description, " Over REST: GET /v1/avatars/{avatar_id}.", " What is at an address never changes, so that caches may keep it.", 1)
	headers := spec.Map[*spec.Header]{
		{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
		{Name: "ETag", Value: &spec.Header{Description: "The id, in quotes.", Schema: &spec.Schema{Type: "string"}}},
	}
	op.Responses = spec.Map[*spec.Response]{
		{Name: "200", Value: &spec.Response{
			Description: "The picture, 256 × 256 pixels.", Headers: headers, Content: spec.Map[spec.MediaType]{{Name: "image/jpeg"}},
		}},
		{Name: "304", Value: &spec.Response{Description: "The caller has it already.", Headers: headers}},
	}
	op.Parameters = append(op.Parameters,
		&spec.Parameter{Name: "If-None-Match", In: "header", Description: "The ETag of what the caller has: answered with 304.", Schema: &spec.Schema{Type: "string"}})
}

// certificateFile describes the answer as a file of one of the types.
func certificateFile(types ...string) func(*spec.Operation) {
	return func(op *spec.Operation) {
		op.Description, _, _ = strings.Cut(op.Description, " Over REST: ")
		headers := spec.Map[*spec.Header]{
			{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
			{Name: "ETag", Value: &spec.Header{Description: "Names these bytes, in quotes.", Schema: &spec.Schema{Type: "string"}}},
		}
		var content spec.Map[spec.MediaType]
		for _, t := range types {
			content.Add(t, spec.MediaType{})
		}
		op.Responses = spec.Map[*spec.Response]{
			{Name: "200", Value: &spec.Response{Description: "The file.", Headers: headers, Content: content}},
			{Name: "304", Value: &spec.Response{Description: "The caller has it already.", Headers: headers}},
		}
		op.Parameters = append(op.Parameters,
			&spec.Parameter{Name: "If-None-Match", In: "header", Description: "The ETag of what the caller has: answered with 304.", Schema: &spec.Schema{Type: "string"}})
	}
}

func importFile(op *spec.Operation) {
	op.Summary = "Takes in a file of people"
	op.RequestBody = &spec.RequestBody{
		Description: "The file, of at most 256 MiB.", Required: true, Content: spec.Map[spec.MediaType]{{Name: "text/csv"}},
	}
	ok, _ := op.Responses.Get("200")
	op.Responses = spec.Map[*spec.Response]{{Name: "201", Value: ok}}
}

func importReport(op *spec.Operation) {
	op.Responses = spec.Map[*spec.Response]{{Name: "200", Value: &spec.Response{
		Description: "A line of JSON for each row of the file: `line`, `outcome`, and where they apply `code`, `field`, `hint`, `entitlement_id` and `invitation_id`.",
		Headers:     spec.Map[*spec.Header]{{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}}},
		Content:     spec.Map[spec.MediaType]{{Name: "application/x-ndjson", Value: spec.MediaType{Schema: &spec.Schema{Type: "string"}}}},
	}}}
}

func upload(op *spec.Operation) {
	op.Summary = "Takes a file into a course"
	op.Description = "Takes the body as a file of a course. Its type is sniffed from the content, never believed: any Content-Type may be sent. A file has at most 2 GiB unless the platform is set up otherwise."
	op.RequestBody = &spec.RequestBody{
		Description: "The bytes of the file.", Required: true,
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

func downloadPart(op *spec.Operation) {
	about := op.Description
	download(op)
	op.Summary = "Sends a part of a file"
	op.Description = strings.Replace(about, " Over REST: GET /v1/media/{media_id}/parts/{token}/{part}, with ranges.",
		" Ranges and conditional requests are honoured. Addresses are used as they were given: those of a video's parts have slashes in {part}.", 1)
}

func download(op *spec.Operation) {
	op.Summary = "Sends the bytes of a file"
	op.Description = "Sends the bytes of a file that is public, such as the cover of a published course. All others are fetched at the addresses that other operations answer with. Ranges and conditional requests are honoured. What a browser might run is sent as an attachment."
	header := func(description string) *spec.Header {
		return &spec.Header{Description: description, Schema: &spec.Schema{Type: "string"}}
	}
	with := func(description string, more ...spec.Member[*spec.Header]) *spec.Response {
		return &spec.Response{Description: description, Headers: append(spec.Map[*spec.Header]{
			{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}},
			{Name: "ETag", Value: header("The SHA-256 of the whole content, in quotes.")},
		}, more...)}
	}
	bytes := spec.Map[spec.MediaType]{{Name: "*/*"}}
	disposition := spec.Member[*spec.Header]{Name: "Content-Disposition", Value: header("The file's name, and whether a browser may show it in place.")}
	part := spec.Member[*spec.Header]{Name: "Content-Range", Value: header("Which bytes these are, and of how many.")}
	whole, some := with("The file.", disposition), with("The part that Range asks for.", disposition, part)
	whole.Content, some.Content = bytes, bytes
	bad := &spec.Response{
		Description: "Range asks for bytes that are not there.", Headers: spec.Map[*spec.Header]{part},
		Content: spec.Map[spec.MediaType]{{Name: "text/plain", Value: spec.MediaType{Schema: &spec.Schema{Type: "string"}}}},
	}
	op.Responses = spec.Map[*spec.Response]{
		{Name: "200", Value: whole}, {Name: "206", Value: some}, {Name: "304", Value: with("The caller has it already.")}, {Name: "416", Value: bad},
	}
	op.Parameters = append(op.Parameters,
		&spec.Parameter{Name: "Range", In: "header", Description: "Which bytes to send; all when absent.", Schema: &spec.Schema{Type: "string", Examples: []string{"bytes=0-1023"}}},
		&spec.Parameter{Name: "If-None-Match", In: "header", Description: "The ETag of what the caller has: answered with 304 while it is the same.", Schema: &spec.Schema{Type: "string"}},
	)
}
