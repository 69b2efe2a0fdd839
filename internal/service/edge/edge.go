// Package edge is where the outside world comes in: REST made from the
// contracts, gRPC passed on, and the pages of the platform itself.
//
// It owns no tables. It answers HTTP/1.1 and HTTP/2 (with and without TLS in
// front) on one address. It sends no events and hears none. It calls every
// service on behalf of who signed in: it turns the token of a request into a
// signed principal, and holds the request to its bounds of size, rate and time.
package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// Config is what the edge needs.
type Config struct {
	Log *slog.Logger
	// Conns holds the connection to each service by its name.
	Conns map[string]grpc.ClientConnInterface
	// Limiter counts requests.
	Limiter cache.Limiter
	// Rate is how many requests one address may make; a zero Every is no bound.
	Rate cache.Limit
	// SignInRate is the same for signing in and signing up.
	SignInRate cache.Limit
	// Timeout bounds a request that is no transfer of a file.
	Timeout time.Duration
	// MaxUpload bounds an uploaded file in bytes.
	MaxUpload int64
	// SecureCookies has browsers send the session cookie over TLS only.
	SecureCookies bool
	// Development shows the pages of the development provider and outbox.
	Development bool
	// Status describes the process for the page at /.
	Status func() Status
	// Ready says what this process waits for; nil when it can serve.
	Ready func(ctx context.Context) error
}

// Status is what the page at / says.
type Status struct {
	Version  string
	Services []string
	SignIns  []SignIn // of the demo school
}

// SignIn is an account to try.
type SignIn struct{ Who, Email, Password string }

// Edge answers the outside world.
type Edge struct {
	Config
	identity identitypb.IdentityServiceClient
	media    mediapb.MediaServiceClient
	commerce commercepb.CommerceServiceClient
	notify   notifypb.NotifyServiceClient
	tokens   *otter.Cache[string, auth.Principal]
	handler  http.Handler
	grpc     *grpc.Server
}

// tokenTTL is how long an ended session may still be believed here.
const tokenTTL = time.Second

// maxBody bounds a JSON body: the largest lesson fits.
const maxBody = 3 << 20

// New returns an edge over the given connections.
func New(cfg Config) (*Edge, error) {
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "commerce", "discovery", "notify"} {
		if cfg.Conns[name] == nil {
			return nil, fmt.Errorf("edge: no connection to %s", name)
		}
	}
	tokens, err := otter.New(&otter.Options[string, auth.Principal]{
		MaximumSize:      50_000,
		ExpiryCalculator: otter.ExpiryCreating[string, auth.Principal](tokenTTL),
	})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	e := &Edge{
		Config:   cfg,
		identity: identitypb.NewIdentityServiceClient(cfg.Conns["identity"]),
		media:    mediapb.NewMediaServiceClient(cfg.Conns["media"]),
		commerce: commercepb.NewCommerceServiceClient(cfg.Conns["commerce"]),
		notify:   notifypb.NewNotifyServiceClient(cfg.Conns["notify"]),
		tokens:   tokens,
	}
	if err := e.routes(); err != nil {
		return nil, err
	}
	return e, nil
}

// ServeHTTP implements [http.Handler].
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

func (e *Edge) routes() error {
	rest, err := e.gateway()
	if err != nil {
		return err
	}
	e.grpc = e.passOn()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.homePage)
	mux.HandleFunc("GET /docs", e.docsPage)
	mux.HandleFunc("GET /assets/{file}", asset)
	mux.HandleFunc("GET /v1/openapi.json", openAPI)
	mux.HandleFunc("GET /healthz", e.healthz)
	mux.HandleFunc("GET /readyz", e.readyz)
	mux.HandleFunc("GET /pay/{payment_id}", e.payPage)
	mux.HandleFunc("POST /pay/{payment_id}", e.settle)
	mux.HandleFunc("GET /mail", e.mailPage)
	mux.HandleFunc("POST /v1/courses/{course_id}/media", e.upload)
	mux.HandleFunc("GET /v1/media/{media_id}/content", e.download)
	mux.Handle("/v1/", e.bounded(rest))
	mux.HandleFunc("/", e.notFound)

	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, e.Log, errCrossOrigin)
	}))
	plain := crossOrigin.Handler(e.authenticate(mux))
	e.handler = e.observe(e.limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isGRPC(r) {
			e.grpc.ServeHTTP(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})))
	return nil
}

// gateway makes REST of the contracts.
func (e *Edge) gateway() (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithErrorHandler(e.restError),
		runtime.WithRoutingErrorHandler(e.routingError),
		runtime.WithIncomingHeaderMatcher(incomingHeader),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithForwardResponseOption(e.restResponse),
		runtime.WithDisablePathLengthFallback(),
		runtime.SetQueryParameterParser(strictQuery{}),
	)
	ctx := context.Background() // it bounds nothing: clients are made already
	for _, register := range []func() error{
		func() error { return identitypb.RegisterIdentityServiceHandlerClient(ctx, mux, e.identity) },
		func() error {
			return accesspb.RegisterAccessServiceHandlerClient(ctx, mux, accesspb.NewAccessServiceClient(e.Conns["access"]))
		},
		func() error {
			return coursespb.RegisterCoursesServiceHandlerClient(ctx, mux, coursespb.NewCoursesServiceClient(e.Conns["courses"]))
		},
		func() error { return mediapb.RegisterMediaServiceHandlerClient(ctx, mux, e.media) },
		func() error {
			return learningpb.RegisterLearningServiceHandlerClient(ctx, mux, learningpb.NewLearningServiceClient(e.Conns["learning"]))
		},
		func() error { return commercepb.RegisterCommerceServiceHandlerClient(ctx, mux, e.commerce) },
		func() error {
			return discoverypb.RegisterDiscoveryServiceHandlerClient(ctx, mux, discoverypb.NewDiscoveryServiceClient(e.Conns["discovery"]))
		},
		func() error { return notifypb.RegisterNotifyServiceHandlerClient(ctx, mux, e.notify) },
	} {
		if err := register(); err != nil {
			return nil, fmt.Errorf("edge: %w", err)
		}
	}
	return mux, nil
}
