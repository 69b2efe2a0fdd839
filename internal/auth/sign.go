package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
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

	// A principal makes many calls within a minute: what was signed and what was
	// believed is kept for as long as it may be.
	signed   *otter.Cache[Principal, string]
	verified *otter.Cache[string, Principal]
}

// Bounds of what is kept.
const (
	keptTexts = 20_000
	resign    = lifetime / 3
)

// NewKeys returns the keys of a comma-separated list, newest first, each at
// least 32 bytes in base64.
func NewKeys(list string) (*Keys, error) {
	k := &Keys{now: time.Now}
	var err error
	if k.signed, err = otter.New(&otter.Options[Principal, string]{
		MaximumSize: keptTexts, ExpiryCalculator: otter.ExpiryWriting[Principal, string](resign),
	}); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if k.verified, err = otter.New(&otter.Options[string, Principal]{
		MaximumSize: keptTexts, ExpiryCalculator: otter.ExpiryWriting[string, Principal](lifetime),
	}); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
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

// Sign returns p as text that any service with the same keys believes for 40
// seconds at least, and for a minute at most.
func (k *Keys) Sign(p Principal) (string, error) {
	p.Expires = time.Time{}
	if text, ok := k.signed.GetIfPresent(p); ok {
		return text, nil
	}
	body, err := proto.Marshal(&authpb.Principal{
		AccountId: p.Account, SessionId: p.Session, Service: p.Service,
		TokenId: p.Token, Scopes: p.Scopes, Confirmed: p.Confirmed,
		Expires: k.now().Add(lifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := append(mac(k.keys[0], body), body...)
	text := base64.RawURLEncoding.EncodeToString(signed)
	k.signed.Set(p, text)
	return text, nil
}

// Verify returns the principal of a text that [Keys.Sign] made, or ErrBadToken.
func (k *Keys) Verify(text string) (Principal, error) {
	if p, ok := k.verified.GetIfPresent(text); ok {
		if k.now().After(p.Expires) {
			return Principal{}, ErrBadToken
		}
		return p, nil
	}
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
		who := Principal{
			Account: p.GetAccountId(), Session: p.GetSessionId(), Service: p.GetService(), Expires: expires,
			Token: p.GetTokenId(), Scopes: p.GetScopes(), Confirmed: p.GetConfirmed(),
		}
		k.verified.Set(text, who)
		return who, nil
	}
	return Principal{}, ErrBadToken
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("stoa principal v1\n"))
	h.Write(body)
	return h.Sum(make([]byte, 0, sha256.Size+len(body)))
}
