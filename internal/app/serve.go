package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/cert"
	"github.com/stoa-lms/stoa/internal/demo"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/edge"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// FaultsError is settings that are wrong.
type FaultsError []string

// Error lists the faults, one a line.
func (f FaultsError) Error() string {
	return "the settings have faults:\n  " + strings.Join(f, "\n  ")
}

// Serve runs the named services, all when none is named, until ctx ends; then
// it lets what is in progress finish. Where the process can be reached is
// written to out, the log to logTo.
func Serve(ctx context.Context, cfg Config, services []string, version string, out, logTo io.Writer) error {
	if faults := cfg.Faults(services); len(faults) > 0 {
		return FaultsError(faults)
	}
	local := Names()
	if len(services) > 0 {
		local = slices.Compact(slices.Sorted(slices.Values(services)))
	}
	log, err := telemetry.NewLogger(logTo, cfg.LogFormat, cfg.logLevel())
	if err != nil {
		return err
	}
	flush, err := telemetry.ExportTraces(ctx, cfg.TracesURL, version)
	if err != nil {
		return err
	}
	defer flush()
	p, err := newProcess(ctx, cfg, log, local)
	if err != nil {
		return err
	}
	defer p.close()
	return p.serve(ctx, version, out)
}

// serve starts everything, waits for the end and stops it in the order that
// loses nothing: no new requests, those in progress, events, the database.
func (p *process) serve(ctx context.Context, version string, out io.Writer) error {
	if p.runsHere(edgeName) {
		l, err := listen(ctx, p.cfg, p.log)
		if err != nil {
			return err
		}
		p.web = l
		defer func() { _ = l.Close() }()
	}
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	run := func(fn func(context.Context) error) {
		wg.Go(func() {
			if err := fn(running); err != nil {
				stop(err)
			}
		})
	}
	// First of all, so that who watches sees a process that waits and not one
	// that is dead.
	var state state
	ops, err := p.opsFront(ctx, &state, out)
	if err != nil {
		return err
	}
	run(func(context.Context) error { return ops.serve() })
	defer ops.stop(context.WithoutCancel(ctx))
	if err := p.startServices(ctx); err != nil {
		return err
	}
	p.runs = append(p.runs, p.housekeep)
	p.declare(ctx)
	if len(p.members) > 0 {
		run(func(ctx context.Context) error { return bus.Run(ctx, p.broker, p.log, p.members...) })
	}
	for _, fn := range p.runs {
		run(fn)
	}
	fronts, err := p.fronts(ctx, version, out, func(ctx context.Context) error { return state.ready(ctx, p) })
	if err != nil {
		return err
	}
	for _, f := range fronts {
		run(func(context.Context) error { return f.serve() })
	}
	state.set(serving)
	select {
	case <-ctx.Done():
		p.log.Info("stopping", "drain", p.cfg.Drain.V)
	case <-running.Done():
	}
	state.set(draining)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Drain.V)
	defer cancel()
	for _, f := range fronts {
		f.stop(drain)
	}
	ops.stop(drain)
	stop(nil)
	wg.Wait()
	if err := context.Cause(running); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// declarePatience is how long a start waits for the broker.
const declarePatience = 5 * time.Second

// declare tells the broker who hears what, before this process sends anything.
// A broker that is away remembers it for when it is back.
func (p *process) declare(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, declarePatience)
	defer cancel()
	if err := p.broker.Declare(bounded, p.hearing()); err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "the broker does not answer yet; events wait", "error", err.Error())
	}
}

// hearing is what the broker is told: all services where a server stands
// between processes, those of this process where it is the process itself.
func (p *process) hearing() map[string][]string {
	if p.cfg.AMQPURL != "" {
		return topology()
	}
	return bus.Topology(p.members...)
}

// front is something that listens.
type front struct {
	serve func() error
	stop  func(context.Context)
}

// state is how far a process is.
type state struct{ atomic.Int32 }

const (
	starting int32 = iota
	serving
	draining
)

func (s *state) set(to int32) { s.Store(to) }

// ready says what the process waits for, nil when requests should come here.
func (s *state) ready(ctx context.Context, p *process) error {
	switch s.Load() {
	case starting:
		return fault.New(fault.Unavailable, "starting", "This process is starting.")
	case draining:
		return fault.New(fault.Unavailable, "draining", "This process is being stopped.")
	default:
		return p.ready(ctx)
	}
}

