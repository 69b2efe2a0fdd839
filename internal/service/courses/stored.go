package courses

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// stored is a message of the contract as a JSON document in a column, with the
// names of the contract. One that says nothing is {}.
type stored[M proto.Message] struct{ M M }

// absent reports whether there is no message.
func (s stored[M]) absent() bool { return !s.M.ProtoReflect().IsValid() }

// MarshalJSON implements [json.Marshaler].
func (s stored[M]) MarshalJSON() ([]byte, error) {
	if s.absent() {
		return []byte(`{}`), nil
	}
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(s.M)
}

// UnmarshalJSON implements [json.Unmarshaler]. Fields that a newer program has
// written are passed over.
func (s *stored[M]) UnmarshalJSON(text []byte) error {
	if text = bytes.TrimSpace(text); len(text) <= 2 || string(text) == "null" {
		var none M
		s.M = none
		return nil
	}
	s.M, _ = s.M.ProtoReflect().New().Interface().(M)
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, s.M)
}

// hash identifies a content of an item of a kind: the SHA-256 of its canonical
// form, which is the JSON
//
//	{"activity_ref": …, "blocks": […], "kind": …, "preview": …, "settings": {…}, "title": …}
//
// by RFC 8785: keys in the order of the alphabet, no spaces, as little escaped as
// can be, UTF-8. Blocks and settings are as they are stored. Text is taken as it
// is, not normalised: in code and formulas every character counts. Migration
// 0003 makes the same of rows of before.
func (c content) hash(kind string) ([]byte, error) {
	body := c.Body
	if body == nil {
		body = []block{}
	}
	text, err := canonical(map[string]any{
		"activity_ref": c.ActivityRef, "blocks": body, "kind": kind, "preview": c.Preview, "settings": c.Settings, "title": c.Title,
	})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// shownHash returns the hash as it is told; it is made where the row has none.
func (c content) shownHash(kind string, kept []byte) (string, error) {
	if len(kept) == 0 {
		var err error
		if kept, err = c.hash(kind); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(kept), nil
}

// canonical returns a value as JSON by RFC 8785. Its numbers are whole, which
// JSON has in one form.
func canonical(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text, err = sorted(text, "")
	return bytes.TrimSuffix(text, []byte("\n")), err
}

// sorted returns JSON with its keys in the order of the alphabet, as little escaped
// as can be, and a line end at the end. Numbers stay as they are written.
func sorted(text []byte, indent string) ([]byte, error) {
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
