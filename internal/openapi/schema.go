package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

const (
	emptyName     = "google.protobuf.Empty"
	timestampName = "google.protobuf.Timestamp"
	structName    = "google.protobuf.Struct"
	idDigits      = "[0-7][0-9a-hjkmnp-tv-z]{25}"
	idExample     = "01h455vb4pex5vsknk084sn02q"
)

// schemas collects the messages that operations send and answer.
type schemas struct {
	source   *source
	named    spec.Map[*spec.Schema]
	messages map[string]protoreflect.FullName // name → whose it is
	sent     map[protoreflect.FullName]bool
	answered map[protoreflect.FullName]bool
}

// mark notes a message and all that it holds as sent or answered.
func mark(seen map[protoreflect.FullName]bool, md protoreflect.MessageDescriptor) {
	if seen[md.FullName()] {
		return
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		if inner := md.Fields().Get(i).Message(); inner != nil {
			mark(seen, inner)
		}
	}
}

// ref returns a reference to a message, which it describes the first time.
// Fields named in without stand elsewhere in the request.
func (s *schemas) ref(md protoreflect.MessageDescriptor, without ...string) (*spec.Schema, error) {
	if md.FullName() == structName {
		return &spec.Schema{Type: "object", Description: "Any JSON object."}, nil
	}
	name := string(md.Name())
	ref := &spec.Schema{Ref: "#/components/schemas/" + name}
	if whose, ok := s.messages[name]; ok {
		if whose != md.FullName() {
			return nil, fmt.Errorf("%s and %s have one name", whose, md.FullName())
		}
		return ref, nil
	}
	s.messages[name] = md.FullName()
	schema := &spec.Schema{}
	s.named.Add(name, schema)
	described, err := s.message(md, without)
	if err != nil {
		return nil, err
	}
	*schema = *described
	return ref, nil
}

func (s *schemas) message(md protoreflect.MessageDescriptor, without []string) (*spec.Schema, error) {
	if proto.HasExtension(md.Options(), validate.E_Message) {
		return nil, fmt.Errorf("%s: a rule of a whole message can't be told", md.FullName())
	}
	text, err := s.source.comment(md)
	if err != nil {
		return nil, err
	}
	demanded, err := demandedOf(md)
	if err != nil {
		return nil, err
	}
	sent, answered := s.sent[md.FullName()], s.answered[md.FullName()]
	schema := &spec.Schema{Type: "object", Description: text}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		name := string(fd.Name())
		if slices.Contains(without, name) {
			continue
		}
		property, err := s.field(fd)
		if err != nil {
			return nil, err
		}
		// What is sent and answered has what the server sets among the rest.
		property.ReadOnly = sent && strings.Contains(property.Description, "set by the server")
		// An answer has everything but messages that are absent.
		if demanded[name] || answered && !fd.HasPresence() && (!sent || property.ReadOnly) {
			schema.Required = append(schema.Required, name)
		}
		schema.Properties.Add(name, property)
	}
	for i := range md.Oneofs().Len() {
		one := md.Oneofs().Get(i)
		if one.IsSynthetic() {
			continue
		}
		if !demanded[string(one.Name())] || len(schema.OneOf) > 0 {
			return nil, fmt.Errorf("%s: only one oneof, and only a required one, can be told", one.FullName())
		}
		for j := range one.Fields().Len() {
			schema.OneOf = append(schema.OneOf, &spec.Schema{Required: []string{string(one.Fields().Get(j).Name())}})
		}
	}
	if sent && !answered {
		schema.AdditionalProperties = new(false)
	}
	return schema, nil
}

// demandedOf returns the fields without which a message is refused: those of
// which an empty message breaks a rule.
func demandedOf(md protoreflect.MessageDescriptor) (map[string]bool, error) {
	err := protovalidate.Validate(dynamicpb.NewMessage(md))
	if err == nil {
		return nil, nil
	}
	refused, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return nil, fmt.Errorf("%s: %w", md.FullName(), err)
	}
	demanded := map[string]bool{}
	for _, v := range refused.Violations {
		demanded[protovalidate.FieldPathString(v.Proto.GetField())] = true
	}
	return demanded, nil
}

