package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// FindRedis returns the path of redis-server. Its error says how to install it.
func FindRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server is not installed: apt-get install redis-server")
	}
	return path, nil
}

// StartRedis starts a Redis with its files in dir and returns when it answers.
// It stores nothing: a restarted one is empty. The context bounds the start.
func StartRedis(ctx context.Context, dir string) (*Server, error) {
	program, err := FindRedis()
	if err != nil {
		return nil, err
	}
	return launch(ctx, "redis", dir, 1, func(dir string, ports []string) (*Server, error) {
		s := &Server{Addr: net.JoinHostPort(loopback, ports[0])}
		s.URL = "redis://" + s.Addr
		s.steps = []step{{
			command: func(ctx context.Context) *exec.Cmd {
				cmd := exec.CommandContext(ctx, program, "--port", ports[0], "--bind", loopback, //nolint:gosec // found on the machine
					"--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
				cmd.Dir, cmd.Env = dir, environment()
				return cmd
			},
			ready: func(ctx context.Context, pid int) error { return pingRedis(ctx, s.Addr, pid) },
		}}
		return s, nil
	})
}

// pingRedis asks the Redis at an address whether it is the process.
func pingRedis(ctx context.Context, addr string, pid int) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	if _, err := conn.Write([]byte("INFO server\r\n")); err != nil {
		return err
	}
	want := fmt.Sprintf("process_id:%d", pid)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == want {
			return nil
		}
		if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "process_id:") {
			return fmt.Errorf("redis at %s is not ours or not ready: %s", addr, line)
		}
	}
	return errors.New("redis did not say which process it is")
}
