package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/cert"
)

type certsCmd struct {
	Dir     string   `help:"Folder for them. An authority that it has already (ca.crt and ca.key) signs again." required:"" type:"path"`
	Days    int      `help:"How long certificates are valid." default:"365"`
	Service []string `help:"Only for these services."`
}

// Run implements the command.
func (c *certsCmd) Run(_ context.Context) error {
	services := c.Service
	if len(services) == 0 {
		services = app.Names()
	}
	for _, s := range services {
		if !slices.Contains(app.Names(), s) {
			return fmt.Errorf("there is no service %q", s)
		}
	}
	if c.Days < 1 {
		return fmt.Errorf("%d days are too few", c.Days)
	}
	if err := cert.Make(c.Dir, services, time.Now(), time.Duration(c.Days)*24*time.Hour); err != nil {
		return err
	}
	fmt.Printf("certificates of %d services are in %s; keep ca.key apart\n", len(services), c.Dir)
	return nil
}
