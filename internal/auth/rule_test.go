package auth_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/id"
)

// method is an RPC of a contract with its rule.
type method struct {
	name string // as gRPC calls it
	desc protoreflect.MethodDescriptor
	rule auth.Rule
}

// contracts returns every RPC of every contract; importing app links them all.
func contracts(tb testing.TB) []method {
	tb.Helper()
	var all []method
	services := map[string]bool{}
	// Collected first: whoever looks into the registry while it is ranged over
	// waits for whoever waits to register.
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(f.Package()), "stoa.") {
			files = append(files, f)
		}
		return true
	})
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			services[strings.Split(string(f.Package()), ".")[1]] = true
			for j := range s.Methods().Len() {
				md := s.Methods().Get(j)
				name := "/" + string(s.FullName()) + "/" + string(md.Name())
				rule, err := auth.RuleOf(name)
				if err != nil {
					tb.Errorf("%s: %v", name, err)
					continue
				}
				all = append(all, method{name, md, rule})
			}
		}
	}
	for _, name := range app.Names() {
		if name != "edge" && !services[name] {
			tb.Errorf("the contract of %s is not among those registered", name)
		}
	}
	return all
}

// request returns an empty request that names the course, where the rule is
// about one.
func (m method) request(tb testing.TB, course string) proto.Message {
	tb.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(m.desc.Input().FullName())
	if err != nil {
		tb.Fatal(err)
	}
	req := mt.New()
	if m.rule.Scope == authpb.Scope_SCOPE_COURSE {
		req.Set(m.courseField(tb), protoreflect.ValueOfString(course))
	}
	return req.Interface()
}

func (m method) courseField(tb testing.TB) protoreflect.FieldDescriptor {
	tb.Helper()
	decl, ok := proto.GetExtension(m.desc.Options(), authpb.E_Rule).(*authpb.Rule)
	if !ok {
		tb.Fatalf("%s declares no rule", m.name)
	}
	name := decl.GetField()
	if name == "" {
		name = "course_id"
	}
	fd := m.desc.Input().Fields().ByName(protoreflect.Name(name))
	if fd == nil {
		tb.Fatalf("%s: the request has no field %s", m.name, name)
	}
	return fd
}

func TestEveryRPCDeclaresARule(t *testing.T) {
	t.Parallel()
	all := contracts(t)
	if len(all) < 40 {
		t.Fatalf("%d RPCs were found: the test does not see the contracts", len(all))
	}
	scopes := map[authpb.Scope]int{}
	for _, m := range all {
		scopes[m.rule.Scope]++
		if m.rule.Scope != authpb.Scope_SCOPE_COURSE {
			continue
		}
		course := id.New("course")
		if got := m.rule.Course(m.request(t, course)); got != course {
			t.Errorf("%s: the rule sees the course %q, want %q", m.name, got, course)
		}
		// A field that is not declared as a course's id could hold another's.
		if kind, _ := proto.GetExtension(m.courseField(t).Options(), authpb.E_Id).(string); kind != "course" {
			t.Errorf("%s: the field that names the course is declared as an id of %q", m.name, kind)
		}
	}
	for _, s := range []authpb.Scope{authpb.Scope_SCOPE_PUBLIC, authpb.Scope_SCOPE_SELF, authpb.Scope_SCOPE_COURSE, authpb.Scope_SCOPE_SERVICE, authpb.Scope_SCOPE_EDGE} {
		if scopes[s] == 0 {
			t.Errorf("no RPC has %s", s)
		}
	}
}

func TestRuleOfUnknownMethods(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "/", "nonsense", "/stoa.courses.v1.CoursesService", "/stoa.courses.v1.CoursesService/", "/stoa.courses.v1.CoursesService/Nothing",
		"/stoa.courses.v1.Course", "//", "/stoa.courses.v1.CoursesService/GetCourse/x",
	} {
		if r, err := auth.RuleOf(name); err == nil {
			t.Errorf("RuleOf(%q) = %+v", name, r)
		}
	}
}

