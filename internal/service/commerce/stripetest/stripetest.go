// Package stripetest is a Stripe for tests: what the platform asks of Stripe, with a
// state that lasts. It does a write once for its key, keeps a balance, and makes events
// signed as Stripe signs them, which the test delivers, twice, late, in any order or not
// at all. It can fail any request before or after it took effect.
//
// That requests are such as Stripe takes is proved with Stripe's own mock server; this
// is about what follows from them.
package stripetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// What the platform connects with.
const (
	Key    = "sk_test_stripetest"
	Secret = "whsec_stripetest0000000"
)

// maxExpand is how deep what a thing refers to is told.
const maxExpand = 4

// Fault is how a request fails.
type Fault int

// The ways to fail.
const (
	None   Fault = iota
	Before       // the connection breaks, and nothing was done
	After        // it was done, and the connection breaks
	Busy         // somebody else is at it
	Stuck        // it is broken, and stays so for its key
)

// object is a thing of Stripe as it is told.
type object = map[string]any

// Server is a Stripe.
type Server struct {
	URL string

	fault       func(r *http.Request) Fault
	lateFees    bool
	slowRefunds bool
	now         func() time.Time
	mu          sync.Mutex
	n           int
	things      map[string]object // by id
	lists       map[string][]string
	answers     map[string]answer // by idempotency key
	txns        []object
	unsent      []Delivery
	requests    map[string]int
}

// answer is what a write was answered with.
type answer struct {
	request string
	status  int
	body    []byte
}

// Delivery is an event as it is sent.
type Delivery struct {
	ID, Type string
	Body     []byte
	At       time.Time
}

// Signed returns the header that signs it with a secret at a moment.
func (d Delivery) Signed(secret string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: d.Body, Secret: secret, Timestamp: at}).Header
}

// New starts a Stripe with a clock, for the time of the test.
func New(tb testing.TB, now func() time.Time) *Server {
	tb.Helper()
	s := &Server{now: now, things: map[string]object{}, lists: map[string][]string{}, answers: map[string]answer{}, requests: map[string]int{}}
	s.add("billing_portal.configuration", "bpc", object{"active": true, "is_default": true})
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Fail has requests fail as fn says; not at all when it is nil.
func (s *Server) Fail(fn func(r *http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fn
}

// LateFees has charges told without their fee until [Server.TellFees], or not.
func (s *Server) LateFees(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lateFees = yes
}

// refusal is an error as Stripe tells it.
type refusal struct {
	status          int
	kind, code, msg string
}

func (r refusal) body() []byte {
	return encode(object{"error": object{"type": r.kind, "code": r.code, "message": r.msg}})
}

func invalid(code, format string, args ...any) refusal {
	return refusal{http.StatusBadRequest, "invalid_request_error", code, fmt.Sprintf(format, args...)}
}

func unknown(id string) refusal {
	return refusal{http.StatusNotFound, "invalid_request_error", "resource_missing", "No such thing: " + id}
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of what can be written
	}
	return text
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fails := s.fault
	s.mu.Unlock()
	fault := None
	if fails != nil {
		fault = fails(r)
	}
	if fault == Before {
		panic(http.ErrAbortHandler)
	}
	status, body, replayed := s.answer(r, fault)
	if fault == After {
		panic(http.ErrAbortHandler)
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("Request-Id", "req_1")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, read by a program
}

// answer does a request, once for its key.
func (s *Server) answer(r *http.Request, fault Fault) (status int, body []byte, replayed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.Method+" "+kindOf(r.URL.Path)]++
	told := func(no refusal) (int, []byte, bool) { return no.status, no.body(), false }
	if err := r.ParseForm(); err != nil {
		return told(invalid("", "%v", err))
	}
	key, write := r.Header.Get("Idempotency-Key"), r.Method == http.MethodPost
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Key:
		return told(refusal{http.StatusUnauthorized, "invalid_request_error", "", "Invalid API Key provided"})
	case r.Header.Get("Stripe-Version") != stripe.APIVersion:
		return told(invalid("", "which version?"))
	case fault == Busy:
		return told(refusal{http.StatusTooManyRequests, "invalid_request_error", "lock_timeout", "This object is in use."})
	case slices.ContainsFunc(expansions(r), func(path string) bool { return strings.Count(path, ".") >= maxExpand }):
		return told(invalid("", "You cannot expand more than 4 levels of a property."))
	case write && key == "":
		return told(invalid("", "a write without a key"))
	}
	request := r.Method + " " + r.URL.Path + "?" + r.Form.Encode()
	if known, ok := s.answers[key]; write && ok {
		if known.request != request {
			return told(refusal{http.StatusBadRequest, "idempotency_error", "", "Keys can only be used with the same parameters they were first used with."})
		}
		return known.status, known.body, true
	}
	s.tick()
	if fault == Stuck {
		no := refusal{http.StatusInternalServerError, "api_error", "", "Something went wrong."}
		status, body = no.status, no.body()
	} else {
		thing, no := s.route(r)
		if no.status != 0 {
			status, body = no.status, no.body()
		} else {
			status, body = http.StatusOK, encode(thing)
		}
	}
	if write {
		s.answers[key] = answer{request, status, body}
	}
	return status, body, false
}

