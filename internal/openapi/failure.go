package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// What the platform itself may tell, whatever the operation.
var (
	fieldRefused  = spec.Error{Code: "request.invalid", When: "for a field that is not accepted; fields says which and why"}
	fieldUnknown  = spec.Error{Code: "request.unknown_field", When: "for a field that the operation does not have"}
	badJSON       = spec.Error{Code: "request.bad_json", When: "for a body that is not JSON of this form"}
	badText       = spec.Error{Code: "request.bad_text", When: "for text that is not UTF-8"}
	incomplete    = spec.Error{Code: "request.incomplete", When: "for a body that ended early"}
	signInFirst   = spec.Error{Code: "auth.required", When: "when nobody is signed in"}
	tokenInvalid  = spec.Error{Code: "auth.token_invalid", When: "for a token that is expired, revoked or not one of ours"}
	forbidden     = spec.Error{Code: "auth.forbidden", When: "without the permission"}
	crossOrigin   = spec.Error{Code: "request.cross_origin", When: "when a browser sends it from another site's page"}
	hidden        = spec.Error{Code: "not_found", When: "for what is not there or not for the caller to see"}
	keyReused     = spec.Error{Code: "idempotency.key_reused", When: "for a key that came with another request before"}
	stale         = spec.Error{Code: "etag.stale", When: "when somebody else was faster"}
	tooLarge      = spec.Error{Code: "request.too_large", When: "for a body over 3 MiB"}
	contentType   = spec.Error{Code: "request.content_type", When: "for a body that is not application/json"}
	rate          = spec.Error{Code: "request.rate", When: "for an address that asks too often"}
	internalError = spec.Error{Code: "internal", When: "(500) for a defect on our side"}
	unavailable   = spec.Error{Code: "unavailable", When: "(503) when a part of Stoa does not answer; try again"}
	deadline      = spec.Error{Code: "deadline", When: "(503) when it took too long; try again"}
)

// shared are the answers that many operations have.
var shared = []struct {
	name   string
	status int // 0 is any other
	errors []spec.Error
}{
	{"BadRequest", http.StatusBadRequest, []spec.Error{fieldRefused, fieldUnknown}},
	{"BadBody", http.StatusBadRequest, []spec.Error{fieldRefused, fieldUnknown, badJSON, badText}},
	{"Unauthorized", http.StatusUnauthorized, []spec.Error{signInFirst, tokenInvalid}},
	{"Forbidden", http.StatusForbidden, []spec.Error{forbidden}},
	{"ForbiddenWrite", http.StatusForbidden, []spec.Error{forbidden, crossOrigin}},
	{"CrossOrigin", http.StatusForbidden, []spec.Error{crossOrigin}},
	{"NotFound", http.StatusNotFound, []spec.Error{hidden}},
	{"Conflict", http.StatusConflict, []spec.Error{keyReused}},
	{"Stale", http.StatusPreconditionFailed, []spec.Error{stale}},
	{"TooLarge", http.StatusRequestEntityTooLarge, []spec.Error{tooLarge}},
	{"NotJSON", http.StatusUnsupportedMediaType, []spec.Error{contentType}},
	{"TooManyRequests", http.StatusTooManyRequests, []spec.Error{rate}},
	{"Failed", 0, []spec.Error{internalError, unavailable, deadline}},
}

// situation is what decides which of them an operation has.
type situation struct {
	rule                      auth.Rule
	writes, conditional, body bool
	byHand                    bool
}

func (s situation) errors() map[int][]spec.Error {
	out := map[int][]spec.Error{
		http.StatusBadRequest:      {fieldRefused, fieldUnknown},
		http.StatusTooManyRequests: {rate},
		0:                          {internalError, unavailable, deadline},
	}
	add := func(status int, e ...spec.Error) { out[status] = append(out[status], e...) }
	if s.byHand {
		out[http.StatusBadRequest] = []spec.Error{fieldRefused}
	}
	if s.rule.Scope != authpb.Scope_SCOPE_PUBLIC {
		add(http.StatusUnauthorized, signInFirst, tokenInvalid)
	}
	// Who may not even view a course is not told that there is one.
	if s.rule.Permission != "" && s.rule.Permission != auth.View {
		add(http.StatusForbidden, forbidden)
	}
	if s.rule.Scope == authpb.Scope_SCOPE_COURSE {
		add(http.StatusNotFound, hidden)
	}
	if s.writes {
		add(http.StatusForbidden, crossOrigin)
		add(http.StatusConflict, keyReused)
	}
	if s.conditional {
		add(http.StatusPreconditionFailed, stale)
	}
	switch {
	case s.body && s.byHand:
		add(http.StatusBadRequest, incomplete)
	case s.body:
		add(http.StatusBadRequest, badJSON, badText)
		add(http.StatusRequestEntityTooLarge, tooLarge)
		add(http.StatusUnsupportedMediaType, contentType)
	}
	return out
}

// failures adds the answers that tell an error: what the situation brings, and
// what the comment of the RPC lists.
func failures(op *spec.Operation, t told, s situation) {
	all := s.errors()
	for status, own := range t.errors {
		for _, e := range own {
			i := slices.IndexFunc(all[status], func(old spec.Error) bool { return old.Code == e.Code })
			switch {
			case i < 0:
				all[status] = append(all[status], e)
			case e.When != "":
				all[status][i].When = e.When
			}
		}
	}
	statuses := make([]int, 0, len(all))
	for status := range all {
		if status != 0 {
			statuses = append(statuses, status)
		}
	}
	slices.Sort(statuses)
	for _, status := range append(statuses, 0) {
		op.Responses.Add(statusName(status), failure(status, all[status]))
	}
	slices.SortStableFunc(op.Responses, func(x, y spec.Member[*spec.Response]) int { return strings.Compare(x.Name, y.Name) })
}

func statusName(status int) string {
	if status == 0 {
		return "default"
	}
	return strconv.Itoa(status)
}

// failure refers to the shared answer with these errors, or makes one.
func failure(status int, errors []spec.Error) *spec.Response {
	for _, s := range shared {
		if s.status == status && slices.Equal(s.errors, errors) {
			return &spec.Response{Ref: "#/components/responses/" + s.name}
		}
	}
	return problemResponse(status, errors)
}

func problemResponse(status int, errors []spec.Error) *spec.Response {
	var text strings.Builder
	text.WriteString(titleOf(status))
	for i, e := range errors {
		text.WriteString([]string{"; ", ": "}[max(0, 1-i)])
		text.WriteString("`" + e.Code + "`")
		if e.When != "" {
			text.WriteString(" " + e.When)
		}
	}
	text.WriteByte('.')
	res := &spec.Response{
		Description: text.String(),
		Content: spec.Map[spec.MediaType]{{
			Name:  "application/problem+json",
			Value: spec.MediaType{Schema: &spec.Schema{Ref: "#/components/schemas/Problem"}},
		}},
		Errors: errors,
	}
	switch status {
	case http.StatusUnauthorized:
		res.Headers.Add("WWW-Authenticate", &spec.Header{Ref: "#/components/headers/WWWAuthenticate"})
	case http.StatusTooManyRequests, 0:
		res.Headers.Add("Retry-After", &spec.Header{Ref: "#/components/headers/RetryAfter"})
	}
	return res
}

// titleOf returns what all errors of a status have in common.
func titleOf(status int) string {
	for k := fault.Internal; k <= fault.Unavailable; k++ {
		if k.HTTPStatus() == status {
			return k.Title()
		}
	}
	if status == 0 {
		return "Any other failure"
	}
	return http.StatusText(status)
}
