package testserver_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/stoa-lms/stoa/internal/testserver"
)

// TestMain makes the test binary also the process that a test kills: with
// STOA_TESTSERVER_DIR set it starts all servers and waits for its end.
func TestMain(m *testing.M) {
	dir := os.Getenv("STOA_TESTSERVER_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	for name, start := range starters {
		s, err := start(context.Background(), filepath.Join(dir, name))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.Addr)
	}
	fmt.Println("up")
	select {}
}

var starters = map[string]func(context.Context, string) (*testserver.Server, error){
	"redis":    testserver.StartRedis,
	"rabbitmq": testserver.StartRabbitMQ,
	"stripe":   testserver.StartStripe,
	"s3": func(ctx context.Context, dir string) (*testserver.Server, error) {
		return testserver.StartS3(ctx, dir, "")
	},
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := mustStart(t, "redis")
	if got := redis(t, s, "SET k v"); got != "+OK" {
		t.Errorf("SET says %q", got)
	}
	outage(t, s)
	if got := redis(t, s, "GET k"); got != "$-1" {
		t.Errorf("GET on a new Redis says %q", got)
	}
}

func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	s := mustStart(t, "rabbitmq")
	conn, ch := channel(t, s)
	if _, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", true, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("kept")})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirm.WaitContext(t.Context()); err != nil || !ok {
		t.Fatalf("publish: %v, %v", ok, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	outage(t, s)
	conn, ch = channel(t, s)
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	// A quorum queue answers once it has elected its leader.
	for {
		m, ok, err := ch.Get("q", true)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			if string(m.Body) != "kept" {
				t.Errorf("got %q", m.Body)
			}
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the message is lost")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestStripe(t *testing.T) {
	t.Parallel()
	s := mustStart(t, "stripe")
	answers := func() {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/account", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk_test_123")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s, %v", resp.Status, err)
		}
	}
	answers()
	outage(t, s)
	answers()
}

func TestS3(t *testing.T) {
	t.Parallel()
	s := mustStart(t, "s3")
	if status, body := s3(t, s, http.MethodPut, "a/key", "content"); status != http.StatusOK {
		t.Fatalf("PUT: %d %s", status, body)
	}
	outage(t, s)
	if status, body := s3(t, s, http.MethodGet, "a/key", ""); status != http.StatusOK || body != "content" {
		t.Errorf("GET: %d %s", status, body)
	}
	if err := getWithout(t, s); err != nil {
		t.Error(err)
	}
}

// outage stops a server, restarts, kills and restarts it.
func outage(t *testing.T, s *testserver.Server) {
	t.Helper()
	addr := s.Addr
	for _, end := range []func(){s.Stop, s.Kill} {
		if !answers(t, addr) {
			t.Fatal("the server is not there")
		}
		end()
		if answers(t, addr) {
			t.Fatal("the server is still there")
		}
		end() // does nothing
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Addr != addr {
		t.Errorf("moved from %s to %s", addr, s.Addr)
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	s := mustStart(t, "redis")
	s.Stop()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = s.Restart(ctx)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Restart on a taken port: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Errorf("Restart on a port that is free again: %v", err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Errorf("Restart of a server that runs: %v", err)
	}
}

// What one process was given no other is, also while nothing listens there.
func TestPortsAreLeased(t *testing.T) {
	t.Parallel()
	ports, err := testserver.FreePorts(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	for i, port := range ports {
		if slices.Contains(ports[:i], port) {
			t.Errorf("%s was handed out twice", port)
		}
		// As FreePorts of another process begins.
		l, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			t.Errorf("%s is not leased", port)
			_ = l.Close()
		}
	}
}

func TestFailureShowsLog(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho it can not >&2\nexit 3\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	_, err := testserver.StartS3(t.Context(), t.TempDir(), program)
	if err == nil || !strings.Contains(err.Error(), "it can not") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("StartS3 with a broken program: %v", err)
	}
}

func TestNothingOutlivesTheParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this program
	parent.Env = append(os.Environ(), "STOA_TESTSERVER_DIR="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if lines = append(lines, scan.Text()); scan.Text() == "up" {
			break
		}
	}
	if len(lines) != len(starters)+1 {
		t.Fatalf("the process says %q", lines)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for _, addr := range lines[:len(starters)] {
		for deadline := time.Now().Add(time.Minute); answers(t, addr); <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s answers after its parent was killed", addr)
				break
			}
		}
	}
}

func mustStart(t *testing.T, name string) *testserver.Server {
	t.Helper()
	s, err := starters[name](t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

func answers(t *testing.T, addr string) bool {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err == nil {
		return conn.Close() == nil
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	return false
}

// redis sends a command and returns the first line of the answer.
func redis(t *testing.T, s *testserver.Server, command string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func channel(t *testing.T, s *testserver.Server) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return conn, ch
}

// s3 makes a request with a signature of version 4 in the query.
func s3(t *testing.T, s *testserver.Server, method, key, body string) (status int, answer string) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	now := time.Now().UTC()
	day, scope := now.Format("20060102"), now.Format("20060102")+"/us-east-1/s3/aws4_request"
	path := "/" + testserver.Bucket + "/" + key
	query := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential":    {u.User.Username() + "/" + scope},
		"X-Amz-Date":          {now.Format("20060102T150405Z")},
		"X-Amz-Expires":       {"60"},
		"X-Amz-SignedHeaders": {"host"},
	}.Encode()
	canonical := strings.Join([]string{method, path, query, "host:" + s.Addr + "\n", "host", "UNSIGNED-PAYLOAD"}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	mac := []byte("AWS4" + password)
	for _, part := range []string{
		day, "us-east-1", "s3", "aws4_request",
		"AWS4-HMAC-SHA256\n" + now.Format("20060102T150405Z") + "\n" + scope + "\n" + hex.EncodeToString(digest[:]),
	} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	return do(t, method, "http://"+s.Addr+path+"?"+query+"&X-Amz-Signature="+hex.EncodeToString(mac), body)
}

// getWithout returns an error if the server lets someone in without a
// signature.
func getWithout(t *testing.T, s *testserver.Server) error {
	t.Helper()
	if status, body := do(t, http.MethodGet, "http://"+s.Addr+"/"+testserver.Bucket+"/a/key", ""); status != http.StatusForbidden {
		return fmt.Errorf("GET without a signature: %d %s", status, body)
	}
	return nil
}

func do(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}
