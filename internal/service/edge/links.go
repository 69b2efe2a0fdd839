package edge

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// link is a page to which a link of a mail leads. What it is for is done when its
// button is pressed, because programs that read mail open links by themselves.
type link struct {
	title, done  string
	asksPassword bool
	follow       func(e *Edge, ctx context.Context, token, password string) error
}

// links are those pages by their paths.
var links = map[string]link{
	"/verify-email": {
		"Confirm your address", "The address is yours.", false,
		func(e *Edge, ctx context.Context, token, _ string) error {
			_, err := e.accounts.VerifyEmail(ctx, &identitypb.VerifyEmailRequest{Token: token})
			return err
		},
	},
	"/change-email": {
		"Take the new address", "Sign in with it from now on.", false,
		func(e *Edge, ctx context.Context, token, _ string) error {
			_, err := e.accounts.CompleteEmailChange(ctx, &identitypb.CompleteEmailChangeRequest{Token: token})
			return err
		},
	},
	"/reset-password": {
		"Set a new password", "Sign in with it. Wherever you were signed in you are not any more.", true,
		func(e *Edge, ctx context.Context, token, password string) error {
			_, err := e.accounts.CompletePasswordReset(ctx, &identitypb.CompletePasswordResetRequest{Token: token, Password: password})
			return err
		},
	},
	// Whoever is signed in here gets in.
	"/invitation": {
		"Accept the invitation", "The course is yours to take.", false,
		func(e *Edge, ctx context.Context, token, _ string) error {
			_, err := e.invitations.AcceptInvitation(ctx, &accesspb.AcceptInvitationRequest{Code: token})
			return err
		},
	},
}

// linkView is what the page shows.
type linkView struct {
	Title, Token, Done, Problem string
	AsksPassword                bool
}

func (e *Edge) linkPage(w http.ResponseWriter, r *http.Request) {
	l := links[r.URL.Path]
	e.show(w, r, "link.html", linkView{Title: l.title, Token: r.URL.Query().Get("token"), AsksPassword: l.asksPassword})
}

// followLink does what the button of the page says.
func (e *Edge) followLink(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil || !utf8.ValidString(r.PostForm.Get("token")+r.PostForm.Get("password")) {
		writeProblem(w, r, e.Log, fault.New(fault.Invalid, "request.bad_form", "The form can't be read."))
		return
	}
	l := links[r.URL.Path]
	view := linkView{Title: l.title, Token: r.PostForm.Get("token"), AsksPassword: l.asksPassword}
	err := l.follow(e, r.Context(), view.Token, r.PostForm.Get("password"))
	told, known := errors.AsType[*fault.Error](err)
	switch {
	case err == nil:
		view.Done = l.done
	case known && slices.Contains([]fault.Kind{fault.Invalid, fault.Unauthenticated, fault.Conflict, fault.Exhausted}, told.Kind):
		view.Problem = told.Message
		for _, f := range told.Fields {
			view.Problem += " " + f.Hint
		}
	default:
		writeProblem(w, r, e.Log, err)
		return
	}
	e.show(w, r, "link.html", view)
}
