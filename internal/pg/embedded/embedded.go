// Package embedded runs a private PostgreSQL beside the program: what `stoa
// serve` uses when no database is named, and what the tests use.
//
// The server's programs come from the system; its data is a folder that is
// kept. It listens on a socket in that folder and on no port, so it neither
// meets nor disturbs another PostgreSQL of the machine, and only who may enter
// the folder may connect. It ends with the program, also when that is killed,
// and the next Start recovers whatever an end of that kind left behind.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names inside the server. The port is only part of the socket's file name; it
// is fixed so that PGPORT in someone's environment changes nothing.
const (
	role     = "stoa"
	database = "stoa"
	port     = "5432"
)

// ErrInUse is in the chain of Start's error when another process has the
// folder.
var ErrInUse = errors.New("the folder is in use")

// Config says where a server keeps its data and how it treats it.
type Config struct {
	// Dir is the folder of the server, made when it is missing and readable by
	// its owner alone. It must be for this server only. The data is in its
	// sub-folder "data", and remains there.
	Dir string

	// Log receives what the server writes, a line being "time [pid] LEVEL:
	// text". Nil drops it. The server waits for the writer.
	Log io.Writer

	// Scratch gives up durability for speed: a crash of the machine may lose
	// the data. For tests.
	Scratch bool

	// BinDir holds the server's programs. Empty takes those found on the
	// machine that can read the folder's data, or the first that [Find] lists
	// for a new one.
	BinDir string

	// noNamespace makes a root process run the server as another user, as
	// where user namespaces are forbidden.
	noNamespace bool
}

// Server is a running PostgreSQL.
type Server struct {
	url      string
	process  *process
	lock     *os.File
	socket   string        // folder of the socket when it is not Config.Dir, removed at the end
	died     chan struct{} // closed when the server ended unasked
	stopping atomic.Bool
	stop     sync.Once
	stopErr  error
}

// Start runs the server of a folder and returns when it answers. A new folder
// is initialized first, which takes a second; one that was not shut down is
// recovered, which may take longer. A server that a killed process left behind
// is stopped before.
//
// The context bounds the start only; the server runs until [Server.Stop] or
// the end of this process. A second Start on a folder in use fails with
// [ErrInUse], also in another process.
//
// As root, whom PostgreSQL refuses, the server runs as the owner of the folder;
// when that is root too, in a user namespace or else as the user postgres or
// nobody, who then becomes the owner.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("embedded PostgreSQL: %w", err)
		}
	}()
	if cfg.Dir == "" {
		return nil, errors.New("no folder is given for the data")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lock, died: make(chan struct{})}
	defer func() {
		if err != nil {
			s.release()
		}
	}()

	data := filepath.Join(dir, "data")
	bin, err := programsFor(ctx, cfg.BinDir, data)
	if err != nil {
		return nil, err
	}
	who, err := chooseAccount(ctx, bin, dir, !cfg.noNamespace)
	if err != nil {
		return nil, err
	}
	if err := stopOrphan(ctx, data); err != nil {
		return nil, err
	}
	if err := initialize(ctx, bin, dir, data, who, cfg.Scratch); err != nil {
		return nil, err
	}
	socket, err := socketFolder(dir, who)
	if err != nil {
		return nil, err
	}
	if socket != dir {
		s.socket = socket
	}
	if s.process, err = launch(ctx, bin, data, socket, who, cfg); err != nil {
		return nil, err
	}
	s.url = connectionURL(socket, database)
	if err := createDatabase(ctx, socket); err != nil {
		s.process.kill()
		return nil, err
	}
	go func() {
		<-s.process.done
		if !s.stopping.Load() {
			close(s.died)
		}
	}()
	return s, nil
}

// URL returns the address of the database "stoa" for its owner and superuser
// "stoa", as pgx and libpq read it.
func (s *Server) URL() string { return s.url }

// Done returns a channel that is closed when the server ends without having
// been asked to. It is not closed by Stop. The folder stays locked until Stop
// is called.
func (s *Server) Done() <-chan struct{} { return s.died }

