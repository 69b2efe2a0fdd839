package media

import (
	"context"
	"os/exec"
	"time"
)

func bash(ctx context.Context, script string) error {
	return exec.CommandContext(ctx, "/bin/bash", "-c", script).Run() //nolint:gosec // a script of a test
}

// Hurry makes the service try again after a moment.
func (s *Service) Hurry() { s.toolEvery, s.backOff = 50*time.Millisecond, 50*time.Millisecond }