// field describes a field with its limits.
func (s *schemas) field(fd protoreflect.FieldDescriptor) (*spec.Schema, error) {
	text, err := s.source.comment(fd)
	if err != nil {
		return nil, err
	}
	schema, err := s.value(fd)
	if err != nil {
		return nil, err
	}
	one := schema
	if fd.IsList() {
		schema = &spec.Schema{Type: "array", Items: one}
	}
	if fd.IsMap() {
		return nil, fmt.Errorf("%s: a map can't be told", fd.FullName())
	}
	schema.Description = text
	if one.Type == "string" && one.Format == "" {
		one.Examples = examples(text)
	}
	if rules, ok := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules); ok && rules != nil {
		if err := limit(schema, rules.ProtoReflect(), ""); err != nil {
			return nil, fmt.Errorf("%s: %w", fd.FullName(), err)
		}
	}
	if kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string); kind != "" {
		if one.Pattern != "" {
			return nil, fmt.Errorf("%s: an id with a pattern of its own", fd.FullName())
		}
		one.Pattern = "^" + kind + "_" + idDigits + "$"
		if mayBeEmpty.MatchString(text) {
			one.Pattern = "^(" + kind + "_" + idDigits + ")?$"
		}
		one.Examples = []string{kind + "_" + idExample}
		one.MinLength = nil // the pattern says it
	}
	return schema, nil
}

var mayBeEmpty = regexp.MustCompile(`\bempty\b`)

// value describes one value of a field, without its limits.
func (s *schemas) value(fd protoreflect.FieldDescriptor) (*spec.Schema, error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return &spec.Schema{Type: "boolean"}, nil
	case protoreflect.StringKind:
		return &spec.Schema{Type: "string"}, nil
	case protoreflect.Int32Kind:
		return &spec.Schema{Type: "integer", Format: "int32"}, nil
	case protoreflect.Int64Kind:
		return &spec.Schema{Type: "integer", Format: "int64"}, nil
	case protoreflect.MessageKind:
		if fd.Message().FullName() == timestampName {
			return &spec.Schema{Type: "string", Format: "date-time"}, nil
		}
		return s.ref(fd.Message())
	default:
		return nil, fmt.Errorf("%s: a value of type %s can't be told", fd.FullName(), fd.Kind())
	}
}

// limit adds the rules of a field to its schema.
func limit(schema *spec.Schema, rules protoreflect.Message, prefix string) (err error) {
	rules.Range(func(rule protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := prefix + string(rule.Name())
		switch name {
		case "required": // told by the message
		case "ignore": // its handler holds each to the same rules
		case "string", "int32", "int64", "repeated":
			err = limit(schema, v.Message(), name+".")
		case "repeated.items":
			err = limit(schema.Items, v.Message(), "")
		case "repeated.min_items":
			schema.MinItems = new(v.Uint())
		case "repeated.max_items":
			schema.MaxItems = new(v.Uint())
		case "repeated.unique":
			schema.UniqueItems = v.Bool()
		case "string.min_len":
			schema.MinLength = new(v.Uint())
		case "string.max_len":
			schema.MaxLength = new(v.Uint())
		case "string.pattern":
			schema.Pattern = v.String()
		case "string.email":
			schema.Format = "email"
		case "string.in":
			for i := range v.List().Len() {
				schema.Enum = append(schema.Enum, v.List().Get(i).String())
			}
		case "int32.gte", "int64.gte":
			schema.Minimum = new(v.Int())
		case "int32.lte", "int64.lte":
			schema.Maximum = new(v.Int())
		default:
			err = fmt.Errorf("the rule %s can't be told", name)
		}
		return err == nil
	})
	return err
}
