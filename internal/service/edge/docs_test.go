package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/net/html"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

func docsDocument(t *testing.T) *spec.Document {
	t.Helper()
	d, err := spec.Decode(openAPIDocument)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// docsRPC is an RPC with its request and its answer.
type docsRPC struct {
	md           protoreflect.MethodDescriptor
	method, path string
}

// docsRPCs returns the RPCs that have an HTTP rule, by their names.
func docsRPCs() map[string]docsRPC {
	out := map[string]docsRPC{}
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			for j := range fd.Services().Get(i).Methods().Len() {
				md := fd.Services().Get(i).Methods().Get(j)
				rule, _ := proto.GetExtension(md.Options(), annotations.E_Http).(*annotations.HttpRule)
				if rule == nil {
					continue
				}
				r := docsRPC{md: md}
				rule.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
					if name := string(fd.Name()); slices.Contains([]string{"get", "put", "post", "delete", "patch"}, name) {
						r.method, r.path = name, v.String()
					}
					return true
				})
				out[string(md.Name())] = r
			}
		}
		return true
	})
	return out
}

// The routes of the edge that no contract names.
var docsByHand = map[string]docsRPC{
	"DownloadInvoice":         {method: "get", path: "/v1/me/invoices/{invoice_id}/pdf"},
	"ExportTaxReport":         {method: "get", path: "/v1/invoices/tax-report"},
	"ExportMyStatement":       {method: "get", path: "/v1/me/statement"},
	"ExportMyPayoutStatement": {method: "get", path: "/v1/me/payouts/{payout_id}/statement"},
	"ExportPayoutStatement":   {method: "get", path: "/v1/payouts/{payout_id}/statement"},
	"ExportTeacherStatement":  {method: "get", path: "/v1/payouts/teachers/{teacher_id}/statement"},
	"UploadMedia":             {method: "post", path: "/v1/courses/{course_id}/media"},
	"UploadSubmissionFile":    {method: "post", path: "/v1/courses/{course_id}/submission-files"},
	"UploadFeedbackFile":      {method: "post", path: "/v1/courses/{course_id}/feedback-files"},
	"DownloadSubmissions":     {method: "get", path: "/v1/courses/{course_id}/items/{item_id}/submissions/archive"},
	"UploadFeedbackArchive":   {method: "post", path: "/v1/courses/{course_id}/items/{item_id}/feedback-archives"},
	"DownloadMedia":           {method: "get", path: "/v1/media/{media_id}/content"},
	"CreateUpload":            {method: "post", path: "/v1/courses/{course_id}/uploads"},
	"AppendUpload":            {method: "patch", path: "/v1/courses/{course_id}/uploads/{upload_id}"},
	"DeleteUpload":            {method: "delete", path: "/v1/courses/{course_id}/uploads/{upload_id}"},
	"PutPart":                 {method: "put", path: "/v1/uploads/{upload_id}/parts/{number}"},
	"DownloadPart":            {method: "get", path: "/v1/media/{media_id}/parts/{token}/{part}"},
	"UploadAvatar":            {method: "put", path: "/v1/me/avatar"},
	"DownloadAvatar":          {method: "get", path: "/v1/avatars/{avatar_id}"},
	"UploadImport":            {method: "post", path: "/v1/courses/{course_id}/imports"},
	"ExportImportReport":      {method: "get", path: "/v1/courses/{course_id}/imports/{import_id}/report"},
	"DownloadCertificate":     {method: "get", path: "/v1/me/certificates/{certificate_id}/pdf"},
	"DownloadBadge":           {method: "get", path: "/v1/me/certificates/{certificate_id}/badge"},
	"DownloadSharedBadge":     {method: "get", path: "/v1/certificates/{serial}/badge"},
	"DownloadBadgeDocument":   {method: "get", path: "/v1/badges/{kind}/{id}"},
	"ExportNotes":             {method: "get", path: "/v1/me/notes/export"},
	"ReadCalendarFeed":        {method: "get", path: "/v1/calendar/{token}.ics"},
	"ExportQuizStatistics":    {method: "get", path: "/v1/courses/{course_id}/items/{item_id}/statistics/export"},
	"ExportCourse":            {method: "get", path: "/v1/courses/{course_id}/archive"},
	"ImportCourse":            {method: "post", path: "/v1/course-imports"},
	"ExportQuestions":         {method: "get", path: "/v1/courses/{course_id}/questions/export"},
	"ImportQuestions":         {method: "post", path: "/v1/courses/{course_id}/question-imports"},
	"ExportGrades":            {method: "get", path: "/v1/courses/{course_id}/gradebook/export"},
	"ExportMyGrades":          {method: "get", path: "/v1/me/courses/{course_id}/grades/export"},
	"UploadGradeImport":       {method: "post", path: "/v1/courses/{course_id}/gradebook/imports"},
	"ImportModules":           {method: "post", path: "/v1/courses/{course_id}/module-imports"},
}

