package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// issuer is an OpenID Connect provider of a test, over HTTP: discovery, keys, a
// page where somebody signs in without being asked, tokens for codes of which it
// checks PKCE, and the user's information.
type issuer struct {
	*httptest.Server
	clock *clock

	mu    sync.Mutex
	key   *ecdsa.PrivateKey
	keyID string
	keys  []jose.JSONWebKey // as published
	user  map[string]any    // the claims of who is signed in here
	info  map[string]any    // what the user's information has besides the subject
	codes map[string]grant

	// What makes it a bad one.
	says   string                                    // issuer it names in its discovery
	claims func(claims map[string]any)               // changes an ID token before it is signed
	token  func(raw string, c map[string]any) string // replaces the ID token
	down   bool
	post   bool // takes the client's secret in the form only
}

// grant is what a code was given for.
type grant struct{ client, redirect, challenge, nonce string }

const (
	clientID     = "stoa"
	clientSecret = "a secret of theirs"
)

func newIssuer(t *testing.T, c *clock) *issuer {
	t.Helper()
	i := &issuer{clock: c, codes: map[string]grant{}}
	i.rotate(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.jwks)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { i.exchange(t, w, r) })
	mux.HandleFunc("GET /userinfo", i.userinfo)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// rotate has the provider sign with a new key and publish no other.
func (i *issuer) rotate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.keyID = key, rand.Text()
	i.keys = []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: i.keyID, Algorithm: "ES256", Use: "sig"}}
}

// is signs somebody in at the provider.
func (i *issuer) is(subject, email string, verified any, more ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.user = map[string]any{"sub": subject, "email": email, "email_verified": verified, "name": "Grace Hopper", "locale": "de-AT"}
	for _, m := range more {
		maps.Copy(i.user, m)
	}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (i *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	says := i.URL
	if i.says != "" {
		says = i.says
	}
	methods := []string{"client_secret_basic", "client_secret_post"}
	if i.post {
		methods = methods[1:]
	}
	answerJSON(w, map[string]any{
		"token_endpoint_auth_methods_supported": methods,
		"issuer":                                says, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"userinfo_endpoint": i.URL + "/userinfo", "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256", "none", "HS256"},
	})
}

func (i *issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answerJSON(w, jose.JSONWebKeySet{Keys: i.keys})
}

func (i *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("client_id") != clientID || q.Get("state") == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = grant{q.Get("client_id"), q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce")}
	i.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound) //nolint:gosec // it is what a provider does
}

// exchange gives tokens for a code, once, to the client that shows the verifier.
func (i *issuer) exchange(t *testing.T, w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok || i.post {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	} else {
		secret, _ = url.QueryUnescape(secret)
	}
	code := r.PostFormValue("code")
	i.mu.Lock()
	defer i.mu.Unlock()
	g, known := i.codes[code]
	delete(i.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || id != g.client || secret != clientSecret || r.PostFormValue("redirect_uri") != g.redirect || raw64.EncodeToString(sum[:]) != g.challenge {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	now := i.clock.Now()
	c := map[string]any{"iss": i.URL, "aud": clientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "nonce": g.nonce}
	maps.Copy(c, i.user)
	if i.claims != nil {
		i.claims(c)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", i.keyID))
	if err != nil {
		t.Error(err)
		return
	}
	raw, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Error(err)
		return
	}
	if i.token != nil {
		raw = i.token(raw, c)
	}
	answerJSON(w, map[string]any{"access_token": "of " + code, "token_type": "Bearer", "expires_in": 300, "id_token": raw})
}

func (i *issuer) userinfo(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer of ") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	out := map[string]any{"sub": i.user["sub"]}
	maps.Copy(out, i.info)
	answerJSON(w, out)
}

// github is GitHub as we use it: the sign-in page, tokens for codes with PKCE,
// and two calls of the API. Its answers have the form of GitHub's, which tells a
// wrong code with 200.
type github struct {
	*httptest.Server

	mu     sync.Mutex
	id     int64
	login  string
	emails []map[string]any
	codes  map[string]grant
	limit  bool // the rate limit is used up
}

func newGitHub(t *testing.T) *github {
	t.Helper()
	g := &github{codes: map[string]grant{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/oauth/authorize", g.authorize)
	mux.HandleFunc("POST /login/oauth/access_token", g.exchange)
	mux.HandleFunc("GET /api/v3/user", g.api(func() any {
		return map[string]any{"id": g.id, "login": g.login, "name": nil, "email": "public@example.org"}
	}))
	mux.HandleFunc("GET /api/v3/user/emails", g.api(func() any { return g.emails }))
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *github) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("scope") != "read:user user:email" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	g.mu.Lock()
	g.codes[code] = grant{redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge")}
	g.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound) //nolint:gosec // it is what a provider does
}

func (g *github) exchange(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	code := r.PostFormValue("code")
	given, known := g.codes[code]
	delete(g.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	ok := known && r.PostFormValue("client_id") == clientID && r.PostFormValue("client_secret") == clientSecret &&
		r.PostFormValue("redirect_uri") == given.redirect && raw64.EncodeToString(sum[:]) == given.challenge
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if !ok {
		_, _ = w.Write([]byte("error=bad_verification_code&error_description=The+code+passed+is+incorrect+or+expired."))
		return
	}
	_, _ = w.Write([]byte(url.Values{"access_token": {"gho_16"}, "scope": {"read:user,user:email"}, "token_type": {"bearer"}}.Encode()))
}

func (g *github) api(answer func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		switch {
		case g.limit:
			w.WriteHeader(http.StatusTooManyRequests)
		case r.Header.Get("Authorization") != "Bearer gho_16":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			answerJSON(w, answer())
		}
	}
}
