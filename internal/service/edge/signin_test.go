package edge

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// accountsConn stands for identity: it notes what it is asked and answers as it
// is told to.
type accountsConn struct {
	asked  proto.Message
	answer proto.Message
	err    error
}

func (c *accountsConn) Invoke(_ context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	if strings.HasSuffix(method, "/Authenticate") {
		return auth.ErrBadToken
	}
	c.asked, _ = args.(proto.Message)
	if c.err != nil {
		return c.err
	}
	if to, ok := reply.(proto.Message); ok {
		proto.Merge(to, c.answer)
	}
	return nil
}

func (c *accountsConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no streams")
}

func newSignInEdge(t *testing.T) (*Edge, *accountsConn) {
	t.Helper()
	conn := &accountsConn{}
	conns := map[string]grpc.ClientConnInterface{}
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "assessment", "grades", "commerce", "discovery", "audit", "notify"} {
		conns[name] = conn
	}
	e, err := New(Config{Log: slog.New(slog.DiscardHandler), Conns: conns, Timeout: time.Minute, SecureCookies: true})
	if err != nil {
		t.Fatal(err)
	}
	return e, conn
}

// reply is what a browser gets.
type reply struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    []byte
}

// browse sends what a browser sends, with cookies as name=value.
func browse(t *testing.T, e *Edge, method, target, body string, cookies ...string) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	switch {
	case strings.HasPrefix(body, "{"):
		r.Header.Set("Content-Type", "application/json")
	case body != "":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	return reply{res.StatusCode, res.Header, res.Cookies(), w.Body.Bytes()}
}

// wantCookie fails the test unless the answer sets the cookie, for nobody but us.
func wantCookie(t *testing.T, res reply, name, value, path string) {
	t.Helper()
	i := slices.IndexFunc(res.cookies, func(c *http.Cookie) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no cookie %s: %d %v", name, res.status, res.header)
	}
	c := res.cookies[i]
	if c.Value != value || c.Path != path || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
		t.Errorf("cookie %s", c)
	}
}

func wantRedirect(t *testing.T, res reply, to string) {
	t.Helper()
	if res.status != http.StatusSeeOther || res.header.Get("Location") != to || res.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d to %q, kept as %q; want %q", res.status, res.header.Get("Location"), res.header.Get("Cache-Control"), to)
	}
}

