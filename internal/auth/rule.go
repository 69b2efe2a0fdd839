package auth

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
)

// Rule is what an RPC demands of its caller, as its contract declares it.
type Rule struct {
	Scope      authpb.Scope
	Permission string
	Deferred   bool
	StepUp     bool                         // demands a recent confirmation of who calls
	field      protoreflect.FieldDescriptor // of the request, for SCOPE_COURSE
	item       protoreflect.FieldDescriptor // the same, nil where the rule names no item
}

var rules sync.Map // full method, such as "/stoa.courses.v1.CoursesService/GetCourse" → Rule or error

// RuleOf returns the rule of a method by its full name,
// "/package.Service/Method". A method that declares none, or a wrong one, is an
// error, so that it can't be called at all.
func RuleOf(method string) (Rule, error) {
	if v, ok := rules.Load(method); ok {
		if r, ok := v.(Rule); ok {
			return r, nil
		}
	}
	r, err := readRule(method)
	if err != nil {
		return Rule{}, err
	}
	rules.Store(method, r)
	return r, nil
}

// Permissions are all that the contracts of this program demand, sorted.
var Permissions = sync.OnceValue(func() []string {
	var list []string
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			methods := fd.Services().Get(i).Methods()
			for j := range methods.Len() {
				if decl, ok := proto.GetExtension(methods.Get(j).Options(), authpb.E_Rule).(*authpb.Rule); ok && decl.GetPermission() != "" {
					list = append(list, decl.GetPermission())
				}
			}
		}
		return true
	})
	slices.Sort(list)
	return slices.Compact(list)
})

func readRule(method string) (Rule, error) {
	name := protoreflect.FullName(replaceSlash(method))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return Rule{}, fmt.Errorf("auth: %s: %w", method, err)
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return Rule{}, fmt.Errorf("auth: %s is not a method", method)
	}
	return DeclaredRule(md)
}

// DeclaredRule returns the rule that a method's descriptor carries, or what is
// wrong with it.
func DeclaredRule(md protoreflect.MethodDescriptor) (Rule, error) {
	decl, ok := proto.GetExtension(md.Options(), authpb.E_Rule).(*authpb.Rule)
	if !ok || decl == nil {
		return Rule{}, fmt.Errorf("auth: %s declares no rule", md.FullName())
	}
	r := Rule{Scope: decl.GetScope(), Permission: decl.GetPermission(), Deferred: decl.GetDeferred(), StepUp: decl.GetStepUp()}
	switch r.Scope {
	case authpb.Scope_SCOPE_SELF:
		if r.Deferred {
			return Rule{}, fmt.Errorf("auth: %s: %s is not deferred", md.FullName(), r.Scope)
		}
	case authpb.Scope_SCOPE_PUBLIC, authpb.Scope_SCOPE_SERVICE, authpb.Scope_SCOPE_EDGE:
		if r.Permission != "" || r.Deferred || r.StepUp {
			return Rule{}, fmt.Errorf("auth: %s: %s takes no permission and no step-up", md.FullName(), r.Scope)
		}
	case authpb.Scope_SCOPE_PLATFORM, authpb.Scope_SCOPE_COURSE:
		if r.Permission == "" {
			return Rule{}, fmt.Errorf("auth: %s: %s demands a permission", md.FullName(), r.Scope)
		}
	default:
		return Rule{}, fmt.Errorf("auth: %s declares no scope that is known", md.FullName())
	}
	if r.Scope != authpb.Scope_SCOPE_COURSE {
		if decl.GetField() != "" || decl.GetItemField() != "" {
			return Rule{}, fmt.Errorf("auth: %s: %s names no fields", md.FullName(), r.Scope)
		}
		return r, nil
	}
	var err error
	if r.field, err = textField(md, cmp.Or(decl.GetField(), "course_id")); err != nil {
		return Rule{}, err
	}
	if decl.GetItemField() != "" {
		r.item, err = textField(md, decl.GetItemField())
	}
	return r, err
}

func textField(md protoreflect.MethodDescriptor, name string) (protoreflect.FieldDescriptor, error) {
	f := md.Input().Fields().ByName(protoreflect.Name(name))
	if f == nil || f.Kind() != protoreflect.StringKind || f.IsList() {
		return nil, fmt.Errorf("auth: %s: the request has no text field %q", md.FullName(), name)
	}
	return f, nil
}

// Course returns the course that a request names, for a SCOPE_COURSE rule.
func (r Rule) Course(req proto.Message) string { return textOf(req, r.field) }

// Item returns the item of the course that a request names, "" where the rule
// names none.
func (r Rule) Item(req proto.Message) string { return textOf(req, r.item) }

func textOf(req proto.Message, field protoreflect.FieldDescriptor) string {
	if field == nil {
		return ""
	}
	return req.ProtoReflect().Get(field).String()
}

func replaceSlash(method string) string {
	b := []byte(method)
	if len(b) > 0 && b[0] == '/' {
		b = b[1:]
	}
	for i, c := range b {
		if c == '/' {
			b[i] = '.'
		}
	}
	return string(b)
}