// declare returns a method of a new contract that declares rule, nothing when
// that is nil.
func declare(t *testing.T, pkg string, rule *authpb.Rule) protoreflect.MethodDescriptor {
	t.Helper()
	text, number := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum()
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	opts := &descriptorpb.MethodOptions{}
	if rule != nil {
		proto.SetExtension(opts, authpb.E_Rule, rule)
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new(pkg + ".proto"), Package: new(pkg), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Request"), Field: []*descriptorpb.FieldDescriptorProto{
			{Name: new("course_id"), Number: new(int32(1)), Type: text, Label: one},
			{Name: new("number"), Number: new(int32(2)), Type: number, Label: one},
			{Name: new("course_ids"), Number: new(int32(3)), Type: text, Label: many},
		}}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Things"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: new("Get"), InputType: new("." + pkg + ".Request"), OutputType: new("." + pkg + ".Request"), Options: opts},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Services().Get(0).Methods().Get(0)
}

func TestDeclaredRule(t *testing.T) {
	t.Parallel()
	const (
		public, self, platform = authpb.Scope_SCOPE_PUBLIC, authpb.Scope_SCOPE_SELF, authpb.Scope_SCOPE_PLATFORM
		course, service, edge  = authpb.Scope_SCOPE_COURSE, authpb.Scope_SCOPE_SERVICE, authpb.Scope_SCOPE_EDGE
	)
	for name, c := range map[string]struct {
		rule *authpb.Rule
		ok   bool
	}{
		"public":                     {&authpb.Rule{Scope: public}, true},
		"self":                       {&authpb.Rule{Scope: self}, true},
		"service":                    {&authpb.Rule{Scope: service}, true},
		"edge":                       {&authpb.Rule{Scope: edge}, true},
		"platform":                   {&authpb.Rule{Scope: platform, Permission: "refund.create"}, true},
		"platform, deferred":         {&authpb.Rule{Scope: platform, Permission: "refund.create", Deferred: true}, true},
		"course":                     {&authpb.Rule{Scope: course, Permission: "course.edit"}, true},
		"course, named field":        {&authpb.Rule{Scope: course, Permission: "course.edit", Field: "course_id"}, true},
		"no rule":                    {nil, false},
		"no scope":                   {&authpb.Rule{Permission: "course.edit"}, false},
		"public with a permission":   {&authpb.Rule{Scope: public, Permission: "course.edit"}, false},
		"self with a scope":          {&authpb.Rule{Scope: self, Permission: "me.read", StepUp: true}, true},
		"self, deferred":             {&authpb.Rule{Scope: self, Deferred: true}, false},
		"self with an item":          {&authpb.Rule{Scope: self, ItemField: "course_id"}, false},
		"public with a step-up":      {&authpb.Rule{Scope: public, StepUp: true}, false},
		"course, item":               {&authpb.Rule{Scope: course, Permission: "course.edit", ItemField: "course_id"}, true},
		"course, item that is none":  {&authpb.Rule{Scope: course, Permission: "course.edit", ItemField: "lesson_id"}, false},
		"service with a permission":  {&authpb.Rule{Scope: service, Permission: "course.edit"}, false},
		"edge, deferred":             {&authpb.Rule{Scope: edge, Deferred: true}, false},
		"platform, no permission":    {&authpb.Rule{Scope: platform}, false},
		"course, no permission":      {&authpb.Rule{Scope: course}, false},
		"course, field that is none": {&authpb.Rule{Scope: course, Permission: "course.edit", Field: "lesson_id"}, false},
		"course, a number":           {&authpb.Rule{Scope: course, Permission: "course.edit", Field: "number"}, false},
		"course, a list":             {&authpb.Rule{Scope: course, Permission: "course.edit", Field: "course_ids"}, false},
		"a scope to come":            {&authpb.Rule{Scope: 99, Permission: "course.edit"}, false},
	} {
		r, err := auth.DeclaredRule(declare(t, "thing", c.rule))
		if (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if c.ok && (r.Scope != c.rule.GetScope() || r.Permission != c.rule.GetPermission() || r.Deferred != c.rule.GetDeferred()) {
			t.Errorf("%s: %+v, want %v", name, r, c.rule)
		}
	}
}
