// Package secret encrypts what only those it belongs to should read (I7).
//
// There are three layers. The keyset is the installation's: its envelope keys
// wrap data keys, and its index key makes texts findable without keeping them.
// A data key belongs to one person in one service and is kept, wrapped, in that
// service's table person_key. It encrypts the person's fields: deleting the key
// makes them unreadable for ever.
package secret

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// keySize of envelope keys, data keys and the index key, in bytes.
const keySize = chacha20poly1305.KeySize

// file is a keyset as it is kept. New keys come first; the first seals, all
// unseal.
type file struct {
	Envelope []envelopeKey `json:"envelope"`
	Index    string        `json:"index"` // base64; it never changes, or nothing is found any more
}

type envelopeKey struct {
	ID  int64  `json:"id"`
	Key string `json:"key"` // base64
}

// ErrUnreadable is returned for what was not sealed with these keys, for this
// purpose, or was changed since.
var ErrUnreadable = errors.New("secret: can't be unsealed: sealed with another key, for another purpose, or changed")

// Keys is an installation's keyset. It may be exchanged while it is used.
type Keys struct{ current atomic.Pointer[keyset] }

type keyset struct {
	primary int64
	keys    map[int64][]byte
	index   []byte
}

// Generate returns a new keyset as it is kept.
func Generate() ([]byte, error) {
	f := file{Index: random()}
	f.Envelope = []envelopeKey{{ID: newKeyID(nil), Key: random()}}
	return json.MarshalIndent(f, "", "  ")
}

// Add returns the keyset with a new envelope key: as the one that seals from now
// on, or behind the one that does, so that all processes know it before any uses
// it.
func Add(text []byte, primary bool) ([]byte, error) {
	f, _, err := parse(text)
	if err != nil {
		return nil, err
	}
	k := envelopeKey{ID: newKeyID(f.Envelope), Key: random()}
	if primary {
		f.Envelope = append([]envelopeKey{k}, f.Envelope...)
	} else {
		f.Envelope = append(f.Envelope, k)
	}
	return json.MarshalIndent(f, "", "  ")
}

func random() string {
	raw := make([]byte, keySize)
	_, _ = rand.Read(raw) // it never fails
	return base64.StdEncoding.EncodeToString(raw)
}

// newKeyID returns an id that grows with each key.
func newKeyID(have []envelopeKey) int64 {
	var id int64
	for _, k := range have {
		id = max(id, k.ID)
	}
	return id + 1
}

// Parse returns the keys of a keyset that [Generate] or [Add] made.
func Parse(text []byte) (*Keys, error) {
	k := new(Keys)
	return k, k.Replace(text)
}

// Replace exchanges the keyset by another.
func (k *Keys) Replace(text []byte) error {
	_, set, err := parse(text)
	if err != nil {
		return err
	}
	k.current.Store(set)
	return nil
}

func parse(text []byte) (file, *keyset, error) {
	var f file
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return file{}, nil, fmt.Errorf("secret: the keyset is not readable: %w", err)
	}
	if len(f.Envelope) == 0 {
		return file{}, nil, errors.New("secret: the keyset has no envelope key")
	}
	set := &keyset{primary: f.Envelope[0].ID, keys: map[int64][]byte{}}
	for _, e := range f.Envelope {
		raw, err := base64.StdEncoding.DecodeString(e.Key)
		if err != nil || len(raw) != keySize || e.ID < 1 || set.keys[e.ID] != nil {
			return file{}, nil, fmt.Errorf("secret: envelope key %d of the keyset is not %d bytes in base64, or comes twice", e.ID, keySize)
		}
		set.keys[e.ID] = raw
	}
	var err error
	if set.index, err = base64.StdEncoding.DecodeString(f.Index); err != nil || len(set.index) != keySize {
		return file{}, nil, fmt.Errorf("secret: the index key of the keyset is not %d bytes in base64", keySize)
	}
	return f, set, nil
}

// Primary returns the id of the envelope key that seals.
func (k *Keys) Primary() int64 { return k.current.Load().primary }

// Index returns text by which a value can be found without being kept: the same
// for the same value and purpose, and of no use without the keyset. It stays
// the same through every rotation.
func (k *Keys) Index(purpose, value string) []byte {
	key, err := hkdf.Key(sha256.New, k.current.Load().index, nil, "stoa index\n"+purpose, keySize)
	if err != nil { // no length that is asked for fails
		panic(err)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(value))
	return h.Sum(nil)
}

// Seal encrypts what one service hands to another, or keeps for nobody in
// particular, under the envelope key. purpose binds it to where it may be read.
func (k *Keys) Seal(purpose string, plain []byte) []byte {
	set := k.current.Load()
	return sealWith(set.keys[set.primary], set.primary, purpose, plain)
}

// Unseal returns what [Keys.Seal] encrypted for the purpose, or ErrUnreadable.
func (k *Keys) Unseal(purpose string, sealed []byte) ([]byte, error) {
	id, ok := keyIDOf(sealed)
	key := k.current.Load().keys[id]
	if !ok || key == nil {
		return nil, ErrUnreadable
	}
	return unsealWith(key, purpose, sealed)
}
