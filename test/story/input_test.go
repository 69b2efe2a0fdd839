package story_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
)

// TestBadInput: each is told with its status, code and field, and changes
// nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher := in.signUp(t, "Bad Input")
	course, lessons := draft(t, teacher, "Good input")
	before := teacher.do(t, 200, "GET", "/v1/courses/"+course, nil)
	c, l := "/v1/courses/"+course, "/v1/courses/"+course+"/lessons/"+lessons[0]
	long := strings.Repeat("x", 201)
	other := in.signUp(t, "Other Person")
	othersCourse, _ := draft(t, other, "Not yours")

	for name, tc := range map[string]struct {
		method, path string
		body         any
		status       int
		code, field  string
		header       []string
	}{
		"unknown field":         {"PATCH", c, `{"titel":"x"}`, 400, "request.unknown_field", "titel", nil},
		"unknown nested field":  {"POST", c + "/lessons", `{"title":"x","blocks":[{"markdown":{"txt":"x"}}]}`, 400, "request.unknown_field", "txt", nil},
		"unknown parameter":     {"GET", "/v1/marketplace/courses?categry=x", nil, 400, "request.unknown_field", "categry", nil},
		"repeated parameter":    {"GET", "/v1/marketplace/courses?query=x&query=y", nil, 400, "request.invalid", "query", nil},
		"parameter's type":      {"GET", "/v1/marketplace/courses?page_size=many", nil, 400, "request.invalid", "page_size", nil},
		"page too large":        {"GET", "/v1/marketplace/courses?page_size=101", nil, 400, "request.invalid", "page_size", nil},
		"negative page":         {"GET", "/v1/marketplace/courses?page_size=-1", nil, 400, "request.invalid", "page_size", nil},
		"bad cursor":            {"GET", "/v1/marketplace/courses?cursor=abc", nil, 400, "request.invalid", "cursor", nil},
		"wrong type":            {"PATCH", c, `{"title":7}`, 400, "request.invalid", "title", nil},
		"not JSON":              {"PATCH", c, `{"title":`, 400, "request.bad_json", "", nil},
		"an array":              {"PATCH", c, `[]`, 400, "request.bad_json", "", nil},
		"twice":                 {"PATCH", c, `{"title":"a","title":"b"}`, 400, "request.invalid", "title", nil},
		"a time of none":        {"POST", c + "/cohorts", `{"name":"A", "starts_at" : "tomorrow"}`, 400, "request.invalid", "starts_at", nil},
		"two values":            {"PATCH", c, `{} {}`, 400, "request.bad_json", "", nil},
		"too long":              {"PATCH", c, `{"title":"` + long + `"}`, 400, "request.invalid", "title", nil},
		"empty":                 {"PATCH", c, `{"title":""}`, 400, "request.invalid", "title", nil},
		"blank":                 {"PATCH", c, `{"title":"  "}`, 400, "request.invalid", "title", nil},
		"NUL":                   {"PATCH", c, `{"title":"a\u0000b"}`, 400, "request.invalid", "title", nil},
		"broken UTF-8":          {"PATCH", c, "{\"title\":\"a\xffb\"}", 400, "request.bad_text", "", nil},
		"lone surrogate":        {"PATCH", c, `{"title":"a\ud800b"}`, 400, "request.bad_json", "", nil},
		"word not in the set":   {"PATCH", c, `{"level":"expert"}`, 400, "request.invalid", "level", nil},
		"21 tags":               {"PATCH", c, `{"tags":{"values":["` + strings.Repeat(`a","`, 20) + `a"]}}`, 400, "request.invalid", "tags.values", nil},
		"negative price":        {"PUT", c + "/price", `{"price":{"amount":-1,"currency":"EUR"}}`, 400, "price.range", "price.amount", nil},
		"huge price":            {"PUT", c + "/price", `{"price":{"amount":9223372036854775807,"currency":"EUR"}}`, 400, "request.invalid", "price.amount", nil},
		"price beyond 64 bits":  {"PUT", c + "/price", `{"price":{"amount":92233720368547758070,"currency":"EUR"}}`, 400, "request.invalid", "amount", nil},
		"price with a fraction": {"PUT", c + "/price", `{"price":{"amount":1.5,"currency":"EUR"}}`, 400, "request.invalid", "amount", nil},
		"unknown currency":      {"PUT", c + "/price", `{"price":{"amount":100,"currency":"XTS"}}`, 400, "price.currency", "price.currency", nil},
		"no price":              {"PUT", c + "/price", `{}`, 400, "request.invalid", "price", nil},
		"unknown id":            {"GET", "/v1/courses/" + id.New("course"), nil, 404, "not_found", "", nil},
		"malformed id":          {"GET", "/v1/courses/17", nil, 400, "request.invalid", "course_id", nil},
		"id of another kind":    {"GET", "/v1/courses/" + lessons[0], nil, 400, "request.invalid", "course_id", nil},
		"NUL in the path":       {"GET", "/v1/courses/a%00b", nil, 400, "request.invalid", "course_id", nil},
		"no text in the path":   {"GET", "/v1/media/%84/content", nil, 400, "request.bad_text", "", nil},
		"no text in parameters": {"POST", c + "/media?filename=%ff", []byte("x"), 400, "request.bad_text", "", nil},
		"broken parameters":     {"GET", "/v1/marketplace/courses?query=%zz", nil, 400, "request.path", "", nil},
		"somebody else's":       {"PATCH", "/v1/courses/" + othersCourse, `{"title":"Mine"}`, 404, "not_found", "", nil},
		"lesson elsewhere":      {"GET", "/v1/courses/" + othersCourse + "/lessons/" + lessons[0], nil, 404, "not_found", "", nil},
		"unknown lesson":        {"GET", c + "/lessons/" + id.New("lesson"), nil, 404, "lesson.not_found", "", nil},
		"unknown media":         {"PATCH", l, `{"blocks":{"items":[{"image":{"media_id":"` + id.New("media") + `","alt":"a"}}]}}`, 400, "media.not_found", "", nil},
		"empty block":           {"PATCH", l, `{"blocks":{"items":[{}]}}`, 400, "request.invalid", "blocks.items[0].content", nil},
		"two kinds of block":    {"PATCH", l, `{"blocks":{"items":[{"markdown":{"text":"a"},"image":{"media_id":"x"}}]}}`, 400, "request.bad_json", "", nil},
		"stale ETag":            {"PATCH", c, `{"title":"x"}`, 412, "etag.stale", "If-Match", []string{"If-Match", `"0"`}},
		"empty If-Match":        {"PATCH", c, `{"title":"x"}`, 400, "request.invalid", "If-Match", []string{"If-Match", ""}},
		"long key":              {"POST", "/v1/courses", `{"title":"x"}`, 400, "request.invalid", "Idempotency-Key", []string{"Idempotency-Key", strings.Repeat("k", 256)}},
		"other content":         {"POST", "/v1/courses", []byte("title=x"), 415, "request.content_type", "", nil},
		"too large":             {"PATCH", l, `{"title":"` + strings.Repeat("x", 4<<20) + `"}`, 413, "request.too_large", "", nil},
		"too deep":              {"PATCH", c, strings.Repeat(`{"tags":`, 20_000), 400, "request.unknown_field", "tags", nil},
		"no such path":          {"GET", "/v1/unicorns", nil, 404, "route.not_found", "", nil},
		"no such page":          {"GET", "/unicorns", nil, 404, "route.not_found", "", nil},
		"other method":          {"DELETE", "/v1/marketplace/courses", nil, 405, "request.method", "", nil},
		"bad e-mail":            {"POST", "/v1/accounts", `{"email":"x","password":"` + password + `","name":"x"}`, 400, "request.invalid", "email", nil},
		"short password":        {"POST", "/v1/accounts", `{"email":"x@example.com","password":"short","name":"x"}`, 400, "request.invalid", "password", nil},
		"wrong password":        {"POST", "/v1/sessions", `{"email":"x@example.com","password":"` + password + `"}`, 401, "session.bad_credentials", "", nil},
		"upload without a name": {"POST", c + "/media", []byte("x"), 400, "request.invalid", "filename", nil},
		"empty upload":          {"POST", c + "/media?filename=x.txt", []byte{}, 400, "media.empty", "", nil},
		"upload of a page":      {"POST", c + "/media?filename=x.png", []byte("<!doctype html><script>alert(1)</script>"), 400, "media.type_refused", "", nil},
		"forged link":           {"GET", "/v1/media/" + id.New("media") + "/parts/AAAA/original", nil, 404, "media.not_found", "", nil},
		"outcome":               {"POST", "/v1/development/payments/" + id.New("payment") + "/settle", `{"outcome":"free"}`, 400, "request.invalid", "outcome", nil},
		"no such payment":       {"GET", "/pay/" + id.New("payment"), nil, 404, "payment.not_found", "", nil},
		"time zone":             {"PATCH", "/v1/me", `{"time_zone":"Mars/Olympus"}`, 400, "profile.time_zone", "time_zone", nil},
	} {
		a, err := teacher.try(t.Context(), tc.method, tc.path, tc.body, tc.header...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		switch {
		case a.status != tc.status:
			t.Errorf("%s: %s, want %d", name, a, tc.status)
		case a.header.Get("Content-Type") != "application/problem+json":
			t.Errorf("%s: told as %s", name, a.header.Get("Content-Type"))
		case a.text("code") != tc.code:
			t.Errorf("%s: %s, want code %s", name, a, tc.code)
		case tc.field != "" && a.text("field") != tc.field:
			t.Errorf("%s: %s, want field %s", name, a, tc.field)
		case tc.field != "" && a.text("hint") == "":
			t.Errorf("%s: %s has no hint", name, a)
		case a.text("request_id") == "" || a.text("request_id") != a.header.Get("X-Request-Id"):
			t.Errorf("%s: %s has no request id", name, a)
		}
	}
	if after := teacher.do(t, 200, "GET", c, nil); string(after.body) != string(before.body) {
		t.Errorf("refused input has changed the course:\n%s\n%s", before, after)
	}

	// A key with another body is refused, and the first result stays.
	first := teacher.do(t, 201, "POST", "/v1/courses", `{"title":"Once"}`, "Idempotency-Key", "k1")
	again := teacher.do(t, 201, "POST", "/v1/courses", `{"title":"Once"}`, "Idempotency-Key", "k1")
	reused := teacher.do(t, 409, "POST", "/v1/courses", `{"title":"Twice"}`, "Idempotency-Key", "k1")
	if first.text("id") != again.text("id") || reused.text("code") != "idempotency.key_reused" {
		t.Errorf("%s, %s, %s", first, again, reused)
	}
	if mine := other.do(t, 201, "POST", "/v1/courses", `{"title":"Once"}`, "Idempotency-Key", "k1"); mine.text("id") == first.text("id") {
		t.Errorf("two people share a key: %s", mine)
	}

	// Tokens that are not good.
	for _, token := range []string{"x", "stoa_s_" + strings.Repeat("A", 43), strings.Repeat("A", 5000), "\u00e9"} {
		p := &person{in: in, name: "forger", token: token}
		if a := p.do(t, 401, "GET", "/v1/me", nil); a.text("code") != "auth.token_invalid" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("token %.20q: %s", token, a)
		}
	}

	// A browser on another site may not act with the cookie.
	cookie := in.nobody().do(t, 201, "POST", "/v1/sessions", map[string]any{"email": teacher.do(t, 200, "GET", "/v1/me", nil).text("email"), "password": password}).header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("cookie %q", cookie)
	}
	value, _, _ := strings.Cut(cookie, ";")
	in.nobody().do(t, 200, "GET", "/v1/me", nil, "Cookie", value)
	if a := in.nobody().do(t, 403, "PATCH", "/v1/me", map[string]any{"name": "Stolen"}, "Cookie", value, "Sec-Fetch-Site", "cross-site"); a.text("code") != "request.cross_origin" {
		t.Errorf("another site was refused with %s", a)
	}
}

