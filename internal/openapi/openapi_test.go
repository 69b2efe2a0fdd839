package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

const root = "../.."

func committed(t *testing.T) ([]byte, *spec.Document) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, output))
	if err != nil {
		t.Fatal(err)
	}
	d, err := spec.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return text, d
}

func TestCommittedDocumentIsCurrent(t *testing.T) {
	t.Parallel()
	text, d := committed(t)
	for range 3 { // the same each time
		made, err := generate(root)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(string(made), "\n")); diff != "" {
			t.Fatalf("%s is not what the contracts say: run `make gen`\n%s", output, diff)
		}
	}
	again, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, again) {
		t.Error("the document that was read is not the document that was written")
	}
}

// TestDocumentIsValid holds the document to what OpenAPI 3.1 demands beyond the
// form that its types have already.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	text, d := committed(t)
	var raw any
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	refs(raw, func(ref string) {
		used[ref] = true
		if _, ok := resolve(raw, ref); !ok {
			t.Errorf("%s leads nowhere", ref)
		}
	})
	component := regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	components, _ := resolve(raw, "#/components")
	for kind, named := range components.(map[string]any) {
		for name := range named.(map[string]any) {
			if !component.MatchString(name) {
				t.Errorf("a component can't be named %q", name)
			}
			if kind != "securitySchemes" && !used["#/components/"+kind+"/"+name] {
				t.Errorf("%s/%s is not used", kind, name)
			}
		}
	}
	eachSchema(d, func(at string, s *spec.Schema) {
		if _, err := regexp.Compile(s.Pattern); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		for _, name := range s.Required {
			if _, ok := s.Properties.Get(name); !ok && s.Type != "" {
				t.Errorf("%s demands %q, which it does not have", at, name)
			}
		}
		alternative := strings.HasSuffix(at, "|") // of oneOf: names a field and has no type
		if (s.Type == "array") != (s.Items != nil) || (s.Type == "") != (s.Ref != "" || alternative) {
			t.Errorf("%s has no type that fits: %q", at, s.Type)
		}
	})
	ids := map[string]bool{}
	for _, path := range d.Paths {
		for _, op := range path.Value {
			if ids[op.Value.OperationID] {
				t.Errorf("%s stands twice", op.Value.OperationID)
			}
			ids[op.Value.OperationID] = true
			valid(t, d, path.Name, op.Name, op.Value)
		}
	}
}

func valid(t *testing.T, d *spec.Document, path, method string, op *spec.Operation) {
	t.Helper()
	at := strings.ToUpper(method) + " " + path
	if !slices.Contains([]string{"get", "put", "post", "patch", "delete"}, method) || !strings.HasPrefix(path, "/v1/") {
		t.Errorf("%s is no operation", at)
	}
	if op.Summary == "" || strings.HasSuffix(op.Summary, ".") || op.Description == "" || strings.Contains(op.Description, "Errors:") {
		t.Errorf("%s is badly told: %q, %q", at, op.Summary, op.Description)
	}
	for _, tag := range op.Tags {
		if !slices.ContainsFunc(d.Tags, func(t spec.Tag) bool { return t.Name == tag }) {
			t.Errorf("%s: there is no tag %s", at, tag)
		}
	}
	for _, way := range op.Security {
		for scheme := range way {
			if _, ok := d.Components.SecuritySchemes.Get(scheme); !ok {
				t.Errorf("%s: there is no way to sign in called %s", at, scheme)
			}
		}
	}
	inPath := variables(path)
	seen := map[string]bool{}
	for _, p := range op.Parameters {
		p = d.Parameter(p)
		if seen[p.In+p.Name] {
			t.Errorf("%s: %s stands twice", at, p.Name)
		}
		seen[p.In+p.Name] = true
		if p.In == "path" && (!p.Required || !slices.Contains(inPath, p.Name)) || p.Schema == nil || p.Description == "" {
			t.Errorf("%s: %s is badly told", at, p.Name)
		}
	}
	for _, name := range inPath {
		if !seen["path"+name] {
			t.Errorf("%s: %s is not told", at, name)
		}
	}
	if seen["headerIdempotency-Key"] == (method == "get") {
		t.Errorf("%s: Idempotency-Key belongs to writes", at)
	}
	if _, stale := op.Responses.Get("412"); stale != seen["headerIf-Match"] {
		t.Errorf("%s: 412 belongs to If-Match", at)
	}
	if _, nobody := op.Responses.Get("401"); !nobody && op.Permission.Scope != "public" {
		t.Errorf("%s: 401 is not told", at)
	}
	succeeds := false
	for _, r := range op.Responses {
		if told := d.Response(r.Value); told == nil || told.Description == "" {
			t.Errorf("%s: %s is not told", at, r.Name)
		}
		succeeds = succeeds || strings.HasPrefix(r.Name, "2")
	}
	for _, status := range []string{"400", "429", "default"} {
		if _, ok := op.Responses.Get(status); !ok || !succeeds {
			t.Errorf("%s: %s or success is not told", at, status)
		}
	}
}

