package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// FindStripe returns the path of stripe-mock: that in the folder bin here or in the
// nearest folder above, else that in PATH. Its error says how to install it.
func FindStripe() (string, error) {
	return findTool("stripe-mock", "github.com/stripe/stripe-mock@v0.203.0")
}

// findTool returns the path of a program that the Makefile builds into bin.
func findTool(name, module string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "bin", name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New(name + " is neither in ./bin nor in PATH: " + `GOBIN="$PWD/bin" go install ` + module)
	}
	return path, nil
}

// StartStripe starts Stripe's own mock server and returns when it answers. It holds
// requests to Stripe's description of its interface, and keeps nothing. The context
// bounds the start.
func StartStripe(ctx context.Context, dir string) (*Server, error) {
	program, err := FindStripe()
	if err != nil {
		return nil, err
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	return launch(ctx, "stripe", dir, 2, func(dir string, ports []string) (*Server, error) {
		s := &Server{Addr: net.JoinHostPort(loopback, ports[0])}
		s.URL = "http://" + s.Addr
		s.steps = []step{{
			command: func(ctx context.Context) *exec.Cmd {
				// Without an address of its own for HTTPS it takes port 12112 of the machine.
				cmd := exec.CommandContext(ctx, program, "-http-addr", s.Addr, "-https-addr", net.JoinHostPort(loopback, ports[1])) //nolint:gosec // found on the machine
				cmd.Dir, cmd.Env = dir, environment()
				return cmd
			},
			ready: func(ctx context.Context, _ int) error { return stripeAnswers(ctx, s.URL) },
		}}
		return s, nil
	})
}

// stripeAnswers returns nil when a stripe-mock is at the address: what has no key is
// refused as Stripe does.
func stripeAnswers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/account", nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Stripe-Mock-Version") == "" {
		err = fmt.Errorf("GET %s/v1/account: %s, and no stripe-mock", url, resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
