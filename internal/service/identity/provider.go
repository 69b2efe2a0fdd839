package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Provider is somebody else who may say who people are.
type Provider struct {
	Name         string   `json:"name"`               // in addresses; it may be given to another later
	Kind         string   `json:"kind"`               // "oidc", also when empty, or "github"
	Issuer       string   `json:"issuer"`             // of kind oidc, such as "https://accounts.google.com"
	ClientID     string   `json:"client_id"`          // as registered there
	ClientSecret string   `json:"client_secret"`      // as registered there
	Scopes       []string `json:"scopes,omitempty"`   // openid, profile and email when empty
	BaseURL      string   `json:"base_url,omitempty"` // of kind github: of an own GitHub server
}

const (
	oidcKind   = "oidc"
	githubKind = "github"

	maxProviders = 20
)

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// ParseProviders reads providers from JSON; no text is none.
func ParseProviders(text []byte) ([]Provider, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var list []Provider
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("not a JSON list of providers: %w", err)
	}
	if len(list) > maxProviders {
		return nil, fmt.Errorf("%d providers are more than %d", len(list), maxProviders)
	}
	seen := map[string]bool{}
	for i := range list {
		p := &list[i]
		if err := p.complete(); err != nil {
			return nil, fmt.Errorf("provider %q: %w", p.Name, err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("provider %q comes twice", p.Name)
		}
		seen[p.Name] = true
	}
	slices.SortFunc(list, func(a, b Provider) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// complete fills in what is left out, and says what is missing.
func (p *Provider) complete() error {
	if !providerName.MatchString(p.Name) {
		return errors.New("a name has up to 40 lower-case letters, digits and hyphens")
	}
	if p.ClientID == "" || p.ClientSecret == "" {
		return errors.New("client_id and client_secret are needed")
	}
	switch p.Kind {
	case "", oidcKind:
		p.Kind = oidcKind
		if p.BaseURL != "" {
			return errors.New("base_url is for the kind github")
		}
		if len(p.Scopes) == 0 {
			p.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
		}
		if !slices.Contains(p.Scopes, oidc.ScopeOpenID) {
			return errors.New(`the scopes need "openid"`)
		}
		return secureURL("issuer", p.Issuer)
	case githubKind:
		if p.Issuer != "" {
			return errors.New("issuer is for the kind oidc")
		}
		if len(p.Scopes) == 0 {
			p.Scopes = []string{"read:user", "user:email"}
		}
		if p.BaseURL == "" {
			p.Issuer = "https://github.com"
			return nil
		}
		p.BaseURL = strings.TrimRight(p.BaseURL, "/")
		p.Issuer = p.BaseURL
		return secureURL("base_url", p.BaseURL)
	default:
		return fmt.Errorf("kind %q is neither oidc nor github", p.Kind)
	}
}

// secureURL refuses what goes over a network in the clear.
func secureURL(field, text string) error {
	u, err := url.Parse(text)
	if err == nil && u.Host != "" {
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
			return nil
		}
	}
	return fmt.Errorf("%s has to be an address that begins with https://", field)
}

const (
	providerTimeout = 5 * time.Second // of one call; a sign-in takes up to four
	maxProviderBody = 1 << 20
)

// boundedTransport ends answers that are too long.
type boundedTransport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxProviderBody), res.Body}
	}
	return res, err
}

// providers are those that are configured, by name.
type providers []*provider

// provider asks one provider.
type provider struct {
	Provider
	client *http.Client
	now    func() time.Time
	oauth  oauth2.Config // its endpoint only of kind github
	api    string        // of kind github

	mu      sync.Mutex
	known   *oidc.Provider // of kind oidc, once it has answered
	knownAt time.Time
}

func newProviders(cfg Config) providers {
	client := &http.Client{
		Timeout: providerTimeout,
		// Nothing that a provider is asked is elsewhere, and secrets go nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	next := http.DefaultTransport
	if cfg.HTTP != nil && cfg.HTTP.Transport != nil {
		next = cfg.HTTP.Transport
	}
	client.Transport = boundedTransport{next}
	out := make(providers, len(cfg.Providers))
	for i, p := range cfg.Providers {
		out[i] = &provider{Provider: p, client: client, now: cfg.Now, oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Scopes: p.Scopes,
			RedirectURL: strings.TrimRight(cfg.PublicURL, "/") + "/sign-in/" + p.Name + "/callback",
		}}
		if p.Kind == githubKind {
			base, api := p.BaseURL, p.BaseURL+"/api/v3"
			if base == "" {
				base, api = "https://github.com", "https://api.github.com"
			}
			out[i].api = api
			out[i].oauth.Endpoint = oauth2.Endpoint{
				AuthURL: base + "/login/oauth/authorize", TokenURL: base + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
			}
		}
	}
	return out
}

func (ps providers) named(name string) (*provider, error) {
	for _, p := range ps {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, ErrProviderUnknown
}

// issuers returns whose identities open an account today.
func (ps providers) issuers() []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Issuer
	}
	return out
}

// person is whom a provider speaks of.
type person struct {
	Issuer, Subject string
	Email           string // only where the provider has verified it
	Name, Locale    string
}

