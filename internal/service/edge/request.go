package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// Names of the session's cookie. Where the platform is reached over TLS it has a
// prefix with which browsers take it from us alone; the plain one is read too,
// because it was set before.
const (
	cookieName       = "stoa_session"
	secureCookieName = "__Host-stoa_session"
)

var errCrossOrigin = fault.New(fault.Forbidden, "request.cross_origin", "A browser may change things from Stoa's own pages only.")

// givenID is a request id of a caller that may go into the log as it is.
var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// Headers that every answer has. The values are shared: nobody appends to them.
var secure = map[string][]string{
	"X-Content-Type-Options":  {"nosniff"},
	"Referrer-Policy":         {"same-origin"},
	"X-Frame-Options":         {"DENY"},
	"Content-Security-Policy": {"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"},
}

// hsts has browsers come over TLS alone for a year.
var hsts = []string{"max-age=31536000"}

// handle is what every request passes: it gets its id, its security headers and
// its line in the metrics, is counted against the limits of its address, and its
// caller is made known. A panic does not end the process.
func (e *Edge) handle(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rid := r.Header.Get("X-Request-Id")
	if !givenID.MatchString(rid) {
		rid = rand.Text()
	}
	ctx := telemetry.WithRequestID(r.Context(), rid)
	if tp := r.Header.Get("Traceparent"); tp != "" {
		ctx = telemetry.WithTraceparent(ctx, tp)
	}
	address := e.address(r)
	ctx = rpc.WithAddress(ctx, address)
	ctx, span := telemetry.StartSpan(ctx, "HTTP "+r.Method)
	h := w.Header()
	maps.Copy(h, secure)
	if e.SecureCookies {
		h["Strict-Transport-Security"] = hsts
	}
	h["X-Request-Id"] = []string{rid}
	rec := &recorder{ResponseWriter: w}
	var err error
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler { //nolint:errorlint,err113 // the value itself is the signal
				panic(v)
			}
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			if rec.status == 0 {
				writeProblem(rec, r.WithContext(ctx), e.Log, err)
			}
		}
		span.End(err)
		telemetry.ObserveHTTP(r.Method, rec.status, time.Since(start))
		e.Log.DebugContext(ctx, "request", "method", r.Method, "path", pathOf(r), "status", rec.status, "took", time.Since(start))
	}()
	if err = e.limit(ctx, r, address); err != nil {
		writeProblem(rec, r.WithContext(ctx), e.Log, err)
		return
	}
	if isGRPC(r) { // which brings its token as metadata
		e.grpc.ServeHTTP(rec, r.WithContext(ctx))
		return
	}
	p, err := e.authenticate(ctx, rec, r)
	if err == nil {
		err = wellFormed(r.URL)
	}
	if err == nil && e.crossOrigin.Check(r) != nil {
		err = errCrossOrigin
	}
	if err != nil {
		writeProblem(rec, r.WithContext(ctx), e.Log, err)
		return
	}
	if ctx, err = e.prove(ctx, rec, r); err != nil {
		writeProblem(rec, r.WithContext(ctx), e.Log, err)
		return
	}
	e.routes.ServeHTTP(rec, r.WithContext(auth.With(ctx, p)))
}

// pathOf returns the path of a request for the log. That of a calendar is a secret.
func pathOf(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, calendarPath) {
		return calendarPath + "…"
	}
	return r.URL.Path
}

// wellFormed refuses an address that is no text: no message can carry it.
func wellFormed(u *url.URL) error {
	bad := !utf8.ValidString(u.Path)
	if u.RawQuery != "" && !bad {
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return fault.New(fault.Invalid, "request.path", "The parameters are not well formed.")
		}
		for name, values := range query {
			bad = bad || !utf8.ValidString(name) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) })
		}
	}
	if bad {
		return fault.New(fault.Invalid, "request.bad_text", "The address holds text that is not valid UTF-8.")
	}
	return nil
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the writer below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements [http.Flusher], which gRPC asks for.
func (r *recorder) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// limit counts a request against what its address may make.
func (e *Edge) limit(ctx context.Context, r *http.Request, address string) error {
	key, limit := address, e.Rate
	if signsIn(r) {
		key, limit = "sign-in:"+key, e.SignInRate
	}
	if limit.Every == 0 || r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return nil
	}
	wait, err := e.Limiter.Allow(ctx, key, limit)
	if err != nil || wait == 0 {
		return err
	}
	return &fault.Error{
		Kind: fault.Exhausted, Code: "request.rate", Retry: wait,
		Message: "Too many requests from your address. Come back when Retry-After says.",
	}
}

