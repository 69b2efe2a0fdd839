package auth

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

// View is the permission to know that a course exists. Who lacks it is told
// that there is no such course, whatever they asked for.
const View = "course.view"

// Question is whether an account has a permission somewhere. An empty course
// asks about the platform, an empty account for everybody.
type Question struct {
	Account    string
	Course     string
	Item       string // of the course; a permission held on it alone counts too
	Permission string
}

// Checker answers whether an account has a permission. What it answers is at
// most a second old (A7); a "no" is not older than since, so that what was given
// before a call works in it.
type Checker interface {
	Allowed(ctx context.Context, q Question, since time.Time) (bool, error)
}

// Guard holds RPCs to their rules.
type Guard struct {
	keys    *Keys
	checker Checker
}

// NewGuard returns a guard that believes principals signed with keys and asks
// checker about permissions.
func NewGuard(keys *Keys, checker Checker) *Guard {
	return &Guard{keys: keys, checker: checker}
}

// Authenticate returns ctx with the principal that token names; nobody for an
// empty token.
func (g *Guard) Authenticate(ctx context.Context, token string) (context.Context, error) {
	if token == "" {
		return With(ctx, Principal{}), nil
	}
	p, err := g.keys.Verify(token)
	if err != nil {
		return nil, err
	}
	return With(ctx, p), nil
}

// decision is the answer to a deferred rule, kept in the context.
type decision struct {
	err   error
	asked atomic.Bool
}

type decisionKey struct{}

// Require returns the error that the interceptor would have answered for an RPC
// whose rule is deferred, nil when the caller holds the permission. A handler
// that shows something to those without it does not have to ask for that, but
// says so with [Waive].
func Require(ctx context.Context) error {
	d, ok := ctx.Value(decisionKey{}).(*decision)
	if !ok {
		return ErrForbidden
	}
	d.asked.Store(true)
	return d.err
}

// Waive says that what the handler returns is open to everybody, whatever the
// deferred rule decided.
func Waive(ctx context.Context) {
	if d, ok := ctx.Value(decisionKey{}).(*decision); ok {
		d.asked.Store(true)
	}
}

// Call runs handler if the caller in ctx may make this call, and returns what
// they are told otherwise.
func (g *Guard) Call(ctx context.Context, method string, req any, handler func(context.Context, any) (any, error)) (any, error) {
	rule, err := RuleOf(method)
	if err != nil {
		return nil, err
	}
	msg, ok := req.(proto.Message)
	if !ok {
		return nil, fault.New(fault.Internal, "internal", "not a message")
	}
	denied := g.decide(ctx, rule, msg)
	if rule.Scope == authpb.Scope_SCOPE_COURSE {
		ctx = context.WithValue(ctx, scopeKey{}, scope{guard: g, who: From(ctx), course: rule.Course(msg), item: rule.Item(msg)})
	}
	if !rule.Deferred {
		if denied != nil {
			return nil, denied
		}
		return handler(ctx, req)
	}
	if denied != nil && !isDecision(denied) {
		return nil, denied
	}
	d := &decision{err: denied}
	res, err := handler(context.WithValue(ctx, decisionKey{}, d), req)
	if err == nil && !d.asked.Load() {
		return nil, fault.New(fault.Internal, "internal", "%s did not ask for its deferred decision", method)
	}
	return res, err
}

type scopeKey struct{}

// scope is what a handler of a SCOPE_COURSE method may ask further about.
type scope struct {
	guard        *Guard
	who          Principal
	course, item string
}

// Has reports whether the caller has another permission on the course that the
// call is about, for handlers whose answer depends on it; the answer is at most a
// second old. Outside a SCOPE_COURSE call it is false.
func Has(ctx context.Context, permission string) (bool, error) {
	s, ok := ctx.Value(scopeKey{}).(scope)
	return s.allows(ctx, ok, s.item, permission)
}

// HasOnCourse is [Has] of the course as a whole: what the caller has on the item
// alone that the call is about does not count.
func HasOnCourse(ctx context.Context, permission string) (bool, error) {
	s, ok := ctx.Value(scopeKey{}).(scope)
	return s.allows(ctx, ok, "", permission)
}

func (s scope) allows(ctx context.Context, ok bool, item, permission string) (bool, error) {
	if !ok || s.who.limited(permission) {
		return false, nil
	}
	return s.guard.checker.Allowed(ctx, Question{s.who.Account, s.course, item, permission}, time.Time{})
}

func isDecision(err error) bool {
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Forbidden, fault.NotFound:
		return true
	default:
		return false
	}
}

// decide returns why the caller may not make the call, nil when they may.
func (g *Guard) decide(ctx context.Context, rule Rule, req proto.Message) error {
	p := From(ctx)
	if err := g.permit(ctx, p, rule, req); err != nil {
		return err
	}
	if rule.StepUp && !p.confirmed(time.Now()) {
		return ErrStepUp
	}
	return nil
}

func (g *Guard) permit(ctx context.Context, p Principal, rule Rule, req proto.Message) error {
	switch rule.Scope {
	case authpb.Scope_SCOPE_PUBLIC:
		return nil
	case authpb.Scope_SCOPE_SERVICE:
		if p.Service == "" || p.Service == "edge" {
			return ErrHidden
		}
		return nil
	case authpb.Scope_SCOPE_EDGE:
		if p.Service != "edge" {
			return ErrHidden
		}
		return nil
	case authpb.Scope_SCOPE_SELF:
		switch {
		case p.Account == "":
			return ErrUnauthenticated
		case p.Token != "" && rule.Permission == "":
			return ErrSessionOnly
		case p.limited(rule.Permission):
			return ErrScope
		}
		return nil
	case authpb.Scope_SCOPE_PLATFORM:
		if p.Account == "" {
			return ErrUnauthenticated
		}
		if p.limited(rule.Permission) {
			return ErrScope
		}
		ok, err := g.checker.Allowed(ctx, Question{Account: p.Account, Permission: rule.Permission}, time.Now())
		if err != nil || ok {
			return err
		}
		return ErrForbidden
	case authpb.Scope_SCOPE_COURSE:
		return g.onCourse(ctx, p, rule, req)
	case authpb.Scope_SCOPE_UNSPECIFIED:
	}
	return ErrForbidden
}

// onCourse: absent for those who may not know of it, "sign in" for nobody, and
// a plain refusal for the rest.
func (g *Guard) onCourse(ctx context.Context, p Principal, rule Rule, req proto.Message) error {
	course := rule.Course(req)
	if !id.Valid("course", course) {
		return fault.InvalidField(string(rule.field.Name()), "id.invalid", "An id of a course looks like course_01h455vb4pex5vsknk084sn02q.")
	}
	if p.limited(rule.Permission) {
		return ErrScope
	}
	now := time.Now()
	q := Question{p.Account, course, rule.Item(req), rule.Permission}
	ok, err := g.checker.Allowed(ctx, q, now)
	if err != nil || ok {
		return err
	}
	if p.Account == "" {
		return ErrUnauthenticated
	}
	q.Permission = View
	seen, err := g.checker.Allowed(ctx, q, now)
	if err != nil {
		return err
	}
	if !seen {
		return ErrHidden
	}
	return ErrForbidden
}
