package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access"
	"github.com/stoa-lms/stoa/internal/service/identity"
)

type adminCmd struct {
	Certs  certsCmd  `cmd:"" help:"Make certificates by which the processes of a small installation know one another, or renew them."`
	Events eventsCmd `cmd:"" help:"Events whose handling failed for good."`
	Audit  auditCmd  `cmd:"" help:"The audit log."`
	Grant  grantCmd  `cmd:"" help:"Give an account a role on the platform."`
	Ledger ledgerCmd `cmd:"" help:"The ledger of sales."`
	Keys   keysCmd   `cmd:"" help:"Keys that encrypt personal secrets."`
	Mail   mailCmd   `cmd:"" help:"Mails and what became of them."`

	Payments paymentsCmd `cmd:"" help:"What the payment provider told."`
}

type eventsCmd struct {
	List    listEventsCmd    `cmd:"" help:"List parked events."`
	Replay  replayEventsCmd  `cmd:"" help:"Have parked events handled again: those named, or all."`
	Discard discardEventsCmd `cmd:"" help:"Give up parked events for good."`
}

// eachSchema runs fn in every service's schema, or in the one named.
func eachSchema(ctx context.Context, cfg *app.Config, only string, fn func(*pg.DB) error) error {
	return app.WithDatabase(ctx, *cfg, func(url string) error {
		found := false
		for _, s := range app.Schemas() {
			if only != "" && only != s.Name {
				continue
			}
			found = true
			db, err := pg.Open(ctx, pg.Config{URL: url, Schema: s.Name, MaxConns: 2})
			if err != nil {
				return err
			}
			err = fn(db)
			db.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		if !found {
			return fmt.Errorf("there is no service %q with a database", only)
		}
		return nil
	})
}

type listEventsCmd struct {
	Service string `help:"Only of this service."`
}

// Run implements the command.
func (c *listEventsCmd) Run(ctx context.Context, cfg *app.Config) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tID\tEVENT\tHAPPENED\tATTEMPTS\tERROR")
	err := eachSchema(ctx, cfg, c.Service, func(db *pg.DB) error {
		const batch = 500
		for after := uuid.Nil; ; {
			parked, err := bus.Parked(ctx, db, batch, after)
			if err != nil {
				return err
			}
			for _, e := range parked {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", db.Schema(), e.ID, e.Name, e.HappenedAt.Format("2006-01-02T15:04:05Z07:00"), e.Attempts, e.LastError)
			}
			if len(parked) < batch {
				return nil
			}
			after = parked[len(parked)-1].ID
		}
	})
	return errors.Join(err, w.Flush())
}

type replayEventsCmd struct {
	Service string   `help:"Only of this service."`
	IDs     []string `arg:"" optional:"" name:"id" help:"Ids of events; all parked ones when none is named."`
}

// Run implements the command.
func (c *replayEventsCmd) Run(ctx context.Context, cfg *app.Config) error {
	ids, err := uuids(c.IDs)
	if err != nil {
		return err
	}
	total := 0
	err = eachSchema(ctx, cfg, c.Service, func(db *pg.DB) error {
		n, err := bus.Replay(ctx, db, ids...)
		total += n
		return err
	})
	fmt.Printf("%d events will be handled again\n", total)
	return err
}

type discardEventsCmd struct {
	IDs []string `arg:"" name:"id" help:"Ids of events."`
}

// Run implements the command.
func (c *discardEventsCmd) Run(ctx context.Context, cfg *app.Config) error {
	ids, err := uuids(c.IDs)
	if err != nil {
		return err
	}
	total := 0
	err = eachSchema(ctx, cfg, "", func(db *pg.DB) error {
		n, err := bus.Discard(ctx, db, ids...)
		total += n
		return err
	})
	fmt.Printf("%d events were given up\n", total)
	return err
}

func uuids(texts []string) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(texts))
	for i, t := range texts {
		id, err := uuid.Parse(t)
		if err != nil {
			return nil, fmt.Errorf("%q is not the id of an event", t)
		}
		ids[i] = id
	}
	return ids, nil
}

type grantCmd struct {
	Email string `arg:"" help:"The account's address."`
	Role  string `arg:"" help:"The role: admin, moderator, finance or support."`
}

// Run implements the command.
func (c *grantCmd) Run(ctx context.Context, cfg *app.Config) error {
	keys, err := app.Keyset(ctx, *cfg)
	if err != nil {
		return err
	}
	return app.WithDatabase(ctx, *cfg, func(url string) error {
		accounts, err := pg.Open(ctx, pg.Config{URL: url, Schema: identity.Schema.Name, MaxConns: 2})
		if err != nil {
			return err
		}
		defer accounts.Close()
		account, err := identity.AccountByEmail(ctx, accounts, keys, c.Email)
		if err != nil {
			return err
		}
		grants, err := pg.Open(ctx, pg.Config{URL: url, Schema: access.Schema.Name, MaxConns: 2})
		if err != nil {
			return err
		}
		defer grants.Close()
		if err := access.GrantPlatformRole(ctx, grants, account, c.Role); err != nil {
			return err
		}
		fmt.Printf("%s (%s) has the role %s\n", c.Email, account, c.Role)
		return nil
	})
}
