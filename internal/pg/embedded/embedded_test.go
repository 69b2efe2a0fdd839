package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestMain makes the test binary also the process that a test kills: with
// STOA_EMBEDDED_DIR set it runs the server of that folder until it is ended.
func TestMain(m *testing.M) {
	dir := os.Getenv("STOA_EMBEDDED_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	<-s.Done()
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"durable":    {},
		"scratch":    {Scratch: true},
		"other user": {noNamespace: true, Scratch: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent, err := os.MkdirTemp("", "stoa-embedded-") // t.TempDir is closed to other users
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(parent) })
			if err := os.Chmod(parent, 0o755); err != nil { //nolint:gosec // see above
				t.Fatal(err)
			}
			cfg.Dir = filepath.Join(parent, `a + "sign" & 1`)
			s := mustStart(t, cfg)
			execute(t, s, `CREATE TABLE kept AS SELECT 'yes' AS it`)
			mustStop(t, s)
			if _, err := pgx.Connect(t.Context(), s.URL()); err == nil {
				t.Error("the server answers after Stop")
			}

			s = mustStart(t, cfg)
			if got := query(t, s, `SELECT it FROM kept`); got != "yes" {
				t.Errorf("found %q", got)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Errorf("second Stop: %v", err)
			}
			select {
			case <-s.Done():
				t.Error("Done is closed by Stop")
			default:
			}
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Config{Dir: t.TempDir()})
	for setting, want := range map[string]string{
		"listen_addresses":   "",
		"fsync":              "on",
		"full_page_writes":   "on",
		"synchronous_commit": "on",
		"max_connections":    "200",
		"jit":                "off",
		"server_encoding":    "UTF8",
		"TimeZone":           "UTC",
		"is_superuser":       "on",
	} {
		if got := query(t, s, `SELECT current_setting('`+setting+`')`); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, s, `SELECT current_user || '@' || current_database()`); got != "stoa@stoa" {
		t.Errorf("connected as %s", got)
	}
	if got := query(t, s, `SELECT upper('é')`); got != "É" {
		t.Errorf("upper('é') is %q", got)
	}
}

func TestKilledServer(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	s := mustStart(t, cfg)
	execute(t, s, `CREATE TABLE kept AS SELECT 'yes' AS it`)
	// A backend that does not look for the postmaster for two seconds, during
	// which a new server on the same data would destroy it.
	busy, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_, _ = busy.Exec(context.WithoutCancel(t.Context()), `DO $$
			DECLARE since timestamptz := clock_timestamp();
			BEGIN
				WHILE clock_timestamp() < since + interval '2 s' LOOP END LOOP;
			END $$`)
	}()
	busySince := time.Now()
	for query(t, s, fmt.Sprintf(`SELECT state FROM pg_stat_activity WHERE pid = %d`, busy.PgConn().PID())) != "active" {
		<-time.After(10 * time.Millisecond)
	}
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("Done is not closed after the server died")
	}
	mustStop(t, s) // frees the folder

	s = mustStart(t, cfg)
	if waited := time.Since(busySince); waited < 2*time.Second {
		t.Errorf("a server started %s after a backend that works for 2s", waited)
	}
	if got := query(t, s, `SELECT it FROM kept`); got != "yes" {
		t.Errorf("found %q", got)
	}
	<-ran
}

func TestKilledParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this program
	parent.Env = append(os.Environ(), "STOA_EMBEDDED_DIR="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(url, "postgres://") {
		t.Fatalf("the process says %q, %v", url, err)
	}
	conn, err := pgx.Connect(t.Context(), strings.TrimSpace(url))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `CREATE TABLE kept AS SELECT 'yes' AS it`); err != nil {
		t.Fatal(err)
	}

	_, err = Start(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) ||
		!strings.Contains(err.Error(), strconv.Itoa(parent.Process.Pid)) {
		t.Errorf("Start beside another process: %v", err)
	}

	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	s := mustStart(t, Config{Dir: dir})
	if got := query(t, s, `SELECT it FROM kept`); got != "yes" {
		t.Errorf("found %q", got)
	}
}