func TestDocsHaveEveryOperation(t *testing.T) {
	t.Parallel()
	missing := docsRPCs()
	if len(missing) < 40 {
		t.Fatalf("only %d HTTP rules were found", len(missing))
	}
	maps.Copy(missing, docsByHand)
	for _, path := range docsDocument(t).Paths {
		for _, op := range path.Value {
			r, ok := missing[op.Value.OperationID]
			if !ok || r.method != op.Name || r.path != path.Name {
				t.Errorf("%s %s (%s) is in no contract", op.Name, path.Name, op.Value.OperationID)
			}
			delete(missing, op.Value.OperationID)
		}
	}
	for name, r := range missing {
		t.Errorf("%s %s (%s) is not in the document: run `make gen`", r.method, r.path, name)
	}
}

func TestDocsDescribeTheProblem(t *testing.T) {
	t.Parallel()
	d := docsDocument(t)
	for name, v := range map[string]any{"Problem": problem{}, "ProblemField": problemField{}} {
		var names, required []string
		for field := range reflect.TypeOf(v).Fields() {
			tag := field.Tag.Get("json")
			field, optional := strings.CutSuffix(tag, ",omitempty")
			names = append(names, field)
			if !optional {
				required = append(required, field)
			}
		}
		s, _ := d.Components.Schemas.Get(name)
		var told []string
		for _, p := range s.Properties {
			told = append(told, p.Name)
		}
		if !slices.Equal(names, told) || !slices.Equal(required, s.Required) {
			t.Errorf("%s has the fields %v, %v of them always; the document says %v and %v", name, names, required, told, s.Required)
		}
	}
	if r, _ := d.Components.Responses.Get("TooLarge"); !strings.Contains(r.Description, fmt.Sprintf("%d MiB", maxBody>>20)) {
		t.Errorf("a body has at most %d MiB; the document says: %s", maxBody>>20, r.Description)
	}
}

// docsConn stands for every service: it notes what it is called with, and
// answers with what it is told to.
type docsConn struct {
	method string
	bad    error
	answer []byte // JSON
}

func (c *docsConn) Invoke(_ context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	req, ok := args.(proto.Message)
	if !ok {
		return status.Error(codes.Internal, "not a message")
	}
	c.method, c.bad = method, protovalidate.Validate(req)
	res, ok := reply.(proto.Message)
	if !ok || c.answer == nil {
		return nil
	}
	return protojson.Unmarshal(c.answer, res)
}

func (c *docsConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no streams")
}

// TestDocsAreTrue asks for each operation as the document describes it, with
// the least and with all that may be sent: the gateway must find the RPC, the
// contract accept the request, and the answer have the form that is described.
func TestDocsAreTrue(t *testing.T) {
	t.Parallel()
	d := docsDocument(t)
	rpcs := docsRPCs()
	conn := &docsConn{}
	conns := map[string]grpc.ClientConnInterface{}
	for _, tag := range d.Tags {
		conns[tag.Name] = conn
	}
	e, err := New(Config{Log: slog.New(slog.DiscardHandler), Conns: conns, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, target string, body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), strings.ToUpper(method), target, bytes.NewReader(body))
		if body != nil {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		return w
	}
	for _, path := range d.Paths {
		for _, member := range path.Value {
			method, op := member.Name, member.Value
			if _, ok := docsByHand[op.OperationID]; ok {
				continue
			}
			answer := op.Responses[0] // the one of success
			conn.answer = nil
			form, hasAnswer := answer.Value.Content.Get("application/json")
			if hasAnswer {
				conn.answer = docsJSON(t, docsSample(t, d, form.Schema, true, true))
			}
			for _, all := range []bool{false, true} {
				target, query := path.Name, url.Values{}
				for _, p := range op.Parameters {
					p = d.Parameter(p)
					value := fmt.Sprint(docsSample(t, d, p.Schema, true, false))
					switch {
					case p.In == "path":
						target = strings.ReplaceAll(target, "{"+p.Name+"}", value)
					case p.In == "query" && (all || p.Required):
						query.Set(p.Name, value)
					}
				}
				var body []byte
				if op.RequestBody != nil && (all || op.RequestBody.Required) {
					form, _ := op.RequestBody.Content.Get("application/json")
					body = docsJSON(t, docsSample(t, d, form.Schema, all, false))
				}
				conn.method, conn.bad = "", nil
				w := ask(method, target+"?"+query.Encode(), body)
				if rpcs[op.OperationID].md == nil {
					t.Errorf("%s: no RPC is known of this operation", op.OperationID)
					continue
				}
				md := rpcs[op.OperationID].md
				if want := fmt.Sprintf("/%s/%s", md.Parent().FullName(), md.Name()); conn.method != want || conn.bad != nil {
					t.Errorf("%s %s with %s: called %q with a request of which the contract says %v: %s", method, target, body, conn.method, conn.bad, w.Body)
					continue
				}
				if fmt.Sprint(w.Code) != answer.Name {
					t.Errorf("%s %s: answered %d, the document says %s: %s", method, target, w.Code, answer.Name, w.Body)
				}
				if _, told := answer.Value.Headers.Get("ETag"); told != (w.Header().Get("ETag") != "") {
					t.Errorf("%s %s: ETag %q, in the document %v", method, target, w.Header().Get("ETag"), told)
				}
				if hasAnswer {
					docsConform(t, d, op.OperationID, form.Schema, w.Body.Bytes())
				}
			}
			// What the document does not name is refused, as it says.
			target := path.Name
			for _, p := range op.Parameters {
				if p = d.Parameter(p); p.In == "path" && p.Schema.Type == "integer" {
					target = strings.ReplaceAll(target, "{"+p.Name+"}", "1")
				}
			}
			target = variableInPath.ReplaceAllString(target, "x")
			body := []byte(nil)
			if op.RequestBody != nil {
				body = []byte(`{"no_such_field": 1}`)
			} else if rpcs[op.OperationID].md.Input().Fields().Len() > strings.Count(path.Name, "{") && method == "get" {
				target += "?no_such_field=1"
			} else {
				continue
			}
			w := ask(method, target, body)
			docsConform(t, d, op.OperationID, &spec.Schema{Ref: "#/components/schemas/Problem"}, w.Body.Bytes())
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "request.unknown_field") {
				t.Errorf("%s %s: an unknown field is answered with %d %s", method, target, w.Code, w.Body)
			}
		}
	}
}

