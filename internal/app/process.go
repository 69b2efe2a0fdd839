// Package app puts services together into a process. It is the only package
// that knows them all.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/embedded"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// process is what the services of one process share.
type process struct {
	cfg     Config
	log     *slog.Logger
	key     string // the service keys, newest first
	keys    *auth.Keys
	secrets *secret.Keys // nil where no data is
	local   []string     // the services that run here
	peers   map[string]string
	tls     *rpc.TLS // nil where processes speak without

	server *rpc.Server

	permissions *permissions // what the guard asks

	broker   bus.Broker
	limiter  cache.Store
	database string
	dbs      []*pg.DB
	members  []bus.Member
	runs     []func(context.Context) error
	web      net.Listener // the edge's, nil without an edge

	fonts func() (*pdf.Fonts, error) // those of documents, found once

	mu     sync.Mutex
	dialed map[[2]string]*grpc.ClientConn
	closes []func() // in reverse at the end
}

// newest returns the first of comma-separated keys.
func newest(keys string) string {
	first, _, _ := strings.Cut(keys, ",")
	return strings.TrimSpace(first)
}

func (p *process) runsHere(name string) bool { return slices.Contains(p.local, name) }

// whole reports whether every service runs here.
func (p *process) whole() bool { return len(p.local) == len(Names()) }

// holdsData reports whether a service with tables runs here.
func (p *process) holdsData() bool { return len(p.local) > 1 || p.local[0] != edgeName }

// onClose has fn called at the end, last come first.
func (p *process) onClose(fn func()) { p.closes = append(p.closes, fn) }

func (p *process) close() {
	for _, fn := range slices.Backward(p.closes) {
		fn()
	}
}

// conn returns the connection from one service to another: in memory when the
// other runs here, over the network when not.
func (p *process) conn(from, to string) grpc.ClientConnInterface {
	if p.runsHere(to) {
		return p.server.Conn(from, p.keys)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if cc, ok := p.dialed[[2]string{from, to}]; ok {
		return cc
	}
	addr := p.peers[to]
	if addr == "" {
		addr = to + ":9090"
	}
	cc, err := rpc.Dial(addr, to, from, p.keys, p.tls)
	if err != nil { // only a malformed address, which Faults has refused
		return broken{err}
	}
	p.dialed[[2]string{from, to}] = cc
	p.onClose(func() { _ = cc.Close() })
	return cc
}

// broken is a connection that can't be made.
type broken struct{ err error }

func (b broken) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return b.err }
func (b broken) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, b.err
}

// publicURL is where browsers reach the platform.
func (p *process) publicURL() string {
	if p.cfg.PublicURL != "" {
		return strings.TrimRight(p.cfg.PublicURL, "/")
	}
	scheme := "http://"
	if p.cfg.TLSCertFile != "" {
		scheme = "https://"
	}
	if p.web != nil {
		return scheme + p.web.Addr().String()
	}
	return scheme + p.cfg.HTTPAddr
}

// issuerName is who issues certificates.
func (p *process) issuerName() string {
	if p.cfg.IssuerName != "" {
		return p.cfg.IssuerName
	}
	if u, err := url.Parse(p.publicURL()); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "Stoa"
}

// seller is who issues invoices.
func (p *process) seller() commerce.Seller {
	s := commerce.Seller{Name: p.cfg.SellerName, TaxID: p.cfg.SellerTaxID}
	if s.Name == "" {
		s.Name = p.issuerName()
	}
	for line := range strings.SplitSeq(p.cfg.SellerAddress, ";") {
		if line = strings.TrimSpace(line); line != "" {
			s.Address = append(s.Address, line)
		}
	}
	return s
}

// newProcess opens what the services share. Nothing of it waits for a server
// that is away, but for the embedded database.
func newProcess(ctx context.Context, cfg Config, log *slog.Logger, local []string) (_ *process, err error) {
	p := &process{cfg: cfg, log: log, local: local, dialed: map[[2]string]*grpc.ClientConn{}}
	p.fonts = sync.OnceValues(func() (*pdf.Fonts, error) { return pdf.FindFonts(pdf.FontDirs...) })
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.peers, err = parsePeers(cfg.Peers); err != nil {
		return nil, err
	}
	if p.key, err = cfg.serviceKey(); err != nil {
		return nil, err
	}
	if p.keys, err = auth.NewKeys(p.key); err != nil {
		return nil, err
	}
	if cfg.RPCCAFile != "" {
		if p.tls, err = rpc.OpenTLS(cfg.RPCCAFile, cfg.RPCCertFile, cfg.RPCKeyFile, log); err != nil {
			return nil, fmt.Errorf("STOA_RPC_CERT_FILE: %w", err)
		}
		if err := p.tls.Names(local...); err != nil {
			return nil, fmt.Errorf("STOA_RPC_CERT_FILE: it needs a name for each service that runs here: %w", err)
		}
	}
	if p.holdsData() {
		keyset, err := openKeyset(ctx, cfg)
		if err != nil {
			return nil, err
		}
		p.secrets = keyset.keys
		p.runs = append(p.runs, func(ctx context.Context) error {
			keyset.watch(ctx, log, keysetEvery)
			return nil
		})
	}
	perms, err := newPermissions()
	if err != nil {
		return nil, err
	}
	p.permissions = perms
	p.server = rpc.NewServer(auth.NewGuard(p.keys, perms), log, p.tls)
	perms.access = accesspb.NewAccessServiceClient(p.conn("auth", "access"))
	if cfg.AMQPURL != "" {
		p.broker = amqp.Open(cfg.AMQPURL, log)
	} else {
		p.broker = bus.NewDirect()
	}
	p.onClose(func() { _ = p.broker.Close() })
	if p.limiter, err = openLimiter(cfg, log); err != nil {
		return nil, err
	}
	p.onClose(p.limiter.Close)
	if p.holdsData() {
		if p.database, err = p.openDatabase(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func openLimiter(cfg Config, log *slog.Logger) (cache.Store, error) {
	if cfg.RedisURL != "" {
		return cache.OpenRedis(cfg.RedisURL, log)
	}
	return cache.NewMemory()
}

// openDatabase returns the address of the database, having started the embedded
// one where none is named.
func (p *process) openDatabase(ctx context.Context) (string, error) {
	if p.cfg.DatabaseURL != "" {
		return p.cfg.DatabaseURL, nil
	}
	logFile, err := openLog(filepath.Join(p.cfg.DataDir, "postgres.log"))
	if err != nil {
		return "", err
	}
	p.onClose(func() { _ = logFile.Close() })
	server, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(p.cfg.DataDir, "postgres"), Log: logFile})
	if err != nil {
		return "", fmt.Errorf("embedded database: %w", err)
	}
	p.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			p.log.Error("the embedded database did not stop", "error", err.Error())
		}
	})
	p.runs = append(p.runs, func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-server.Done():
			return fmt.Errorf("the embedded database ended by itself: see %s", logFile.Name())
		}
	})
	// Where `stoa admin` and `stoa doctor` find it while it runs.
	path := filepath.Join(p.cfg.DataDir, databaseFile)
	if err := os.WriteFile(path, []byte(server.URL()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	p.onClose(func() { _ = os.Remove(path) })
	return server.URL(), nil
}

const databaseFile = "database.url"

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	return f, nil
}