func wantAsked(t *testing.T, conn *accountsConn, want proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, conn.asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestSignInPages(t *testing.T) {
	t.Parallel()
	e, conn := newSignInEdge(t)
	soon := timestamppb.New(time.Now().Add(time.Minute))
	conn.answer = &identitypb.SignInFlow{Url: "https://school.example/authorize?state=s", Browser: "kept", ExpiresAt: soon}
	res := browse(t, e, "GET", "/sign-in/school?return_to=/courses", "")
	wantAsked(t, conn, &identitypb.StartSignInRequest{Provider: "school", ReturnTo: "/courses"})
	wantRedirect(t, res, "https://school.example/authorize?state=s")
	wantCookie(t, res, "stoa_sign_in", "kept", "/sign-in")

	conn.answer = &identitypb.FinishSignInResponse{ReturnTo: "/courses", Session: &identitypb.Session{Token: "stoa_s_x", ExpiresAt: soon}}
	res = browse(t, e, "GET", "/sign-in/school/callback?state=s&code=c&iss=i&session_state=ignored", "", "stoa_sign_in=kept")
	wantAsked(t, conn, &identitypb.FinishSignInRequest{Provider: "school", State: "s", Code: "c", Issuer: "i", Browser: "kept"})
	wantRedirect(t, res, "/courses")
	wantCookie(t, res, "__Host-stoa_session", "stoa_s_x", "/")
	wantCookie(t, res, "stoa_sign_in", "", "/sign-in")

	conn.answer = &identitypb.FinishSignInResponse{ReturnTo: "/settings"} // linked
	res = browse(t, e, "GET", "/sign-in/school/callback?state=s&code=c", "", "stoa_sign_in=kept")
	wantRedirect(t, res, "/settings")
	if slices.ContainsFunc(res.cookies, func(c *http.Cookie) bool { return c.Name == cookieName }) {
		t.Errorf("linking sets a session: %v", res.cookies)
	}

	conn.err = fault.New(fault.Conflict, "federation.link_required", "Sign in first.")
	res = browse(t, e, "GET", "/sign-in/school/callback?state=s&code=c", "")
	var told problem
	if err := json.Unmarshal(res.body, &told); err != nil || res.status != http.StatusConflict || told.Code != "federation.link_required" {
		t.Errorf("%d: %+v, %v", res.status, told, err)
	}
}

func TestSecondFactorPage(t *testing.T) {
	t.Parallel()
	e, conn := newSignInEdge(t)
	soon := timestamppb.New(time.Now().Add(time.Minute))
	conn.answer = &identitypb.FinishSignInResponse{ReturnTo: "/a?b=c", Session: &identitypb.Session{
		Challenge: &identitypb.SignInChallenge{Token: "waits", ExpiresAt: soon},
	}}
	res := browse(t, e, "GET", "/sign-in/school/callback?state=s&code=c", "", "stoa_sign_in=kept")
	wantRedirect(t, res, "/second-factor?return_to=%2Fa%3Fb%3Dc")
	wantCookie(t, res, "stoa_challenge", "waits", "/second-factor")
	if res = browse(t, e, "GET", "/second-factor?return_to=/a", ""); res.status != http.StatusOK {
		t.Errorf("the page: %d", res.status)
	}

	conn.err = fault.New(fault.Unauthenticated, "factor.code_wrong", "Wrong.")
	if res = browse(t, e, "POST", "/second-factor", "code=123456", "stoa_challenge=waits"); res.status != http.StatusOK || len(res.cookies) > 0 {
		t.Errorf("a wrong code: %d %v", res.status, res.cookies)
	}
	wantAsked(t, conn, &identitypb.CompleteSessionRequest{ChallengeToken: "waits", Proof: &identitypb.CompleteSessionRequest_Code{Code: "123456"}})
	conn.err = fault.New(fault.Unauthenticated, "challenge.over", "Over.")
	if res = browse(t, e, "POST", "/second-factor", "code=123456", "stoa_challenge=waits"); res.status != http.StatusUnauthorized {
		t.Errorf("too late: %d", res.status)
	}

	conn.err, conn.answer = nil, &identitypb.Session{Token: "stoa_s_x", ExpiresAt: soon}
	for given, want := range map[string]string{
		"/a?b=c": "/a?b=c", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "/\t/evil.example": "/",
	} {
		res = browse(t, e, "POST", "/second-factor?return_to="+url.QueryEscape(given), "code=ABCDE-FGHIJ-KLMNO-PQRST", "stoa_challenge=waits")
		wantRedirect(t, res, want)
		wantCookie(t, res, "__Host-stoa_session", "stoa_s_x", "/")
		wantCookie(t, res, "stoa_challenge", "", "/second-factor")
	}
	wantAsked(t, conn, &identitypb.CompleteSessionRequest{
		ChallengeToken: "waits", Proof: &identitypb.CompleteSessionRequest_RecoveryCode{RecoveryCode: "ABCDE-FGHIJ-KLMNO-PQRST"},
	})
}

func TestCookiesOfAnswers(t *testing.T) {
	t.Parallel()
	e, conn := newSignInEdge(t)
	soon := timestamppb.New(time.Now().Add(time.Minute))
	conn.answer = &identitypb.Session{Token: "stoa_s_x", ExpiresAt: soon}
	for path, want := range map[string]int{
		"/v1/me/confirm":        http.StatusOK,
		"/v1/sessions/complete": http.StatusOK,
		"/v1/sessions":          http.StatusCreated,
	} {
		res := browse(t, e, "POST", path, `{}`)
		if res.status != want {
			t.Errorf("%s: %d", path, res.status)
		}
		wantCookie(t, res, "__Host-stoa_session", "stoa_s_x", "/")
	}
	// A challenge is no session.
	conn.answer = &identitypb.Session{Challenge: &identitypb.SignInChallenge{Token: "waits", ExpiresAt: soon}}
	if res := browse(t, e, "POST", "/v1/sessions", `{}`); res.status != http.StatusCreated || len(res.cookies) > 0 {
		t.Errorf("%d %v", res.status, res.cookies)
	}
	// What binds a flow to the browser is in its cookie alone.
	conn.answer = &identitypb.SignInFlow{Url: "https://school.example/", Browser: "kept", ExpiresAt: soon}
	res := browse(t, e, "POST", "/v1/me/identities/school/link", `{}`)
	wantCookie(t, res, "stoa_sign_in", "kept", "/sign-in")
	var told map[string]any
	if err := json.Unmarshal(res.body, &told); err != nil || told["browser"] != "" || told["url"] != "https://school.example/" {
		t.Errorf("told %v: %v", told, err)
	}
}
