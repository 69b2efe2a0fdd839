// Command stoa is the whole platform: it serves all services or some of them,
// and has the commands that an operator needs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"text/tabwriter"
	_ "time/tzdata" // people choose zones; a container may have none

	"github.com/alecthomas/kong"

	"github.com/stoa-lms/stoa/internal/app"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = ""

type cli struct {
	app.Config `embed:""`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Run services: all, or those named."`
	Migrate migrateCmd `cmd:"" help:"Bring the database's tables up to date and tell the broker who hears what."`
	Health  healthCmd  `cmd:"" help:"Ask a process whether it is ready; the exit status says it."`
	Doctor  doctorCmd  `cmd:"" help:"Say what is wrong with the installation, and how to mend it."`
	Admin   adminCmd   `cmd:"" help:"Do what only an operator may."`
	Show    configCmd  `cmd:"" name:"config" help:"List every setting with its default and its meaning."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// gcPercent has the collector run half as often as by default: the heap of a
// process is small beside what its requests pass through it.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("stoa"),
		kong.Description("Stoa, a learning management system and course marketplace."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stoa:", err)
		return 1
	}
	k, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err)
	}
	if err := k.Run(&c.Config); err != nil {
		if !errors.Is(err, errSick) { // doctor has said it already
			fmt.Fprintln(os.Stderr, "stoa:", err)
		}
		return 1
	}
	return 0
}

type serveCmd struct {
	Services []string `arg:"" optional:"" help:"Services to run: identity, access, courses, media, learning, assessment, grades, commerce, discovery, audit, notify, edge. All when none is named."`
}

// Run implements the command.
func (c *serveCmd) Run(ctx context.Context, cfg *app.Config) error {
	warnUnknown()
	return app.Serve(ctx, *cfg, c.Services, buildVersion(), os.Stdout, os.Stderr)
}

type migrateCmd struct{}

// Run implements the command.
func (migrateCmd) Run(ctx context.Context, cfg *app.Config) error {
	return app.Migrate(ctx, *cfg, os.Stdout)
}

type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run() error {
	_, err := fmt.Println("stoa", buildVersion())
	return err
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

type configCmd struct{}

// Run implements the command.
func (configCmd) Run(k *kong.Context) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	for _, f := range k.Model.Flags {
		if len(f.Envs) == 0 {
			continue
		}
		def := f.Default
		if def == "" {
			def = "-"
		}
		fmt.Fprintf(w, "%s\t--%s\t%s\n", f.Envs[0], f.Name, def)
		fmt.Fprintf(w, "  %s\n", f.Help)
	}
	return w.Flush()
}

// warnUnknown says which STOA_ variables of the environment are no settings:
// most often they are mistyped ones.
func warnUnknown() {
	var c cli
	parser, err := kong.New(&c)
	if err != nil {
		return
	}
	known := map[string]bool{}
	for _, f := range parser.Model.Flags {
		for _, env := range f.Envs {
			known[env] = true
		}
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "STOA_") && !strings.HasPrefix(name, "STOA_TEST_") && !known[name] {
			fmt.Fprintf(os.Stderr, "stoa: %s is not a setting and is ignored; `stoa config` lists those that are\n", name)
		}
	}
}
