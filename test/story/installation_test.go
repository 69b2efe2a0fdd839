// Package story tells the platform's stories against real processes: the built
// program in one process and in a process per service, over HTTP alone.
package story_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/testserver"
)

// services in the order in which they are listed; the edge is last.
var services = []string{"identity", "access", "courses", "media", "learning", "assessment", "grades", "commerce", "discovery", "audit", "notify", "edge"}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stoa-story-*")
	if err != nil {
		return "", err
	}
	all.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "stoa")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "github.com/stoa-lms/stoa/cmd/stoa").CombinedOutput() //nolint:gosec // a path of our own
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// atOnce is how many stories are told at a time. They wait more than they
// compute: for servers that start, leases that end and people who read.
const atOnce = "3"

func TestMain(m *testing.M) {
	flag.Parse()
	named := false
	flag.Visit(func(f *flag.Flag) { named = named || f.Name == "test.parallel" })
	if !named {
		_ = flag.Set("test.parallel", atOnce)
	}
	code := m.Run()
	if all.end(); all.Failed() {
		code = 1
	}
	os.Exit(code)
}

// installation is a running platform.
type installation struct {
	t         testing.TB
	dir       string
	processes map[string]*process
	edge      string // http://host:port
	web       *http.Client

	// Of a distributed one.
	broker, redis, s3 *testserver.Server
	postgres          *postgres // nil where it is shared with others

	stranger *stranger

	answered *atomic.Int64 // of what somebody insisted on
}

// progress returns once something that somebody insists on has been answered: who
// breaks things waits for it now and then. If it never did, nobody would get anywhere
// on a slow machine.
func (in *installation) progress(ctx context.Context) {
	for before := in.answered.Load(); ctx.Err() == nil && in.answered.Load() == before; {
		pause()
	}
}

// stranger is somebody who has no part in anything, and signs up when they are asked for.
type stranger struct {
	once sync.Once
	*person
}

// process is one running program, which can be killed and started again.
type process struct {
	t    testing.TB
	name string
	args []string
	env  []string
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) start() {
	p.t.Helper()
	path, err := buildOnce()
	if err != nil {
		p.t.Fatal(err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(path, p.args...) //nolint:gosec,noctx // the program under test; it is stopped by the test
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	done := make(chan struct{})
	if err := testserver.Start(cmd, func(error) {
		_ = log.Close()
		close(done)
	}); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.done = cmd, done
}

// kill ends the process without warning.
func (p *process) kill() { p.signal(syscall.SIGKILL, 10*time.Second) }

// stop asks the process to end and waits until it has.
func (p *process) stop() { p.signal(syscall.SIGTERM, 40*time.Second) }

func (p *process) signal(sig syscall.Signal, patience time.Duration) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig) // it may have ended
	select {
	case <-done:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-done
		p.t.Errorf("%s did not end within %s of %s", p.name, patience, sig)
	}
}

func (p *process) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// tail returns the last lines of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return p.name + ": " + strings.Join(lines[max(0, len(lines)-15):], "\n"+p.name+": ")
}

func freeAddr(t testing.TB) string {
	t.Helper()
	ports, err := testserver.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", ports[0])
}

