// Package auth holds who calls (the [Principal]), how that travels between
// services, and the interceptor that holds every RPC to the rule declared in
// its contract. It has no policy: which permissions somebody has on a course is
// asked of a [Checker].
package auth

import (
	"context"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
)

// Principal is who calls. The zero value is nobody.
type Principal struct {
	Account   string    // the account, empty for nobody and for a service on its own
	Session   string    // the session that authenticated the account, empty for a token
	Token     string    // the access token that authenticated the account, empty for a session
	Scopes    string    // the permissions that the token is limited to, sorted, with spaces between
	Confirmed int64     // when the account last confirmed who it is, by a second factor where it has one, in Unix seconds
	Service   string    // the service that made the call, such as "commerce" or "edge"
	Expires   time.Time // until when a signed principal is believed
}

// ConfirmedFor is how long a confirmation of who one is counts for the calls
// that demand one.
const ConfirmedFor = 10 * time.Minute

// limited reports whether the principal is a token that may not use the
// permission, though the account holds it.
func (p Principal) limited(permission string) bool {
	if p.Token == "" {
		return false
	}
	for scope := range strings.SplitSeq(p.Scopes, " ") {
		if scope == permission {
			return false
		}
	}
	return true
}

// MayUse reports whether the principal may use the permission where its account
// holds it: not a token that lacks it among its scopes.
func (p Principal) MayUse(permission string) bool { return !p.limited(permission) }

// confirmed reports whether the account has confirmed lately who it is. What a
// token may do was confirmed when it was made.
func (p Principal) confirmed(now time.Time) bool {
	return p.Token != "" || now.Sub(time.Unix(p.Confirmed, 0)) <= ConfirmedFor
}

type principalKey struct{}

// With returns a context in which p calls.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns who calls, nobody when it was never said.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Errors told by the interceptor.
var (
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "auth.required", "Sign in to do this.")
	ErrBadToken        = fault.New(fault.Unauthenticated, "auth.token_invalid", "The token is expired, revoked or not one of ours. Sign in again.")
	ErrForbidden       = fault.New(fault.Forbidden, "auth.forbidden", "You may not do this.")
	ErrScope           = fault.New(fault.Forbidden, "auth.scope_missing", "The access token was not given the scope that this needs.")
	ErrSessionOnly     = fault.New(fault.Forbidden, "auth.session_required", "An access token can't do this. Sign in instead.")
	ErrStepUp          = fault.New(fault.Forbidden, "auth.step_up_required", "Confirm first that it is you, with a second factor or your password: POST /v1/me/confirm. Then repeat the call.")
	ErrHidden          = fault.New(fault.NotFound, "not_found", "There is no such thing, or it is not for you to see.")
)
