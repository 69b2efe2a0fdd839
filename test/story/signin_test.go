package story_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// github is a provider at which somebody is signed in: it gives a code for
// nothing and a token for any code.
func github(t testing.TB) *httptest.Server {
	t.Helper()
	tell := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/oauth/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		back := q.Get("redirect_uri") + "?" + url.Values{"code": {"c"}, "state": {q.Get("state")}}.Encode()
		http.Redirect(w, r, back, http.StatusFound) //nolint:gosec // it is what a provider does
	})
	mux.HandleFunc("POST /login/oauth/access_token", tell(map[string]any{"access_token": "t", "token_type": "bearer"}))
	mux.HandleFunc("GET /api/v3/user", tell(map[string]any{"id": 17, "login": "grace"}))
	mux.HandleFunc("GET /api/v3/user/emails", tell([]map[string]any{{"email": "grace@example.org", "primary": true, "verified": true}}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// browser is somebody whose cookies are kept.
type browser struct {
	*person
	jar map[string]string
}

func (b *browser) visit(t testing.TB, want int, method, path string, body any, header ...string) answer {
	t.Helper()
	var cookies []string
	for name, value := range b.jar {
		cookies = append(cookies, name+"="+value)
	}
	a := b.do(t, want, method, path, body, append(header, "Cookie", strings.Join(cookies, "; "))...)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if b.jar[c.Name] = c.Value; c.Value == "" {
			delete(b.jar, c.Name)
		}
	}
	return a
}

// signIn goes to the provider and back.
func (b *browser) signIn(t testing.TB) answer {
	t.Helper()
	there := b.visit(t, 303, "GET", "/sign-in/github?return_to=/docs", nil)
	back := b.in.nobody().do(t, 302, "GET", there.header.Get("Location"), nil)
	return b.visit(t, 303, "GET", back.header.Get("Location"), nil)
}

func TestSignInByOthers(t *testing.T) {
	t.Parallel()
	in := oneProcessWith(t,
		`STOA_OIDC_PROVIDERS=[{"name":"github","kind":"github","base_url":"`+github(t).URL+`","client_id":"a","client_secret":"b"}]`,
	)
	b := &browser{in.nobody(), map[string]string{}}

	// The provider lets her in, in the browser that began.
	if a := b.visit(t, 200, "GET", "/v1/sign-in-providers", nil); a.text("items.0.name") != "github" {
		t.Errorf("providers %s", a)
	}
	there := b.visit(t, 303, "GET", "/sign-in/github", nil)
	back := in.nobody().do(t, 302, "GET", there.header.Get("Location"), nil)
	in.nobody().do(t, 401, "GET", back.header.Get("Location"), nil)
	if a := b.signIn(t); a.header.Get("Location") != "/docs" {
		t.Errorf("sent to %s", a.header.Get("Location"))
	}
	me := b.visit(t, 200, "GET", "/v1/me", nil)
	if me.text("email") != "grace@example.org" || me.text("name") != "grace" {
		t.Errorf("signed in as %s", me)
	}

	// She adds an app, and is asked for it from then on.
	app := b.visit(t, 201, "POST", "/v1/me/factors/totp", map[string]any{"name": "Phone"})
	code, err := totp.GenerateCode(app.text("secret"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	codes := b.visit(t, 200, "POST", "/v1/me/factors/"+app.text("factor.id")+"/confirm", map[string]any{"code": code})
	b.jar = map[string]string{}
	page := b.signIn(t).header.Get("Location")
	if page != "/second-factor?return_to=%2Fdocs" {
		t.Fatalf("sent to %s", page)
	}
	b.visit(t, 401, "GET", "/v1/me", nil)
	b.visit(t, 200, "GET", page, nil)
	form := func(code string) []byte { return []byte(url.Values{"code": {code}}.Encode()) }
	const formType = "application/x-www-form-urlencoded"
	b.visit(t, 200, "POST", page, form(code), "Content-Type", formType) // used already
	if a := b.visit(t, 303, "POST", page, form(codes.text("recovery_codes.0")), "Content-Type", formType); a.header.Get("Location") != "/docs" {
		t.Errorf("sent to %s", a.header.Get("Location"))
	}
	b.visit(t, 200, "GET", "/v1/me", nil)

	// Confirming who she is changes the cookie, and the old one ends.
	before := b.jar["stoa_session"]
	b.visit(t, 200, "POST", "/v1/me/confirm", map[string]any{"recovery_code": codes.text("recovery_codes.1")})
	if b.jar["stoa_session"] == before {
		t.Error("the cookie is the same")
	}
	b.visit(t, 200, "GET", "/v1/me", nil)
	old := &person{in: in, name: "old cookie", token: before}
	old.sees(t, 5*time.Second, "the old token ends", "/v1/me", func(a answer) bool { return a.status == 401 })

	// What is left is the last way in.
	identity := b.visit(t, 200, "GET", "/v1/me/identities", nil).text("items.0.id")
	if a := b.visit(t, 409, "DELETE", "/v1/me/identities/"+identity, nil); a.text("code") != "federation.last_way_in" {
		t.Errorf("unlinked: %s", a)
	}
}
