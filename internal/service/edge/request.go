package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

const cookieName = "stoa_session"

var errCrossOrigin = fault.New(fault.Forbidden, "request.cross_origin", "A browser may change things from Stoa's own pages only.")

// givenID is a request id of a caller that may go into the log as it is.
var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// observe gives a request its id, its security headers and its line in the
// metrics, and keeps a panic from ending the process.
func (e *Edge) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rid := r.Header.Get("X-Request-Id")
		if !givenID.MatchString(rid) {
			rid = rand.Text()
		}
		ctx := telemetry.WithRequestID(r.Context(), rid)
		if tp := r.Header.Get("Traceparent"); tp != "" {
			ctx = telemetry.WithTraceparent(ctx, tp)
		}
		ctx, span := telemetry.StartSpan(ctx, r.Method+" "+r.URL.Path)
		r = r.WithContext(ctx)
		h := w.Header()
		h.Set("X-Request-Id", rid)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		rec := &recorder{ResponseWriter: w}
		defer func() {
			var err error
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint,err113 // the value itself is the signal
					panic(v)
				}
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
				if rec.status == 0 {
					writeProblem(rec, r, e.Log, err)
				}
			}
			span.End(err)
			telemetry.ObserveHTTP(r.Method, rec.status, time.Since(start))
			e.Log.DebugContext(ctx, "request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
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

// limit counts requests by address.
func (e *Edge) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, limit := address(r), e.Rate
		if signsIn(r) {
			key, limit = "sign-in:"+key, e.SignInRate
		}
		if limit.Every > 0 && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			wait, err := e.Limiter.Allow(r.Context(), key, limit)
			if err != nil {
				writeProblem(w, r, e.Log, err)
				return
			}
			if wait > 0 {
				writeProblem(w, r, e.Log, &fault.Error{
					Kind: fault.Exhausted, Code: "request.rate", Retry: wait,
					Message: "Too many requests from your address. Come back when Retry-After says.",
				})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func signsIn(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	switch r.URL.Path {
	case "/v1/sessions", "/v1/accounts",
		identitypb.IdentityService_CreateSession_FullMethodName, identitypb.IdentityService_CreateAccount_FullMethodName:
		return true
	default:
		return false
	}
}

// address is the network address of the caller; for IPv6 its /64, which is what
// one subscriber has.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.To4() != nil {
		return host
	}
	return ip.Mask(net.CIDRMask(64, 128)).String()
}

// authenticate finds out who calls. A bearer token that is not good is refused;
// a cookie that is not good is nobody, because a browser sends it everywhere.
func (e *Edge) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if header := r.Header.Get("Authorization"); header != "" {
			p, err := e.bearer(ctx, header)
			if err != nil {
				writeProblem(w, r, e.Log, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(auth.With(ctx, p)))
			return
		}
		if c, err := r.Cookie(cookieName); err == nil && c.Value != "" {
			p, err := e.principal(ctx, c.Value)
			switch {
			case err == nil:
				ctx = auth.With(ctx, p)
			case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.Invalid):
				http.SetCookie(w, e.sessionCookie("", time.Unix(0, 0)))
			default:
				writeProblem(w, r, e.Log, err)
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
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
	p := auth.Principal{Account: res.GetAccountId(), Session: res.GetSessionId()}
	e.tokens.Set(token, p)
	return p, nil
}

func (e *Edge) sessionCookie(value string, expires time.Time) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure where the platform is reached over TLS
		Name: cookieName, Value: value, Path: "/", Expires: expires,
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
