package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/audit"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

type auditCmd struct {
	Verify verifyAuditCmd `cmd:"" help:"Prove that no entry was changed, removed, moved or added."`
	Export exportAuditCmd `cmd:"" help:"Print entries, a line of JSON each, oldest first."`
}

// withAudit opens the audit service's schema.
func withAudit(ctx context.Context, cfg *app.Config, fn func(*pg.DB) error) error {
	return eachSchema(ctx, cfg, audit.Schema.Name, fn)
}

type verifyAuditCmd struct {
	From int64    `help:"Begin at this entry, and take the one before as true." default:"1"`
	Head []string `help:"A head that was noted before, as SEQUENCE:HASH. May be given several times."`
}

// Run implements the command.
func (c *verifyAuditCmd) Run(ctx context.Context, cfg *app.Config) error {
	known := make([]audit.Known, len(c.Head))
	for i, text := range c.Head {
		number, hash, _ := strings.Cut(text, ":")
		sequence, err := strconv.ParseInt(number, 10, 64)
		raw, hexErr := hex.DecodeString(hash)
		if err != nil || hexErr != nil || sequence < 1 || len(raw) != 32 {
			return fmt.Errorf("%q is not a head such as 1234:9f86d081…, as verify prints it", text)
		}
		known[i] = audit.Known{Sequence: sequence, Hash: raw}
	}
	return withAudit(ctx, cfg, func(db *pg.DB) error {
		keys, err := app.Keyset(ctx, *cfg)
		if err != nil {
			return err
		}
		v, err := audit.Verify(ctx, db, keys, c.From, known)
		if err != nil {
			return fmt.Errorf("the audit log is NOT whole: %w", err)
		}
		fmt.Printf("The audit log is whole: %d entries, %d checkpoints.\nHead, to be noted elsewhere: %d:%x\n", v.Entries, v.Checkpoints, v.Sequence, v.Hash)
		return nil
	})
}

type exportAuditCmd struct {
	After int64 `help:"Only entries behind this one." default:"0"`
}

// Run implements the command.
func (c *exportAuditCmd) Run(ctx context.Context, cfg *app.Config) error {
	out := bufio.NewWriter(os.Stdout)
	err := withAudit(ctx, cfg, func(db *pg.DB) error {
		return audit.Export(ctx, db, c.After, func(list []*auditpb.Entry) error {
			for _, e := range list {
				line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}
