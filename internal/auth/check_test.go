package auth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

// allow is a checker that knows who has which permissions, and fails when it is
// asked about anybody else.
type allow struct {
	account, course string
	permissions     []string
	err             error
}

func (a allow) Allowed(_ context.Context, q auth.Question, _ time.Time) (bool, error) {
	if q.Account != a.account || q.Course != a.course {
		return false, errors.New("asked about " + q.Account + " on " + q.Course)
	}
	return slices.Contains(a.permissions, q.Permission), a.err
}

func guard(tb testing.TB, c auth.Checker) *auth.Guard {
	tb.Helper()
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		tb.Fatal(err)
	}
	return auth.NewGuard(keys, c)
}

// choose returns an RPC with a rule like the one described.
func choose(tb testing.TB, scope authpb.Scope, deferred bool) method {
	tb.Helper()
	for _, m := range contracts(tb) {
		if m.rule.Scope == scope && m.rule.Deferred == deferred && !m.rule.StepUp && (scope != authpb.Scope_SCOPE_COURSE || m.rule.Permission != auth.View) {
			return m
		}
	}
	tb.Fatalf("no RPC has %s, deferred %t", scope, deferred)
	return method{}
}

var (
	account = id.New("account")
	course  = id.New("course")
)

var (
	nobody  = auth.Principal{Service: "edge"}
	learner = auth.Principal{Account: account, Session: id.New("session"), Service: "edge", Confirmed: time.Now().Unix()}
	service = auth.Principal{Service: "commerce"}
	behalf  = auth.Principal{Account: account, Service: "commerce", Confirmed: time.Now().Unix()}
	stray   = auth.Principal{}
)

func done(context.Context, any) (any, error) { return &emptypb.Empty{}, nil }

func TestGuardByScope(t *testing.T) {
	t.Parallel()
	const held = "held" // stands for the permission of the rule
	for name, c := range map[string]struct {
		scope authpb.Scope
		who   auth.Principal
		has   []string
		want  error // nil when the call is let through
	}{
		"public, nobody":           {authpb.Scope_SCOPE_PUBLIC, nobody, nil, nil},
		"public, account":          {authpb.Scope_SCOPE_PUBLIC, learner, nil, nil},
		"public, stray":            {authpb.Scope_SCOPE_PUBLIC, stray, nil, nil},
		"self, nobody":             {authpb.Scope_SCOPE_SELF, nobody, nil, auth.ErrUnauthenticated},
		"self, service alone":      {authpb.Scope_SCOPE_SELF, service, nil, auth.ErrUnauthenticated},
		"self, account":            {authpb.Scope_SCOPE_SELF, learner, nil, nil},
		"self, on behalf":          {authpb.Scope_SCOPE_SELF, behalf, nil, nil},
		"service, nobody":          {authpb.Scope_SCOPE_SERVICE, nobody, nil, auth.ErrHidden},
		"service, stray":           {authpb.Scope_SCOPE_SERVICE, stray, nil, auth.ErrHidden},
		"service, account":         {authpb.Scope_SCOPE_SERVICE, learner, nil, auth.ErrHidden},
		"service, service":         {authpb.Scope_SCOPE_SERVICE, service, nil, nil},
		"service, on behalf":       {authpb.Scope_SCOPE_SERVICE, behalf, nil, nil},
		"edge, edge":               {authpb.Scope_SCOPE_EDGE, nobody, nil, nil},
		"edge, service":            {authpb.Scope_SCOPE_EDGE, service, nil, auth.ErrHidden},
		"edge, stray":              {authpb.Scope_SCOPE_EDGE, stray, nil, auth.ErrHidden},
		"course, nobody":           {authpb.Scope_SCOPE_COURSE, nobody, nil, auth.ErrUnauthenticated},
		"course, nobody who sees":  {authpb.Scope_SCOPE_COURSE, nobody, []string{auth.View}, auth.ErrUnauthenticated},
		"course, open to all":      {authpb.Scope_SCOPE_COURSE, nobody, []string{held}, nil},
		"course, may not know":     {authpb.Scope_SCOPE_COURSE, learner, nil, auth.ErrHidden},
		"course, another thing":    {authpb.Scope_SCOPE_COURSE, learner, []string{"other.thing"}, auth.ErrHidden},
		"course, sees it":          {authpb.Scope_SCOPE_COURSE, learner, []string{auth.View}, auth.ErrForbidden},
		"course, may":              {authpb.Scope_SCOPE_COURSE, learner, []string{held}, nil},
		"course, service on its":   {authpb.Scope_SCOPE_COURSE, service, nil, auth.ErrUnauthenticated},
		"course, service for them": {authpb.Scope_SCOPE_COURSE, behalf, []string{held}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := choose(t, c.scope, false)
			has := slices.Clone(c.has)
			if i := slices.Index(has, held); i >= 0 {
				has[i] = m.rule.Permission
			}
			called := false
			_, err := guard(t, allow{account: c.who.Account, course: course, permissions: has}).
				Call(auth.With(t.Context(), c.who), m.name, m.request(t, course), func(ctx context.Context, req any) (any, error) {
					called = true
					return done(ctx, req)
				})
			if !errors.Is(err, c.want) || c.want == nil && err != nil || called != (c.want == nil) {
				t.Errorf("%s: called %t, %v; want %v", m.name, called, err, c.want)
			}
		})
	}
	// The three are told apart by their status.
	for err, status := range map[*fault.Error]int{auth.ErrUnauthenticated: 401, auth.ErrBadToken: 401, auth.ErrForbidden: 403, auth.ErrHidden: 404} {
		if err.Kind.HTTPStatus() != status {
			t.Errorf("%s is told with %d, want %d", err.Code, err.Kind.HTTPStatus(), status)
		}
	}
}

