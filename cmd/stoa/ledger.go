package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

type ledgerCmd struct {
	Verify verifyLedgerCmd `cmd:"" help:"Prove that every entry and every currency sums to zero and that all that was paid is booked, or name the first that is wrong."`
}

type verifyLedgerCmd struct{}

// Run implements the command.
func (c *verifyLedgerCmd) Run(ctx context.Context, cfg *app.Config) error {
	return eachSchema(ctx, cfg, commerce.Schema.Name, func(db *pg.DB) error {
		r, err := commerce.VerifyLedger(ctx, db)
		if err != nil {
			return err
		}
		if r.Problem != "" {
			return errors.New(r.Problem)
		}
		fmt.Fprintf(os.Stdout, "%d entries with %d postings sum to zero", r.Entries, r.Postings)
		if len(r.Currencies) > 0 {
			fmt.Fprintf(os.Stdout, ": %s debited, and as much credited", strings.Join(r.Currencies, ", "))
		}
		fmt.Fprintln(os.Stdout)
		return nil
	})
}
