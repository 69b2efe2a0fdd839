package fault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
)

const lastKind = fault.Unavailable

// travel is what an error passes between two services: it is told as a status,
// written, read and rebuilt.
func travel(tb testing.TB, err error) error {
	tb.Helper()
	return fault.FromStatus(overWire(tb, err).Err())
}

func overWire(tb testing.TB, err error) *status.Status {
	tb.Helper()
	wire, wireErr := proto.Marshal(fault.ToStatus(err).Proto())
	if wireErr != nil {
		tb.Fatalf("the status of %v can't be sent: %v", err, wireErr)
	}
	st := status.New(codes.OK, "").Proto()
	if err := proto.Unmarshal(wire, st); err != nil {
		tb.Fatal(err)
	}
	return status.FromProto(st)
}

func TestKinds(t *testing.T) {
	t.Parallel()
	seen := map[codes.Code]fault.Kind{}
	for kind := fault.Internal; kind <= lastKind; kind++ {
		if other, ok := seen[kind.GRPCCode()]; ok {
			t.Errorf("kinds %d and %d are both told as %s", other, kind, kind.GRPCCode())
		}
		seen[kind.GRPCCode()] = kind
		if kind.GRPCCode() == codes.OK {
			t.Errorf("kind %d is told as a success", kind)
		}
		if s := kind.HTTPStatus(); s < 400 || s > 599 || http.StatusText(s) == "" {
			t.Errorf("kind %d has the HTTP status %d", kind, s)
		}
		if kind.Title() == "" {
			t.Errorf("kind %d has no title", kind)
		}
	}
	for kind, want := range map[fault.Kind]int{
		fault.Internal: 500, fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404,
		fault.Conflict: 409, fault.Precondition: 412, fault.TooLarge: 413, fault.Exhausted: 429, fault.Unavailable: 503,
	} {
		if got := kind.HTTPStatus(); got != want {
			t.Errorf("kind %d is told with %d, want %d", kind, got, want)
		}
	}
}

func TestErrorsTravelWhole(t *testing.T) {
	t.Parallel()
	for kind := fault.Internal; kind <= lastKind; kind++ {
		for name, e := range map[string]*fault.Error{
			"plain":  fault.New(kind, "thing.wrong", "The %s is wrong.", "thing"),
			"fields": {Kind: kind, Code: "thing.wrong", Message: "Two.", Fields: []fault.Field{{"a[2].b", "string.max_len", "Shorter."}, {"c", "id.invalid", ""}}},
			"retry":  {Kind: kind, Code: "thing.wrong", Message: "Later.", Retry: 90*time.Second + time.Millisecond},
			"all":    {Kind: kind, Code: "thing.wrong", Message: "", Retry: time.Nanosecond, Fields: []fault.Field{{"ä", "b", "–"}}},
		} {
			for wrapping, err := range map[string]error{
				"itself": e, "wrapped": fmt.Errorf("course: %w", e), "joined": errors.Join(errors.New("cause"), e),
			} {
				if diff := cmp.Diff(error(e), travel(t, err)); diff != "" {
					t.Errorf("%s, %s, kind %d (-sent +received):\n%s", name, wrapping, kind, diff)
				}
			}
		}
	}
}

func TestEveryErrorTravelsWhole(t *testing.T) {
	t.Parallel()
	field := rapid.Custom(func(t *rapid.T) fault.Field {
		return fault.Field{Path: rapid.String().Draw(t, "path"), Code: rapid.String().Draw(t, "code"), Hint: rapid.String().Draw(t, "hint")}
	})
	rapid.Check(t, func(rt *rapid.T) {
		e := &fault.Error{
			Kind:    fault.Kind(rapid.Uint8Max(uint8(lastKind)).Draw(rt, "kind")),
			Code:    rapid.StringN(1, -1, -1).Draw(rt, "code"),
			Message: rapid.String().Draw(rt, "message"),
			Retry:   time.Duration(rapid.Int64Min(0).Draw(rt, "retry")),
		}
		if fields := rapid.SliceOf(field).Draw(rt, "fields"); len(fields) > 0 {
			e.Fields = fields
		}
		hops := rapid.IntRange(1, 3).Draw(rt, "hops")
		var got error = e
		for range hops {
			got = travel(t, got)
		}
		if diff := cmp.Diff(error(e), got); diff != "" {
			rt.Fatalf("after %d calls (-sent +received):\n%s", hops, diff)
		}
	})
}

// Text that is not UTF-8 can come from a caller and be quoted in a hint; it must
// not cost the error its meaning.
func TestBadTextKeepsTheCode(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*fault.Error{
		"message": fault.New(fault.Conflict, "thing.wrong", "\xff is wrong"),
		"path":    {Kind: fault.Conflict, Code: "thing.wrong", Fields: []fault.Field{{Path: "\xff"}}},
		"hint":    {Kind: fault.Conflict, Code: "thing.wrong", Fields: []fault.Field{{Hint: "not \xc3\x28"}}},
	} {
		got, ok := errors.AsType[*fault.Error](travel(t, e))
		if !ok || got.Code != e.Code || got.Kind != e.Kind || len(got.Fields) != len(e.Fields) {
			t.Errorf("%s: %#v", name, got)
		}
	}
}