var variableInPath = regexp.MustCompile(`\{\w+\}`)

func docsJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// docsSchema follows a reference.
func docsNamed(t *testing.T, d *spec.Document, s *spec.Schema) *spec.Schema {
	t.Helper()
	if s.Ref == "" {
		return s
	}
	found, ok := d.Components.Schemas.Get(spec.RefName(s.Ref))
	if !ok {
		t.Fatalf("there is no %s", s.Ref)
	}
	return found
}

// docsSample makes a value that a schema describes, with all that it may have or
// the least; what only the server sets is in answers. A list of what it is within
// (a rule of rules) is empty.
func docsSample(t *testing.T, d *spec.Document, s *spec.Schema, all, answer bool, within ...string) any {
	t.Helper()
	if s.Ref != "" {
		within = append(slices.Clone(within), s.Ref)
	}
	s = docsNamed(t, d, s)
	switch s.Type {
	case "object":
		out := map[string]any{}
		for _, p := range s.Properties {
			chosen := len(s.OneOf) > 0 && p.Name == s.OneOf[0].Required[0]
			choice := slices.ContainsFunc(s.OneOf, func(one *spec.Schema) bool { return one.Required[0] == p.Name })
			if chosen || !choice && (answer || !p.Value.ReadOnly && (all || slices.Contains(s.Required, p.Name))) {
				out[p.Name] = docsSample(t, d, p.Value, all, answer, within...)
			}
		}
		return out
	case "array":
		if slices.Contains(within, s.Items.Ref) {
			return []any{}
		}
		list := []any{docsSample(t, d, s.Items, all, answer, within...)}
		for s.MinItems != nil && uint64(len(list)) < *s.MinItems {
			one := list[0]
			if text, ok := one.(string); ok && strings.Contains(text, "_01h455vb4pex5vsknk084sn02q") {
				one = strings.TrimSuffix(text, "q") + string("0123456789abcdefghjk"[len(list)]) // another one: most lists of ids have each once
			}
			list = append(list, one)
		}
		return list
	case "boolean":
		return true
	case "integer":
		if s.Minimum != nil {
			return max(*s.Minimum, 1)
		}
		return 1
	}
	for _, v := range slices.Concat(s.Examples, s.Enum, []string{"x", "en", "ada@example.org", "2026-11-23T18:14:40Z", "2026-11-23", "2026-11", "EUR", "123456", "62.5", "09:30", strings.Repeat("x", 10), strings.Repeat("a", 64), "lesson_01h455vb4pex5vsknk084sn02q"}) {
		if docsAccepts(s, v) {
			return v
		}
	}
	t.Fatalf("no sample for %+v", s)
	return nil
}

