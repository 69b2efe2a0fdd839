package main

import (
	"context"
	"os"
	"time"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/secret"
)

type keysCmd struct {
	New    newKeysCmd    `cmd:"" help:"Print a new keyset."`
	Wrap   wrapKeysCmd   `cmd:"" help:"Print a keyset wrapped by the KMS of STOA_KMS_URL."`
	List   listKeysCmd   `cmd:"" help:"List the envelope keys and how many data keys each wraps."`
	Rotate rotateKeysCmd `cmd:"" help:"Make a new envelope key and wrap all data keys with it, while processes serve. The file of the keyset must be writable here and be the one that all processes read."`
}

type newKeysCmd struct {
	KMS bool `name:"kms" help:"Wrapped by the KMS of STOA_KMS_URL."`
}

// Run implements the command.
func (c *newKeysCmd) Run(ctx context.Context, cfg *app.Config) error {
	var kms *secret.KMS
	if c.KMS {
		var err error
		if kms, err = app.OpenKMS(ctx, *cfg); err != nil {
			return err
		}
	}
	text, err := app.NewKeyset(ctx, kms)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}

type wrapKeysCmd struct {
	File string `arg:"" help:"The keyset as it is." type:"existingfile"`
}

// Run implements the command.
func (c *wrapKeysCmd) Run(ctx context.Context, cfg *app.Config) error {
	kms, err := app.OpenKMS(ctx, *cfg)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	if text, err = kms.Wrap(ctx, text); err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

type listKeysCmd struct{}

// Run implements the command.
func (listKeysCmd) Run(ctx context.Context, cfg *app.Config) error {
	return app.ListKeys(ctx, *cfg, os.Stdout)
}

type rotateKeysCmd struct {
	Retire bool          `help:"First remove the keys of former rotations, which wrap nothing any more. Events on their way from before the last one can not be read then: let some days pass between two rotations."`
	Wait   time.Duration `help:"How long it takes until all processes have a new keyset." default:"6s"`
}

// Run implements the command.
func (c *rotateKeysCmd) Run(ctx context.Context, cfg *app.Config) error {
	return app.RotateKeys(ctx, *cfg, app.Rotation{Wait: c.Wait, Retire: c.Retire}, os.Stdout)
}