// An orphan is what a killed process leaves behind where the kernel does not
// end its children.
func TestOrphan(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	mustStop(t, mustStart(t, cfg))
	bin, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	who, err := chooseAccount(t.Context(), bin, cfg.Dir, true)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(cfg.Dir, "data")
	orphan, err := launch(t.Context(), bin, data, cfg.Dir, who, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustStart(t, cfg)
	select {
	case <-orphan.done:
	default:
		t.Error("two servers run on one folder")
	}
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Scratch: true}
	s := mustStart(t, cfg)
	path := filepath.Join(cfg.Dir, "data", "postmaster.pid")
	content, err := os.ReadFile(path) //nolint:gosec // a file of the test
	if err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)

	// Another process has come to the id of the dead server.
	other := exec.CommandContext(t.Context(), "sleep", "100")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Wait() })
	_, rest, _ := strings.Cut(string(content), "\n")
	for _, stale := range []string{
		strconv.Itoa(other.Process.Pid) + "\n" + rest,
		"", "not a number\n",
	} {
		if err := os.WriteFile(path, []byte(stale), 0o600); err != nil { //nolint:gosec // a file of the test
			t.Fatal(err)
		}
		mustStop(t, mustStart(t, cfg))
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("Start ended a process that is not its own: %v", err)
	}
}

func TestHalfFinishedInit(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	left := filepath.Join(cfg.Dir, "init-123")
	if err := os.MkdirAll(filepath.Join(left, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Start(cancelled, cfg); err == nil {
		t.Error("Start returned before initdb can have ended")
	}
	mustStart(t, cfg)
	if found, _ := filepath.Glob(filepath.Join(cfg.Dir, "init-*")); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: filepath.Join(t.TempDir(), strings.Repeat("long/", 20), "with, comma"), Scratch: true}
	s := mustStart(t, cfg)
	if got := query(t, s, `SELECT 'here'`); got != "here" {
		t.Errorf("got %q", got)
	}
	// What a killed process leaves is removed by the next start.
	killed := s.socket
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	s.socket = ""
	mustStop(t, s)

	s = mustStart(t, cfg)
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", killed, err)
	}
	socket := s.socket
	mustStop(t, s)
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", socket, err)
	}
}

func TestStopInsists(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Scratch: true}
	s := mustStart(t, cfg)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(cancelled); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	select {
	case <-s.process.done:
	default:
		t.Error("the server runs on")
	}
	mustStart(t, cfg)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	running := mustStart(t, Config{Dir: t.TempDir(), Scratch: true})
	dir := filepath.Dir(running.lock.Name())
	_, err := Start(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Start: %v", err)
	}

	old := t.TempDir()
	if err := os.Mkdir(filepath.Join(old, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: old}); err == nil || !strings.Contains(err.Error(), "postgresql-9") {
		t.Errorf("Start on data of version 9: %v", err)
	}
	if _, err := Start(t.Context(), Config{}); err == nil {
		t.Error("Start without a folder succeeds")
	}
	if _, err := Start(t.Context(), Config{Dir: t.TempDir(), BinDir: t.TempDir()}); err == nil {
		t.Error("Start without programs succeeds")
	}
}

func TestMajor(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"15.20": "15", "16beta1": "16", "17devel": "17", "18": "18"} {
		if got := major(in); got != want {
			t.Errorf("major(%q) = %q, want %q", in, got, want)
		}
	}
	bin, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Version(bin); err != nil || major(v) == "" {
		t.Errorf("Version(%s) = %q, %v", bin, v, err)
	}
}

func mustStart(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Log = t.Output()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustStop(t, s) })
	return s
}

func mustStop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
}

func execute(t *testing.T, s *Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, s *Server, sql string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// A folder is free as soon as its server has stopped, although a process that is
// being started has for a moment what this one had open.
func TestFolderIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child) //nolint:errcheck // it was only held
	if _, err := lockFolder(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a folder in use: %v", err)
	}
	unlockFolder(lock)
	again, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlockFolder(again)
}
