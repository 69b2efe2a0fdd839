// Command testservers runs a command with the servers that the tests need:
//
//	go run ./cmd/testservers -- go test ./...
//
// It exists because the tests use real servers, and because thirty packages
// that each started their own would spend the time of a test run on that. One
// set is started for all, in parallel, private to this run: on free ports, with
// its data in a temporary folder, so that several runs go on at once and nothing
// has to be set up before or is left behind after. The tests find them by the
// environment:
//
//	STOA_TEST_POSTGRES  the URL of a database
//	STOA_TEST_REDIS     host:port
//	STOA_TEST_AMQP      the URL of a RabbitMQ
//	STOA_TEST_S3        http://KEY:SECRET@host:port, with a bucket "stoa"
//	STOA_TEST_STRIPE    the URL of a stripe-mock
//
// Where the machine has the memory, the data is kept in it, and TMPDIR names a
// folder there for the command; TMPDIR=/tmp go run ./cmd/testservers … keeps all on
// the disk, as for figures in which it counts.
//
// The exit status is that of the command (go run itself turns any failure into
// 1). The flag -only starts some of the
// servers, as in -only postgres,redis.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-lms/stoa/internal/pg/embedded"
	"github.com/stoa-lms/stoa/internal/testserver"
)

func main() {
	only := flag.String("only", "", "start only these `servers`, separated by commas: "+strings.Join(names(), ", "))
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: testservers [-only servers] [--] command [argument ...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil || flag.NArg() == 0 {
		if err != nil {
			fmt.Fprintln(os.Stderr, "testservers:", err)
		}
		flag.Usage()
		os.Exit(2)
	}
	status, err := run(chosen, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
	}
	os.Exit(status)
}

// server is one that this command can start.
type server struct {
	name     string
	variable string // of the environment, that tells where it is
	apt      string // the package that has it, if any
	find     func() (string, error)
	start    func(ctx context.Context, dir string) (address string, stop func(), err error)
}

var servers = []server{
	{
		name: "postgres", variable: "STOA_TEST_POSTGRES", apt: "postgresql",
		find: embedded.Find,
		start: func(ctx context.Context, dir string) (string, func(), error) {
			s, err := embedded.Start(ctx, embedded.Config{Dir: dir, Scratch: true})
			if err != nil {
				return "", nil, err
			}
			// On a busy machine a connection takes its time.
			return s.URL() + "&connect_timeout=60", func() {
				now, cancel := context.WithCancel(context.Background())
				cancel() // its data is thrown away
				_ = s.Stop(now)
			}, nil
		},
	},
	{
		name: "redis", variable: "STOA_TEST_REDIS", apt: "redis-server",
		find: testserver.FindRedis,
		start: func(ctx context.Context, dir string) (string, func(), error) {
			s, err := testserver.StartRedis(ctx, dir)
			if err != nil {
				return "", nil, err
			}
			return s.Addr, s.Kill, nil
		},
	},
	{
		name: "rabbitmq", variable: "STOA_TEST_AMQP", apt: "rabbitmq-server",
		find: testserver.FindRabbitMQ,
		start: func(ctx context.Context, dir string) (string, func(), error) {
			s, err := testserver.StartRabbitMQ(ctx, dir)
			if err != nil {
				return "", nil, err
			}
			return s.URL, s.Kill, nil
		},
	},
	{
		name: "s3", variable: "STOA_TEST_S3",
		find: testserver.FindS3,
		start: func(ctx context.Context, dir string) (string, func(), error) {
			s, err := testserver.StartS3(ctx, dir, "")
			if err != nil {
				return "", nil, err
			}
			return s.URL, s.Kill, nil
		},
	},
	{
		name: "stripe", variable: "STOA_TEST_STRIPE",
		find: testserver.FindStripe,
		start: func(ctx context.Context, dir string) (string, func(), error) {
			s, err := testserver.StartStripe(ctx, dir)
			if err != nil {
				return "", nil, err
			}
			return s.URL, s.Kill, nil
		},
	},
}

func names() (all []string) {
	for _, s := range servers {
		all = append(all, s.name)
	}
	return all
}

// choose returns the servers of a list of names, all for an empty one.
func choose(list string) (chosen []server, err error) {
	if list == "" {
		return servers, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(names(), strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("no server is named %q", name)
		}
		chosen = append(chosen, servers[i])
	}
	return chosen, nil
}

// run runs the command with the servers and returns its exit status.
func run(chosen []server, command []string) (status int, err error) {
	if err := missing(chosen); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	parent := folder()
	dir, err := os.MkdirTemp(parent, "stoa-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Some tests run servers as another user, who has to get through.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the servers' own folders are closed
		return 1, err
	}

	begin := time.Now()
	env, stop, err := startAll(chosen, dir, signals)
	defer stop()
	if err != nil {
		return 1, err
	}
	if parent != "" {
		temp := filepath.Join(dir, "tmp")
		if err := os.Mkdir(temp, 0o711); err != nil { //nolint:gosec // the same
			return 1, err
		}
		env = append(env, "TMPDIR="+temp)
		if os.Getenv("GOTMPDIR") == "" { // what the compiler writes is large
			env = append(env, "GOTMPDIR="+os.TempDir())
		}
	}
	var up []string
	for _, s := range chosen {
		up = append(up, s.name)
	}
	fmt.Fprintf(os.Stderr, "testservers: %s up in %.1f s\n", strings.Join(up, ", "), time.Since(begin).Seconds())
	return execute(command, env, signals)
}

// room is how much memory must be free for the servers' data and the tests'
// files; they take a third of it.
const room = 6 << 30

// folder returns where the servers and the command keep their files: in memory
// where there is room for them, or as TMPDIR says, which is empty. Each test makes
// a database and drops it, and that takes a disk ten times as long.
func folder() string {
	const memory = "/dev/shm"
	if os.Getenv("TMPDIR") == "" && free(memory) >= room {
		return memory
	}
	return ""
}

// missing returns an error that names all the programs that are not installed
// and how to install them.
func missing(chosen []server) error {
	var texts, packages []string
	for _, s := range chosen {
		if _, err := s.find(); err != nil {
			texts = append(texts, "  "+s.name+": "+err.Error())
			if s.apt != "" {
				packages = append(packages, s.apt)
			}
		}
	}
	if len(texts) == 0 {
		return nil
	}
	if len(packages) > 0 {
		texts = append(texts, "on Debian and Ubuntu:\n  apt-get install -y --no-install-recommends "+strings.Join(packages, " "))
	}
	return errors.New("programs are missing\n" + strings.Join(texts, "\n"))
}

// startAll starts the servers in parallel, each in a folder of its own, until
// a signal comes. It returns the environment that tells where they are, and a
// function that ends those that run, which is never nil.
func startAll(chosen []server, dir string, signals <-chan os.Signal) (env []string, stop func(), err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	env = make([]string, len(chosen))
	stops := make([]func(), len(chosen))
	var starting sync.WaitGroup
	for i, s := range chosen {
		starting.Go(func() {
			address, stop, err := s.start(ctx, filepath.Join(dir, s.name))
			if err != nil {
				cancel(err) // the first is told; the others may only follow from it
			}
			env[i], stops[i] = s.variable+"="+address, stop
		})
	}
	done := make(chan struct{})
	go func() {
		starting.Wait()
		close(done)
	}()
	select {
	case <-done:
	case sig := <-signals:
		cancel(fmt.Errorf("got the signal %q", sig))
		<-done
	}

	stop = func() {
		var stopping sync.WaitGroup
		for _, end := range stops {
			if end != nil {
				stopping.Go(end)
			}
		}
		stopping.Wait()
	}
	return env, stop, context.Cause(ctx)
}

// execute runs the command and returns its exit status. A signal is passed on
// to it; when it has not ended ten seconds later, or at a second signal, it is
// killed.
func execute(command, env []string, signals <-chan os.Signal) (status int, err error) {
	cmd := exec.CommandContext(context.Background(), command[0], command[1:]...) //nolint:gosec // it is what this program is for
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// At a terminal the command has to be in our process group to read from it,
	// and a Ctrl-C reaches it without us. Elsewhere it gets a group of its own,
	// so that a signal reaches also the processes that it has started, such as
	// the test binaries of go test.
	foreground := inForeground()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !foreground}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	target := -cmd.Process.Pid
	if foreground {
		target = cmd.Process.Pid
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var timeout <-chan time.Time
	for {
		select {
		case err = <-ended:
			if !foreground {
				endGroup(target)
			}
			return exitStatus(cmd.ProcessState, err)
		case <-timeout:
			_ = syscall.Kill(target, syscall.SIGKILL)
		case sig := <-signals:
			s, ok := sig.(syscall.Signal)
			if foreground && s == syscall.SIGINT {
				continue // it has it too, and may be a shell that goes on
			}
			if timeout != nil || !ok {
				s = syscall.SIGKILL
			}
			_ = syscall.Kill(target, s)
			timeout = time.After(10 * time.Second)
		}
	}
}

// endGroup gives what is left of a process group two seconds to end and then
// kills it.
func endGroup(target int) {
	for begin := time.Now(); syscall.Kill(target, 0) == nil; <-time.After(10 * time.Millisecond) {
		if time.Since(begin) > 2*time.Second {
			_ = syscall.Kill(target, syscall.SIGKILL)
			return
		}
	}
}

// exitStatus returns the status of a process as a shell gives it: 128 and the
// signal if one ended it.
func exitStatus(state *os.ProcessState, err error) (int, error) {
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 1, err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return state.ExitCode(), nil
}

// inForeground reports whether standard input is the terminal that we may read
// from.
func inForeground() bool {
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
