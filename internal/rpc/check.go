package rpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

var validator = sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() })

// maxViolations bounds how many fields one answer names.
const maxViolations = 20

// Check holds a message that has not come by a call, such as one read from a
// file, to what its contract says of its fields.
func Check(msg proto.Message) error { return check(msg) }

// check holds a request to what its contract says of its fields: text without
// control characters, ids of the right kind, and the rules of validate.proto.
// All faults are told at once.
func check(req any) error {
	msg, ok := req.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "internal", "not a message")
	}
	var bad []fault.Field
	walk(msg.ProtoReflect(), "", &bad)
	v, err := validator()
	if err != nil {
		return err
	}
	if err := v.Validate(msg); err != nil {
		ve, ok := errors.AsType[*protovalidate.ValidationError](err)
		if !ok {
			return fmt.Errorf("rpc: validate %s: %w", msg.ProtoReflect().Descriptor().FullName(), err)
		}
		for _, violation := range ve.Violations {
			bad = append(bad, fault.Field{
				Path: protovalidate.FieldPathString(violation.Proto.GetField()),
				Code: violation.Proto.GetRuleId(),
				Hint: violation.Proto.GetMessage(),
			})
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return &fault.Error{
		Kind: fault.Invalid, Code: "request.invalid",
		Message: "The request has fields that are not accepted.",
		Fields:  bad[:min(len(bad), maxViolations)],
	}
}

// walk looks at every text of a message, in the order of its fields.
func walk(m protoreflect.Message, path string, bad *[]fault.Field) {
	for _, f := range textFields(m.Descriptor()) {
		if len(*bad) >= maxViolations {
			return
		}
		if !m.Has(f.fd) {
			continue
		}
		v := m.Get(f.fd)
		at := string(f.fd.Name())
		if path != "" {
			at = path + "." + at
		}
		switch {
		case f.fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if f.fd.MapKey().Kind() == protoreflect.StringKind {
					text(k.String(), "", at, bad)
				}
				f.value(f.fd.MapValue(), v, at+"["+strconv.Quote(k.String())+"]", bad)
				return true
			})
		case f.fd.IsList():
			for i := range v.List().Len() {
				f.value(f.fd, v.List().Get(i), at+"["+strconv.Itoa(i)+"]", bad)
			}
		default:
			f.value(f.fd, v, at, bad)
		}
	}
}

// textField is a field that may hold text, at any depth.
type textField struct {
	fd   protoreflect.FieldDescriptor
	kind string // of id, empty for other text
}

func (f textField) value(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string, bad *[]fault.Field) {
	switch fd.Kind() { //nolint:exhaustive // only these hold text
	case protoreflect.MessageKind:
		walk(v.Message(), path, bad)
	case protoreflect.StringKind:
		text(v.String(), f.kind, path, bad)
	}
}

func text(s, kind, path string, bad *[]fault.Field) {
	if i := strings.IndexFunc(s, control); i >= 0 {
		*bad = append(*bad, fault.Field{Path: path, Code: "text.control", Hint: fmt.Sprintf("Remove the control character at byte %d.", i)})
		return
	}
	if kind != "" && s != "" && !id.Valid(kind, s) {
		*bad = append(*bad, fault.Field{Path: path, Code: "id.invalid", Hint: "An id of this kind looks like " + kind + "_01h455vb4pex5vsknk084sn02q."})
	}
}

var textFieldsOf sync.Map // protoreflect.MessageDescriptor → []textField

// textFields returns the fields of a message that may hold text.
func textFields(md protoreflect.MessageDescriptor) []textField {
	if v, ok := textFieldsOf.Load(md); ok {
		fields, _ := v.([]textField)
		return fields
	}
	var fields []textField
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.Kind() != protoreflect.StringKind && fd.Message() == nil || byHandler(fd) {
			continue
		}
		kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string)
		fields = append(fields, textField{fd, kind})
	}
	textFieldsOf.Store(md, fields)
	return fields
}

// byHandler reports whether the contract leaves what is in a list to the handler,
// which looks at each by itself with [Check].
func byHandler(fd protoreflect.FieldDescriptor) bool {
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	return rules.GetRepeated().GetItems().GetIgnore() == validate.Ignore_IGNORE_ALWAYS
}

// control characters have no place in text, but for tab and line ends.
func control(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f || r == '\ufffe' || r == '\uffff'
}
