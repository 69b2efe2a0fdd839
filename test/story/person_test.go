package story_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

// at returns the value at a dotted path of the JSON, such as "items.0.id".
func (a answer) at(path string) any {
	var v any = a.json
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i := 0
			if _, err := fmt.Sscanf(part, "%d", &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path string) string {
	s, _ := a.at(path).(string)
	return s
}

func (a answer) number(path string) int {
	n, _ := a.at(path).(float64)
	return int(n)
}

func (a answer) items() []answer {
	list, _ := a.json["items"].([]any)
	out := make([]answer, 0, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		out = append(out, answer{json: m})
	}
	return out
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// person is somebody who uses the platform, nobody while token is empty.
type person struct {
	in      *installation
	name    string
	account string
	email   string
	token   string
}

// try makes one request.
func (p *person) try(ctx context.Context, method, path string, body any, header ...string) (answer, error) {
	var reader io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case []byte:
		reader, contentType = bytes.NewReader(b), "application/octet-stream"
	case string:
		reader, contentType = strings.NewReader(b), "application/json"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader, contentType = bytes.NewReader(text), "application/json"
	}
	if !strings.HasPrefix(path, "http") {
		path = p.in.edge + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, reader)
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.in.web.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return answer{}, err
	}
	if t := res.Header.Get("Content-Type"); strings.Contains(t, "json") && !strings.Contains(t, "ndjson") && len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &a.json); err != nil {
			return answer{}, fmt.Errorf("%s %s: %w: %q", method, path, err, a.body)
		}
	}
	return a, nil
}

// do makes one request that must answer with the status.
func (p *person) do(t testing.TB, want int, method, path string, body any, header ...string) answer {
	t.Helper()
	a, err := p.try(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", p.name, method, path, err)
	}
	if a.status != want {
		t.Fatalf("%s: %s %s: %s, want %d", p.name, method, path, a, want)
	}
	return a
}

// sees looks until what is there is good, and returns it.
func (p *person) sees(t testing.TB, patience time.Duration, what, path string, good func(answer) bool) (seen answer) {
	t.Helper()
	eventually(t, patience, what, func() (bool, string) {
		var err error
		seen, err = p.try(t.Context(), "GET", path, nil)
		return err == nil && good(seen), fmt.Sprint(seen, " ", err)
	})
	return seen
}

// manages makes one request until it answers with the status: an event that it
// needs may not have come yet.
func (p *person) manages(t testing.TB, what string, want int, method, path string, body any) (got answer) {
	t.Helper()
	eventually(t, soon, what, func() (bool, string) {
		var err error
		got, err = p.try(t.Context(), method, path, body)
		return err == nil && got.status == want, fmt.Sprint(got, " ", err)
	})
	return got
}

// insist makes a write until it is answered, as a client with an Idempotency-Key
// may: through lost connections, 5xx and 404s that a late event explains.
func (p *person) insist(t testing.TB, path string, body any, good int) (answer, error) {
	t.Helper()
	key := uuid.NewString()
	deadline := time.Now().Add(8 * time.Minute) // a broker that starts on a busy machine takes its time
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		a, err := p.try(ctx, "POST", path, body, "Idempotency-Key", key)
		cancel()
		if err == nil && a.status == good {
			p.in.answered.Add(1)
			return a, nil
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			if err == nil {
				err = errors.New("out of patience")
			}
			return a, fmt.Errorf("%s: POST %s: %w, last answer %s", p.name, path, err, a)
		}
		if err == nil && a.status < 500 && a.status != http.StatusNotFound && a.status != http.StatusForbidden && a.status != http.StatusBadRequest && a.status != http.StatusTooManyRequests {
			return a, fmt.Errorf("%s: POST %s: %s", p.name, path, a)
		}
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, io.EOF) {
			t.Logf("%s: POST %s again after %v", p.name, path, err)
		}
		pause()
	}
}

// nobody is somebody who has not signed in.
func (in *installation) nobody() *person { return &person{in: in, name: "nobody"} }

const password = "correct horse battery 9"

// signUp makes an account and signs in.
func (in *installation) signUp(t testing.TB, name string) *person {
	t.Helper()
	p := &person{in: in, name: name}
	p.email = strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "." + uuid.NewString()[:8] + "@example.com"
	a := p.do(t, 201, "POST", "/v1/accounts", map[string]any{"email": p.email, "password": password, "name": name})
	p.account = a.text("id")
	s := p.do(t, 201, "POST", "/v1/sessions", map[string]any{"email": p.email, "password": password})
	p.token = s.text("token")
	if p.account == "" || p.token == "" {
		t.Fatalf("signed up as %s, in as %s", a, s)
	}
	return p
}