// Stop shuts the server down and frees the folder. Open transactions are
// rolled back and connections closed. When the context ends first the server
// is made to quit at once, so that the next Start has to recover, and the
// returned error says so; the server has ended in any case. Further calls
// return what the first one did.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		s.stopping.Store(true)
		s.stopErr = s.process.end(ctx)
		s.release()
	})
	return s.stopErr
}

// release gives up what a server holds beside its process.
func (s *Server) release() {
	if s.socket != "" {
		_ = os.RemoveAll(s.socket)
	}
	unlockFolder(s.lock)
}

// launch starts the server and waits until it accepts connections.
func launch(ctx context.Context, bin, data, socket string, who account, cfg Config) (*process, error) {
	settings := []string{
		"listen_addresses=",
		"port=" + port,
		// The setting is a list, whence the quotes.
		`unix_socket_directories="` + strings.ReplaceAll(socket, `"`, `""`) + `"`,
		"unix_socket_permissions=0700",
		"max_connections=200",
		"shared_buffers=32MB",
		"jit=off", // it costs more than it gives with statements as short as ours
		"timezone=UTC",
		"log_timezone=UTC",
		"logging_collector=off",
		"log_destination=stderr",
	}
	if cfg.Scratch {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=1000") // many installations share one
	}
	args := []string{"-D", data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}

	for {
		// What an ended server may have left. Only its own folder is touched,
		// and it is locked.
		for _, name := range []string{".s.PGSQL." + port, ".s.PGSQL." + port + ".lock"} {
			if err := os.Remove(filepath.Join(socket, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
		// The server must outlive ctx, which is that of the start.
		p, err := start(command(context.WithoutCancel(ctx), bin, "postgres", args...), who, cfg.Log)
		if err != nil {
			return nil, err
		}
		err = p.waitReady(ctx, data)
		if err == nil {
			return p, nil
		}
		p.kill()
		// Backends of a postmaster that was killed end by themselves, but only
		// when they next look; until then the new one refuses.
		if !strings.Contains(err.Error(), "pre-existing shared memory block") || !sleep(ctx, 100*time.Millisecond) {
			return nil, err
		}
	}
}

// waitReady returns when the server says that it accepts connections.
func (p *process) waitReady(ctx context.Context, data string) error {
	for {
		// The last line is the state, the first the process that wrote it; an
		// older file may still lie there.
		lines := readPidFile(data)
		if len(lines) >= 8 && lines[0] == strconv.Itoa(p.cmd.Process.Pid) && lines[7] == "ready" {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server did not start: %w\n%s", p.err, p.tail.String())
		case <-ctx.Done():
			return fmt.Errorf("the server did not become ready: %w\n%s", context.Cause(ctx), p.tail.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// end asks the server to shut down, and insists when ctx ends.
func (p *process) end(ctx context.Context) error {
	p.signal(syscall.SIGINT) // "fast": waits for no client
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.kill()
	return fmt.Errorf("embedded PostgreSQL: quit without a checkpoint: %w", context.Cause(ctx))
}

// kill ends the server without a checkpoint and returns when it has ended.
func (p *process) kill() {
	p.signal(syscall.SIGQUIT) // makes it end its children too, which SIGKILL would not
	select {
	case <-p.done:
		return
	case <-time.After(5 * time.Second):
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// createDatabase makes the database on the first start. It is not part of
// initialize, because it needs the running server.
func createDatabase(ctx context.Context, socket string) error {
	conn, err := pgx.Connect(ctx, connectionURL(socket, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	var exists bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE DATABASE `+database)
	return err
}

// connectionURL returns the address of a database of the server whose socket
// is in the folder.
func connectionURL(socket, database string) string {
	// Neither pgx nor libpq reads "+" as a space.
	host := strings.ReplaceAll(url.QueryEscape(socket), "+", "%20")
	return "postgres://" + role + "@/" + database + "?host=" + host + "&port=" + port
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
