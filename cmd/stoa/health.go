package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

type healthCmd struct {
	URL string `arg:"" optional:"" default:"http://127.0.0.1:9100/readyz" help:"What to ask: /readyz or /healthz of a process."`
}

// errUnhealthy is returned when a process answers that it is not ready.
var errUnhealthy = errors.New("not ready")

// Run implements the command: what a container without a shell asks itself.
func (c *healthCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %s", errUnhealthy, c.URL, res.Status)
	}
	return nil
}
