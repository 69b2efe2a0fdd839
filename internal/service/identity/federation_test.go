package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// federationEnv is the service with two OpenID Connect providers and GitHub.
type federationEnv struct {
	*factorEnv
	school, library *issuer
	github          *github
}

func newFederationEnv(t *testing.T) *federationEnv {
	t.Helper()
	c := &clock{now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)}
	e := &federationEnv{school: newIssuer(t, c), library: newIssuer(t, c), github: newGitHub(t)}
	text, err := json.Marshal([]Provider{ //nolint:gosec // of a test
		{Name: "school", Issuer: e.school.URL, ClientID: clientID, ClientSecret: clientSecret},
		{Name: "library", Kind: "oidc", Issuer: e.library.URL, ClientID: clientID, ClientSecret: clientSecret},
		{Name: "github", Kind: "github", BaseURL: e.github.URL + "/", ClientID: clientID, ClientSecret: clientSecret},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseProviders(text)
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.NewMemoryAt(c.Now)
	if err != nil {
		t.Fatal(err)
	}
	e.factorEnv = newFactorEnv(t, func(cfg *Config) { cfg.Providers, cfg.Now, cfg.Store = list, c.Now, store })
	e.clock = c
	return e
}

// start begins a sign-in.
func (e *federationEnv) start(t *testing.T, provider string) *identitypb.SignInFlow {
	t.Helper()
	f, err := e.federation.StartSignIn(t.Context(), &identitypb.StartSignInRequest{Provider: provider, ReturnTo: "/courses?page=2"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// visit goes to the provider as a browser does, and returns what it is sent back
// with.
func visit(t *testing.T, provider string, f *identitypb.SignInFlow) *identitypb.FinishSignInRequest {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.GetUrl(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusFound {
		t.Fatalf("%s: %s to %s: %v", f.GetUrl(), res.Status, back, err)
	}
	if got, want := back.Scheme+"://"+back.Host+back.Path, "https://learn.example.org/sign-in/"+provider+"/callback"; got != want {
		t.Fatalf("sent back to %s, want %s", got, want)
	}
	return &identitypb.FinishSignInRequest{
		Provider: provider, State: back.Query().Get("state"), Code: back.Query().Get("code"), Browser: f.GetBrowser(),
	}
}

// enter signs in at a provider from beginning to end.
func (e *federationEnv) enter(t *testing.T, provider string) (*identitypb.Session, error) {
	t.Helper()
	res, err := e.federation.FinishSignIn(t.Context(), visit(t, provider, e.start(t, provider)))
	return res.GetSession(), err
}

// link links an identity at a provider.
func (e *federationEnv) link(t *testing.T, s *identitypb.Session, provider string) error {
	t.Helper()
	f, err := e.federation.LinkIdentity(confirmedAs(t.Context(), s), &identitypb.LinkIdentityRequest{Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.federation.FinishSignIn(t.Context(), visit(t, provider, f))
	if err == nil && res.GetSession() != nil {
		t.Errorf("linking signed in: %v", res)
	}
	return err
}

func (e *federationEnv) identities(t *testing.T, s *identitypb.Session) []*identitypb.Identity {
	t.Helper()
	list, err := e.federation.ListIdentities(as(t.Context(), s), &identitypb.ListIdentitiesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return list.GetItems()
}

func TestSignInAtProvider(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	list, err := e.federation.ListSignInProviders(t.Context(), &identitypb.ListSignInProvidersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, &identitypb.ListSignInProvidersResponse{Items: []*identitypb.SignInProvider{
		{Name: "github", Kind: "github"}, {Name: "library", Kind: "oidc"}, {Name: "school", Kind: "oidc"},
	}})
	e.school.is("1", "Grace@Example.org", true)
	f := e.start(t, "school")
	q, err := url.Parse(f.GetUrl())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Query().Get(name)) < 20 {
			t.Errorf("%s is %q", name, q.Query().Get(name))
		}
	}
	res, err := e.federation.FinishSignIn(t.Context(), visit(t, "school", f))
	if err != nil {
		t.Fatal(err)
	}
	s := res.GetSession()
	if res.GetReturnTo() != "/courses?page=2" || s.GetToken() == "" {
		t.Errorf("finished %v", res)
	}
	me, err := e.GetMe(as(t.Context(), s), &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "grace@example.org" || me.GetName() != "Grace Hopper" || me.GetLocale() != "de-AT" {
		t.Errorf("made %v: %v", me, err)
	}
	if at := query[time.Time](t, e.db, `SELECT email_verified_at FROM account`); !at.Equal(e.service.now()) {
		t.Errorf("verified at %v", at)
	}
	// The same again is the same account, whatever it is called there now.
	e.school.is("1", "grace@elsewhere.example", false, map[string]any{"name": "G."})
	again, err := e.enter(t, "school")
	if err != nil || again.GetAccountId() != s.GetAccountId() {
		t.Errorf("came back as %v: %v", again, err)
	}
	me, err = e.GetMe(as(t.Context(), s), &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "grace@example.org" || me.GetName() != "Grace Hopper" {
		t.Errorf("changed to %v: %v", me, err)
	}
	// There is no password that signs in.
	for _, password := range []string{"x", goodPassword, strings.Repeat("-", 10)} {
		_, err = e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "grace@example.org", Password: password})
		wantCode(t, err, "session.bad_credentials")
	}
	_, err = e.factors.Confirm(as(t.Context(), s), byPassword(goodPassword))
	wantCode(t, err, "confirmation.refused")
	if n := query[int](t, e.db, `SELECT count(*) FROM sign_in_flow`); n != 0 {
		t.Errorf("%d flows left", n)
	}
}

func TestSecondFactorAtProvider(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.is("1", "grace@example.org", true)
	s, err := e.enter(t, "school")
	if err != nil {
		t.Fatal(err)
	}
	app := e.enrol(t, s)
	waiting, err := e.enter(t, "school")
	if err != nil || waiting.GetToken() != "" || waiting.GetChallenge() == nil {
		t.Fatalf("signed in without the second factor: %v, %v", waiting, err)
	}
	if _, err := e.factors.CompleteSession(t.Context(), byCode(waiting.GetChallenge().GetToken(), app.code(t, e.factorEnv, 0))); err != nil {
		t.Error(err)
	}
}

func TestLinkingRules(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.account(t, "ada@example.org")
	ada := e.signIn(t, "ada@example.org")

	// Nobody gets into an account by having its address at a provider: neither
	// while the account has not verified it nor when it has.
	e.school.is("1", "ADA@example.org", true)
	_, err := e.enter(t, "school")
	wantCode(t, err, "federation.link_required")
	exec(t, e.db, `UPDATE account SET email_verified_at = NULL`)
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.link_required")
	exec(t, e.db, `UPDATE account SET email_verified_at = now()`)
	// An address that the provider has not verified is none.
	for _, verified := range []any{false, nil, "false", 1, "yes"} {
		e.school.is("1", "ada@example.org", verified)
		_, err = e.enter(t, "school")
		wantCode(t, err, "federation.email_unverified")
		e.school.is("2", "new@example.org", verified)
		_, err = e.enter(t, "school")
		wantCode(t, err, "federation.email_unverified")
	}
	e.school.is("2", "no address", true)
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.refused")
	if n := query[int](t, e.db, `SELECT count(*) FROM account`) + query[int](t, e.db, `SELECT count(*) FROM federated`); n != 1 {
		t.Errorf("%d accounts and identities", n)
	}

	// Whoever is signed in links, and the address does not matter.
	e.school.is("1", "other@example.org", false)
	_, err = e.federation.LinkIdentity(as(t.Context(), ada), &identitypb.LinkIdentityRequest{Provider: "school"})
	wantCode(t, err, "auth.step_up_required")
	for range 2 { // linking what is linked changes nothing
		if err := e.link(t, ada, "school"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := e.enter(t, "school")
	if err != nil || s.GetAccountId() != ada.GetAccountId() {
		t.Errorf("signed in %v: %v", s, err)
	}
	if list := e.identities(t, ada); len(list) != 1 || list[0].GetProvider() != "school" {
		t.Errorf("identities %v", list)
	}

	// Two providers with one address are two people until they are linked.
	e.library.is("1", "ada@example.org", true)
	_, err = e.enter(t, "library")
	wantCode(t, err, "federation.link_required")
	e.library.is("1", "grace@example.org", true)
	grace, err := e.enter(t, "library")
	if err != nil || grace.GetAccountId() == ada.GetAccountId() {
		t.Fatalf("the subject of another provider signed in %v: %v", grace, err)
	}
	e.school.is("7", "grace@example.org", true)
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.link_required")

	// An identity belongs to one account.
	e.school.is("1", "grace@example.org", true)
	wantCode(t, e.link(t, grace, "school"), "federation.identity_taken")
	// An address that becomes another's at the provider opens nothing of ours.
	e.library.is("1", "ada@example.org", true)
	s, err = e.enter(t, "library")
	if err != nil || s.GetAccountId() != grace.GetAccountId() {
		t.Errorf("signed in %v: %v", s, err)
	}

	// Linking ends with the session that began it.
	f, err := e.federation.LinkIdentity(confirmedAs(t.Context(), grace), &identitypb.LinkIdentityRequest{Provider: "school"})
	if err != nil {
		t.Fatal(err)
	}
	e.school.is("8", "grace@example.org", true)
	back := visit(t, "school", f)
	if _, err := e.DeleteSession(as(t.Context(), grace), &identitypb.DeleteSessionRequest{SessionId: grace.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = e.federation.FinishSignIn(t.Context(), back)
	wantCode(t, err, "federation.flow_over")
}

// Who signs up with the address of another gets no hold on the account that
// stays when the other takes it over.
func TestNothingBeforeVerification(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.env.account(t, "ada@example.org")
	sure := confirmedAs(t.Context(), e.signIn(t, "ada@example.org"))
	_, err := e.federation.LinkIdentity(sure, &identitypb.LinkIdentityRequest{Provider: "school"})
	wantCode(t, err, "account.verify_first")
	_, err = e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
	wantCode(t, err, "account.verify_first")
	_, err = e.factors.CreateTotpFactor(sure, &identitypb.CreateTotpFactorRequest{})
	wantCode(t, err, "account.verify_first")
}

func TestOneOwnerOfAnIdentity(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	backs := make([]*identitypb.FinishSignInRequest, 4)
	e.school.is("1", "grace@example.org", true)
	for i := range backs {
		email := string(rune('a'+i)) + "@example.org"
		e.account(t, email)
		f, err := e.federation.LinkIdentity(confirmedAs(t.Context(), e.signIn(t, email)), &identitypb.LinkIdentityRequest{Provider: "school"})
		if err != nil {
			t.Fatal(err)
		}
		backs[i] = visit(t, "school", f)
	}
	ok := together(t, len(backs), func(i int) error {
		_, err := e.federation.FinishSignIn(t.Context(), backs[i])
		return err
	}, "federation.identity_taken")
	if n := query[int](t, e.db, `SELECT count(*) FROM federated`); ok != 1 || n != 1 {
		t.Errorf("%d of %d linked one identity, %d times", ok, len(backs), n)
	}
}

func TestOneAccountOfAnIdentity(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.is("1", "grace@example.org", true)
	e.library.is("1", "grace@example.org", true)
	var backs []*identitypb.FinishSignInRequest
	for range 4 {
		backs = append(backs, visit(t, "school", e.start(t, "school")), visit(t, "library", e.start(t, "library")))
	}
	accounts := make([]string, len(backs))
	ok := together(t, len(backs), func(i int) error {
		res, err := e.federation.FinishSignIn(t.Context(), backs[i])
		accounts[i] = res.GetSession().GetAccountId()
		return err
	}, "federation.link_required")
	if n := query[int](t, e.db, `SELECT count(*) FROM account`); n != 1 || ok != 4 {
		t.Errorf("%d accounts, %d signed in: %v", n, ok, accounts)
	}
}

func TestUnlink(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.is("1", "grace@example.org", true)
	s, err := e.enter(t, "school")
	if err != nil {
		t.Fatal(err)
	}
	sure := confirmedAs(t.Context(), s)
	unlink := func(ctx context.Context, id string) error {
		_, err := e.federation.DeleteIdentity(ctx, &identitypb.DeleteIdentityRequest{IdentityId: id})
		return err
	}
	first := e.identities(t, s)[0].GetId()
	wantCode(t, unlink(as(t.Context(), s), first), "auth.step_up_required")
	wantCode(t, unlink(sure, first), "federation.last_way_in")
	app := e.enrol(t, s) // a second factor is no way in
	wantCode(t, unlink(sure, first), "federation.last_way_in")

	// Of two ways in one can go, not both at once.
	e.library.is("1", "grace@example.org", true)
	if err := e.link(t, s, "library"); err != nil {
		t.Fatal(err)
	}
	both := e.identities(t, s)
	ok := together(t, 2, func(i int) error { return unlink(sure, both[i].GetId()) }, "federation.last_way_in")
	if ok != 1 || len(e.identities(t, s)) != 1 {
		t.Errorf("%d of two unlinked", ok)
	}

	// A passkey is a way in, and then not to be removed.
	key := e.register(t, s, newSoftKey(t)).GetFactor().GetId()
	last := e.identities(t, s)[0].GetId()
	if err := unlink(sure, last); err != nil {
		t.Fatal(err)
	}
	wantCode(t, unlink(sure, last), "identity.not_found")
	remove := func(id string) error {
		_, err := e.factors.DeleteFactor(sure, &identitypb.DeleteFactorRequest{FactorId: id})
		return err
	}
	wantCode(t, remove(key), "federation.last_way_in")
	if err := remove(app.id); err != nil {
		t.Error(err)
	}

	// With a password all of it can go, and what is another's can't.
	e.account(t, "ada@example.org")
	ada := e.signIn(t, "ada@example.org")
	e.github.id, e.github.login = 17, "ada"
	if err := e.link(t, ada, "github"); err != nil {
		t.Fatal(err)
	}
	linked := e.identities(t, ada)[0].GetId()
	wantCode(t, unlink(sure, linked), "identity.not_found")
	if err := unlink(confirmedAs(t.Context(), ada), linked); err != nil {
		t.Error(err)
	}
}

// What a browser brings back that it should not.
func TestCallbackAttacks(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.is("1", "grace@example.org", true)
	e.library.is("1", "grace@example.org", true)
	finish := func(req *identitypb.FinishSignInRequest) error {
		_, err := e.federation.FinishSignIn(t.Context(), req)
		return err
	}
	// Another browser, with its own cookie or none: and it does not spoil the flow.
	back := visit(t, "school", e.start(t, "school"))
	own := back.GetBrowser()
	for _, browser := range []string{"", "x", e.start(t, "school").GetBrowser()} {
		back.Browser = browser
		wantCode(t, finish(back), "federation.flow_over")
	}
	back.Browser = own
	state := back.GetState()
	back.State = "not " + state
	wantCode(t, finish(back), "federation.flow_over")
	back.State = state
	back.Provider = "library" // mixed up
	wantCode(t, finish(back), "federation.flow_over")
	back.Provider = "nobody"
	wantCode(t, finish(back), "federation.provider_unknown")
	back.Provider = "school"
	// Once, also at once.
	ok := together(t, 6, func(int) error { return finish(back) }, "federation.flow_over")
	if ok != 1 {
		t.Errorf("one callback opened %d sessions", ok)
	}
	// The state is used up even when the provider refuses.
	for change, code := range map[string]func(*identitypb.FinishSignInRequest){
		"denied":              func(r *identitypb.FinishSignInRequest) { r.Code = "" },
		"a code of nobody":    func(r *identitypb.FinishSignInRequest) { r.Code = "x" },
		"the code of another": func(r *identitypb.FinishSignInRequest) { r.Code = visit(t, "school", e.start(t, "school")).GetCode() },
		"another's issuer":    func(r *identitypb.FinishSignInRequest) { r.Issuer = e.library.URL },
	} {
		req := visit(t, "school", e.start(t, "school"))
		good := req.GetCode()
		code(req)
		if err := finish(req); err == nil {
			t.Errorf("%s: signed in", change)
		} else {
			wantCode(t, err, "federation.refused")
		}
		req.Code, req.Issuer = good, e.school.URL
		wantCode(t, finish(req), "federation.flow_over")
	}
	req := visit(t, "school", e.start(t, "school"))
	req.Issuer = e.school.URL
	if err := finish(req); err != nil {
		t.Errorf("with the issuer in the callback: %v", err)
	}
	// Too late.
	req = visit(t, "school", e.start(t, "school"))
	e.clock.Add(flowLifetime)
	wantCode(t, finish(req), "federation.flow_over")
	e.clock.Add(time.Second)
	if err := e.service.sweepPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM sign_in_flow`); n != 0 {
		t.Errorf("%d flows after the sweep", n)
	}
	_, err := e.federation.StartSignIn(t.Context(), &identitypb.StartSignInRequest{Provider: "nobody"})
	wantCode(t, err, "federation.provider_unknown")
}

// What a provider, or who stands in for it, says that it should not.
func TestTokenAttacks(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.is("1", "grace@example.org", true)
	if _, err := e.enter(t, "school"); err != nil {
		t.Fatal(err)
	}
	claim := func(name string, v any) func(*issuer) {
		return func(i *issuer) { i.claims = func(c map[string]any) { c[name] = v } }
	}
	signed := func(key jose.SigningKey, kid string) func(*issuer) {
		return func(i *issuer) {
			i.token = func(_ string, c map[string]any) string {
				signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithHeader("kid", kid))
				if err != nil {
					t.Error(err)
					return ""
				}
				raw, err := jwt.Signed(signer).Claims(c).Serialize()
				if err != nil {
					t.Error(err)
				}
				return raw
			}
		}
	}
	now := e.clock.Now()
	public, err := e.school.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(*issuer){
		"wrong issuer":           claim("iss", e.library.URL),
		"wrong audience":         claim("aud", "somebody else"),
		"no audience":            claim("aud", []string{}),
		"two audiences":          claim("aud", []string{clientID, "somebody else"}),
		"another party":          claim("azp", "somebody else"),
		"wrong nonce":            claim("nonce", "x"),
		"no nonce":               claim("nonce", ""),
		"expired":                claim("exp", now.Add(-time.Minute).Unix()),
		"not yet":                claim("nbf", now.Add(time.Hour).Unix()),
		"no subject":             claim("sub", ""),
		"endless subject":        claim("sub", strings.Repeat("1", 300)),
		"another's key":          signed(jose.SigningKey{Algorithm: jose.ES256, Key: e.library.key}, e.school.keyID),
		"the client's secret":    signed(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat(clientSecret, 2))}, e.school.keyID),
		"the public key as HMAC": signed(jose.SigningKey{Algorithm: jose.HS256, Key: public}, e.school.keyID),
		"alg none": func(i *issuer) {
			i.token = func(raw string, _ map[string]any) string {
				return raw64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(raw, ".")[1] + "."
			}
		},
		"claims changed": func(i *issuer) {
			i.token = func(raw string, c map[string]any) string {
				c["sub"] = "2"
				parts := strings.Split(raw, ".")
				return parts[0] + "." + raw64.EncodeToString(encode(t, c)) + "." + parts[2]
			}
		},
		"no token": func(i *issuer) { i.token = func(string, map[string]any) string { return "" } },
	} {
		lie(e.school)
		_, err := e.enter(t, "school")
		e.school.claims, e.school.token = nil, nil
		if err == nil {
			t.Errorf("%s: signed in", name)
			continue
		}
		wantCode(t, err, "federation.refused")
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM account`); n != 1 {
		t.Errorf("%d accounts", n)
	}
	// Keys change, and what an old one signed is no good any more.
	e.school.rotate(t)
	if _, err := e.enter(t, "school"); err != nil {
		t.Errorf("after the keys were changed: %v", err)
	}
	old, oldID := e.school.key, e.school.keyID
	e.school.rotate(t)
	if _, err := e.enter(t, "school"); err != nil {
		t.Errorf("after the keys were changed again: %v", err)
	}
	signed(jose.SigningKey{Algorithm: jose.ES256, Key: old}, oldID)(e.school)
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.refused")
}

func TestBadProviders(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	// One that names another issuer is not asked further.
	e.school.says = "https://accounts.example.org"
	_, err := e.federation.StartSignIn(t.Context(), &identitypb.StartSignInRequest{Provider: "school"})
	wantCode(t, err, "federation.provider_away")
	// One that is away is asked again.
	e.school.says, e.school.down = "", true
	_, err = e.federation.StartSignIn(t.Context(), &identitypb.StartSignInRequest{Provider: "school"})
	wantCode(t, err, "federation.provider_away")
	e.school.down = false
	e.school.is("1", "grace@example.org", true)
	if _, err := e.enter(t, "school"); err != nil {
		t.Fatal(err)
	}
	// What it says of itself is asked anew after a day, and holds while it is away.
	e.clock.Add(discoverEvery)
	e.school.down = true
	e.start(t, "school")
	e.clock.Add(discoverEvery)
	e.school.down, e.school.post = false, true
	if _, err := e.enter(t, "school"); err != nil {
		t.Errorf("after it changed how it takes secrets: %v", err)
	}
	// Answers without end are cut.
	e.school.user["name"] = strings.Repeat("x", 2*maxProviderBody)
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.provider_away")
	back := visit(t, "school", e.start(t, "school"))
	e.school.Close()
	_, err = e.federation.FinishSignIn(t.Context(), back)
	wantCode(t, err, "federation.provider_away")
}

// Some providers tell the address in the user's information only.
func TestUserInformation(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	e.school.user, e.school.post = map[string]any{"sub": "1"}, true
	e.school.info = map[string]any{"email": "grace@example.org", "email_verified": "true"}
	s, err := e.enter(t, "school")
	if err != nil {
		t.Fatal(err)
	}
	if me, err := e.GetMe(as(t.Context(), s), &identitypb.GetMeRequest{}); err != nil || me.GetEmail() != "grace@example.org" || me.GetName() != "grace" {
		t.Errorf("made %v: %v", me, err)
	}
	e.school.info["sub"] = "2"
	_, err = e.enter(t, "school")
	wantCode(t, err, "federation.refused")
}

func TestSignInAtGitHub(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	g := e.github
	g.id, g.login = 17, "grace"
	email := func(address string, primary, verified bool) map[string]any {
		return map[string]any{"email": address, "primary": primary, "verified": verified, "visibility": nil}
	}
	for name, emails := range map[string][]map[string]any{
		"none":                   {},
		"unverified":             {email("grace@example.org", true, false)},
		"verified, not primary":  {email("grace@example.org", false, true)},
		"another one is primary": {email("grace@example.org", false, true), email("g@example.org", true, false)},
	} {
		g.emails = emails
		if _, err := e.enter(t, "github"); err == nil {
			t.Errorf("%s: signed in", name)
		} else {
			wantCode(t, err, "federation.email_unverified")
		}
	}
	g.emails = []map[string]any{email("old@example.org", false, true), email("grace@example.org", true, true)}
	s, err := e.enter(t, "github")
	if err != nil {
		t.Fatal(err)
	}
	me, err := e.GetMe(as(t.Context(), s), &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "grace@example.org" || me.GetName() != "grace" {
		t.Errorf("made %v: %v", me, err)
	}
	// A login and an address that another has taken over are another's.
	g.id = 18
	_, err = e.enter(t, "github")
	wantCode(t, err, "federation.link_required")
	g.id, g.login, g.emails = 17, "hopper", nil
	again, err := e.enter(t, "github")
	if err != nil || again.GetAccountId() != s.GetAccountId() {
		t.Errorf("came back as %v: %v", again, err)
	}
	g.id = 0
	_, err = e.enter(t, "github")
	wantCode(t, err, "federation.refused")
	g.id, g.limit = 17, true
	_, err = e.enter(t, "github")
	wantCode(t, err, "federation.provider_away")
	g.limit = false
	back := visit(t, "github", e.start(t, "github"))
	back.Code = "x"
	_, err = e.federation.FinishSignIn(t.Context(), back)
	wantCode(t, err, "federation.refused")
}

func TestReturnTo(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	for path, want := range map[string]bool{
		"": true, "/": true, "/courses?page=2#top": true, "/a//b": true,
		"courses": false, "//evil.example": false, `/\evil.example`: false, `\\evil.example`: false, "https://evil.example/": false,
		"javascript:alert(1)": false, "/\tx": false, "/%zz": false, "/\n/evil.example": false,
	} {
		_, err := e.federation.StartSignIn(t.Context(), &identitypb.StartSignInRequest{Provider: "school", ReturnTo: path})
		if want && err != nil {
			t.Errorf("%q: %v", path, err)
		}
		if !want {
			wantCode(t, err, "request.invalid", "return_to")
		}
	}
}

// Whatever is accepted stays on the site, as a browser resolves it and as the
// edge sends it.
func FuzzLocalPath(f *testing.F) {
	for _, path := range []string{"/courses?page=2#top", "//evil.example", `/\evil.example`, "/..//evil.example", "/%2f%2fevil.example", "/a:b@c", "?x", "/./\t/x"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		local, err := localPath(path)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sign-in/a/callback", http.NoBody), local, http.StatusSeeOther)
		site := &url.URL{Scheme: "https", Host: "learn.example.org", Path: "/sign-in/a/callback"}
		for _, location := range []string{local, w.Header().Get("Location")} {
			// Browsers take "\" for "/" and drop tabs and line ends.
			location = strings.NewReplacer(`\`, "/", "\t", "", "\n", "", "\r", "").Replace(location)
			to, err := site.Parse(location)
			if err != nil || to.Host != site.Host || to.Scheme != site.Scheme || strings.HasPrefix(location, "//") {
				t.Errorf("%q is accepted and goes to %v: %v", path, to, err)
			}
		}
	})
}

func TestParseProviders(t *testing.T) {
	t.Parallel()
	with := func(fields string) string { return `[{"client_id":"a","client_secret":"b",` + fields + `}]` }
	for name, text := range map[string]string{
		"not JSON":      `x`,
		"unknown field": with(`"name":"a","issuer":"https://a.example","secret":"x"`),
		"no name":       with(`"issuer":"https://a.example"`),
		"bad name":      with(`"name":"A/b","issuer":"https://a.example"`),
		"no client":     `[{"name":"a","issuer":"https://a.example"}]`,
		"in the clear":  with(`"name":"a","issuer":"http://a.example"`),
		"no issuer":     with(`"name":"a"`),
		"bad kind":      with(`"name":"a","kind":"saml","issuer":"https://a.example"`),
		"no openid":     with(`"name":"a","issuer":"https://a.example","scopes":["email"]`),
		"base of oidc":  with(`"name":"a","issuer":"https://a.example","base_url":"https://a.example"`),
		"issuer of git": with(`"name":"a","kind":"github","issuer":"https://a.example"`),
		"base in clear": with(`"name":"a","kind":"github","base_url":"http://a.example"`),
		"twice": `[{"name":"a","issuer":"https://a.example","client_id":"a","client_secret":"b"},` +
			`{"name":"a","issuer":"https://b.example","client_id":"a","client_secret":"b"}]`,
		"too many": `[` + strings.TrimSuffix(strings.Repeat(`{},`, maxProviders+1), ",") + `]`,
	} {
		if _, err := ParseProviders([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	list, err := ParseProviders([]byte(with(`"name":"github","kind":"github"`)))
	if err != nil || len(list) != 1 || list[0].Issuer != "https://github.com" || !slices.Equal(list[0].Scopes, []string{"read:user", "user:email"}) {
		t.Errorf("%+v: %v", list, err)
	}
	if list, err := ParseProviders([]byte(" \n")); list != nil || err != nil {
		t.Errorf("%+v: %v", list, err)
	}
}
