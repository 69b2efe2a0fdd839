package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Map is a JSON object whose members keep their order.
type Map[V any] []Member[V]

// Member is a member of a [Map].
type Member[V any] struct {
	Name  string
	Value V
}

// Add appends a member.
func (m *Map[V]) Add(name string, v V) { *m = append(*m, Member[V]{name, v}) }

// Get returns the member of that name.
func (m Map[V]) Get(name string) (v V, ok bool) {
	for _, member := range m {
		if member.Name == name {
			return member.Value, true
		}
	}
	return v, false
}

// MarshalJSON implements [json.Marshaler].
func (m Map[V]) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, member := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(member.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(member.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", member.Name, err)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *Map[V]) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("spec: %.20q is not an object", data)
	}
	*m = Map[V]{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // the decoder takes no other
		if _, ok := m.Get(name); ok {
			return fmt.Errorf("spec: %q stands twice in an object", name)
		}
		var v V
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.Add(name, v)
	}
	return nil
}

// Encode returns the document as indented JSON, the same bytes each time.
func (d *Document) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads a document.
func Decode(data []byte) (*Document, error) {
	d := &Document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	return d, nil
}