// opsFront opens the operators' address, where there is to be one.
func (p *process) opsFront(ctx context.Context, s *state, out io.Writer) (front, error) {
	if p.cfg.OpsAddr == "" {
		return front{serve: func() error { return nil }, stop: func(context.Context) {}}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", p.cfg.OpsAddr)
	if err != nil {
		return front{}, fmt.Errorf("STOA_OPS_ADDR: %w", err)
	}
	fmt.Fprintf(out, "Operators: http://%s/metrics\n", l.Addr())
	handler := opsHandler(p.log, func(ctx context.Context) error { return s.ready(ctx, p) })
	return httpFront(httpServer(handler, p.log), l), nil
}

// fronts opens the addresses of the services and of the edge, and says where
// they are. The edge comes first: it is stopped before the services it calls.
func (p *process) fronts(ctx context.Context, version string, out io.Writer, ready func(context.Context) error) ([]front, error) {
	var fronts []front
	if p.holdsData() && (!p.whole() || p.cfg.RPCAddr != "") {
		f, addr, err := p.rpcFront(ctx)
		if err != nil {
			return nil, err
		}
		fronts = append(fronts, f)
		fmt.Fprintf(out, "Services: %s\n", addr)
	}
	if p.web != nil {
		f, err := p.webFront(ctx, version, out, ready)
		if err != nil {
			return nil, err
		}
		fronts = append([]front{f}, fronts...)
		if p.cfg.HTTPRedirectAddr != "" {
			if f, err = p.redirectFront(ctx, out); err != nil {
				return nil, err
			}
			fronts = append([]front{f}, fronts...)
		}
	}
	return fronts, nil
}

func (p *process) rpcFront(ctx context.Context) (front, string, error) {
	addr := p.cfg.RPCAddr
	if addr == "" {
		addr = ":9090"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return front{}, "", fmt.Errorf("STOA_RPC_ADDR: %w", err)
	}
	return front{serve: func() error { return p.server.Serve(l) }, stop: p.server.Stop}, l.Addr().String(), nil
}

func (p *process) webFront(ctx context.Context, version string, out io.Writer, ready func(context.Context) error) (front, error) {
	var signIns []demo.SignIn
	conns := map[string]grpc.ClientConnInterface{}
	for _, s := range all {
		conns[s.schema.Name] = p.conn(edgeName, s.schema.Name)
	}
	if p.cfg.Demo.V {
		var err error
		if signIns, err = demo.Load(ctx, conns, p.log); err != nil {
			return front{}, fmt.Errorf("demo school: %w", err)
		}
	}
	status := edge.Status{Version: version, Services: p.local}
	for _, s := range signIns {
		status.SignIns = append(status.SignIns, edge.SignIn(s))
	}
	proxies, err := parseProxies(p.cfg.TrustedProxies)
	if err != nil {
		return front{}, err
	}
	e, err := edge.New(edge.Config{
		Log: p.log, Conns: conns, Limiter: p.limiter,
		Proxies:       proxies,
		Rate:          rate(p.cfg.RateLimit.V, 4),
		SignInRate:    rate(p.cfg.SignInRateLimit.V, 20),
		Timeout:       p.cfg.RequestTimeout.V,
		MaxUpload:     p.cfg.MaxUpload.V,
		MaxArchive:    p.cfg.MaxArchive.V,
		PublicURL:     p.publicURL(),
		SecureCookies: strings.HasPrefix(p.publicURL(), "https:"),
		Development:   p.cfg.Profile == development,
		Status:        func() edge.Status { return status },
		Ready:         ready,
	})
	if err != nil {
		return front{}, err
	}
	server := httpServer(e, p.log)
	server.RegisterOnShutdown(e.CloseStreams)
	fmt.Fprintf(out, "Stoa %s: %s (API at /docs)\n", version, p.publicURL())
	for _, s := range signIns {
		fmt.Fprintf(out, "  %-28s %-32s %s\n", s.Who, s.Email, s.Password)
	}
	// Scripts that start the program wait for this file or for the line above.
	path := filepath.Join(p.cfg.DataDir, "http.addr")
	if err := os.MkdirAll(p.cfg.DataDir, 0o700); err == nil {
		if os.WriteFile(path, []byte(p.web.Addr().String()+"\n"), 0o600) == nil {
			p.onClose(func() { _ = os.Remove(path) })
		}
	}
	if p.cfg.TLSCertFile == "" {
		return httpFront(server, p.web), nil
	}
	pair, err := cert.Pair(p.cfg.TLSCertFile, p.cfg.TLSKeyFile, p.log)
	if err != nil {
		return front{}, fmt.Errorf("STOA_TLS_CERT_FILE: %w", err)
	}
	server.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Current(), nil },
	}
	return httpFront(server, p.web), nil
}

// redirectFront sends those who come without TLS to where it is. What they have
// sent already went in the open, so that it is not taken: a form is not passed
// on.
func (p *process) redirectFront(ctx context.Context, out io.Writer) (front, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", p.cfg.HTTPRedirectAddr)
	if err != nil {
		return front{}, fmt.Errorf("STOA_HTTP_REDIRECT_ADDR: %w", err)
	}
	fmt.Fprintf(out, "Redirects: http://%s\n", l.Addr())
	to := p.publicURL()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "use "+to, http.StatusForbidden)
			return
		}
		http.Redirect(w, r, to+"/"+strings.TrimLeft(r.URL.RequestURI(), "/"), http.StatusPermanentRedirect) //nolint:gosec // to our own address, whatever the path
	})
	return httpFront(httpServer(handler, p.log), l), nil
}

func rate(perSecond int64, times int) cache.Limit {
	if perSecond <= 0 {
		return cache.Limit{}
	}
	return cache.PerSecond(int(perSecond), int(perSecond)*times)
}

func httpFront(server *http.Server, l net.Listener) front {
	return front{
		serve: func() error {
			serve := server.Serve
			if server.TLSConfig != nil {
				serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
			}
			if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		},
		stop: func(ctx context.Context) {
			if server.Shutdown(ctx) != nil {
				_ = server.Close()
			}
		},
	}
}

// opsHandler serves metrics, health and profiles to operators.
func opsHandler(log *slog.Logger, ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", telemetry.MetricsHandler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := ready(ctx); err != nil {
			log.WarnContext(ctx, "not ready", "error", err.Error())
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
