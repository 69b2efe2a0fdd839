package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// route is where an RPC is reached over HTTP.
type route struct {
	rpc          protoreflect.MethodDescriptor
	method, path string
	body         bool // the request is the body, but for what stands in the path

	// For a handler that is not made of the contract: the fields that stand in
	// the query, and what is otherwise than the contract says.
	query []string
	edit  func(op *spec.Operation)
}

func (r route) byHand() bool { return r.edit != nil }

func (r route) writes() bool { return r.method != http.MethodGet }

var variable = regexp.MustCompile(`\{(\w+)\}`)

// variables returns the names in braces of a path.
func variables(path string) []string {
	var names []string
	for _, m := range variable.FindAllStringSubmatch(path, -1) {
		names = append(names, m[1])
	}
	return names
}

// routeOf reads the HTTP rule of an RPC; ok is false when it has none.
func routeOf(md protoreflect.MethodDescriptor) (r route, ok bool, err error) {
	rule, _ := proto.GetExtension(md.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return route{}, false, nil
	}
	r = route{rpc: md, body: rule.GetBody() == "*"}
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.method, r.path = http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		r.method, r.path = http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		r.method, r.path = http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		r.method, r.path = http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		r.method, r.path = http.MethodPatch, p.Patch
	default:
		return route{}, false, fmt.Errorf("%s: its HTTP method can't be told", md.FullName())
	}
	if len(rule.GetAdditionalBindings()) > 0 || rule.GetResponseBody() != "" || rule.GetBody() != "" && !r.body ||
		strings.ContainsAny(variable.ReplaceAllString(r.path, ""), "{}*:") {
		return route{}, false, fmt.Errorf("%s: its HTTP rule can't be told", md.FullName())
	}
	if md.IsStreamingClient() || md.IsStreamingServer() {
		return route{}, false, fmt.Errorf("%s: a stream can't be told", md.FullName())
	}
	return r, true, nil
}

// operation describes one RPC.
func (b *builder) operation(r route) (*spec.Operation, error) {
	text, err := b.source.comment(r.rpc)
	if err != nil {
		return nil, err
	}
	told, err := tell(text)
	if err != nil {
		return nil, err
	}
	rule, err := auth.DeclaredRule(r.rpc)
	if err != nil {
		return nil, err
	}
	sd, ok := r.rpc.Parent().(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, errors.New("an RPC of no service")
	}
	op := &spec.Operation{
		OperationID: string(r.rpc.Name()), Tags: []string{tagOf(sd)},
		Summary: told.summary, Description: told.description,
	}
	if op.Permission, op.Security, err = whoMay(rule); err != nil {
		return nil, err
	}
	conditional := r.writes() && (told.has(http.StatusPreconditionFailed, "etag.stale") ||
		hasETag(r.rpc.Output()) && !strings.HasPrefix(op.OperationID, "Create"))
	if err := b.request(op, r); err != nil {
		return nil, err
	}
	if r.writes() {
		op.Parameters = append(op.Parameters, &spec.Parameter{Ref: "#/components/parameters/IdempotencyKey"})
	}
	if conditional {
		op.Parameters = append(op.Parameters, &spec.Parameter{Ref: "#/components/parameters/IfMatch"})
	}
	if !answersFile(r.rpc) {
		if err := b.success(op, r.rpc); err != nil {
			return nil, err
		}
	}
	if r.byHand() {
		r.edit(op)
	}
	failures(op, told, situation{
		rule: rule, writes: r.writes(), conditional: conditional, body: op.RequestBody != nil, byHand: r.byHand(),
	})
	return op, nil
}

// whoMay tells a rule.
func whoMay(rule auth.Rule) (spec.Permission, []spec.Security, error) {
	scope := strings.ToLower(strings.TrimPrefix(rule.Scope.String(), "SCOPE_"))
	p := spec.Permission{Scope: scope, Permission: rule.Permission, Deferred: rule.Deferred}
	signedIn := []spec.Security{{"bearer": {}}, {"cookie": {}}}
	switch rule.Scope {
	case authpb.Scope_SCOPE_PUBLIC:
		return p, []spec.Security{}, nil
	case authpb.Scope_SCOPE_SELF, authpb.Scope_SCOPE_PLATFORM:
		return p, signedIn, nil
	case authpb.Scope_SCOPE_COURSE:
		// Everybody may view a published course, and a lesson that is a preview.
		if rule.Permission == auth.View || rule.Deferred {
			return p, append([]spec.Security{{}}, signedIn...), nil
		}
		return p, signedIn, nil
	default:
		return p, nil, fmt.Errorf("the edge does not pass on a call of scope %s, which has an address", rule.Scope)
	}
}

