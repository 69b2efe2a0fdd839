package courses

import (
	"errors"
	"fmt"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// serverSet are the fields of blocks that the server sets. They may be sent back
// as they were read, and are ignored.
var serverSet = map[protoreflect.FullName]bool{
	"stoa.courses.v1.MarkdownBlock.html":         true,
	"stoa.courses.v1.HtmlBlock.html":             true,
	"stoa.courses.v1.HtmlBlock.removed":          true,
	"stoa.courses.v1.ImageBlock.url":             true,
	"stoa.courses.v1.ImageBlock.media":           true,
	"stoa.courses.v1.VideoBlock.transcript_html": true,
	"stoa.courses.v1.VideoBlock.media":           true,
	"stoa.courses.v1.AudioBlock.transcript_html": true,
	"stoa.courses.v1.AudioBlock.media":           true,
	"stoa.courses.v1.SlidesBlock.media":          true,
	"stoa.courses.v1.FileBlock.url":              true,
	"stoa.courses.v1.FileBlock.content_type":     true,
	"stoa.courses.v1.FileBlock.size":             true,
	"stoa.courses.v1.FileBlock.media":            true,
	"stoa.courses.v1.EmbedBlock.provider":        true,
	"stoa.courses.v1.EmbedBlock.frame_url":       true,
	"stoa.courses.v1.EmbedBlock.sandbox":         true,
	"stoa.courses.v1.EmbedBlock.allow":           true,
	"stoa.courses.v1.CalloutBlock.html":          true,
	"stoa.courses.v1.ActivityBlock.title":        true,
}

const (
	// plain is text without the control characters that no request may have.
	plain    = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\ufffe\uffff]*$"
	idDigits = "[0-7][0-9a-hjkmnp-tv-z]{25}"
)

// blockSchema returns the JSON Schema of a lesson's blocks. It is made of what
// requests are held to: the limits in the contract, and the rules beyond them.
func blockSchema(rules []rule) (*structpb.Struct, error) {
	union := (&coursespb.Block{}).ProtoReflect().Descriptor()
	defs, kinds := map[string]any{}, map[string]any{}
	for i := range union.Fields().Len() {
		fd := union.Fields().Get(i)
		name := string(fd.Name())
		def, err := objectSchema(fd.Message())
		if err != nil {
			return nil, err
		}
		var more []any
		for _, r := range rules {
			if r.kind == name {
				more = append(more, r.schema)
			}
		}
		if more != nil {
			def["allOf"] = more
		}
		defs[name] = def
		kinds[name] = map[string]any{"$ref": "#/$defs/" + name}
	}
	lesson := (&coursespb.CreateLessonRequest{}).ProtoReflect().Descriptor().Fields().ByName("blocks")
	document, err := fieldSchema(lesson, map[string]any{
		"type": "object", "properties": kinds, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	})
	if err != nil {
		return nil, err
	}
	document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	document["title"] = "The blocks of a lesson"
	document["description"] = fmt.Sprintf("Each block has one property, its kind. All of them take at most %d bytes as they are stored.", MaxBody)
	document["$defs"] = defs
	return structpb.NewStruct(document)
}

// objectSchema describes a message. What is demanded is what an empty one lacks.
func objectSchema(md protoreflect.MessageDescriptor) (map[string]any, error) {
	properties := map[string]any{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		one := map[string]any{}
		switch fd.Kind() {
		case protoreflect.BoolKind:
			one["type"] = "boolean"
		case protoreflect.StringKind:
			one["type"] = "string"
			// An id says it by its pattern.
			if kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string); kind != "" {
				one["pattern"] = "^(?:" + kind + "_" + idDigits + ")?$"
			} else {
				one["allOf"] = []any{map[string]any{"pattern": plain}}
			}
		case protoreflect.Int32Kind:
			one["type"] = "integer"
		case protoreflect.Int64Kind:
			one["type"], one["minimum"], one["maximum"] = "integer", -(1 << 53), 1<<53
		case protoreflect.MessageKind:
			one["type"] = "object"
		default:
			return nil, fmt.Errorf("%s: a field of type %s can't be told", fd.FullName(), fd.Kind())
		}
		property, err := fieldSchema(fd, one)
		if err != nil {
			return nil, err
		}
		if serverSet[fd.FullName()] {
			property["readOnly"] = true
		}
		properties[string(fd.Name())] = property
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	demanded, err := demandedOf(md)
	if err != nil {
		return nil, err
	}
	if len(demanded) > 0 {
		out["required"] = demanded
	}
	return out, nil
}

// fieldSchema adds the limits of a field to the schema of one value of it.
func fieldSchema(fd protoreflect.FieldDescriptor, one map[string]any) (map[string]any, error) {
	schema := one
	if fd.IsList() {
		schema = map[string]any{"type": "array", "items": one}
	}
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if rules == nil {
		return schema, nil
	}
	return schema, limit(schema, rules.ProtoReflect(), "")
}

func limit(schema map[string]any, rules protoreflect.Message, prefix string) (err error) {
	rules.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := prefix + string(fd.Name())
		switch name {
		case "string", "int32", "int64", "repeated":
			err = limit(schema, v.Message(), name+".")
		case "repeated.items":
			items, _ := schema["items"].(map[string]any)
			err = limit(items, v.Message(), "")
		case "repeated.min_items":
			schema["minItems"] = v.Uint()
		case "repeated.max_items":
			schema["maxItems"] = v.Uint()
		case "repeated.unique":
			schema["uniqueItems"] = v.Bool()
		case "string.min_len":
			schema["minLength"] = v.Uint()
		case "string.max_len":
			schema["maxLength"] = v.Uint()
		case "string.pattern":
			schema["pattern"] = v.String()
		case "string.in":
			var words []any
			for i := range v.List().Len() {
				words = append(words, v.List().Get(i).String())
			}
			schema["enum"] = words
		case "int32.in":
			var numbers []any
			for i := range v.List().Len() {
				numbers = append(numbers, v.List().Get(i).Int())
			}
			schema["enum"] = numbers
		case "int32.gte", "int64.gte":
			schema["minimum"] = v.Int()
		case "int32.lte", "int64.lte":
			schema["maximum"] = v.Int()
		case "required": // among those that the message demands
		default:
			err = fmt.Errorf("the rule %s can't be told", name)
		}
		return err == nil
	})
	return err
}

// demandedOf returns the fields without which a message is refused: those of
// which an empty one breaks a rule.
func demandedOf(md protoreflect.MessageDescriptor) ([]any, error) {
	err := protovalidate.Validate(dynamicpb.NewMessage(md))
	if err == nil {
		return nil, nil
	}
	violated, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return nil, err
	}
	var names []string
	for _, v := range violated.Violations {
		names = append(names, protovalidate.FieldPathString(v.Proto.GetField()))
	}
	slices.Sort(names)
	var out []any
	for _, name := range slices.Compact(names) {
		out = append(out, name)
	}
	return out, nil
}
