package courses

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxJSONDepth is how deep a file of an archive may be nested: a rule of the
// deepest kind, within its settings, has half of it.
const maxJSONDepth = 64

// decodeArchive reads a JSON file of an archive into a message. What is wrong is
// noted with the path of the file and of the field; it reports whether nothing
// is. most bounds how many values there are in it: a short text may have so many
// that they take a lot of memory.
func decodeArchive(path string, text []byte, most int, m proto.Message, note *findings) bool {
	if !utf8.Valid(text) {
		note.add(path, "archive.encoding", "Write it in UTF-8.")
		return false
	}
	switch depth, values := shapeOf(text); {
	case depth > maxJSONDepth:
		note.add(path, "archive.json_depth", "It is nested too deep.")
		return false
	case values > most:
		note.add(path, "archive.file_too_large", "It has more values than a file of its kind.")
		return false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	err := d.Decode(&plain)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the end")
		}
	}
	if err != nil {
		note.add(path, "archive.json", "It is no JSON: "+plainText(err.Error())+".")
		return false
	}
	before := note.errors
	unknownKeys(path, "", m.ProtoReflect().Descriptor(), plain, note)
	if note.errors > before {
		return false
	}
	if err := (protojson.UnmarshalOptions{RecursionLimit: maxJSONDepth * 2}).Unmarshal(text, m); err != nil {
		note.add(path, "archive.json", "It does not follow the schema: "+plainText(err.Error())+".")
		return false
	}
	return true
}

// plainText makes an error of a library fit to be told.
func plainText(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ")
	text = strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
	return shownPath(text)
}

// shapeOf returns how deep JSON is nested, and how many values it has at most. It
// looks at marks alone, so that no parser has to go there.
func shapeOf(text []byte) (depth, values int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			values++
			depth = max(depth, now)
		case c == '}' || c == ']':
			now--
		case c == ',':
			values++
		}
	}
	return depth, values
}

// unknownKeys notes the keys of a value that the message has no field for.
func unknownKeys(path, at string, md protoreflect.MessageDescriptor, v any, note *findings) {
	object, ok := v.(map[string]any)
	if !ok || md.ParentFile().Package() == "google.protobuf" {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		value, here := object[key], key
		if at != "" {
			here = at + "." + key
		}
		fd := md.Fields().ByName(protoreflect.Name(key))
		if fd == nil {
			note.addField(path, shownPath(here), "archive.key", "There is no such key here. Names are those of the schema.")
			continue
		}
		if fd.Message() == nil || fd.IsMap() {
			continue
		}
		if list, ok := value.([]any); ok {
			for i, one := range list {
				unknownKeys(path, index(here, i), fd.Message(), one, note)
			}
			continue
		}
		unknownKeys(path, here, fd.Message(), value, note)
	}
}
