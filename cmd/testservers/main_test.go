package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{
		`exit 0`:                    0,
		`exit 7`:                    7,
		`kill -9 $$`:                128 + 9,
		`test "$STOA_TEST_X" = yes`: 0,
	} {
		got, err := execute([]string{"sh", "-c", script}, []string{"STOA_TEST_X=yes"}, nil)
		if got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", script, got, err, want)
		}
	}
	if got, err := execute([]string{"no-such-program"}, nil, nil); got == 0 || err == nil {
		t.Errorf("a missing program: %d, %v", got, err)
	}
}

// A signal ends also what the command has started.
func TestSignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	signals := make(chan os.Signal, 1)
	go func() {
		for _, err := os.Stat(filepath.Join(dir, "up")); err != nil; _, err = os.Stat(filepath.Join(dir, "up")) {
			<-time.After(10 * time.Millisecond)
		}
		signals <- syscall.SIGTERM
	}()
	begin := time.Now()
	script := `cd "$0" && (trap 'touch told; exit' TERM; touch up; while :; do sleep 0.02; done)`
	if status, err := execute([]string{"sh", "-c", script, dir}, nil, signals); status != 128+15 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	for _, err := os.Stat(filepath.Join(dir, "told")); err != nil; _, err = os.Stat(filepath.Join(dir, "told")) {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the command's child was not told")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	if all, err := choose(""); err != nil || len(all) != 5 {
		t.Errorf("nothing: %d servers, %v", len(all), err)
	}
	if two, err := choose("s3, redis"); err != nil || len(two) != 2 || two[0].name != "s3" || two[1].name != "redis" {
		t.Errorf("two: %v, %v", two, err)
	}
	if _, err := choose("redis,mysql"); err == nil || !strings.Contains(err.Error(), "mysql") {
		t.Errorf("unknown: %v", err)
	}
}

// All that is missing is told at once.
func TestMissing(t *testing.T) {
	t.Parallel()
	absent := func() (string, error) { return "", errors.New("is not there") }
	present := func() (string, error) { return "/bin/true", nil }
	err := missing([]server{
		{name: "a", apt: "package-a", find: absent},
		{name: "b", apt: "package-b", find: present},
		{name: "c", apt: "package-c", find: absent},
	})
	if err == nil || !strings.Contains(err.Error(), "install -y --no-install-recommends package-a package-c") ||
		strings.Contains(err.Error(), "package-b") {
		t.Errorf("missing: %v", err)
	}
	if err := missing([]server{{name: "b", find: present}}); err != nil {
		t.Errorf("nothing missing: %v", err)
	}
}

// When one server does not start the others are stopped.
func TestStartAll(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	runs := func(context.Context, string) (string, func(), error) { return "here", func() { close(stopped) }, nil }
	fails := func(context.Context, string) (string, func(), error) { return "", nil, errors.New("broken") }
	waits := func(ctx context.Context, _ string) (string, func(), error) {
		<-ctx.Done()
		return "", nil, ctx.Err()
	}
	_, stop, err := startAll([]server{{name: "a", start: runs}, {name: "b", start: fails}, {name: "c", start: waits}}, t.TempDir(), nil)
	if err == nil || err.Error() != "broken" {
		t.Errorf("startAll: %v", err)
	}
	stop()
	<-stopped

	interrupted := make(chan os.Signal, 1)
	interrupted <- syscall.SIGINT
	_, stop, err = startAll([]server{{name: "c", start: waits}}, t.TempDir(), interrupted)
	if err == nil || !strings.Contains(err.Error(), "interrupt") {
		t.Errorf("startAll with a signal: %v", err)
	}
	stop()
}
