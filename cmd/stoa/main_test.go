package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// The test binary is the program when this variable is set.
const beStoa = "STOA_TEST_BE_STOA"

func TestMain(m *testing.M) {
	if os.Getenv(beStoa) != "" {
		os.Exit(run(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// stoa runs the program in a folder of its own with the given environment.
type stoa struct{ dir string }

type outcome struct {
	out, err string
	code     int
}

func newStoa(t *testing.T) stoa {
	t.Helper()
	// Not below the folder of the test, whose name would make that of the
	// database's socket too long.
	dir, err := os.MkdirTemp("", "stoa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return stoa{filepath.Join(dir, "data")}
}

func (s stoa) run(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...) //nolint:gosec // the test itself
	cmd.Env = append([]string{beStoa + "=1", "STOA_DATA_DIR=" + s.dir, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestConfigListsEverySetting(t *testing.T) {
	t.Parallel()
	got := newStoa(t).run(t, nil, "config")
	if got.code != 0 || got.err != "" {
		t.Fatalf("exit status %d: %s", got.code, got.err)
	}
	lines := strings.Split(got.out, "\n")
	listed := map[string]string{} // variable → the line of its meaning
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) >= 3 && strings.HasPrefix(fields[1], "--") {
			listed[fields[0]] = lines[i+1]
		}
	}
	cfg := reflect.TypeFor[app.Config]()
	for field := range cfg.Fields() {
		env := field.Tag.Get("env")
		if env == "" {
			t.Errorf("%s can't be set by the environment", field.Name)
			continue
		}
		if help := field.Tag.Get("help"); help == "" || strings.TrimSpace(listed[env]) != help {
			t.Errorf("%s is listed with %q, want %q", env, listed[env], help)
		}
		delete(listed, env)
	}
	for env := range listed {
		t.Errorf("%s is listed and is no setting", env)
	}
}

func TestUnknownVariablesAreTold(t *testing.T) {
	t.Parallel()
	// The settings are wrong, so that it ends.
	got := newStoa(t).run(t, []string{"STOA_PROFIL=production", "STOA_PROFILE=x", "STOA_TEST_POSTGRES=x", "OTHER=x"}, "serve")
	if got.code != 1 || !strings.Contains(got.err, "STOA_PROFIL is not a setting") || !strings.Contains(got.err, `STOA_PROFILE: "x" is not one of development, production`) {
		t.Errorf("exit status %d:\n%s", got.code, got.err)
	}
	for _, name := range []string{"STOA_PROFILE is not", "STOA_DATA_DIR is not", "STOA_TEST_", "OTHER"} {
		if strings.Contains(got.err, name) {
			t.Errorf("%q is told:\n%s", name, got.err)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := newStoa(t).run(t, nil, "version"); got.code != 0 || !strings.HasPrefix(got.out, "stoa ") {
		t.Errorf("%+v", got)
	}
}

func TestUnknownCommandsAndFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--nonsense"}, {"serve", "--profil=x"}, {"admin"}, {"admin", "grant"}, {"serve", "nonsense"}} {
		if got := newStoa(t).run(t, nil, args...); got.code == 0 || got.err == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestDoctorFindsFaults(t *testing.T) {
	t.Parallel()
	got := newStoa(t).run(t, []string{
		"STOA_PROFILE=production", "STOA_DATABASE_CONNECTIONS=many", "STOA_DATABASE_URL=postgres://stoa:hunter2@db:port/x",
		"STOA_LOG_LEVEL=loud", "STOA_PEERS=nonsense", "STOA_SERVICE_KEY=hunter2",
	}, "doctor", "--http-addr=nowhere")
	if got.code != 1 {
		t.Errorf("exit status %d, want 1", got.code)
	}
	for _, setting := range []string{
		"STOA_DATABASE_CONNECTIONS", "STOA_DATABASE_URL", "STOA_LOG_LEVEL", "STOA_PEERS", "STOA_SERVICE_KEY", "STOA_HTTP_ADDR", "STOA_PAYMENTS", "STOA_PUBLIC_URL", "STOA_KEYSET_FILE",
	} {
		if !strings.Contains(got.out, setting+":") {
			t.Errorf("%s is not found", setting)
		}
	}
	lines := strings.Split(got.out, "\n")
	bad := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "BAD ") {
			bad++
			if _, cure, _ := strings.Cut(lines[i+1], "→"); strings.TrimSpace(cure) == "" {
				t.Errorf("%q has no cure", line)
			}
		}
	}
	if bad != 9 {
		t.Errorf("%d faults, want 9", bad)
	}
	if strings.Contains(got.out+got.err, "hunter2") {
		t.Error("a password is told")
	}
	if t.Failed() {
		t.Log(got.out, got.err)
	}
}

// Servers that are away are found one by one, each with what to do.
func TestDoctorFindsServersThatAreAway(t *testing.T) {
	t.Parallel()
	got := newStoa(t).run(t, []string{
		"STOA_DATABASE_URL=postgres://stoa:hunter2@127.0.0.1:1/stoa", "STOA_AMQP_URL=amqp://u:hunter2@127.0.0.1:1/", "STOA_REDIS_URL=redis://:hunter2@127.0.0.1:1",
		"STOA_BUCKET_URL=s3://b?endpoint=http://127.0.0.1:1&region=x", "STOA_BUCKET_ACCESS_KEY=a", "STOA_BUCKET_SECRET_KEY=hunter2",
		"STOA_SERVICE_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "STOA_PEERS=courses=127.0.0.1:1", "STOA_KEYSET_FILE=keyset.json",
	}, "doctor", "identity", "access", "media", "learning", "commerce", "discovery", "notify", "edge")
	if got.code != 1 {
		t.Errorf("exit status %d, want 1", got.code)
	}
	for _, part := range []string{"database", "broker", "cache", "bucket", "peer courses"} {
		if !strings.Contains(got.out, "BAD  "+part) {
			t.Errorf("%s is not found", part)
		}
	}
	if !strings.Contains(got.out, "ok   data folder") || strings.Count(got.out, "BAD ") != strings.Count(got.out, "→") {
		t.Error("what is right is not said, or a cure is missing")
	}
	if strings.Contains(got.out+got.err, "hunter2") {
		t.Error("a password is told")
	}
	if t.Failed() {
		t.Log(got.out, got.err)
	}
}

// A fresh installation is well before its first start, which the doctor leaves
// undone, and after it.
func TestDoctorOfAFreshInstallation(t *testing.T) {
	t.Parallel()
	s := newStoa(t)
	well := func(when, says string) {
		t.Helper()
		got := s.run(t, nil, "doctor")
		if got.code != 0 || strings.Contains(got.out, "BAD") || !strings.Contains(got.out, says) {
			t.Errorf("%s: exit status %d\n%s%s", when, got.code, got.out, got.err)
		}
	}
	well("before the first start", "the first start makes")
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the doctor has made the data folder: %v", err)
	}
	if got := s.run(t, nil, "migrate"); got.code != 0 || !strings.Contains(got.out, "courses      version 7") {
		t.Errorf("migrate: exit status %d\n%s%s", got.code, got.out, got.err)
	}
	well("after migrate", "version 1 of 1")
	if got := s.run(t, nil, "admin", "events", "list"); got.code != 0 || strings.Count(got.out, "\n") != 1 {
		t.Errorf("events: %+v", got)
	}
	if got := s.run(t, nil, "admin", "ledger", "verify"); got.code != 0 || got.out != "0 entries with 0 postings sum to zero\n" {
		t.Errorf("the ledger: %+v", got)
	}
	if got := s.run(t, nil, "admin", "grant", "nobody@example.org", "admin"); got.code != 1 || got.err == "" {
		t.Errorf("a role for nobody: %+v", got)
	}
}

// Tables that the next start makes are no fault; those that an operator has to
// make are one.
func TestDoctorOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	s, database := newStoa(t), "STOA_DATABASE_URL="+pgtest.New(t)
	got := s.run(t, []string{database}, "doctor")
	if got.code != 0 || strings.Contains(got.out, "BAD") || !strings.Contains(got.out, "version 0 of 1") {
		t.Errorf("exit status %d\n%s%s", got.code, got.out, got.err)
	}
	got = s.run(t, []string{database, "STOA_MIGRATE=0"}, "doctor")
	if got.code != 1 || strings.Count(got.out, "Run `stoa migrate`") != len(app.Schemas()) {
		t.Errorf("tables that nobody makes: exit status %d\n%s%s", got.code, got.out, got.err)
	}
}
