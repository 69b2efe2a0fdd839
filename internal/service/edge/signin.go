package edge

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// The cookies of a sign-in that is not finished. Each is seen only where it is
// needed.
const (
	flowCookie      = "stoa_sign_in"
	flowPath        = "/sign-in"
	challengeCookie = "stoa_challenge"
	challengePath   = "/second-factor"
)

// startSignIn sends a browser to a provider. What it is sent with is bound to it
// by a cookie.
func (e *Edge) startSignIn(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	f, err := e.federation.StartSignIn(ctx, &identitypb.StartSignInRequest{
		Provider: r.PathValue("provider"), ReturnTo: r.URL.Query().Get("return_to"),
	})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.bindFlow(w, f)
	goTo(w, r, f.GetUrl())
}

// bindFlow has the browser keep what shows that a flow began in it.
func (e *Edge) bindFlow(w http.ResponseWriter, f *identitypb.SignInFlow) {
	http.SetCookie(w, e.pending(flowCookie, flowPath, f.GetBrowser(), f.GetExpiresAt().AsTime()))
	f.Browser = ""
}

// finishSignIn takes a browser that comes back from a provider.
func (e *Edge) finishSignIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := &identitypb.FinishSignInRequest{Provider: r.PathValue("provider"), State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss")}
	if c, err := r.Cookie(flowCookie); err == nil && utf8.ValidString(c.Value) {
		req.Browser = c.Value
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	res, err := e.federation.FinishSignIn(ctx, req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	http.SetCookie(w, e.pending(flowCookie, flowPath, "", time.Unix(0, 0)))
	s := res.GetSession()
	if c := s.GetChallenge(); c != nil {
		http.SetCookie(w, e.pending(challengeCookie, challengePath, c.GetToken(), c.GetExpiresAt().AsTime()))
		goTo(w, r, challengePath+"?return_to="+url.QueryEscape(res.GetReturnTo()))
		return
	}
	if s.GetToken() != "" {
		http.SetCookie(w, e.sessionCookie(s.GetToken(), s.GetExpiresAt().AsTime()))
	}
	goTo(w, r, res.GetReturnTo())
}

// secondFactor asks for the code that a sign-in through a provider waits for.
func (e *Edge) secondFactor(w http.ResponseWriter, r *http.Request) {
	e.show(w, r, "second-factor.html", "")
}

// complete does what the form of that page says.
func (e *Edge) complete(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil || !utf8.ValidString(r.PostForm.Get("code")) {
		writeProblem(w, r, e.Log, fault.New(fault.Invalid, "request.bad_form", "The form can't be read."))
		return
	}
	req := &identitypb.CompleteSessionRequest{}
	if c, err := r.Cookie(challengeCookie); err == nil && utf8.ValidString(c.Value) {
		req.ChallengeToken = c.Value
	}
	if code := strings.TrimSpace(r.PostForm.Get("code")); len(code) == 6 {
		req.Proof = &identitypb.CompleteSessionRequest_Code{Code: code}
	} else {
		req.Proof = &identitypb.CompleteSessionRequest_RecoveryCode{RecoveryCode: code}
	}
	s, err := e.factors.CompleteSession(r.Context(), req)
	if fault.CodeOf(err) == "factor.code_wrong" || fault.Is(err, fault.Invalid) && req.GetChallengeToken() != "" {
		e.show(w, r, "second-factor.html", "The code is wrong, or was used already. Take the next one.")
		return
	}
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	http.SetCookie(w, e.pending(challengeCookie, challengePath, "", time.Unix(0, 0)))
	http.SetCookie(w, e.sessionCookie(s.GetToken(), s.GetExpiresAt().AsTime()))
	returnTo := r.URL.Query().Get("return_to")
	if !strings.HasPrefix(returnTo, "/") || strings.HasPrefix(returnTo, "//") || strings.ContainsAny(returnTo, "\\\t\r\n") {
		returnTo = "/" // nobody is sent elsewhere by a link that somebody made
	}
	goTo(w, r, returnTo)
}

// goTo sends a browser on. The address says nothing of where it came from, and
// is not kept.
func goTo(w http.ResponseWriter, r *http.Request, address string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, address, http.StatusSeeOther) //nolint:gosec // a path of ours, or the address of a configured provider
}

// pending is a cookie for the time of a sign-in. A browser sends it when it comes
// back from a provider by a link, and with no request of another site else.
func (e *Edge) pending(name, path, value string, expires time.Time) *http.Cookie {
	c := e.sessionCookie(value, expires) //nolint:gosec // Secure where the platform is reached over TLS
	c.Name, c.Path = name, path
	return c
}
