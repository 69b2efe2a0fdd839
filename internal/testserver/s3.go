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

// Bucket is the bucket that a new S3 server has.
const Bucket = "stoa"

// FindS3 returns the path of versitygw: that in the folder bin here or in the
// nearest folder above, else that in PATH. Its error says how to install it.
func FindS3() (string, error) {
	return findTool("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
}

// StartS3 starts an S3 server, versitygw, on the folder "buckets" in dir and
// returns when it answers. Each folder in there is a bucket; one named [Bucket]
// is made. The credentials, which are random, are in the URL; the region is
// us-east-1. An empty path of the program means [FindS3]. The context bounds
// the start.
func StartS3(ctx context.Context, dir, program string) (*Server, error) {
	if program == "" {
		var err error
		if program, err = FindS3(); err != nil {
			return nil, err
		}
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	key, password, health := secret(), secret(), "/"+secret()
	return launch(ctx, "s3", dir, 1, func(dir string, ports []string) (*Server, error) {
		buckets := filepath.Join(dir, "buckets")
		if err := os.MkdirAll(filepath.Join(buckets, Bucket), 0o700); err != nil {
			return nil, err
		}
		s := &Server{Addr: net.JoinHostPort(loopback, ports[0])}
		s.URL = "http://" + key + ":" + password + "@" + s.Addr
		s.steps = []step{{
			command: func(ctx context.Context) *exec.Cmd {
				cmd := exec.CommandContext(ctx, program, "--port", s.Addr, "--health", health, "posix", buckets) //nolint:gosec // found on the machine
				cmd.Dir, cmd.Env = dir, environment("ROOT_ACCESS_KEY="+key, "ROOT_SECRET_KEY="+password)
				return cmd
			},
			// Only ours knows the path.
			ready: func(ctx context.Context, _ int) error { return getOK(ctx, "http://"+s.Addr+health) },
		}}
		return s, nil
	})
}

// getOK returns an error unless a GET is answered with 200.
func getOK(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
