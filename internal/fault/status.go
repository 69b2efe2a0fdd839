package fault

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	domain  = "stoa"
	keyEtag = "etag"
)

// table is the one place that says how a kind is told.
var table = [...]struct {
	grpc codes.Code
	http int
	name string
}{
	Internal:        {codes.Internal, 500, "Internal error"},
	Invalid:         {codes.InvalidArgument, 400, "Invalid request"},
	Unauthenticated: {codes.Unauthenticated, 401, "Not signed in"},
	Forbidden:       {codes.PermissionDenied, 403, "Not allowed"},
	NotFound:        {codes.NotFound, 404, "Not found"},
	Conflict:        {codes.AlreadyExists, 409, "Conflict"},
	Precondition:    {codes.FailedPrecondition, 412, "Precondition failed"},
	TooLarge:        {codes.OutOfRange, 413, "Too large"},
	Exhausted:       {codes.ResourceExhausted, 429, "Too many requests"},
	Unavailable:     {codes.Unavailable, 503, "Unavailable"},
}

// HTTPStatus returns the status a kind is told with over HTTP.
func (k Kind) HTTPStatus() int { return table[k].http }

// Title returns the short human name of a kind, the same for all its codes.
func (k Kind) Title() string { return table[k].name }

// GRPCCode returns the code a kind is told with over gRPC.
func (k Kind) GRPCCode() codes.Code { return table[k].grpc }

// ToStatus returns err as a gRPC status. An unknown error becomes Internal
// without its text; a deadline or a cancelled call keeps its meaning.
func ToStatus(err error) *status.Status {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			e = New(Unavailable, "deadline", "The request took too long. Try again.")
		case errors.Is(err, context.Canceled):
			return status.New(codes.Canceled, "canceled")
		default:
			e = New(Internal, "internal", "Something went wrong on our side.")
		}
	}
	st := status.New(table[e.Kind].grpc, utf8(e.Message))
	info := &errdetails.ErrorInfo{Reason: utf8(e.Code), Domain: domain}
	if e.Etag != "" {
		info.Metadata = map[string]string{keyEtag: utf8(e.Etag)}
	}
	details := []protoadapt.MessageV1{info}
	if len(e.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: utf8(f.Path), Reason: utf8(f.Code), Description: utf8(f.Hint),
			})
		}
		details = append(details, bad)
	}
	if e.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.Retry)})
	}
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

// utf8 returns text that a message can carry: an error may quote what a caller
// sent, and must not lose its details by that.
func utf8(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// FromStatus rebuilds the *Error that [ToStatus] told. Failures of the
// transport itself become Unavailable. A nil error stays nil.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Message: st.Message()}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				e.Code, e.Etag = d.GetReason(), d.GetMetadata()[keyEtag]
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{Path: v.GetField(), Code: v.GetReason(), Hint: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.Retry = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Code != "" {
		for k, row := range table {
			if row.grpc == st.Code() {
				e.Kind = Kind(k)
			}
		}
		return e
	}
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unavailable:
		return &Error{Kind: Unavailable, Code: "unavailable", Message: "A part of Stoa does not answer. Try again.", Retry: time.Second}
	case codes.ResourceExhausted:
		return New(TooLarge, "request.too_large", "The message is larger than a call may carry.")
	case codes.Unimplemented:
		return New(NotFound, "method.not_found", "There is no such method.")
	case codes.InvalidArgument:
		return New(Invalid, "request.invalid", "%s", st.Message())
	default:
		return err
	}
}