// docsAccepts reports whether a text keeps to the limits of its schema.
func docsAccepts(s *spec.Schema, v string) bool {
	n := uint64(len([]rune(v)))
	if s.Format == "date-time" {
		_, err := time.Parse(time.RFC3339Nano, v)
		return err == nil
	}
	return (s.MinLength == nil || n >= *s.MinLength) && (s.MaxLength == nil || n <= *s.MaxLength) &&
		(s.Pattern == "" || regexp.MustCompile(s.Pattern).MatchString(v)) &&
		(len(s.Enum) == 0 || slices.Contains(s.Enum, v)) && (s.Const == "" || s.Const == v) &&
		(s.Format != "email" || strings.Contains(v, "@"))
}

// docsConform holds a JSON text to its schema.
func docsConform(t *testing.T, d *spec.Document, at string, s *spec.Schema, text []byte) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Errorf("%s: %v in %q", at, err, text)
		return
	}
	docsConformValue(t, d, at, s, v)
}

func docsConformValue(t *testing.T, d *spec.Document, at string, s *spec.Schema, v any) {
	t.Helper()
	s = docsNamed(t, d, s)
	var ok bool
	switch v := v.(type) {
	case map[string]any:
		ok = s.Type == "object"
		for _, name := range s.Required {
			if _, has := v[name]; !has {
				t.Errorf("%s lacks %s, which is said to be required", at, name)
			}
		}
		for name, one := range v {
			p, has := s.Properties.Get(name)
			if !has {
				t.Errorf("%s has %s, of which the document does not know", at, name)
				continue
			}
			docsConformValue(t, d, at+"."+name, p, one)
		}
		chosen := 0
		for _, one := range s.OneOf {
			if _, has := v[one.Required[0]]; has {
				chosen++
			}
		}
		if len(s.OneOf) > 0 && chosen != 1 {
			t.Errorf("%s is said to be one of several, and is %v", at, v)
		}
	case []any:
		ok = s.Type == "array"
		for i, one := range v {
			if ok {
				docsConformValue(t, d, fmt.Sprintf("%s[%d]", at, i), s.Items, one)
			}
		}
	case bool:
		ok = s.Type == "boolean"
	case json.Number:
		_, err := v.Int64()
		ok = s.Type == "integer" && err == nil
	case string:
		ok = s.Type == "string" && docsAccepts(s, v)
	}
	if !ok {
		t.Errorf("%s: %v is not what the document says: %+v", at, v, s)
	}
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	page, err := docs()
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	ids, links := map[string]bool{}, []string{}
	heading := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "style", "img", "iframe", "object":
			t.Errorf("the page has a <%s>", n.Data)
		case "h1", "h2", "h3", "h4", "h5", "h6":
			level := int(n.Data[1] - '0')
			if level > heading+1 {
				t.Errorf("an <h%d> follows an <h%d>", level, heading)
			}
			heading = level
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id" && ids[a.Val]:
				t.Errorf("the id %s stands twice", a.Val)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				links = append(links, a.Val[1:])
			case a.Key == "href" && !strings.HasPrefix(a.Val, "/"), a.Key == "src", a.Key == "style", strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, link := range links {
		if !ids[link] {
			t.Errorf("a link leads to #%s, which is not there", link)
		}
	}
	text := html.UnescapeString(string(page))
	for _, path := range docsDocument(t).Paths {
		for _, op := range path.Value {
			if !ids[op.Value.OperationID] || !strings.Contains(text, path.Name) || !strings.Contains(text, op.Value.Summary) {
				t.Errorf("%s is not on the page", op.Value.OperationID)
			}
			for _, r := range op.Value.Responses {
				for _, e := range r.Value.Errors {
					if !strings.Contains(text, ">"+e.Code+"<") {
						t.Errorf("%s: the code %s is not on the page", op.Value.OperationID, e.Code)
					}
				}
			}
		}
	}
}

// TestDocsPageEscapes shows a document of which every text tries to be markup.
func TestDocsPageEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"'><script>evil()</script><img src=x onerror=evil()>` + "`<b>`"
	d := docsDocument(t)
	poison(reflect.ValueOf(d), evil)
	page, err := docsOf(d)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(page, []byte("evil()")); n < 1000 {
		t.Fatalf("only %d texts were poisoned", n)
	}
	tokens := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			if tokens.Err() != io.EOF { //nolint:errorlint // the tokenizer returns it as it is
				t.Fatal(tokens.Err())
			}
			return
		}
		if name, _ := tokens.TagName(); kind == html.StartTagToken && slices.Contains([]string{"script", "img", "b"}, string(name)) {
			t.Fatalf("a text became a <%s>", name)
		}
	}
}

// poison appends evil to every text below v, but for those that the page looks
// up others by.
func poison(v reflect.Value, evil string) {
	switch v.Kind() { //nolint:exhaustive // the others hold no text
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), evil)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Ref" && name != "Tags" && name != "Scope" {
				poison(v.Field(i), evil)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), evil)
		}
	case reflect.String:
		v.SetString(v.String() + evil)
	}
}
