package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/stoa-lms/stoa/internal/app"
)

// errSick is returned when the doctor found something.
var errSick = errors.New("something is wrong")

type doctorCmd struct {
	Services []string `arg:"" optional:"" help:"Services that this process would run; all when none is named."`
}

// Run implements the command.
func (c *doctorCmd) Run(ctx context.Context, cfg *app.Config) error {
	sick := false
	for _, f := range app.Examine(ctx, *cfg, c.Services, buildVersion()) {
		mark := "ok  "
		if f.Cure != "" {
			mark, sick = "BAD ", true
		}
		fmt.Fprintf(os.Stdout, "%s %-14s %s\n", mark, f.What, f.Says)
		if f.Cure != "" {
			fmt.Fprintf(os.Stdout, "     %-14s → %s\n", "", f.Cure)
		}
	}
	if sick {
		return errSick
	}
	return nil
}