// FuzzEdge sends anything to the edge as a signed-in person: whatever comes, the
// answer is no 500, and a refusal is a problem with a code.
func FuzzEdge(f *testing.F) {
	in := shared(f)
	p := in.signUp(f, "Fuzz Er")
	course, lessons := draft(f, p, "Fuzzed")
	c := "/v1/courses/" + course
	for _, s := range [][3]string{
		{"GET", "/v1/marketplace/courses?query=a&cursor=W10", ""},
		{"GET", "/v1/marketplace/courses?query=%22%28%29%7C%26%21%3A%2A", ""},
		{"POST", "/v1/accounts", `{"email":"a@example.com","password":"0123456789ab","name":"x"}`},
		{"POST", "/v1/sessions", `{"email":"a@example.com","password":"x"}`},
		{"PATCH", "/v1/me", `{"name":"x","locale":"de-AT","time_zone":"Europe/Vienna","bio":"x"}`},
		{"PATCH", c, `{"title":"x","tags":{"values":["a"]},"cover_media_id":""}`},
		{"POST", c + "/modules", `{"title":"x"}`},
		{"PATCH", c + "/lessons/" + lessons[0], `{"position":1,"blocks":{"items":[{"markdown":{"text":"| a |\n|---|\n"}}]}}`},
		{"PUT", c + "/price", `{"price":{"amount":100,"currency":"EUR"}}`},
		{"POST", "/v1/orders", `{"course_ids":["` + course + `"]}`},
		{"POST", c + "/media?filename=a.txt", "text"},
		{"GET", "/v1/media/media_01h455vb4pex5vsknk084sn02q/content?expires=1&signature=x", ""},
		{"POST", "/pay/payment_01h455vb4pex5vsknk084sn02q", "outcome=succeed"},
		{"GET", "/v1/notifications?unread=true&cursor=WyIxIiwiMiJd", ""},
		{"GET", "/v1/orders?cursor=WyI5MjIzMzcyMDM2ODU0Nzc1ODA3IiwiXHUwMDAwIl0", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") || strings.HasPrefix(path, "//") {
			return
		}
		if _, err := http.NewRequest(method, "http://127.0.0.1"+path, nil); err != nil { //nolint:noctx // it is not sent
			return
		}
		a, err := p.try(t.Context(), method, path, body)
		if err != nil {
			return // not HTTP at all
		}
		if a.status >= 500 {
			t.Fatalf("%s %q %q: %s", method, path, body, a)
		}
		if a.status >= 400 && method != http.MethodHead && a.text("code") == "" {
			t.Fatalf("%s %q %q: %s has no code", method, path, body, a)
		}
	})
}
