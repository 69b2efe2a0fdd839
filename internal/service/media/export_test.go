package media

import (
	"context"
	"os/exec"
)

func bash(ctx context.Context, script string) error {
	return exec.CommandContext(ctx, "/bin/bash", "-c", script).Run()
}