func hasETag(md protoreflect.MessageDescriptor) bool { return md.Fields().ByName("etag") != nil }

// request tells the fields of the request: in the path, then in the body or in
// the query.
func (b *builder) request(op *spec.Operation, r route) error {
	fields := r.rpc.Input().Fields()
	inPath := variables(r.path)
	for _, name := range inPath {
		fd := fields.ByName(protoreflect.Name(name))
		if fd == nil {
			return fmt.Errorf("the request has no field %q, which its path names", name)
		}
		p, err := b.parameter(fd, "path")
		if err != nil {
			return err
		}
		op.Parameters = append(op.Parameters, p)
	}
	if fields.Len() == len(inPath) {
		return nil
	}
	if r.body {
		schema, err := b.schemas.ref(r.rpc.Input(), inPath...)
		if err != nil {
			return err
		}
		told, _ := b.schemas.named.Get(spec.RefName(schema.Ref))
		op.RequestBody = &spec.RequestBody{
			Required: len(told.Required) > 0 || len(told.OneOf) > 0,
			Content:  spec.Map[spec.MediaType]{{Name: "application/json", Value: spec.MediaType{Schema: schema}}},
		}
		return nil
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if slices.Contains(inPath, string(fd.Name())) || r.byHand() && !slices.Contains(r.query, string(fd.Name())) {
			continue
		}
		if fd.Message() != nil || !r.byHand() && r.writes() && r.method != http.MethodDelete {
			return fmt.Errorf("the field %s has no place in the request", fd.Name())
		}
		p, err := b.parameter(fd, "query")
		if err != nil {
			return err
		}
		op.Parameters = append(op.Parameters, p)
	}
	return nil
}

func (b *builder) parameter(fd protoreflect.FieldDescriptor, in string) (*spec.Parameter, error) {
	schema, err := b.schemas.field(fd)
	if err != nil {
		return nil, err
	}
	demanded, err := demandedOf(fd.ContainingMessage())
	if err != nil {
		return nil, err
	}
	text := schema.Description
	schema.Description = ""
	return &spec.Parameter{
		Name: string(fd.Name()), In: in, Required: in == "path" || demanded[string(fd.Name())], Description: text, Schema: schema,
	}, nil
}

// answersFile reports whether the edge answers with bytes and not with JSON.
func answersFile(md protoreflect.MethodDescriptor) bool {
	for i := range md.Output().Fields().Len() {
		if md.Output().Fields().Get(i).Kind() == protoreflect.BytesKind {
			return true
		}
	}
	return md.IsStreamingServer()
}

// success tells what the edge answers: 201 for what was made, 204 for nothing.
func (b *builder) success(op *spec.Operation, md protoreflect.MethodDescriptor) error {
	res := &spec.Response{Headers: spec.Map[*spec.Header]{{Name: "X-Request-Id", Value: &spec.Header{Ref: "#/components/headers/RequestId"}}}}
	if md.Output().FullName() == emptyName {
		res.Description = "Done. There is nothing to answer."
		op.Responses.Add(strconv.Itoa(http.StatusNoContent), res)
		return nil
	}
	schema, err := b.schemas.ref(md.Output())
	if err != nil {
		return err
	}
	res.Description = schema.Description // of a document, which is described here alone
	if schema.Ref != "" {
		if res.Description, err = b.source.comment(md.Output()); err != nil {
			return err
		}
	}
	res.Content = spec.Map[spec.MediaType]{{Name: "application/json", Value: spec.MediaType{Schema: schema}}}
	if hasETag(md.Output()) {
		res.Headers.Add("ETag", &spec.Header{Ref: "#/components/headers/ETag"})
	}
	if op.OperationID == "CreateSession" {
		res.Headers.Add("Set-Cookie", &spec.Header{Ref: "#/components/headers/SessionCookie"})
	}
	status := http.StatusOK
	if strings.HasPrefix(op.OperationID, "Create") {
		status = http.StatusCreated
	}
	op.Responses.Add(strconv.Itoa(status), res)
	return nil
}
