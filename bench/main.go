// Command bench measures the platform and prints each figure as docs/performance.md
// records it. Ratios are of two programs measured in turns in one run, so that
// the machine matters little. Run it with `make bench`; it starts all it needs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-lms/stoa/internal/pg/embedded"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 2 && os.Args[1] == "bare" {
		if err := bare(ctx, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "stoa-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Printf("%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	stoa := filepath.Join(dir, "stoa")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", stoa, "./cmd/stoa").CombinedOutput(); err != nil { //nolint:gosec // our own program
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := starts(ctx, stoa, filepath.Join(dir, "starts")); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return reads(ctx, stoa, dir)
}

// program is a running process that answers HTTP.
type program struct {
	cmd  *exec.Cmd
	base string
}

// launch starts a program and waits until it prints where it is.
func launch(ctx context.Context, path string, args []string, marker string, env ...string) (*program, error) {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // our own programs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		var seen bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			seen.Write(buf[:n])
			if _, rest, ok := strings.Cut(seen.String(), marker); ok {
				if addr, _, ok := strings.Cut(rest, "\n"); ok {
					found <- strings.Fields(addr)[0]
					_, _ = io.Copy(io.Discard, out)
					return
				}
			}
			if err != nil {
				close(found)
				return
			}
		}
	}()
	select {
	case addr, ok := <-found:
		if !ok {
			return nil, errors.Join(errors.New("it ended before it was up"), cmd.Wait())
		}
		return &program{cmd, addr}, nil
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		return nil, errors.New("it was not up within a minute")
	}
}

func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// rss returns the resident memory of a process in MiB.
func (p *program) rss() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscanf(rest, "%f kB", &kib); err != nil {
		return 0, fmt.Errorf("VmRSS: %w", err)
	}
	return kib / 1024, nil
}

// starts measures a cold start on an existing data folder, to the first answer
// of /readyz.
func starts(ctx context.Context, stoa, data string) error {
	env := []string{"STOA_DATA_DIR=" + data, "STOA_HTTP_ADDR=127.0.0.1:0", "STOA_OPS_ADDR="}
	var times []time.Duration
	for i := range 6 {
		begin := time.Now()
		p, err := launch(ctx, stoa, []string{"serve"}, "Stoa ", env...)
		if err != nil {
			return err
		}
		took := time.Since(begin)
		p.stop()
		if i == 0 {
			fmt.Printf("start, new data folder: %d ms\n", took.Milliseconds())
			continue
		}
		times = append(times, took)
	}
	fmt.Printf("start, existing data folder: %d ms (median of %d), PostgreSQL included\n", median(times).Milliseconds(), len(times))
	return nil
}

// reads measures a published course over REST against a bare handler with the
// same query, and the memory that takes.
func reads(ctx context.Context, stoa, dir string) error {
	db, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(dir, "postgres"), Scratch: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Stop(context.WithoutCancel(ctx)) }()
	p, err := launch(ctx, stoa, []string{"serve"}, ": http", "STOA_DATA_DIR="+filepath.Join(dir, "data"), "STOA_HTTP_ADDR=127.0.0.1:0",
		"STOA_DATABASE_URL="+db.URL(), "STOA_DATABASE_CONNECTIONS=16", "STOA_RATE_LIMIT=0", "STOA_OPS_ADDR=")
	if err != nil {
		return err
	}
	defer p.stop()
	p.base = "http" + p.base
	idle, err := p.rss()
	if err != nil {
		return err
	}
	course, err := publishedCourse(ctx, p.base)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := launch(ctx, self, []string{"bare", db.URL()}, "bare: ")
	if err != nil {
		return err
	}
	defer b.stop()
	ours, err := target(p.base, "/v1/courses/"+course)
	if err != nil {
		return err
	}
	theirs, err := target(b.base, "/v1/courses/"+course)
	if err != nil {
		return err
	}
	if err := sameFields(ctx, p.base, b.base, "/v1/courses/"+course); err != nil {
		return err
	}
	const rounds = 9
	var ratios, mine, others []float64
	for i := range rounds + 1 {
		a, err := load(ctx, ours, 16, 2*time.Second)
		if err != nil {
			return err
		}
		o, err := load(ctx, theirs, 16, 2*time.Second)
		if err != nil {
			return err
		}
		if i > 0 { // the first warms both up
			ratios, mine, others = append(ratios, a/o), append(mine, a), append(others, o)
		}
	}
	fmt.Printf("REST read of a published course, 16 connections: %.0f/s against %.0f/s of a bare handler: ratio %.2f (median of %d rounds)\n",
		median(mine), median(others), median(ratios), rounds)
	loaded, err := p.rss()
	if err != nil {
		return err
	}
	fmt.Printf("resident memory: %.0f MiB idle, %.0f MiB after load\n", idle, loaded)
	return nil
}

// publishedCourse makes a course as a teacher does.
func publishedCourse(ctx context.Context, base string) (string, error) {
	const password = "a bench of wood 42"
	email := fmt.Sprintf("bench%d@example.com", time.Now().UnixNano())
	if _, err := call(ctx, base, "", "POST", "/v1/accounts", map[string]any{"email": email, "password": password, "name": "Bench"}); err != nil {
		return "", err
	}
	s, err := call(ctx, base, "", "POST", "/v1/sessions", map[string]any{"email": email, "password": password})
	if err != nil {
		return "", err
	}
	token, _ := s["token"].(string)
	c, err := call(ctx, base, token, "POST", "/v1/courses", map[string]any{
		"title": "Measuring", "subtitle": "How long things take", "description": strings.Repeat("Some *words* about it. ", 20),
		"tags": []string{"time", "work"}, "outcomes": []string{"Measure", "Compare"}, "category": "Science", "level": "beginner",
	})
	if err != nil {
		return "", err
	}
	course, _ := c["id"].(string)
	m, err := call(ctx, base, token, "POST", "/v1/courses/"+course+"/modules", map[string]any{"title": "One"})
	if err != nil {
		return "", err
	}
	for _, step := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/lessons", map[string]any{"module_id": m["id"], "title": "One", "blocks": []any{map[string]any{"markdown": map[string]any{"text": "Text."}}}}},
		{"PUT", "/price", map[string]any{"price": map[string]any{"amount": 4900, "currency": "EUR"}}},
		{"POST", "/publish", map[string]any{}},
	} {
		if _, err := call(ctx, base, token, step.method, "/v1/courses/"+course+step.path, step.body); err != nil {
			return "", err
		}
	}
	for begin := time.Now(); time.Since(begin) < 10*time.Second; <-time.After(20 * time.Millisecond) {
		if _, err = call(ctx, base, "", "GET", "/v1/courses/"+course, nil); err == nil {
			return course, nil
		}
	}
	return "", err
}

func call(ctx context.Context, base, token, method, path string, body any) (map[string]any, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: %v", method, path, out)
	}
	return out, nil
}

// sameFields makes sure that the bare handler does the same work.
func sameFields(ctx context.Context, a, b, path string) error {
	x, err := call(ctx, a, "", "GET", path, nil)
	if err != nil {
		return err
	}
	y, err := call(ctx, b, "", "GET", path, nil)
	if err != nil {
		return err
	}
	for name, v := range x {
		if name == "description_html" || name == "etag" || strings.HasSuffix(name, "_at") {
			continue // present in both, written differently
		}
		if fmt.Sprint(v) != fmt.Sprint(y[name]) {
			return fmt.Errorf("the bare handler answers %s as %v, not %v", name, y[name], v)
		}
	}
	if len(x) != len(y) {
		return fmt.Errorf("%d fields against %d", len(x), len(y))
	}
	return nil
}
