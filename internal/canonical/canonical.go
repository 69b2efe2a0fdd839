// Package canonical writes JSON in the one form of RFC 8785, so that documents that
// say the same have the same bytes and the same hash.
package canonical

import (
	"bytes"
	"encoding/json"
)

// JSON returns a value as JSON by RFC 8785: keys in the order of the alphabet, no
// spaces, as little escaped as can be, UTF-8. Its numbers have to be whole, which
// JSON has in one form.
func JSON(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Sort(text)
}

// Sort brings JSON into the form of [JSON]. Numbers stay as they are written.
func Sort(text []byte) ([]byte, error) {
	text, err := Indent(text, "")
	return bytes.TrimSuffix(text, []byte("\n")), err
}

// Indent is [Sort] for people to read: each value on its own line, indented, and a
// line end at the end.
func Indent(text []byte, indent string) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(plain); err != nil {
		return nil, err
	}
	// What Go escapes and the RFC does not. A backslash before would be escaped
	// itself, and then be one of an even number.
	return unescapeSeparators(out.Bytes()), nil
}

// unescapeSeparators writes U+2028 and U+2029 as they are.
func unescapeSeparators(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u202`)) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		switch rest := text[i:]; {
		case bytes.HasPrefix(rest, []byte(`\u2028`)):
			out = append(out, "\u2028"...)
			i += 5
		case bytes.HasPrefix(rest, []byte(`\u2029`)):
			out = append(out, "\u2029"...)
			i += 5
		default:
			out = append(out, rest[:2]...)
			i++
		}
	}
	return out
}
