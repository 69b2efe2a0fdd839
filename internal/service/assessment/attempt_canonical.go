package assessment

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The canonical JSON of what is in the log, of which receipts are hashes: RFC 8785
// (JCS) over members that are not empty. docs/answers.md describes it for those who
// recompute one; it never changes.

// receiptTime is how times are written in it: always six places.
const receiptTime = "2006-01-02T15:04:05.000000Z"

// canonical returns the canonical JSON of a message, nil of none.
func canonical(m proto.Message) []byte {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	return appendCanonical(make([]byte, 0, 64+proto.Size(m)*2), m.ProtoReflect())
}

// sortedFields are the fields of messages in the order of their names.
var sortedFields sync.Map // protoreflect.MessageDescriptor → []protoreflect.FieldDescriptor

func fieldsOf(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if v, ok := sortedFields.Load(md); ok {
		fields, _ := v.([]protoreflect.FieldDescriptor)
		return fields
	}
	fields := make([]protoreflect.FieldDescriptor, md.Fields().Len())
	for i := range fields {
		fields[i] = md.Fields().Get(i)
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int {
		return strings.Compare(string(a.Name()), string(b.Name()))
	})
	sortedFields.Store(md, fields)
	return fields
}

func appendCanonical(b []byte, m protoreflect.Message) []byte {
	b = append(b, '{')
	first := true
	for _, fd := range fieldsOf(m.Descriptor()) {
		// What has no presence and is empty is left out; so is what is set and empty.
		if !m.Has(fd) || fd.Message() == nil && !fd.IsList() && emptyScalar(fd, m.Get(fd)) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, fd.Name()...)
		b = append(b, '"', ':')
		if !fd.IsList() {
			b = appendCanonicalValue(b, fd, m.Get(fd))
			continue
		}
		list := m.Get(fd).List()
		b = append(b, '[')
		for i := range list.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonicalValue(b, fd, list.Get(i))
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func emptyScalar(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return v.String() == ""
	case protoreflect.BoolKind:
		return !v.Bool()
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return v.Int() == 0
	default:
		return false
	}
}

func appendCanonicalValue(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return appendCanonical(b, v.Message())
	case protoreflect.StringKind:
		return appendCanonicalText(b, v.String())
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	default:
		return strconv.AppendInt(b, v.Int(), 10)
	}
}

// appendCanonicalText writes a JSON string as RFC 8785 does: nothing is escaped that
// need not be.
func appendCanonicalText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

// object writes a flat JSON object. Its members are added in the order of their
// names, those that are empty not at all.
type object struct{ text []byte }

func (o *object) raw(name string, value []byte) {
	if len(value) == 0 {
		return
	}
	if len(o.text) == 0 {
		o.text = append(o.text, '{')
	} else {
		o.text = append(o.text, ',')
	}
	o.text = appendCanonicalText(o.text, name)
	o.text = append(o.text, ':')
	o.text = append(o.text, value...)
}

func (o *object) string(name, value string) {
	if value != "" {
		o.raw(name, appendCanonicalText(nil, value))
	}
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.raw(name, strconv.AppendInt(nil, n, 10))
	}
}

func (o *object) time(name string, at time.Time) { o.string(name, at.UTC().Format(receiptTime)) }

func (o *object) end() []byte { return append(o.text, '}') }
