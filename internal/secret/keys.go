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
	"cmp"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
type Keys struct {
	current atomic.Pointer[keyset]
	missing atomic.Pointer[func()]
}

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

// Add returns the keyset with a new envelope key behind those it has, so that
// all processes know it before any seals with it.
func Add(text []byte) ([]byte, error) {
	f, _, err := parse(text)
	if err != nil {
		return nil, err
	}
	f.Envelope = append(f.Envelope, envelopeKey{ID: newKeyID(f.Envelope), Key: random()})
	return json.MarshalIndent(f, "", "  ")
}

// Promote returns the keyset with its newest envelope key as the one that seals.
func Promote(text []byte) ([]byte, error) {
	f, _, err := parse(text)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(f.Envelope, func(a, b envelopeKey) int { return cmp.Compare(b.ID, a.ID) })
	return json.MarshalIndent(f, "", "  ")
}

// Retire returns the keyset without the envelope keys that are older than the
// one that seals and not in use, and the ids of those that it has left out.
func Retire(text []byte, inUse func(id int64) bool) ([]byte, []int64, error) {
	f, set, err := parse(text)
	if err != nil {
		return nil, nil, err
	}
	var gone []int64
	f.Envelope = slices.DeleteFunc(f.Envelope, func(k envelopeKey) bool {
		if k.ID >= set.primary || inUse(k.ID) {
			return false
		}
		gone = append(gone, k.ID)
		return true
	})
	text, err = json.MarshalIndent(f, "", "  ")
	return text, gone, err
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
	if err := dec.Decode(&f); err != nil || dec.More() {
		return file{}, nil, errors.New("secret: the keyset is not readable") // the error may hold a part of it
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

// OnMissing has fn called before something sealed by an unknown key is given up:
// the keyset may be newer where it is kept than here, and fn may exchange it.
func (k *Keys) OnMissing(fn func()) { k.missing.Store(&fn) }

// IDs returns the ids of the envelope keys, oldest first.
func (k *Keys) IDs() []int64 { return slices.Sorted(maps.Keys(k.current.Load().keys)) }

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
	if !ok {
		return nil, ErrUnreadable
	}
	key := k.current.Load().keys[id]
	if fn := k.missing.Load(); key == nil && fn != nil {
		(*fn)()
		key = k.current.Load().keys[id]
	}
	if key == nil {
		return nil, ErrUnreadable
	}
	return unsealWith(key, purpose, sealed)
}