// asking returns a context in which the libraries ask with our client.
func (p *provider) asking(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// discoverEvery is how long what a provider says of itself is believed. Its keys
// are asked for apart, when a token names one that is not known.
const discoverEvery = 24 * time.Hour

// discover returns what an OpenID Connect provider says of itself, which must
// name the configured issuer. What it said before holds while it does not answer.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	known, fresh := p.known, p.now().Sub(p.knownAt) < discoverEvery
	p.mu.Unlock()
	if known != nil && fresh {
		return known, nil
	}
	said, err := oidc.NewProvider(p.asking(ctx), p.Issuer)
	switch {
	case err == nil:
		known = said
	case known == nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.knownAt = known, p.now()
	return known, nil
}

// config returns how the provider is asked.
func (p *provider) config(ctx context.Context) (oauth2.Config, *oidc.Provider, error) {
	if p.Kind == githubKind {
		return p.oauth, nil, nil
	}
	known, err := p.discover(ctx)
	if err != nil {
		return oauth2.Config{}, nil, err
	}
	cfg := p.oauth
	cfg.Endpoint = known.Endpoint()
	// Said outright, because finding out would take the code to the provider twice.
	var says struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := known.Claims(&says); err != nil {
		return oauth2.Config{}, nil, fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
	}
	cfg.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if len(says.Methods) > 0 && !slices.Contains(says.Methods, "client_secret_basic") {
		cfg.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return cfg, known, nil
}

// begin returns where a browser goes to sign in at the provider.
func (p *provider) begin(ctx context.Context, state, nonce, verifier string) (string, error) {
	cfg, known, err := p.config(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	if known != nil {
		options = append(options, oidc.Nonce(nonce))
	}
	return cfg.AuthCodeURL(state, options...), nil
}

// finish takes the code that a browser came back with to the provider, and
// returns who the provider says it is.
func (p *provider) finish(ctx context.Context, code, nonce, verifier string) (person, error) {
	cfg, known, err := p.config(ctx)
	if err != nil {
		return person{}, err
	}
	token, err := cfg.Exchange(p.asking(ctx), code, oauth2.VerifierOption(verifier))
	if err != nil {
		if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response.StatusCode < 500 {
			// The text of the error may hold what the provider answered.
			return person{}, fmt.Errorf("%w: %s: %s", ErrFederationRefused, p.Name, answer.ErrorCode)
		}
		return person{}, fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
	}
	if known == nil {
		return p.askGitHub(ctx, token)
	}
	return p.read(ctx, known, token, nonce)
}

// claims are what we read of an ID token and of the user's information.
type claims struct {
	AuthorizedParty string `json:"azp"`
	Email           string `json:"email"`
	EmailVerified   yes    `json:"email_verified"`
	Name            string `json:"name"`
	Locale          any    `json:"locale"`
}

// yes is a truth that some providers send as text.
type yes bool

// UnmarshalJSON implements [json.Unmarshaler]. What is neither is no.
func (y *yes) UnmarshalJSON(text []byte) error {
	*y = string(text) == `true` || string(text) == `"true"`
	return nil
}

// read checks an ID token: its signature by today's keys, issuer, audience,
// expiry and nonce. The library takes no token that is not signed.
func (p *provider) read(ctx context.Context, known *oidc.Provider, token *oauth2.Token, nonce string) (person, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return person{}, fmt.Errorf("%w: %s: no ID token", ErrFederationRefused, p.Name)
	}
	checked, err := known.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(p.asking(ctx), raw)
	if err != nil {
		return person{}, fmt.Errorf("%w: %s: %w", ErrFederationRefused, p.Name, err)
	}
	if checked.Nonce != nonce || checked.Subject == "" {
		return person{}, fmt.Errorf("%w: %s: not the nonce that was sent, or no subject", ErrFederationRefused, p.Name)
	}
	var c claims
	if err := checked.Claims(&c); err != nil {
		return person{}, fmt.Errorf("%w: %s: %w", ErrFederationRefused, p.Name, err)
	}
	if c.AuthorizedParty != "" && c.AuthorizedParty != p.ClientID || c.AuthorizedParty == "" && len(checked.Audience) > 1 {
		return person{}, fmt.Errorf("%w: %s: the ID token was made for another", ErrFederationRefused, p.Name)
	}
	if c.Email == "" && known.UserInfoEndpoint() != "" {
		info, err := known.UserInfo(p.asking(ctx), oauth2.StaticTokenSource(token))
		if err != nil {
			return person{}, fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
		}
		if info.Subject != checked.Subject {
			return person{}, fmt.Errorf("%w: %s: information of another subject", ErrFederationRefused, p.Name)
		}
		if err := info.Claims(&c); err != nil {
			return person{}, fmt.Errorf("%w: %s: %w", ErrFederationRefused, p.Name, err)
		}
	}
	out := person{Issuer: checked.Issuer, Subject: checked.Subject, Name: c.Name}
	if c.EmailVerified {
		out.Email = c.Email
	}
	out.Locale, _ = c.Locale.(string)
	return out, nil
}