// eachSchema visits every schema of the document.
func eachSchema(d *spec.Document, visit func(at string, s *spec.Schema)) {
	var walk func(at string, s *spec.Schema)
	walk = func(at string, s *spec.Schema) {
		if s == nil {
			return
		}
		visit(at, s)
		walk(at+"[]", s.Items)
		for _, p := range s.Properties {
			walk(at+"."+p.Name, p.Value)
		}
		for _, one := range s.OneOf {
			walk(at+"|", one)
		}
	}
	for _, s := range d.Components.Schemas {
		walk(s.Name, s.Value)
	}
	for _, path := range d.Paths {
		for _, op := range path.Value {
			for _, p := range op.Value.Parameters {
				walk(op.Value.OperationID+" "+p.Name, p.Schema)
			}
		}
	}
}

// refs visits every reference below v.
func refs(v any, visit func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if ref, ok := inner.(string); ok && key == "$ref" {
				visit(ref)
			}
			refs(inner, visit)
		}
	case []any:
		for _, inner := range v {
			refs(inner, visit)
		}
	}
}

func resolve(v any, ref string) (any, bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[part]; !ok {
			return nil, false
		}
	}
	return v, true
}

func TestTell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]told{
		"Does this: and that. More.": {summary: "Does this", description: "Does this: and that. More.", errors: map[int][]spec.Error{}},
		"Does. Errors: a.b (404).":   {summary: "Does", description: "Does.", errors: map[int][]spec.Error{404: {{Code: "a.b"}}}},
		"Does. Errors: a.b (403) for this, not_found (404) for that one.": {summary: "Does", description: "Does.", errors: map[int][]spec.Error{
			403: {{Code: "a.b", When: "for this"}}, 404: {{Code: "not_found", When: "for that one"}},
		}},
		"Does. Errors: a.b and a.c (400), d.e, d_f.g (409), the same for both.": {summary: "Does", description: "Does.", errors: map[int][]spec.Error{
			400: {{Code: "a.b"}, {Code: "a.c"}}, 409: {{Code: "d.e", When: "the same for both"}, {Code: "d_f.g", When: "the same for both"}},
		}},
	} {
		got, err := tell(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(told{})); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"Does. Errors: nothing much.", "Does. Errors: a.b (400), a.c."} {
		if got, err := tell(text); err == nil {
			t.Errorf("%s: told as %+v", text, got)
		}
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	got := comments(`syntax = "proto3";

// Of the package.
package stoa.x.v1;

import "a.proto";

option go_package = "x";

// Stands alone.

// One
// service.
service S {
  // One RPC.
  rpc Get(GetRequest) returns (stream stoa.x.v1.M) {
    // Not of a thing.
    option (google.api.http) = {
      get: "/v1/{a}" // in braces; with a semicolon
      nested: {a: "}"}
    };
  }
  // Without a body.
  rpc Put(GetRequest) returns (M);
}

// A message.
message M {
  reserved 4, 5;
  // A "field".
  repeated string f = 1 [
    (stoa.auth.v1.id) = "course",
    (buf.validate.field).repeated = {min_items: 1, items: {string: {pattern: "^[A-Z]{3};$"}}}
  ]; // beside it
  int32 bare = 2;
  // A choice.
  oneof content {
    // Of the message.
    Inner one = 3;
  }
  // Inside.
  message Inner {
    // Deep.
    optional bool b = 1;
  }
  // After.
  string after = 6;
}
`)
	want := map[protoreflect.FullName]string{
		"stoa.x.v1.S": "One service.", "stoa.x.v1.S.Get": "One RPC.", "stoa.x.v1.S.Put": "Without a body.",
		"stoa.x.v1.M": "A message.", "stoa.x.v1.M.f": `A "field".`, "stoa.x.v1.M.content": "A choice.", "stoa.x.v1.M.one": "Of the message.",
		"stoa.x.v1.M.Inner": "Inside.", "stoa.x.v1.M.Inner.b": "Deep.", "stoa.x.v1.M.after": "After.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLimit: every rule is told, and one that can't be is not passed over.
func TestLimit(t *testing.T) {
	t.Parallel()
	text := func(r *validate.StringRules) *validate.FieldRules {
		return &validate.FieldRules{Type: &validate.FieldRules_String_{String_: r}}
	}
	list := &validate.FieldRules{Type: &validate.FieldRules_Repeated{Repeated: &validate.RepeatedRules{
		MinItems: proto.Uint64(1), MaxItems: proto.Uint64(3), Unique: new(true),
		Items: text(&validate.StringRules{MinLen: proto.Uint64(1), MaxLen: proto.Uint64(9), Pattern: new("^a")}),
	}}}
	for _, c := range []struct {
		rules      *validate.FieldRules
		have, want *spec.Schema
	}{
		{list, &spec.Schema{Items: &spec.Schema{}}, &spec.Schema{
			MinItems: proto.Uint64(1), MaxItems: proto.Uint64(3), UniqueItems: true,
			Items: &spec.Schema{MinLength: proto.Uint64(1), MaxLength: proto.Uint64(9), Pattern: "^a"},
		}},
		{text(&validate.StringRules{WellKnown: &validate.StringRules_Email{Email: true}}), &spec.Schema{}, &spec.Schema{Format: "email"}},
		{text(&validate.StringRules{In: []string{"", "a"}}), &spec.Schema{}, &spec.Schema{Enum: []string{"", "a"}}},
		{&validate.FieldRules{Type: &validate.FieldRules_Int64{Int64: &validate.Int64Rules{
			GreaterThan: &validate.Int64Rules_Gte{Gte: -5}, LessThan: &validate.Int64Rules_Lte{Lte: 5},
		}}}, &spec.Schema{}, &spec.Schema{Minimum: proto.Int64(-5), Maximum: proto.Int64(5)}},
		{&validate.FieldRules{Required: new(true)}, &spec.Schema{}, &spec.Schema{}},
		{text(&validate.StringRules{Prefix: new("a")}), &spec.Schema{}, nil},
		{&validate.FieldRules{Ignore: validate.Ignore_IGNORE_ALWAYS.Enum()}, &spec.Schema{}, &spec.Schema{}},
		{&validate.FieldRules{Cel: []*validate.Rule{{Id: new("x")}}}, &spec.Schema{}, nil},
	} {
		err := limit(c.have, c.rules.ProtoReflect(), "")
		if c.want == nil {
			if err == nil {
				t.Errorf("%v is passed over", c.rules)
			}
			continue
		}
		if diff := cmp.Diff(c.want, c.have); err != nil || diff != "" {
			t.Errorf("%v: %v\n%s", c.rules, err, diff)
		}
	}
}
