package media

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	linkLifetime = 15 * time.Minute
	// linkStep is what ends of links are rounded up to, so that a browser that
	// asks again meanwhile gets the same address and finds it in its cache.
	linkStep = 5 * time.Minute
)

// viewer is whom the parts of a file are shown to, for how long.
type viewer struct {
	account string
	course  string
	item    string
	open    bool // the item is open to everybody
	staff   bool // of the course, whatever shows the file
	landing bool // anybody, as long as it is the promotional video of the published course
	expires int64
	latest  int64 // what expires is at most; 0 for no bound

	// Of files that questions show: see hold.go.
	lent  bool // course is where it is shown; the file may be of another
	banks bool // the viewer reads questions

	// Of files that were handed in, or given back with a mark: see submission_file.go.
	takes     bool // the viewer handed it in, or got it back
	reads     bool // the viewer reads what is handed in
	anonymous bool // and may not know whose it is
}

// permission is what the viewer has to have with each part; "" for none.
func (v viewer) permission() string {
	switch {
	case v.staff:
		return "media.read"
	case v.banks:
		return "question.read"
	case v.takes:
		return "assessment.take"
	case v.reads:
		return "submission.read"
	case v.open, v.landing:
		return ""
	default:
		return "lesson.read"
	}
}

// until returns the viewer with the end of what is signed now for a file of a
// length: a video is watched with breaks, and its player asks for addresses once.
func (s *Service) until(v viewer, length time.Duration) viewer {
	end := s.now().Add(linkLifetime + min(length*3/2, maxFileTime))
	if whole := end.Truncate(linkStep); whole.Before(end) {
		end = whole.Add(linkStep)
	}
	v.expires = end.Unix()
	if v.latest != 0 {
		v.expires = min(v.expires, v.latest)
	}
	return v
}

// partPath returns the address of a part, relative to the platform's own. What
// signs it is good for this viewer and this part alone.
func (s *Service) partPath(mediaID string, v viewer, name string) string {
	var flags strings.Builder
	for _, f := range v.flags() {
		if *f.on {
			flags.WriteString(f.letter)
		}
	}
	payload := strings.Join([]string{strconv.FormatInt(v.expires, 36), v.account, v.course, v.item, flags.String()}, "\n")
	token := base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + s.signReading(mediaID, payload, name)
	return "/v1/media/" + mediaID + "/parts/" + token + "/" + name
}

// flag is a letter of a token.
type flag struct {
	letter string
	on     *bool
}

func (v *viewer) flags() []flag {
	return []flag{{"o", &v.open}, {"s", &v.staff}, {"t", &v.takes}, {"r", &v.reads}, {"a", &v.anonymous}, {"l", &v.lent}, {"b", &v.banks}, {"p", &v.landing}}
}

func (s *Service) signReading(mediaID, payload, name string) string {
	h := hmac.New(sha256.New, s.key[:])
	for _, text := range []string{"stoa media part v1", mediaID, payload, name} {
		h.Write([]byte(strconv.Itoa(len(text)) + ":" + text)) // lengths, so that no text runs into the next
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:20])
}

// readToken returns the viewer that a token of ours names. One that is not ours is
// told as an absent file.
func (s *Service) readToken(mediaID, token, name string) (viewer, error) {
	encoded, signature, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || path.Clean(name) != name {
		return viewer{}, ErrNotFound
	}
	payload := string(raw)
	if !hmac.Equal([]byte(signature), []byte(s.signReading(mediaID, payload, name))) {
		return viewer{}, ErrNotFound
	}
	fields := strings.Split(payload, "\n")
	if len(fields) != 5 {
		return viewer{}, ErrNotFound
	}
	v := viewer{account: fields[1], course: fields[2], item: fields[3]}
	for _, f := range v.flags() {
		*f.on = strings.Contains(fields[4], f.letter)
	}
	if v.expires, err = strconv.ParseInt(fields[0], 36, 64); err != nil {
		return viewer{}, ErrNotFound
	}
	if !s.now().Before(time.Unix(v.expires, 0)) {
		return viewer{}, ErrLinkExpired
	}
	return v, nil
}