// startServices migrates and starts the services with tables that run here.
func (p *process) startServices(ctx context.Context) error {
	var schemas []pg.Schema
	for _, s := range all {
		if p.runsHere(s.schema.Name) {
			schemas = append(schemas, s.schema)
		}
	}
	if p.cfg.Migrate.V && len(schemas) > 0 {
		if err := migrateWhenThere(ctx, p.log, p.database, schemas); err != nil {
			return err
		}
	}
	for _, s := range all {
		if !p.runsHere(s.schema.Name) {
			continue
		}
		db, err := pg.Open(ctx, pg.Config{
			URL: p.database, Schema: s.schema.Name, MaxConns: int32(p.cfg.Connections.V), //nolint:gosec // Faults holds it to 1,000
			Trace: p.cfg.TracesURL != "",
		})
		if err != nil {
			return err
		}
		p.onClose(db.Close)
		p.dbs = append(p.dbs, db)
		st, err := s.start(p, db)
		if err != nil {
			return fmt.Errorf("start %s: %w", s.schema.Name, err)
		}
		p.members = append(p.members, bus.Member{Name: s.schema.Name, DB: db, Handlers: st.handlers})
		if st.run != nil {
			p.runs = append(p.runs, st.run)
		}
	}
	return nil
}

// migrateWhenThere waits for a database that is not up yet, so that processes
// can be started in any order.
func migrateWhenThere(ctx context.Context, log *slog.Logger, database string, schemas []pg.Schema) error {
	for told := false; ; {
		err := pg.Migrate(ctx, database, schemas...)
		if err == nil || !pg.Away(err) {
			return err
		}
		if !told {
			log.WarnContext(ctx, "waiting for the database", "error", err.Error())
			told = true
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// housekeep forgets old idempotency keys.
func (p *process) housekeep(ctx context.Context) error {
	const every, batch = 10 * time.Minute, 5_000
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, db := range p.dbs {
			for deleted := int64(batch); deleted == batch && ctx.Err() == nil; {
				var err error
				if deleted, err = idempotency.Sweep(ctx, db, batch); err != nil && ctx.Err() == nil {
					p.log.WarnContext(ctx, "old idempotency keys could not be deleted", "service", db.Schema(), "error", err.Error())
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ready says what the process waits for, nil when it can serve. A broker or a
// cache that is away stops nobody: events wait in the outbox.
func (p *process) ready(ctx context.Context) error {
	for _, db := range p.dbs {
		if err := db.Ping(ctx); err != nil {
			return fmt.Errorf("%s: %w", db.Schema(), err)
		}
	}
	return nil
}

// bucket opens where files are kept.
func (p *process) bucket() (*blob.Bucket, error) {
	b, err := openBucket(context.Background(), p.cfg)
	if err != nil {
		return nil, err
	}
	p.onClose(func() { _ = b.Close() })
	return b, nil
}

func openBucket(ctx context.Context, cfg Config) (*blob.Bucket, error) {
	u, err := cfg.bucketURL()
	if err != nil {
		return nil, err
	}
	if parsed, err := url.Parse(u); err == nil && parsed.Scheme == "file" {
		if err := os.MkdirAll(parsed.Path, 0o700); err != nil {
			return nil, fmt.Errorf("bucket: %w", err)
		}
	}
	return blob.Open(ctx, blob.Config{URL: u, AccessKey: cfg.BucketAccessKey, SecretKey: cfg.BucketSecretKey})
}

// listen returns the edge's listener. In development a standard port that is
// taken is no reason not to start.
func listen(ctx context.Context, cfg Config, log *slog.Logger) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil && cfg.Profile == development && cfg.HTTPAddr == "127.0.0.1:8080" {
		log.WarnContext(ctx, "127.0.0.1:8080 is taken by another program, so a free port is used; set STOA_HTTP_ADDR to choose one")
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("STOA_HTTP_ADDR: %w", err)
	}
	return l, nil
}

// httpServer bounds headers and idle connections. Bodies are bounded where they
// are read: JSON by the request's deadline, transfers by one that moves while
// bytes come.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