// newInstallation returns one without processes.
func newInstallation(t testing.TB) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "stoa-story-*")
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{
		t: t, dir: dir, processes: map[string]*process{}, stranger: &stranger{}, answered: new(atomic.Int64),
		web: &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	t.Cleanup(func() {
		in.tell(t)
		var wg sync.WaitGroup
		for _, p := range in.processes {
			wg.Go(p.stop)
		}
		wg.Wait()
		for _, s := range []*testserver.Server{in.broker, in.redis, in.s3} {
			if s != nil {
				wg.Go(s.Kill) // what they hold is nobody's any more
			}
		}
		wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return in
}

// tell adds what the processes said last to a test that has failed.
func (in *installation) tell(t testing.TB) {
	if t.Failed() {
		for _, p := range in.processes {
			t.Log(p.tail())
		}
	}
}

func (in *installation) add(name string, args []string, env ...string) *process {
	p := &process{t: in.t, name: name, args: args, env: env, log: filepath.Join(in.dir, name+".log")}
	in.processes[name] = p
	return p
}

// oneProcess starts the default: everything in one process, with its embedded
// database, on a port of its choice.
func oneProcess(t testing.TB) *installation { return oneProcessWith(t) }

// oneProcessWith starts it with more settings.
func oneProcessWith(t testing.TB, env ...string) *installation {
	t.Helper()
	in := newInstallation(t)
	addr := freeAddr(t)
	in.edge = "http://" + addr
	in.add("stoa", []string{"serve"}, append([]string{
		"STOA_DATA_DIR=" + filepath.Join(in.dir, "data"), "STOA_HTTP_ADDR=" + addr,
		"STOA_RATE_LIMIT=0", "STOA_SIGN_IN_RATE_LIMIT=0", "STOA_DATABASE_CONNECTIONS=4",
	}, env...)...).start()
	in.waitReady()
	return in
}

// distributed starts every service in a process of its own, with RabbitMQ,
// Redis and an S3 server that belong to this installation alone.
func distributed(t testing.TB) *installation { return distributedWith(t) }

// distributedWith starts it with more settings.
func distributedWith(t testing.TB, env ...string) *installation {
	t.Helper()
	database := pgtest.New(t) // what comes first is cleaned up last
	return distributedOn(t, newInstallation(t), database, env...)
}

// distributedOn is [distributed] on a database that there is, with more settings.
func distributedOn(t testing.TB, in *installation, database string, env ...string) *installation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	type result struct {
		server *testserver.Server
		err    error
	}
	launch := func(fn func(context.Context, string) (*testserver.Server, error), name string) chan result {
		c := make(chan result, 1)
		go func() {
			s, err := fn(ctx, filepath.Join(in.dir, name))
			c <- result{s, err}
		}()
		return c
	}
	broker := launch(testserver.StartRabbitMQ, "rabbitmq")
	redis := launch(testserver.StartRedis, "redis")
	s3 := launch(func(ctx context.Context, dir string) (*testserver.Server, error) {
		return testserver.StartS3(ctx, dir, "")
	}, "s3")
	for _, w := range []struct {
		c  chan result
		to **testserver.Server
	}{{broker, &in.broker}, {redis, &in.redis}, {s3, &in.s3}} {
		r := <-w.c
		if r.err != nil {
			t.Fatal(r.err)
		}
		*w.to = r.server
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	addrs, peers := map[string]string{}, []string{}
	for _, s := range services {
		addrs[s] = freeAddr(t)
		peers = append(peers, s+"="+addrs[s])
	}
	keys, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keyset := filepath.Join(in.dir, "keyset.json")
	if err := os.WriteFile(keyset, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(in.dir, "certs")
	program, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, program, "admin", "certs", "--dir", certs).CombinedOutput(); err != nil { //nolint:gosec // the program under test
		t.Fatalf("certificates: %v\n%s", err, out)
	}
	web := freeAddr(t)
	in.edge = "http://" + web
	bucket, access, secretKey := s3Settings(t, in.s3.URL)
	for _, s := range services {
		in.add(s, []string{"serve", s}, append([]string{
			"STOA_DATA_DIR=" + filepath.Join(in.dir, "data-"+s),
			"STOA_DATABASE_URL=" + database, "STOA_DATABASE_CONNECTIONS=4",
			"STOA_AMQP_URL=" + in.broker.URL, "STOA_REDIS_URL=" + in.redis.URL,
			"STOA_BUCKET_URL=" + bucket, "STOA_BUCKET_ACCESS_KEY=" + access, "STOA_BUCKET_SECRET_KEY=" + secretKey, "STOA_KEYSET_FILE=" + keyset,
			"STOA_SERVICE_KEY=" + base64.StdEncoding.EncodeToString(key),
			"STOA_RPC_CA_FILE=" + filepath.Join(certs, s, "ca.crt"),
			"STOA_RPC_CERT_FILE=" + filepath.Join(certs, s, "tls.crt"), "STOA_RPC_KEY_FILE=" + filepath.Join(certs, s, "tls.key"),
			"STOA_RPC_ADDR=" + addrs[s], "STOA_PEERS=" + strings.Join(peers, ","),
			"STOA_HTTP_ADDR=" + web, "STOA_PUBLIC_URL=" + in.edge,
			"STOA_RATE_LIMIT=100000", "STOA_SIGN_IN_RATE_LIMIT=100000", // counted in Redis all the same
		}, env...)...).start()
	}
	in.waitReady()
	return in
}

// waitReady waits until the platform answers, through every service.
func (in *installation) waitReady() {
	in.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := in.probe()
		if err == nil {
			return
		}
		for _, p := range in.processes {
			if p.ended() {
				in.t.Fatalf("%s ended:\n%s", p.name, p.tail())
			}
		}
		if time.Now().After(deadline) {
			in.t.Fatalf("not ready: %v", err)
		}
		pause()
	}
}

// probe asks for something that each service has to answer: reads that need no
// account, and refusals that only the service itself can make.
func (in *installation) probe() error {
	for path, want := range map[string]int{
		"/readyz":                 200,
		"/v1/marketplace/courses": 200, // discovery
		"/v1/courses/course_01h455vb4pex5vsknk084sn02q":               401, // courses, access
		"/v1/courses/course_01h455vb4pex5vsknk084sn02q/price":         401, // commerce
		"/v1/courses/course_01h455vb4pex5vsknk084sn02q/progress":      401, // learning
		"/v1/courses/course_01h455vb4pex5vsknk084sn02q/quizzes":       401, // assessment
		"/v1/courses/course_01h455vb4pex5vsknk084sn02q/gradebook":     401, // grades
		"/v1/media/media_01h455vb4pex5vsknk084sn02q/content":          404, // media
		"/v1/development/payments/payment_01h455vb4pex5vsknk084sn02q": 404,
		"/v1/me": 401, // identity
		"/mail":  200, // notify
	} {
		res, err := in.web.Get(in.edge + path) //nolint:noctx // the client has a timeout
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want {
			return fmt.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
	return nil
}

// pause is between two looks at something that will change; every loop around
// it has a deadline.
func pause() { <-time.After(20 * time.Millisecond) }

// eventually waits for look to find what it wants.
func eventually(t testing.TB, patience time.Duration, what string, look func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, seen := look()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; seen last: %s", what, patience, seen)
		}
		pause()
	}
}

func s3Settings(t testing.TB, raw string) (bucket, access, secret string) {
	t.Helper()
	rest, ok := strings.CutPrefix(raw, "http://")
	if !ok {
		t.Fatalf("S3 address %q", raw)
	}
	credentials, host, ok := strings.Cut(rest, "@")
	if !ok {
		t.Fatalf("S3 address %q has no credentials", raw)
	}
	access, secret, _ = strings.Cut(credentials, ":")
	return "s3://" + testserver.Bucket + "?endpoint=http://" + host + "&region=us-east-1", access, secret
}
