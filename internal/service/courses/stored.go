package courses

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/canonical"
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
	text, err := canonical.JSON(map[string]any{
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
