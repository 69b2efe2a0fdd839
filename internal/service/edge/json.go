package edge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-lms/stoa/internal/fault"
)

// codec reads and writes the JSON of the REST interface: names as in the
// contract, 64-bit integers as numbers (all are within 2^53), absent messages
// left out, everything else always there. Unknown fields are refused.
type codec struct{}

var _ runtime.Marshaler = codec{}

// ContentType implements [runtime.Marshaler].
func (codec) ContentType(any) string { return "application/json" }

// Marshal implements [runtime.Marshaler].
func (codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("edge: %T is not a message", v)
	}
	// JSON is about twice as long as the binary form.
	return appendMessage(make([]byte, 0, 256+2*proto.Size(m)), m.ProtoReflect()), nil
}

// Unmarshal implements [runtime.Marshaler].
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("edge: %T is not a message", v)
	}
	return protojson.Unmarshal(data, m)
}

// NewEncoder implements [runtime.Marshaler].
func (c codec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
}

// NewDecoder implements [runtime.Marshaler]. The gateway reduces an error of a
// decoder to its text, so the fault is left with the body for the error handler.
func (c codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err == nil && len(data) == 0 {
			return nil // no body is an empty message
		}
		if err == nil {
			err = c.Unmarshal(data, v)
		}
		if err == nil {
			return nil
		}
		err = jsonFault(err, data)
		if b, ok := r.(*body); ok {
			b.fault = err
		}
		return err
	})
}

// body is a request's body with its bound, and what was wrong with it.
type body struct {
	io.ReadCloser
	fault error
}

var (
	unknownField = regexp.MustCompile(`unknown field "((?:[^"\\]|\\.)*)"`)
	invalidValue = regexp.MustCompile(`\(line (\d+):(\d+)\): invalid google\.protobuf\.\w+ value`)
	lastKey      = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"\s*:\s*$`)
	invalidField = regexp.MustCompile(`(?:invalid value for \w+ (?:field|type)|duplicate field|field) "?([\w.]+)"?`)
)

// fieldAt returns the name before a value that protojson tells the place of: a
// line, and a character in it, both from 1.
func fieldAt(data []byte, line, character string) string {
	l, _ := strconv.Atoi(line)
	c, _ := strconv.Atoi(character)
	lines := bytes.SplitAfterN(data, []byte("\n"), l)
	if l < 1 || len(lines) < l {
		return ""
	}
	last := []rune(string(lines[l-1]))
	before := string(bytes.Join(lines[:l-1], nil)) + string(last[:min(max(c-1, 0), len(last))])
	if m := lastKey.FindStringSubmatch(before); m != nil {
		return m[1]
	}
	return ""
}

// jsonFault says what is wrong with a body, of an error of protojson or of the
// reader below it.
func jsonFault(err error, data []byte) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fault.New(fault.TooLarge, "request.too_large", "A request has at most %d bytes.", tooLarge.Limit)
	}
	// protojson puts no-break spaces into its texts, so that nobody compares them.
	text := strings.ReplaceAll(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "), "proto:", "")
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return &fault.Error{
			Kind: fault.Invalid, Code: "request.unknown_field", Message: "The request has a field that is not known.",
			Fields: []fault.Field{{Path: m[1], Code: "field.unknown", Hint: "Leave it out, or look up its name at /docs."}},
		}
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		if name := fieldAt(data, m[1], m[2]); name != "" {
			return &fault.Error{
				Kind: fault.Invalid, Code: "request.invalid", Message: "The request has a field of the wrong type.",
				Fields: []fault.Field{{Path: name, Code: "field.type", Hint: "Not accepted: " + text + "."}},
			}
		}
	}
	if m := invalidField.FindStringSubmatch(text); m != nil {
		return &fault.Error{
			Kind: fault.Invalid, Code: "request.invalid", Message: "The request has a field of the wrong type.",
			Fields: []fault.Field{{Path: m[1], Code: "field.type", Hint: "Not accepted: " + text + "."}},
		}
	}
	if strings.Contains(text, "invalid UTF-8") {
		return fault.New(fault.Invalid, "request.bad_text", "The request holds text that is not valid UTF-8.")
	}
	return fault.New(fault.Invalid, "request.bad_json", "The body is not JSON that is accepted here: %s.", strings.TrimSpace(text))
}

// plan is how the fields of a message are written, made once for each type.
type plan struct {
	fields []fieldPlan
	kind   wellKnown
}

type fieldPlan struct {
	fd       protoreflect.FieldDescriptor
	name     []byte // `"name":`
	optional bool   // left out when it is not set
}

type wellKnown uint8

const (
	ordinary wellKnown = iota
	timestamp
	document // any JSON object
)

var plans sync.Map // protoreflect.FullName → *plan

func planOf(md protoreflect.MessageDescriptor) *plan {
	if v, ok := plans.Load(md.FullName()); ok {
		if p, ok := v.(*plan); ok {
			return p
		}
	}
	p := &plan{}
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		p.kind = timestamp
	case "google.protobuf.Struct":
		p.kind = document
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		p.fields = append(p.fields, fieldPlan{
			fd:       fd,
			name:     []byte(strconv.Quote(string(fd.Name())) + ":"),
			optional: fd.HasPresence(),
		})
	}
	plans.Store(md.FullName(), p)
	return p
}

func appendMessage(b []byte, m protoreflect.Message) []byte {
	p := planOf(m.Descriptor())
	switch p.kind {
	case timestamp:
		return appendTimestamp(b, m)
	case document:
		return appendDocument(b, m)
	case ordinary:
	}
	b = append(b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		if f.optional && !m.Has(f.fd) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.name...)
		b = appendField(b, f.fd, m.Get(f.fd))
	}
	return append(b, '}')
}

func appendField(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsList():
		b = append(b, '[')
		list := v.List()
		for i := range list.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, fd, list.Get(i))
		}
		return append(b, ']')
	case fd.IsMap():
		b = append(b, '{')
		first := true
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = appendString(b, k.String())
			b = append(b, ':')
			b = appendValue(b, fd.MapValue(), v)
			return true
		})
		return append(b, '}')
	default:
		return appendValue(b, fd, v)
	}
}

func appendValue(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return strconv.AppendInt(b, v.Int(), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return strconv.AppendFloat(b, v.Float(), 'g', -1, 64)
	case protoreflect.StringKind:
		return appendString(b, v.String())
	case protoreflect.BytesKind:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"')
	case protoreflect.EnumKind:
		return strconv.AppendInt(b, int64(v.Enum()), 10)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(b, v.Message())
	default:
		return append(b, "null"...)
	}
}

// appendTimestamp writes RFC 3339 in UTC.
func appendTimestamp(b []byte, m protoreflect.Message) []byte {
	fields := m.Descriptor().Fields()
	t := time.Unix(m.Get(fields.ByNumber(1)).Int(), m.Get(fields.ByNumber(2)).Int()).UTC()
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendDocument writes the JSON object that a Struct stands for, its keys sorted.
func appendDocument(b []byte, m protoreflect.Message) []byte {
	doc, ok := m.Interface().(*structpb.Struct)
	if !ok {
		return append(b, "null"...)
	}
	text, err := json.Marshal(doc.AsMap())
	if err != nil { // a number that JSON has not
		return append(b, "null"...)
	}
	return append(b, text...)
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string. What would end a <script> element is
// escaped too, so that the text can stand in a page.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			b = append(b, s[start:i]...)
			if size == 1 {
				b = append(b, `\ufffd`...)
			} else {
				b = append(b, `\u202`...)
				b = append(b, hexDigits[r&15])
			}
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
