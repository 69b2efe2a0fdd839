package media

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

const (
	linkLifetime = 15 * time.Minute
	// linkStep is what ends of links are rounded up to, so that a browser that
	// asks again meanwhile gets the same address and finds it in its cache.
	linkStep = 5 * time.Minute
)

// link returns an address of a file, relative to the platform's own, and when
// it stops working.
func (s *Service) link(id string) (string, time.Time) {
	end := s.now().Add(linkLifetime).UTC()
	if whole := end.Truncate(linkStep); whole.Before(end) {
		end = whole.Add(linkStep)
	}
	return fmt.Sprintf("/v1/media/%s/content?expires=%d&signature=%s", id, end.Unix(), s.sign(id, end.Unix())), end
}

func (s *Service) sign(id string, expires int64) string {
	h := hmac.New(sha256.New, s.key[:])
	_, _ = fmt.Fprintf(h, "stoa media v1\n%s\n%d", id, expires)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// verify returns nil for a link of ours that still works. One that is not ours
// is told as an absent file, so that nobody can try ids.
func (s *Service) verify(id string, expires int64, signature string) error {
	if !hmac.Equal([]byte(signature), []byte(s.sign(id, expires))) {
		return ErrNotFound
	}
	if !s.now().Before(time.Unix(expires, 0)) {
		return ErrLinkExpired
	}
	return nil
}