func signsIn(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return strings.HasPrefix(r.URL.Path, flowPath+"/")
	}
	switch r.URL.Path {
	case "/v1/sessions", "/v1/accounts",
		"/v1/sessions/complete", "/v1/sessions/passkey", "/v1/sessions/passkey/complete", challengePath,
		identitypb.FactorService_CompleteSession_FullMethodName, identitypb.FactorService_BeginPasskeySignIn_FullMethodName,
		identitypb.FactorService_CreatePasskeySession_FullMethodName,
		"/v1/password-resets", "/v1/password-resets/complete",
		"/v1/email-verifications", "/v1/email-changes/complete", "/verify-email", "/reset-password", "/change-email",
		identitypb.AccountService_RequestPasswordReset_FullMethodName, identitypb.AccountService_CompletePasswordReset_FullMethodName,
		identitypb.AccountService_VerifyEmail_FullMethodName, identitypb.AccountService_CompleteEmailChange_FullMethodName,
		identitypb.IdentityService_CreateSession_FullMethodName, identitypb.IdentityService_CreateAccount_FullMethodName:
		return true
	default:
		return false
	}
}

// address is the network address of the caller, as the nearest proxy that is
// not ours saw it; for IPv6 its /64, which is what one subscriber has.
func (e *Edge) address(r *http.Request) string {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := remote.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && e.trusts(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap()
	}
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().Addr().String()
}

func (e *Edge) trusts(ip netip.Addr) bool {
	return slices.ContainsFunc(e.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// authenticate finds out who calls. A bearer token that is not good is refused;
// a cookie that is not good is nobody, because a browser sends it everywhere.
func (e *Edge) authenticate(ctx context.Context, w http.ResponseWriter, r *http.Request) (auth.Principal, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		return e.bearer(ctx, header)
	}
	c, err := r.Cookie(secureCookieName)
	if err != nil || !e.SecureCookies {
		c, err = r.Cookie(cookieName)
	}
	if err != nil || c.Value == "" {
		return auth.Principal{}, nil //nolint:nilerr // no cookie is nobody
	}
	p, err := e.principal(ctx, c.Value)
	if fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Invalid) {
		http.SetCookie(w, e.sessionCookie("", time.Unix(0, 0)))
		return auth.Principal{}, nil
	}
	return p, err
}

func (e *Edge) bearer(ctx context.Context, header string) (auth.Principal, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return auth.Principal{}, auth.ErrBadToken
	}
	p, err := e.principal(ctx, strings.TrimSpace(token))
	if fault.Is(err, fault.Invalid) { // such as a token that is too long
		err = auth.ErrBadToken
	}
	return p, err
}

func (e *Edge) principal(ctx context.Context, token string) (auth.Principal, error) {
	if p, ok := e.tokens.GetIfPresent(token); ok {
		return p, nil
	}
	res, err := e.identity.Authenticate(ctx, &identitypb.AuthenticateRequest{Token: token})
	if err != nil {
		return auth.Principal{}, err
	}
	p := auth.Principal{
		Account: res.GetAccountId(), Session: res.GetSessionId(),
		Token: res.GetTokenId(), Scopes: strings.Join(res.GetScopes(), " "),
	}
	if at := res.GetConfirmedAt(); at.IsValid() {
		p.Confirmed = at.GetSeconds()
	}
	e.tokens.Set(token, p)
	return p, nil
}

func (e *Edge) sessionCookie(value string, expires time.Time) *http.Cookie {
	name := cookieName
	if e.SecureCookies {
		name = secureCookieName
	}
	return &http.Cookie{ //nolint:gosec // Secure where the platform is reached over TLS
		Name: name, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, Secure: e.SecureCookies, SameSite: http.SameSiteLaxMode,
	}
}

func (e *Edge) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}`))
}

// readyz says whether requests should be sent here.
func (e *Edge) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := e.Ready(ctx); err != nil {
		e.Log.WarnContext(ctx, "not ready", "error", err.Error())
		if !errors.As(err, new(*fault.Error)) {
			err = fault.New(fault.Unavailable, "not_ready", "Not ready yet.")
		}
		writeProblem(w, r, e.Log, err)
		return
	}
	e.healthz(w, r)
}
