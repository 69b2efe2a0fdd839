package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/notify"
)

type mailCmd struct {
	List  listMailCmd  `cmd:"" help:"List the newest mails and what became of them."`
	Retry retryMailCmd `cmd:"" help:"Send failed mails again: those named, or all."`
}

type listMailCmd struct {
	State string `help:"Only in this state: held, queued, sent or failed." enum:",held,queued,sent,failed" default:""`
	Limit int    `help:"How many at most." default:"100"`
}

// Run implements the command.
func (c *listMailCmd) Run(ctx context.Context, cfg *app.Config) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tACCOUNT\tKIND\tSTATE\tWRITTEN\tATTEMPTS\tREPLY")
	err := eachSchema(ctx, cfg, notify.Schema.Name, func(db *pg.DB) error {
		mails, err := notify.Mails(ctx, db, c.State, c.Limit)
		for _, m := range mails {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", m.ID, m.AccountID, m.Kind, m.State, m.CreatedAt.Format(time.RFC3339), m.Attempts, m.Reply)
		}
		return err
	})
	return errors.Join(err, w.Flush())
}

type retryMailCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of mails; all that failed when none is named."`
}

// Run implements the command.
func (c *retryMailCmd) Run(ctx context.Context, cfg *app.Config) error {
	return eachSchema(ctx, cfg, notify.Schema.Name, func(db *pg.DB) error {
		n, err := notify.Retry(ctx, db, c.IDs...)
		if err != nil {
			return err
		}
		fmt.Printf("%d mails will be sent again\n", n)
		return nil
	})
}
