package edge

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// incomingHeader passes on the headers that calls know, and no others.
func incomingHeader(name string) (string, bool) {
	switch http.CanonicalHeaderKey(name) {
	case "Idempotency-Key":
		return rpc.KeyIdempotency, true
	case "If-Match":
		return rpc.KeyIfMatch, true
	case "User-Agent":
		return "grpcgateway-user-agent", true
	default:
		return "", false
	}
}

// addressOf returns the caller's address, and what shows which browser asks, which
// [Edge.handle] has put into ctx, for calls that get metadata of their own.
func addressOf(ctx context.Context) metadata.MD {
	md, _ := metadata.FromOutgoingContext(ctx)
	out := metadata.MD{rpc.KeyAddress: md.Get(rpc.KeyAddress)}
	if proof := md.Get(rpc.KeyProof); len(proof) > 0 {
		out[rpc.KeyProof] = proof
	}
	return out
}

// bounded holds a JSON request to its size, its type and its time.
func (e *Edge) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkHeaders(r); err != nil {
			writeProblem(w, r, e.Log, err)
			return
		}
		if r.ContentLength > maxBody {
			writeProblem(w, r, e.Log, fault.New(fault.TooLarge, "request.too_large", "A request has at most %d bytes.", maxBody))
			return
		}
		if r.ContentLength != 0 && !isJSON(r) {
			writeStatus(w, r, http.StatusUnsupportedMediaType,
				fault.New(fault.Invalid, "request.content_type", "Send the body as application/json."))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
		defer cancel()
		if r.ContentLength != 0 {
			// A body that does not come must not hold the connection.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
		}
		r = r.WithContext(ctx)
		r.Body = &body{ReadCloser: http.MaxBytesReader(w, r.Body, maxBody)}
		// Services are told who calls by a signed principal; the token stays here.
		r.Header.Del("Authorization")
		next.ServeHTTP(w, r)
	})
}

func isJSON(r *http.Request) bool {
	t, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "application/json" && (params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8"))
}

// checkHeaders refuses what can't travel as metadata.
func checkHeaders(r *http.Request) error {
	for _, name := range []string{"Idempotency-Key", "If-Match"} {
		values := r.Header.Values(name)
		if len(values) == 0 {
			continue
		}
		v := values[0]
		if len(values) > 1 || v == "" || len(v) > 255 || strings.ContainsFunc(v, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
			return fault.InvalidField(name, "header.invalid", "Send it once, with 1 to 255 visible ASCII characters.")
		}
	}
	return nil
}

// restError tells a failed call.
func (e *Edge) restError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	if b, ok := r.Body.(*body); ok && b.fault != nil {
		err = b.fault
	}
	if he, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		err = he.Err
	}
	if st, ok := status.FromError(err); ok {
		if f := uncarry(st.Message()); f != nil {
			err = f
		}
	}
	writeProblem(w, r, e.Log, err)
}

// routingError tells a path or a method that there is not.
func (e *Edge) routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
	switch status {
	case http.StatusMethodNotAllowed:
		writeStatus(w, r, status, fault.New(fault.Invalid, "request.method", "%s is not possible here. What is, is said at /docs.", r.Method))
	case http.StatusBadRequest:
		writeProblem(w, r, e.Log, fault.New(fault.Invalid, "request.path", "The path is not well formed."))
	default:
		e.notFound(w, r)
	}
}

func (e *Edge) notFound(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, r, e.Log, fault.New(fault.NotFound, "route.not_found", "There is nothing at this address. What there is, is said at /docs."))
}

// restResponse sets what the message says of itself: its ETag, 201 for what was
// made, 204 for nothing, the cookie of a session that has a new token, and that
// of a sign-in at a provider.
func (e *Edge) restResponse(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	if etag := etagOf(m); etag != "" {
		h.Set("ETag", `"`+etag+`"`)
	}
	switch m := m.(type) {
	case *identitypb.Session:
		if m.GetToken() != "" {
			http.SetCookie(w, e.sessionCookie(m.GetToken(), m.GetExpiresAt().AsTime()))
		}
	case *identitypb.SignInFlow:
		e.bindFlow(w, m)
	}
	method, _ := runtime.RPCMethod(ctx)
	switch _, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/"); {
	case strings.HasPrefix(name, "Create"):
		w.WriteHeader(http.StatusCreated)
	case isEmpty(m):
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

func isEmpty(m proto.Message) bool {
	_, ok := m.(*emptypb.Empty)
	return ok
}

func etagOf(m proto.Message) string {
	fd := m.ProtoReflect().Descriptor().Fields().ByName("etag")
	if fd == nil || fd.Kind() != protoreflect.StringKind {
		return ""
	}
	return m.ProtoReflect().Get(fd).String()
}

// strictQuery reads query parameters and refuses those that the request does
// not have, so that a mistyped filter does not answer with everything.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse implements [runtime.QueryParameterParser].
func (q strictQuery) Parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	if e := q.parse(m, values, filter); e != nil {
		return carried{e}
	}
	return nil
}

func (q strictQuery) parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) *fault.Error {
	fields := m.ProtoReflect().Descriptor().Fields()
	for name, v := range values {
		fd := fields.ByName(protoreflect.Name(name))
		if fd == nil || fd.Message() != nil || filter.HasCommonPrefix([]string{name}) {
			return &fault.Error{
				Kind: fault.Invalid, Code: "request.unknown_field", Message: "The request has a parameter that is not known.",
				Fields: []fault.Field{{Path: name, Code: "field.unknown", Hint: "Leave it out, or look up its name at /docs."}},
			}
		}
		if len(v) > 1 && !fd.IsList() {
			return fault.InvalidField(name, "field.repeated", "Send it once.")
		}
		if err := q.DefaultQueryParser.Parse(m, url.Values{name: v}, filter); err != nil {
			return fault.InvalidField(name, "field.type", "Not accepted: send a value of type "+fd.Kind().String()+".")
		}
	}
	return nil
}

// carried is a fault on its way through the gateway, which keeps nothing of a
// parser's error but its text.
type carried struct{ fault *fault.Error }

const carriedPrefix = "stoa fault: "

func (c carried) Error() string {
	text, err := json.Marshal(c.fault)
	if err != nil { // no value of fault.Error fails
		return c.fault.Error()
	}
	return carriedPrefix + string(text)
}

// uncarry returns the fault that a text carries, nil when it carries none.
func uncarry(text string) *fault.Error {
	rest, ok := strings.CutPrefix(text, carriedPrefix)
	if !ok {
		return nil
	}
	f := new(fault.Error)
	if err := json.Unmarshal([]byte(rest), f); err != nil {
		return fault.New(fault.Invalid, "request.invalid", "The request has a parameter that is not accepted.")
	}
	return f
}
