package edge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// resets answers one call, for one token.
type resets struct {
	identitypb.AccountServiceClient
	err error
	got *identitypb.CompletePasswordResetRequest
}

func (r *resets) CompletePasswordReset(_ context.Context, req *identitypb.CompletePasswordResetRequest, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	r.got = req
	return &emptypb.Empty{}, r.err
}

// accepts answers one call, for one code.
type accepts struct {
	accesspb.InvitationServiceClient
	err error
	got string
}

func (a *accepts) AcceptInvitation(_ context.Context, req *accesspb.AcceptInvitationRequest, _ ...grpc.CallOption) (*accesspb.Entitlement, error) {
	a.got = req.GetCode()
	return &accesspb.Entitlement{}, a.err
}

// Who is not signed in is told so on the page, and keeps the code.
func TestInvitationPage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"signed in": {nil, "<strong>Done.</strong>"},
		"nobody":    {auth.ErrUnauthenticated, auth.ErrUnauthenticated.Message},
		"guessing":  {fault.New(fault.Exhausted, "invitation.rate", "Too many."), "Too many."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &accepts{err: c.err}
			e := &Edge{Config: Config{Log: rpctest.Log(t), Timeout: time.Second}, invitations: fake}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/invitation?token=AAAA-BBBB", strings.NewReader("token=AAAA-BBBB"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			e.followLink(w, r)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.says) || fake.got != "AAAA-BBBB" {
				t.Errorf("%d %q %s", w.Code, fake.got, w.Body)
			}
			if c.err != nil && !strings.Contains(w.Body.String(), `value="AAAA-BBBB"`) {
				t.Error("the code is lost")
			}
		})
	}
}

func TestLinkPage(t *testing.T) {
	t.Parallel()
	const path = "/reset-password?token=%22%3E%3Cscript%3E"
	away := fault.New(fault.Unavailable, "x", "away")
	for name, c := range map[string]struct {
		method string
		err    error
		status int
		says   string
		called bool
	}{
		"opening does nothing": {"GET", nil, 200, "New password", false},
		"the button does it":   {"POST", nil, 200, "<strong>Done.</strong>", true},
		"what is wrong is said": {
			"POST", fault.New(fault.Invalid, "account.link_invalid", "The link is expired."), 200, "The link is expired.", true,
		},
		"what fails is no page": {"POST", away, 503, "away", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &resets{err: c.err}
			e := &Edge{Config: Config{Log: rpctest.Log(t), Timeout: time.Second}, accounts: fake}
			body := strings.NewReader(url.Values{"token": {`"><script>`}, "password": {"a new good password"}}.Encode())
			r := httptest.NewRequestWithContext(t.Context(), c.method, path, body)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			if c.method == http.MethodGet {
				e.linkPage(w, r)
			} else {
				e.followLink(w, r)
			}
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "<script>") {
				t.Error("what is in the address gets into the page as it is")
			}
			if called := fake.got != nil; called != c.called {
				t.Errorf("called: %v", called)
			} else if called && (fake.got.GetToken() != `"><script>` || fake.got.GetPassword() != "a new good password") {
				t.Errorf("called with %v", fake.got)
			}
		})
	}
}
