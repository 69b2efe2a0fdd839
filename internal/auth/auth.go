// Package auth holds who calls (the [Principal]), how that travels between
// services, and the interceptor that holds every RPC to the rule declared in
// its contract. It has no policy: which permissions somebody has on a course is
// asked of a [Checker].
package auth

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
)

// Principal is who calls. The zero value is nobody.
type Principal struct {
	Account string    // the signed-in account, empty for nobody and for a service on its own
	Session string    // the session that authenticated the account
	Service string    // the service that made the call, such as "commerce" or "edge"
	Expires time.Time // until when a signed principal is believed
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
	ErrHidden          = fault.New(fault.NotFound, "not_found", "There is no such thing, or it is not for you to see.")
)