func TestUnknownErrorsTellNothing(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"plain":    errors.New("password=hunter2"),
		"wrapped":  fmt.Errorf("open postgres://hunter2: %w", errors.New("refused")),
		"a status": status.Error(codes.NotFound, "hunter2"),
	} {
		if text := overWire(t, err).String(); strings.Contains(text, "hunter2") {
			t.Errorf("%s: told as %s", name, text)
		}
		got := travel(t, err)
		if fault.KindOf(got) != fault.Internal || fault.CodeOf(got) != "internal" || strings.Contains(got.Error(), "hunter2") {
			t.Errorf("%s: %v", name, got)
		}
	}
	// What wraps a told error is for the log only.
	if got := travel(t, fmt.Errorf("hunter2: %w", fault.New(fault.Conflict, "a.b", "Taken."))); strings.Contains(got.Error(), "hunter2") {
		t.Errorf("%v", got)
	}
}

func TestContextErrors(t *testing.T) {
	t.Parallel()
	if got := travel(t, fmt.Errorf("query: %w", context.DeadlineExceeded)); !fault.Is(got, fault.Unavailable) || fault.CodeOf(got) != "deadline" {
		t.Errorf("a deadline is told as %v", got)
	}
	if got := travel(t, fmt.Errorf("query: %w", context.Canceled)); !errors.Is(got, context.Canceled) {
		t.Errorf("a cancelled call is told as %v", got)
	}
	// A told error that a deadline caused is told as what it says.
	told := fault.New(fault.Exhausted, "quota.used", "No more.")
	if got := travel(t, fmt.Errorf("%w: %w", told, context.DeadlineExceeded)); !errors.Is(got, told) {
		t.Errorf("%v", got)
	}
}

func TestFailuresOfTheTransport(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]struct {
		kind fault.Kind
		code string
	}{
		codes.Unavailable:       {fault.Unavailable, "unavailable"},
		codes.ResourceExhausted: {fault.TooLarge, "request.too_large"},
		codes.Unimplemented:     {fault.NotFound, "method.not_found"},
		codes.InvalidArgument:   {fault.Invalid, "request.invalid"},
		codes.Unknown:           {fault.Internal, "internal"},
		codes.DataLoss:          {fault.Internal, "internal"},
	} {
		got := fault.FromStatus(status.Error(code, "connection refused to 10.0.0.7"))
		if fault.KindOf(got) != want.kind || fault.CodeOf(got) != want.code {
			t.Errorf("%s: kind %d, code %s; want %d, %s", code, fault.KindOf(got), fault.CodeOf(got), want.kind, want.code)
		}
		if code != codes.InvalidArgument && strings.Contains(travel(t, got).Error(), "10.0.0.7") {
			t.Errorf("%s tells an address: %v", code, got)
		}
	}
	if got := fault.FromStatus(status.Error(codes.DeadlineExceeded, "")); !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", got)
	}
	if got := fault.FromStatus(status.Error(codes.Canceled, "")); !errors.Is(got, context.Canceled) {
		t.Errorf("cancelled: %v", got)
	}
	if got := fault.FromStatus(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
	plain := errors.New("plain")
	if got := fault.FromStatus(plain); !errors.Is(got, plain) {
		t.Errorf("an error that is no status became %v", got)
	}
}

func TestIs(t *testing.T) {
	t.Parallel()
	known := fault.New(fault.NotFound, "course.not_found", "There is no such course.")
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"itself":        {known, true},
		"wrapped":       {fmt.Errorf("get: %w", known), true},
		"other message": {fault.New(fault.NotFound, "course.not_found", "Weg."), true},
		"other code":    {fault.New(fault.NotFound, "lesson.not_found", ""), false},
		"other kind":    {fault.New(fault.Forbidden, "course.not_found", ""), false},
		"plain":         {errors.New("course.not_found"), false},
		"nil":           {nil, false},
	} {
		if got := errors.Is(c.err, known); got != c.want {
			t.Errorf("%s: errors.Is = %t", name, got)
		}
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("no error is an internal one")
	}
	if !fault.Is(errors.New("x"), fault.Internal) {
		t.Error("an unknown error is not internal")
	}
	if !fault.Is(fmt.Errorf("a: %w", known), fault.NotFound) || fault.Is(known, fault.Forbidden) {
		t.Error("Is does not see the kind")
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	if got := fault.New(fault.Conflict, "slug.taken", "%q is taken.", "go").Error(); got != `slug.taken: "go" is taken.` {
		t.Error(got)
	}
	e := fault.InvalidField("title", "string.min_len", "Give a title.")
	if e.Kind != fault.Invalid || e.Code != "request.invalid" || !strings.Contains(e.Error(), "title: Give a title.") {
		t.Errorf("%v", e)
	}
}
