package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

type paymentsCmd struct {
	Replay replayPaymentsCmd `cmd:"" help:"Have events of the payment provider taken in again, those too that never came."`
}

type replayPaymentsCmd struct {
	Event  string    `help:"The event with this id, such as evt_1abc." xor:"which" required:""`
	Since  time.Time `help:"All events since a moment of the last 30 days, as 2026-03-01T00:00:00Z." xor:"which" required:""`
	Parked bool      `help:"All events that failed too often." xor:"which" required:""`
}

// Run implements the command.
func (c *replayPaymentsCmd) Run(ctx context.Context, cfg *app.Config) error {
	stripe, err := cfg.Stripe()
	if err != nil {
		return err
	}
	if stripe == nil {
		return errors.New("there is no provider that tells: STOA_PAYMENTS is not stripe")
	}
	return eachSchema(ctx, cfg, commerce.Schema.Name, func(db *pg.DB) error {
		done, err := commerce.ReplayEvents(ctx, db, commerce.NewStripe(*stripe), time.Now(), commerce.Replay{Event: c.Event, Since: c.Since, Parked: c.Parked})
		fmt.Fprintf(os.Stdout, "%d events will be taken in again within a minute, and %d that had not come\n", done.Again, done.Missed)
		return err
	})
}