// No RPC but the public ones lets somebody through who has nothing.
func TestGuardOfEveryRPC(t *testing.T) {
	t.Parallel()
	for _, m := range contracts(t) {
		for name, who := range map[string]auth.Principal{"nobody": nobody, "account": learner, "stray": stray} {
			_, err := guard(t, allow{account: who.Account, course: m.rule.Course(m.request(t, course))}).
				Call(auth.With(t.Context(), who), m.name, m.request(t, course), func(ctx context.Context, req any) (any, error) {
					if m.rule.Deferred {
						return nil, auth.Require(ctx)
					}
					return done(ctx, req)
				})
			let := m.rule.Scope == authpb.Scope_SCOPE_PUBLIC ||
				m.rule.Scope == authpb.Scope_SCOPE_SELF && who.Account != "" ||
				m.rule.Scope == authpb.Scope_SCOPE_EDGE && who.Service == "edge"
			if (err == nil) != let {
				t.Errorf("%s as %s: %v", m.name, name, err)
			}
		}
	}
}

// A contract of its own, so that the scope is held also while no RPC has it.
func TestGuardOfThePlatform(t *testing.T) {
	t.Parallel()
	md := declare(t, "platformthing", &authpb.Rule{Scope: authpb.Scope_SCOPE_PLATFORM, Permission: "refund.create"})
	if _, err := protoregistry.GlobalFiles.FindFileByPath(md.ParentFile().Path()); err != nil { // with -count it is there already
		if err := protoregistry.GlobalFiles.RegisterFile(md.ParentFile()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		who  auth.Principal
		has  []string
		fail error
		want error
	}{
		"nobody":               {nobody, []string{"refund.create"}, nil, auth.ErrUnauthenticated},
		"service alone":        {service, []string{"refund.create"}, nil, auth.ErrUnauthenticated},
		"account":              {learner, nil, nil, auth.ErrForbidden},
		"sees, and may not":    {learner, []string{auth.View}, nil, auth.ErrForbidden},
		"may":                  {learner, []string{"refund.create"}, nil, nil},
		"service for them":     {behalf, []string{"refund.create"}, nil, nil},
		"nobody knows who may": {learner, []string{"refund.create"}, context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		// The platform is asked about as no course.
		_, err := guard(t, allow{account: c.who.Account, permissions: c.has, err: c.fail}).
			Call(auth.With(t.Context(), c.who), "/platformthing.Things/Get", &emptypb.Empty{}, done)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestGuardRefusesWhatIsNoCourse(t *testing.T) {
	t.Parallel()
	m := choose(t, authpb.Scope_SCOPE_COURSE, false)
	for _, text := range []string{"", "course_", id.New("lesson"), course + "x", strings.ToUpper(course)} {
		_, err := guard(t, allow{err: errors.New("must not be asked")}).Call(auth.With(t.Context(), learner), m.name, m.request(t, text), done)
		fe, ok := errors.AsType[*fault.Error](err)
		if !ok || fe.Kind != fault.Invalid || len(fe.Fields) != 1 || fe.Fields[0].Code != "id.invalid" || fe.Fields[0].Path != string(m.courseField(t).Name()) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestGuardFailsClosed(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "access.away", "Away.")
	never := func(context.Context, any) (any, error) {
		t.Error("the handler was called")
		return &emptypb.Empty{}, nil
	}
	for _, deferred := range []bool{false, true} {
		m := choose(t, authpb.Scope_SCOPE_COURSE, deferred)
		g := guard(t, allow{account: account, course: course, permissions: []string{m.rule.Permission}, err: away})
		// Who could not be asked has not said yes, and has not said no either.
		if _, err := g.Call(auth.With(t.Context(), learner), m.name, m.request(t, course), never); !errors.Is(err, away) {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	g := guard(t, allow{})
	if _, err := g.Call(auth.With(t.Context(), learner), "/stoa.courses.v1.CoursesService/Nothing", &emptypb.Empty{}, never); err == nil {
		t.Error("an unknown method was called")
	}
	if _, err := g.Call(auth.With(t.Context(), learner), choose(t, authpb.Scope_SCOPE_PUBLIC, false).name, "text", never); !fault.Is(err, fault.Internal) {
		t.Errorf("a request that is no message: %v", err)
	}
}

func TestDeferredRule(t *testing.T) {
	t.Parallel()
	m := choose(t, authpb.Scope_SCOPE_COURSE, true)
	refused := fault.New(fault.Conflict, "lesson.gone", "Gone.")
	for name, c := range map[string]struct {
		who     auth.Principal
		has     []string
		handler func(context.Context) error
		want    error
	}{
		"asks and may":                {learner, []string{m.rule.Permission}, auth.Require, nil},
		"asks, sees and may not":      {learner, []string{auth.View}, auth.Require, auth.ErrForbidden},
		"asks and may not know":       {learner, nil, auth.Require, auth.ErrHidden},
		"asks as nobody":              {nobody, nil, auth.Require, auth.ErrUnauthenticated},
		"waives for nobody":           {nobody, nil, func(ctx context.Context) error { auth.Waive(ctx); return nil }, nil},
		"forgets":                     {learner, nil, func(context.Context) error { return nil }, fault.New(fault.Internal, "internal", "")},
		"forgets though they may":     {learner, []string{m.rule.Permission}, func(context.Context) error { return nil }, fault.New(fault.Internal, "internal", "")},
		"fails before it could ask":   {learner, nil, func(context.Context) error { return refused }, refused},
		"asks, and shows it instead":  {nobody, nil, func(ctx context.Context) error { _ = auth.Require(ctx); return nil }, nil},
		"asks in a goroutine of hers": {learner, []string{m.rule.Permission}, inGoroutine, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := guard(t, allow{account: c.who.Account, course: course, permissions: c.has}).
				Call(auth.With(t.Context(), c.who), m.name, m.request(t, course), func(ctx context.Context, _ any) (any, error) {
					return &emptypb.Empty{}, c.handler(ctx)
				})
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.want != nil && fault.Is(c.want, fault.Internal) && res != nil {
				t.Error("a handler that did not ask has answered")
			}
		})
	}
}

func inGoroutine(ctx context.Context) error {
	answer := make(chan error)
	go func() { answer <- auth.Require(ctx) }()
	return <-answer
}

func TestOutsideOfACall(t *testing.T) {
	t.Parallel()
	if err := auth.Require(t.Context()); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("Require: %v", err)
	}
	auth.Waive(t.Context())
	if ok, err := auth.Has(t.Context(), auth.View); ok || err != nil {
		t.Errorf("Has: %t, %v", ok, err)
	}
	if got := auth.From(t.Context()); got != (auth.Principal{}) {
		t.Errorf("From: %+v", got)
	}
	// What a call that is not deferred may ask is answered with a refusal.
	m := choose(t, authpb.Scope_SCOPE_PUBLIC, false)
	_, err := guard(t, allow{}).Call(t.Context(), m.name, m.request(t, ""), func(ctx context.Context, _ any) (any, error) { return nil, auth.Require(ctx) })
	if !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("Require in a call that is not deferred: %v", err)
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	m := choose(t, authpb.Scope_SCOPE_COURSE, false)
	g := guard(t, allow{account: account, course: course, permissions: []string{m.rule.Permission, "grade.read"}})
	_, err := g.Call(auth.With(t.Context(), learner), m.name, m.request(t, course), func(ctx context.Context, _ any) (any, error) {
		for permission, want := range map[string]bool{"grade.read": true, m.rule.Permission: true, "grade.write": false, auth.View: false} {
			if got, err := auth.Has(ctx, permission); got != want || err != nil {
				t.Errorf("Has(%s) = %t, %v", permission, got, err)
			}
		}
		return &emptypb.Empty{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Of a call that is about no course, nothing is known.
	public := choose(t, authpb.Scope_SCOPE_SELF, false)
	_, err = g.Call(auth.With(t.Context(), learner), public.name, public.request(t, ""), func(ctx context.Context, _ any) (any, error) {
		if got, err := auth.Has(ctx, "grade.read"); got || err != nil {
			t.Errorf("Has outside of a course: %t, %v", got, err)
		}
		return &emptypb.Empty{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.Sign(learner)
	if err != nil {
		t.Fatal(err)
	}
	g := guard(t, allow{})
	ctx, err := g.Authenticate(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if got := auth.From(ctx); got.Account != learner.Account || got.Session != learner.Session || got.Service != "edge" {
		t.Errorf("%+v, want %+v", got, learner)
	}
	// Without a token it is nobody, whoever the context named before.
	if ctx, err = g.Authenticate(auth.With(t.Context(), learner), ""); err != nil || auth.From(ctx) != (auth.Principal{}) {
		t.Errorf("no token: %+v, %v", auth.From(ctx), err)
	}
	if ctx, err = g.Authenticate(t.Context(), "nonsense"); !errors.Is(err, auth.ErrBadToken) || ctx != nil {
		t.Errorf("a bad token: %v", err)
	}
}
