package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sh runs a script of the shell as a tool.
func sh(t *testing.T, l limits, script string) (string, error) {
	t.Helper()
	j, err := newJob(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = j.exec(t.Context(), l, func(r io.Reader) error {
		_, err := io.Copy(&out, r)
		return err
	}, "sh", "/bin/sh", "-c", script)
	return out.String(), err
}

func TestToolLimits(t *testing.T) {
	t.Parallel()
	l := defaultLimits
	l.time = time.Minute
	for name, c := range map[string]struct {
		script string
		limit  func(*limits)
		want   func(*runError) bool
	}{
		"memory":        {`a=x; while :; do a=$a$a$a$a; done`, func(l *limits) { l.memory = 128 << 20 }, func(e *runError) bool { return !e.slow && !e.large }},
		"processor":     {`while :; do :; done`, func(l *limits) { l.cpu = time.Second }, func(e *runError) bool { return e.code < 0 && !e.slow }},
		"clock":         {`sleep 100`, func(l *limits) { l.time = 300 * time.Millisecond }, func(e *runError) bool { return e.slow }},
		"file":          {`head -c 5000000 /dev/zero >big || exit 7`, func(l *limits) { l.file = 1 << 20 }, func(e *runError) bool { return e.code == 7 }},
		"folder":        {`i=0; while :; do head -c 100000 /dev/zero >f$i; i=$((i+1)); done`, func(l *limits) { l.output = 1 << 20 }, func(e *runError) bool { return e.large }},
		"descriptors":   {`exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null`, func(l *limits) { l.files = 8 }, func(e *runError) bool { return e.code > 0 }},
		"raised limits": {`ulimit -t 1000000 2>/dev/null || exit 9`, func(*limits) {}, func(e *runError) bool { return e.code == 9 || os.Getuid() == 0 && !Isolated() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := l
			c.limit(&l)
			_, err := sh(t, l, c.script)
			e, ok := errors.AsType[*runError](err)
			if !ok || !c.want(e) {
				t.Errorf("error %v (%+v)", err, e)
			}
		})
	}
}

func TestToolSeesNothing(t *testing.T) {
	t.Setenv("STOA_SERVICE_KEY", "a secret")
	secret, err := os.Open(filepath.Join(t.TempDir(), ".."))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = secret.Close() }()
	out, err := sh(t, defaultLimits, `env; ls /proc/self/fd | wc -l; pwd; nice`)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "STOA") || strings.Contains(out, "SSH") {
		t.Errorf("the environment is inherited:\n%s", out)
	}
	// Three, and the one that ls reads the folder by.
	if !strings.Contains(out, "\n4\n") {
		t.Errorf("descriptors are inherited:\n%s", out)
	}
	if !strings.Contains(out, "stoa-media-") || !strings.HasSuffix(strings.TrimSpace(out), "10") {
		t.Errorf("no folder of its own, or not nice:\n%s", out)
	}
}

func TestToolHasNoNetwork(t *testing.T) {
	t.Parallel()
	if !Isolated() {
		t.Fatal("this kernel lets nobody make namespaces: run the tests where it does (sysctl kernel.unprivileged_userns_clone=1, or a container's seccomp profile that allows unshare)")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	j, err := newJob(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("echo hello >/dev/tcp/127.0.0.1/%d", l.Addr().(*net.TCPAddr).Port)
	discard := func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	if err := j.exec(t.Context(), defaultLimits, discard, "bash", "/bin/bash", "-c", script); !refused(err) {
		t.Errorf("a tool has reached us: %v", err)
	}
	// The script is right: outside it does.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := bash(ctx, script); err != nil {
		t.Errorf("nobody reaches us: %v", err)
	}
}

func TestToolLeavesNothing(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	l := defaultLimits
	l.time = 500 * time.Millisecond
	// A grandchild that outlives its parent holds the pipe open, and a lock.
	if _, err := sh(t, l, `flock `+pids+` sleep 60 & flock `+pids+` sleep 60`); err == nil {
		t.Fatal("it has ended by itself")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := bash(ctx, "flock "+pids+" true"); err != nil {
		t.Errorf("something lives on: %v", err)
	}
}

func TestMissingTool(t *testing.T) {
	t.Parallel()
	_, err := find("no-such-tool-at-all")
	if _, ok := errors.AsType[*missingError](err); !ok {
		t.Errorf("error %v", err)
	}
	if missing := MissingTools(); len(missing) > 0 {
		t.Fatalf("install what is missing with deploy/install-servers.sh ffmpeg poppler libreoffice: %v", missing)
	}
}
