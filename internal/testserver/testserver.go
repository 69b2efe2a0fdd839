// Package testserver starts private Redis, RabbitMQ, S3 and mock Stripe servers for
// tests, which can then stop, kill and restart them to see what a fault does.
//
// The programs come from the system. A server listens on a loopback port that
// was free, keeps its data and its log in the folder it is given, and ends when
// the process that started it does, also when that is killed. The port and the
// data stay the same over restarts. PostgreSQL is in the package pg/embedded.
package testserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds a start. RabbitMQ needs three seconds on an idle machine
// and a minute on one that compiles for several others.
const startTimeout = 3 * time.Minute

// Server is a server of a test. Its methods may be called from any goroutine.
type Server struct {
	Addr string // host and port
	URL  string // with the credentials, as the server's clients read it
	Log  string // the file with what the server writes

	steps []step

	mu      sync.Mutex
	running []*child // in order of start
}

// step is one process of a server.
type step struct {
	command func(context.Context) *exec.Cmd // a fresh one for each start
	// ready returns nil when it answers and is the process with the id, not
	// another that took the port.
	ready func(ctx context.Context, pid int) error
}

// errPortTaken is in the chain of the error of a start that failed because
// another process listens on the port.
var errPortTaken = errors.New("the port is taken")

// launch starts a server that needs n ports. Between the time a port is found
// free and that it is used another may take it; then others are tried.
func launch(ctx context.Context, name, dir string, n int, describe func(dir string, ports []string) (*Server, error)) (*Server, error) {
	dir, err := filepath.Abs(dir) // the processes work elsewhere
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		ports, err := FreePorts(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s, err := describe(dir, ports)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.Log = filepath.Join(dir, name+".log")
		s.mu.Lock()
		err = s.start(ctx)
		s.mu.Unlock()
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) || attempt == 5 {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}

// Stop asks the server to end and returns when it has; after ten seconds it is
// killed. Stopping one that does not run does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(func(c *child) {
		c.signal(syscall.SIGTERM)
		select {
		case <-c.done:
		case <-time.After(10 * time.Second):
		}
	})
}

// Kill ends the server with SIGKILL, as a crash would, and returns when it has
// ended.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(func(*child) {})
}

// Restart starts the server on the port and the data that it had, after it has
// stopped it if it runs, and returns when it answers.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for begun := time.Now(); ; {
		// Someone may use the port for a moment, if only for a connection out.
		err := s.start(ctx)
		if err == nil || !errors.Is(err, errPortTaken) || time.Since(begun) > startTimeout || !sleep(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// end ends the processes, the last started first.
func (s *Server) end(ask func(*child)) {
	for _, c := range slices.Backward(s.running) {
		ask(c)
		c.kill()
	}
	s.running = nil
}

// start starts the processes one after the other.
func (s *Server) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the processes have their own
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		s.end(func(*child) {})
		text := tail(log, begin)
		if portTaken.MatchString(text) {
			err = fmt.Errorf("%w: %w", errPortTaken, err)
		}
		err = fmt.Errorf("%w\n%s", err, text)
	}()

	for _, step := range s.steps {
		// The process must outlive ctx, which is that of the start.
		c, err := spawn(step.command(context.WithoutCancel(ctx)), log)
		if err != nil {
			return err
		}
		s.running = append(s.running, c)
		for {
			if err = s.alive(); err != nil {
				return err
			}
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			err = step.ready(attempt, c.cmd.Process.Pid)
			cancel()
			if err == nil {
				break
			}
			if !sleep(ctx, 20*time.Millisecond) {
				return fmt.Errorf("no answer on %s: %w (%w)", s.Addr, context.Cause(ctx), err)
			}
		}
	}
	return s.alive()
}

// alive returns an error when one of the processes has ended.
func (s *Server) alive() error {
	for _, c := range s.running {
		select {
		case <-c.done:
			return fmt.Errorf("%s ended: %w", filepath.Base(c.cmd.Path), c.err)
		default:
		}
	}
	return nil
}

var portTaken = regexp.MustCompile(`(?i)address already in use|eaddrinuse`)

// tail returns the end of what was written to a file after an offset.
func tail(f *os.File, begin int64) string {
	const most = 4 << 10
	if info, err := f.Stat(); err == nil {
		begin = max(begin, info.Size()-most)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, begin, most))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text))
}

// child is a process that ends when this one does.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// spawn starts a command in a session of its own: a Ctrl-C in the terminal does
// not reach it, it is killed with its children, and Linux gives it a fair share
// of the processors beside those who compute in other sessions. RabbitMQ, whose
// threads wait for each other, takes minutes to start without that share.
func spawn(cmd *exec.Cmd, log *os.File) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := Start(cmd, func(err error) {
		c.err = err
		if c.err == nil {
			c.err = errors.New("exit status 0")
		}
		c.signal(syscall.SIGKILL) // what is left of its group
		close(c.done)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Start starts a command that on Linux ends when this process does, also when that is
// killed. It calls ended when the command has ended, with what its Wait returned.
func Start(cmd *exec.Cmd, ended func(error)) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	endWithParent(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		// The kernel tells the child of its parent's end when the thread ends
		// that forked, not the process. So that thread is kept until the child
		// has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// signal sends a signal to the process and its children.
func (c *child) signal(sig syscall.Signal) { _ = syscall.Kill(-c.cmd.Process.Pid, sig) }

// kill ends the process and returns when it has ended.
func (c *child) kill() {
	select {
	case <-c.done:
		return // its id may be another's by now
	default:
	}
	c.signal(syscall.SIGKILL)
	<-c.done
}

// leases are what keeps the ports that this process has handed out from the
// other processes that run tests: for each a UDP socket of the same number,
// open until the process ends. Without them another would take the port of a
// server while that is down, or between the look and the start.
var leases struct {
	sync.Mutex
	held []net.PacketConn
}

// FreePorts returns ports of the loopback interface that nobody listens on and
// that no process of these tests which still runs was given before.
func FreePorts(ctx context.Context, n int) ([]string, error) {
	leases.Lock()
	defer leases.Unlock()
	var ports []string
	for range 1000 {
		// Not one that the kernel chooses: those are also given to outgoing
		// connections and to other tests' listeners, one of which would take
		// the port of a server while that is down.
		port := strconv.Itoa(20000 + mathrand.IntN(12000)) //nolint:gosec // nothing to guess
		addr := net.JoinHostPort(loopback, port)
		lease, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		leases.held = append(leases.held, lease)
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free port was found between 20000 and 32000")
}

const loopback = "127.0.0.1"

// dial connects to an address for a readiness check, which ends with ctx.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// sleep waits and reports whether the context lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// environment is what the programs get of ours, and more: none of the
// variables that would configure them.
func environment(more ...string) []string {
	return append(more, "PATH="+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
}

// secret returns text that can't be guessed.
func secret() string { return rand.Text() }
