package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
)

// lifetime of a signed principal: longer than any call, short enough that a
// leaked one is of little use.
const lifetime = time.Minute

// minKey is the least length of a signing key, in bytes.
const minKey = 32

// Keys sign principals between services. The first signs; all are believed, so
// that a new key can be put behind the old one, then before it, then alone.
type Keys struct {
	keys [][]byte
	now  func() time.Time
}

// NewKeys returns the keys of a comma-separated list, newest first, each at
// least 32 bytes in base64.
func NewKeys(list string) (*Keys, error) {
	k := &Keys{now: time.Now}
	for i, s := range strings.Split(list, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("service key %d is not base64: make one with `openssl rand -base64 32`", i+1)
		}
		if len(key) < minKey {
			return nil, fmt.Errorf("service key %d has %d bytes, %d are needed: make one with `openssl rand -base64 32`", i+1, len(key), minKey)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// Sign returns p as text that any service with the same keys believes for a
// minute.
func (k *Keys) Sign(p Principal) (string, error) {
	body, err := proto.Marshal(&authpb.Principal{
		AccountId: p.Account, SessionId: p.Session, Service: p.Service,
		Expires: k.now().Add(lifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := append(mac(k.keys[0], body), body...)
	return base64.RawURLEncoding.EncodeToString(signed), nil
}

// Verify returns the principal of a text that [Keys.Sign] made, or ErrBadToken.
func (k *Keys) Verify(text string) (Principal, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < sha256.Size {
		return Principal{}, ErrBadToken
	}
	sum, body := raw[:sha256.Size], raw[sha256.Size:]
	for _, key := range k.keys {
		if !hmac.Equal(sum, mac(key, body)) {
			continue
		}
		var p authpb.Principal
		if err := proto.Unmarshal(body, &p); err != nil {
			return Principal{}, ErrBadToken
		}
		expires := time.Unix(p.GetExpires(), 0)
		if k.now().After(expires) {
			return Principal{}, ErrBadToken
		}
		return Principal{Account: p.GetAccountId(), Session: p.GetSessionId(), Service: p.GetService(), Expires: expires}, nil
	}
	return Principal{}, ErrBadToken
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("stoa principal v1\n"))
	h.Write(body)
	return h.Sum(make([]byte, 0, sha256.Size+len(body)))
}