// kindOf is the path of a request without ids.
func kindOf(path string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.Contains(p, "_") && strings.ContainsAny(p, "0123456789") }), "/")
}

// Requests returns how often something was asked for, as "POST refunds".
func (s *Server) Requests(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[what]
}

// ForgetKeys is what Stripe does after a day.
func (s *Server) ForgetKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.answers)
}

// id returns a new one.
func (s *Server) id(prefix string) string {
	s.n++
	return fmt.Sprintf("%s_%08d", prefix, s.n)
}

// add keeps a new thing.
func (s *Server) add(kind, prefix string, o object) object {
	id := s.id(prefix)
	o["id"], o["object"], o["created"] = id, kind, s.now().Unix()
	s.things[id] = o
	s.lists[kind] = append(s.lists[kind], id)
	return o
}

// get returns a thing of a kind.
func (s *Server) get(kind, id string) (object, refusal) {
	if o, ok := s.things[id]; ok && o["object"] == kind {
		return o, refusal{}
	}
	return nil, unknown(id)
}

// of returns things of a kind, oldest first.
func (s *Server) of(kind string) []object {
	list := make([]object, 0, len(s.lists[kind]))
	for _, id := range s.lists[kind] {
		list = append(list, s.things[id])
	}
	return list
}

// page answers a list, newest first, as the cursors of a request say.
func page(r *http.Request, list []object) object {
	list = slices.Clone(list)
	slices.Reverse(list)
	limit := 10
	if n, err := strconv.Atoi(r.Form.Get("limit")); err == nil {
		limit = n
	}
	var more bool
	at := func(id string) int { return slices.IndexFunc(list, func(o object) bool { return o["id"] == id }) }
	switch {
	case r.Form.Get("ending_before") != "":
		list = list[:max(0, at(r.Form.Get("ending_before")))]
		if more = len(list) > limit; more {
			list = list[len(list)-limit:] // those next to the cursor
		}
	default:
		if after := r.Form.Get("starting_after"); after != "" {
			list = list[at(after)+1:]
		}
		if more = len(list) > limit; more {
			list = list[:limit]
		}
	}
	return object{"object": "list", "data": list, "has_more": more}
}

// created keeps what was created in the times that a request names.
func created(r *http.Request, list []object) []object {
	for name, keep := range map[string]func(at, bound int64) bool{
		"created[gte]": func(at, bound int64) bool { return at >= bound },
		"created[lt]":  func(at, bound int64) bool { return at < bound },
	} {
		if bound, err := strconv.ParseInt(r.Form.Get(name), 10, 64); err == nil {
			list = slices.DeleteFunc(slices.Clone(list), func(o object) bool { return !keep(o["created"].(int64), bound) })
		}
	}
	return list
}

// meta returns what a form has under name[…].
func meta(form url.Values, name string) map[string]string {
	m := map[string]string{}
	for k, v := range form {
		if inner, ok := strings.CutPrefix(k, name+"["); ok && !strings.Contains(inner, "[") {
			m[strings.TrimSuffix(inner, "]")] = v[0]
		}
	}
	return m
}

// tell makes an event of what has happened to a thing.
func (s *Server) tell(kind string, about object) {
	e := s.add("event", "evt", object{
		"api_version": stripe.APIVersion, "type": kind, "livemode": false, "data": object{"object": maps.Clone(about)},
	})
	s.unsent = append(s.unsent, Delivery{e["id"].(string), kind, encode(e), s.now()})
}

// Tell makes an event of any type about anything.
func (s *Server) Tell(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(kind, object{"id": id})
}

// Take returns the events that were not taken yet.
func (s *Server) Take() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	list := s.unsent
	s.unsent = nil
	return list
}
