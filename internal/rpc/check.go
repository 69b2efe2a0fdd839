package rpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

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
	for _, fd := range textFields(m.Descriptor()) {
		if len(*bad) >= maxViolations {
			return
		}
		if !m.Has(fd) {
			continue
		}
		v := m.Get(fd)
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		switch {
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				one(fd.MapKey(), k.Value(), at, bad)
				one(fd.MapValue(), v, at+"["+strconv.Quote(k.String())+"]", bad)
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				one(fd, v.List().Get(i), at+"["+strconv.Itoa(i)+"]", bad)
			}
		default:
			one(fd, v, at, bad)
		}
	}
}

var textFieldsOf sync.Map // protoreflect.MessageDescriptor → []protoreflect.FieldDescriptor

// textFields returns the fields that may hold text, at any depth.
func textFields(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if v, ok := textFieldsOf.Load(md); ok {
		fields, _ := v.([]protoreflect.FieldDescriptor)
		return fields
	}
	var fields []protoreflect.FieldDescriptor
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); fd.Kind() == protoreflect.StringKind || fd.Message() != nil {
			fields = append(fields, fd)
		}
	}
	textFieldsOf.Store(md, fields)
	return fields
}

func one(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string, bad *[]fault.Field) {
	switch fd.Kind() { //nolint:exhaustive // only these hold text
	case protoreflect.MessageKind:
		walk(v.Message(), path, bad)
	case protoreflect.StringKind:
		s := v.String()
		if i := strings.IndexFunc(s, control); i >= 0 {
			*bad = append(*bad, fault.Field{Path: path, Code: "text.control", Hint: fmt.Sprintf("Remove the control character at byte %d.", i)})
			return
		}
		if kind := idKind(fd); kind != "" && s != "" && !id.Valid(kind, s) {
			*bad = append(*bad, fault.Field{Path: path, Code: "id.invalid", Hint: "An id of this kind looks like " + kind + "_01h455vb4pex5vsknk084sn02q."})
		}
	}
}

// control characters have no place in text, but for tab and line ends.
func control(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f || r == '\ufffe' || r == '\uffff'
}

var idKinds sync.Map // protoreflect.FieldDescriptor → string

func idKind(fd protoreflect.FieldDescriptor) string {
	if v, ok := idKinds.Load(fd); ok {
		kind, _ := v.(string)
		return kind
	}
	kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string)
	idKinds.Store(fd, kind)
	return kind
}
