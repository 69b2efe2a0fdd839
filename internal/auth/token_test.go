package auth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/id"
)

// declared is an RPC of a contract of the test's own.
type declared struct {
	name  string
	input protoreflect.MessageDescriptor
}

// register makes a contract known under a name that no other test uses.
func register(t *testing.T, name string, rule *authpb.Rule) declared {
	t.Helper()
	md := declare(t, name, rule)
	if _, err := protoregistry.GlobalFiles.FindFileByPath(md.ParentFile().Path()); err != nil { // with -count it is there already
		if err := protoregistry.GlobalFiles.RegisterFile(md.ParentFile()); err != nil {
			t.Fatal(err)
		}
	}
	return declared{"/" + name + ".Things/Get", md.Input()}
}

// call makes the call as who, on the course and the item.
func (d declared) call(t *testing.T, checker auth.Checker, who auth.Principal, course string) error {
	t.Helper()
	req := dynamicpb.NewMessage(d.input)
	if f := d.input.Fields().ByName("course_id"); f != nil {
		req.Set(f, protoreflect.ValueOfString(course))
	}
	_, err := guard(t, checker).Call(auth.With(t.Context(), who), d.name, req, done)
	return err
}

// ask is a checker that is a function.
type ask func(auth.Question) bool

func (a ask) Allowed(_ context.Context, q auth.Question, _ time.Time) (bool, error) { return a(q), nil }

func everything(auth.Question) bool { return true }

// token is a program that calls with a token of the learner's.
func token(scopes string) auth.Principal {
	return auth.Principal{Account: account, Token: id.New("token"), Scopes: scopes, Service: "edge"}
}

func TestTokensAreHeldToTheirScopes(t *testing.T) {
	t.Parallel()
	self := register(t, "tokenself", &authpb.Rule{Scope: authpb.Scope_SCOPE_SELF, Permission: "me.read"})
	session := register(t, "tokensession", &authpb.Rule{Scope: authpb.Scope_SCOPE_SELF})
	platform := register(t, "tokenplatform", &authpb.Rule{Scope: authpb.Scope_SCOPE_PLATFORM, Permission: "audit.read"})
	onCourse := register(t, "tokencourse", &authpb.Rule{Scope: authpb.Scope_SCOPE_COURSE, Permission: "course.edit"})
	public := register(t, "tokenpublic", &authpb.Rule{Scope: authpb.Scope_SCOPE_PUBLIC})
	for name, c := range map[string]struct {
		rpc     declared
		who     auth.Principal
		checker ask
		want    error
	}{
		"self, in scope":           {self, token("course.view me.read"), everything, nil},
		"self, not in scope":       {self, token("me.write"), everything, auth.ErrScope},
		"self, no scopes":          {self, token(""), everything, auth.ErrScope},
		"self, part of a word":     {self, token("me.readonly some.read"), everything, auth.ErrScope},
		"session only":             {session, token("me.read me.write"), everything, auth.ErrSessionOnly},
		"session only, session":    {session, learner, everything, nil},
		"platform, in scope":       {platform, token("audit.read"), everything, nil},
		"platform, not in scope":   {platform, token("course.edit"), everything, auth.ErrScope},
		"platform, more than held": {platform, token("audit.read"), func(auth.Question) bool { return false }, auth.ErrForbidden},
		"course, in scope":         {onCourse, token("course.edit"), everything, nil},
		"course, not in scope":     {onCourse, token("course.view"), everything, auth.ErrScope},
		"course, more than held":   {onCourse, token("course.edit"), func(q auth.Question) bool { return q.Permission == auth.View }, auth.ErrForbidden},
		"course, hidden":           {onCourse, token("course.edit"), func(auth.Question) bool { return false }, auth.ErrHidden},
		"public":                   {public, token(""), everything, nil},
	} {
		if err := c.rpc.call(t, c.checker, c.who, course); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A handler that asks further is told what the token may, not what its account
// may.
func TestHasIsHeldToScopes(t *testing.T) {
	t.Parallel()
	m := choose(t, authpb.Scope_SCOPE_COURSE, false)
	other := "sale.list"
	if m.rule.Permission == other {
		other = "role.grant"
	}
	for scopes, want := range map[string]bool{m.rule.Permission: false, m.rule.Permission + " " + other: true} {
		_, err := guard(t, ask(everything)).Call(auth.With(t.Context(), token(scopes)), m.name, m.request(t, course),
			func(ctx context.Context, req any) (any, error) {
				got, err := auth.Has(ctx, other)
				if err != nil || got != want {
					t.Errorf("scopes %q: %t, %v; want %t", scopes, got, err, want)
				}
				return done(ctx, req)
			})
		if err != nil {
			t.Errorf("scopes %q: %v", scopes, err)
		}
	}
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	self := register(t, "stepself", &authpb.Rule{Scope: authpb.Scope_SCOPE_SELF, StepUp: true})
	onCourse := register(t, "stepcourse", &authpb.Rule{Scope: authpb.Scope_SCOPE_COURSE, Permission: "role.grant", StepUp: true})
	confirmed := func(ago time.Duration) auth.Principal {
		p := learner
		p.Confirmed = time.Now().Add(-ago).Unix()
		return p
	}
	never := learner
	never.Confirmed = 0
	for name, c := range map[string]struct {
		who  auth.Principal
		want error
	}{
		"just now":       {confirmed(0), nil},
		"nine minutes":   {confirmed(9 * time.Minute), nil},
		"eleven minutes": {confirmed(11 * time.Minute), auth.ErrStepUp},
		"never":          {never, auth.ErrStepUp},
	} {
		for _, rpc := range []declared{self, onCourse} {
			if err := rpc.call(t, ask(everything), c.who, course); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%s, %s: %v, want %v", name, rpc.name, err, c.want)
			}
		}
	}
	// What a token may do was confirmed when it was made.
	if err := onCourse.call(t, ask(everything), token("role.grant"), course); err != nil {
		t.Errorf("a token: %v", err)
	}
	// Who may not is not asked to confirm.
	if err := onCourse.call(t, ask(func(auth.Question) bool { return false }), never, course); !errors.Is(err, auth.ErrHidden) {
		t.Errorf("who may not: %v, want ErrHidden", err)
	}
}

// The guard asks about the item where the rule names one, and not otherwise.
func TestItems(t *testing.T) {
	t.Parallel()
	withItem := register(t, "itemcourse", &authpb.Rule{Scope: authpb.Scope_SCOPE_COURSE, Permission: "course.edit", ItemField: "course_id"})
	without := register(t, "noitemcourse", &authpb.Rule{Scope: authpb.Scope_SCOPE_COURSE, Permission: "course.edit"})
	var items []string
	note := ask(func(q auth.Question) bool {
		items = append(items, q.Item)
		return true
	})
	for _, rpc := range []declared{withItem, without} {
		if err := rpc.call(t, note, learner, course); err != nil {
			t.Fatal(err)
		}
	}
	if len(items) != 2 || items[0] != course || items[1] != "" {
		t.Errorf("asked about the items %q", items)
	}
}

// What a token is limited to and when a session was confirmed travel between
// services.
func TestPrincipalTravelsWhole(t *testing.T) {
	t.Parallel()
	keys, err := auth.NewKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []auth.Principal{token("course.view me.read"), learner} {
		text, err := keys.Sign(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.Verify(text)
		got.Expires = want.Expires
		if err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}
