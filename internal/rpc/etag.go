package rpc

import (
	"context"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
)

// Match holds a conditional write to its If-Match: nil when the call brought
// none or names current, else the error etag.stale, which tells the current
// version.
func Match(ctx context.Context, current string) error {
	want := IfMatch(ctx)
	if want == "" {
		return nil
	}
	for tag := range strings.SplitSeq(want, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == "*" || tag == current {
			return nil
		}
	}
	return &fault.Error{
		Kind: fault.Precondition, Code: "etag.stale", Etag: current,
		Message: "Somebody else has changed this since you read it.",
		Fields:  []fault.Field{{Path: "If-Match", Code: "etag.stale", Hint: `The current version is "` + current + `". Read it again, and repeat your change on top of it.`}},
	}
}
