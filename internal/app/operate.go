package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/embedded"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/media"
)

// WithDatabase calls fn with the address of the database: the one named, that of
// a running process, or the embedded one, started for the call.
func WithDatabase(ctx context.Context, cfg Config, fn func(url string) error) error {
	if cfg.DatabaseURL != "" {
		return fn(cfg.DatabaseURL)
	}
	server, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(cfg.DataDir, "postgres")})
	if errors.Is(err, embedded.ErrInUse) {
		url, readErr := os.ReadFile(filepath.Join(cfg.DataDir, databaseFile))
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		return fn(strings.TrimSpace(string(url)))
	}
	if err != nil {
		return fmt.Errorf("embedded database: %w", err)
	}
	err = fn(server.URL())
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, server.Stop(stopCtx))
}

// Migrate brings the tables of all services up to date and, where there is a
// broker's server, tells it who hears what.
func Migrate(ctx context.Context, cfg Config, out io.Writer) error {
	if faults := cfg.Faults(nil); len(faults) > 0 {
		return FaultsError(faults)
	}
	return WithDatabase(ctx, cfg, func(url string) error {
		if err := pg.Migrate(ctx, url, Schemas()...); err != nil {
			return err
		}
		versions, err := pg.Versions(ctx, url, Schemas()...)
		if err != nil {
			return err
		}
		for _, v := range versions {
			fmt.Fprintf(out, "%-12s version %d\n", v.Schema, v.Current)
		}
		if cfg.AMQPURL == "" {
			return nil
		}
		broker := amqp.Open(cfg.AMQPURL, slog.New(slog.DiscardHandler))
		defer func() { _ = broker.Close() }()
		return broker.Declare(ctx, topology())
	})
}

// Finding is what [Examine] has to say of one part of an installation.
type Finding struct {
	What string // the part
	Says string // how it is
	Cure string // how to mend it; empty when nothing is wrong
}

// Examine looks at everything that a process running the named services would
// need. It leaves nothing behind: a probe that it writes to the bucket it deletes,
// an embedded database that it starts to look into it stops.
func Examine(ctx context.Context, cfg Config, services []string, version string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	findings := []Finding{{What: "version", Says: fmt.Sprintf("Stoa %s, %s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)}}
	faults := cfg.Faults(services)
	for _, f := range faults {
		findings = append(findings, Finding{"configuration", f, "Correct the setting; `stoa config` lists all."})
	}
	if len(faults) > 0 {
		return findings
	}
	findings = append(findings, Finding{What: "configuration", Says: "no faults, profile " + cfg.Profile})
	findings = append(findings, examineFolder(cfg))
	if !slices.Equal(services, []string{edgeName}) { // which has no data
		findings = append(findings, examineBucket(ctx, cfg))
		findings = append(findings, examineDatabase(ctx, cfg)...)
		findings = append(findings, examineBroker(ctx, cfg))
		findings = append(findings, examineFonts())
	}
	if len(services) == 0 || slices.Contains(services, media.Schema.Name) {
		findings = append(findings, examineTools(cfg), examineScanner(ctx, cfg))
	}
	if len(services) == 0 || slices.Contains(services, commerce.Schema.Name) {
		findings = append(findings, examinePayments(ctx, cfg))
	}
	findings = append(findings, examineCache(ctx, cfg))
	return append(findings, examinePeers(ctx, cfg, services)...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func examineFolder(cfg Config) Finding {
	if !exists(cfg.DataDir) {
		return Finding{What: "data folder", Says: cfg.DataDir + " is not there yet; the first start makes it"}
	}
	f, err := os.CreateTemp(cfg.DataDir, ".doctor-*")
	if err != nil {
		return Finding{"data folder", err.Error(), "Set STOA_DATA_DIR to a folder that can be written."}
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return Finding{What: "data folder", Says: cfg.DataDir + " can be written"}
}

func examineBucket(ctx context.Context, cfg Config) Finding {
	const cure = "Check STOA_BUCKET_URL and its keys, that the bucket exists, and that its server answers."
	if cfg.BucketURL == "" && !exists(filepath.Join(cfg.DataDir, "bucket")) {
		return Finding{What: "bucket", Says: "a folder in the data folder, which the first start makes"}
	}
	b, err := openBucket(ctx, cfg)
	if err != nil {
		return Finding{"bucket", err.Error(), cure}
	}
	defer func() { _ = b.Close() }()
	if err := b.Ping(ctx); err != nil {
		return Finding{"bucket", err.Error(), cure}
	}
	return Finding{What: "bucket", Says: "written, read and deleted a probe"}
}

func examineDatabase(ctx context.Context, cfg Config) []Finding {
	if cfg.DatabaseURL == "" {
		if _, err := embedded.Find(); err != nil {
			return []Finding{{"database", err.Error(), "Install PostgreSQL's server programs, or set STOA_DATABASE_URL."}}
		}
		if !exists(filepath.Join(cfg.DataDir, "postgres")) {
			return []Finding{{What: "database", Says: "embedded, which the first start makes"}}
		}
	}
	var findings []Finding
	err := WithDatabase(ctx, cfg, func(url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		var number int
		var version string
		if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version')`).
			Scan(&number, &version); err != nil {
			return err
		}
		f := Finding{What: "database", Says: "PostgreSQL " + version}
		if number < 140000 {
			f.Cure = "Use PostgreSQL 14 or newer."
		}
		findings = append(findings, f)
		versions, err := pg.Versions(ctx, url, Schemas()...)
		if err != nil {
			return err
		}
		for _, v := range versions {
			f := Finding{What: v.Schema, Says: fmt.Sprintf("tables at version %d of %d", v.Current, v.Want)}
			switch {
			case v.Current < v.Want && cfg.Migrate.V:
				f.Says += ", brought up to date at the next start"
			case v.Current < v.Want:
				f.Cure = "Run `stoa migrate`, or start the service with STOA_MIGRATE=1."
			case v.Current > v.Want:
				f.Says += " (made by a newer program, which is fine while it is rolled out)"
			}
			if f.Cure == "" && v.Current > 0 {
				parked, err := examineParked(ctx, url, v.Schema)
				if err != nil {
					return err
				}
				if parked > 0 {
					f.Says += fmt.Sprintf("; %d parked events", parked)
					f.Cure = "See `stoa admin events list`; mend the cause, then `stoa admin events replay`."
				}
			}
			findings = append(findings, f)
		}
		return nil
	})
	if err != nil {
		findings = append(findings, Finding{"database", err.Error(), "Check STOA_DATABASE_URL, that the server runs, and that its user may make schemas and roles."})
	}
	return findings
}

func examineParked(ctx context.Context, url, schema string) (int, error) {
	db, err := pg.Open(ctx, pg.Config{URL: url, Schema: schema, MaxConns: 1})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var n int
	err = db.QueryRow(ctx, `SELECT count(*) FROM inbox_failed WHERE next_at IS NULL`).Scan(&n)
	return n, err
}

// examineFonts looks whether certificates can be written in every script.
func examineFonts() Finding {
	f, err := pdf.FindFonts(pdf.FontDirs...)
	if err != nil {
		return Finding{"fonts", err.Error(), "Make " + strings.Join(pdf.FontDirs, " and ") + " readable."}
	}
	if missing := f.Missing(); len(missing) > 0 {
		return Finding{"fonts", "for Latin, Greek and Cyrillic, and not for all other scripts that certificates may be in", "Install the packages " + strings.Join(missing, " ") + "."}
	}
	return Finding{What: "fonts", Says: "for every script that certificates may be in"}
}

func examineBroker(ctx context.Context, cfg Config) Finding {
	var broker bus.Broker = bus.NewDirect()
	says := "within the process"
	if cfg.AMQPURL != "" {
		broker, says = amqp.Open(cfg.AMQPURL, slog.New(slog.DiscardHandler)), "RabbitMQ answers"
	}
	defer func() { _ = broker.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := broker.Ping(ctx); err != nil && cfg.AMQPURL != "" {
		return Finding{"broker", err.Error(), "Check STOA_AMQP_URL and that RabbitMQ runs. Meanwhile events wait in the database."}
	}
	return Finding{What: "broker", Says: says}
}

func examineCache(ctx context.Context, cfg Config) Finding {
	const cure = "Check STOA_REDIS_URL and that Redis runs. Meanwhile each process counts rates for itself."
	l, err := openLimiter(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return Finding{"cache", err.Error(), cure}
	}
	defer l.Close()
	if err := l.Ping(ctx); err != nil {
		return Finding{"cache", err.Error(), cure}
	}
	if cfg.RedisURL == "" {
		return Finding{What: "cache", Says: "within the process"}
	}
	return Finding{What: "cache", Says: "Redis answers"}
}

// examineTools looks for the programs that files are processed with.
func examineTools(cfg Config) Finding {
	if cfg.MediaWorkers.V == 0 {
		return Finding{What: "media tools", Says: "not needed: STOA_MEDIA_WORKERS is 0"}
	}
	if missing := media.MissingTools(); len(missing) > 0 {
		var names, packages []string
		for _, t := range missing {
			names, packages = append(names, t.Name), append(packages, t.Package)
		}
		slices.Sort(packages)
		return Finding{
			"media tools", "missing: " + strings.Join(names, ", ") + "; what needs them waits, all else goes on",
			"On Debian or Ubuntu: apt-get install " + strings.Join(slices.Compact(packages), " ") + ". What waits goes on by itself.",
		}
	}
	if !media.Isolated() {
		return Finding{
			"media tools", "all there; they run with a network, because users may make no namespaces here",
			"Let them: sysctl kernel.unprivileged_userns_clone=1, or in a container the seccomp profile deploy/media-seccomp.json; or run media where nothing can be reached.",
		}
	}
	return Finding{What: "media tools", Says: "all there, run without a network"}
}

func examineScanner(ctx context.Context, cfg Config) Finding {
	scanner, err := cfg.scanner()
	if err == nil && scanner == nil {
		return Finding{What: "malware scanner", Says: "none"}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err == nil {
		err = scanner.Ping(ctx)
	}
	if err != nil {
		return Finding{"malware scanner", err.Error(), "Check STOA_MEDIA_SCANNER and that clamd runs. Meanwhile uploads wait."}
	}
	return Finding{What: "malware scanner", Says: "answers"}
}

// examinePeers tries to reach the services that run elsewhere.
func examinePeers(ctx context.Context, cfg Config, services []string) []Finding {
	if len(services) == 0 {
		return nil
	}
	peers, err := parsePeers(cfg.Peers)
	if err != nil {
		return []Finding{{"peers", err.Error(), "Correct STOA_PEERS."}}
	}
	var findings []Finding
	for _, name := range Names() {
		if name == edgeName || slices.Contains(services, name) {
			continue
		}
		addr := peers[name]
		if addr == "" {
			addr = name + ":9090"
		}
		d := net.Dialer{Timeout: 2 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			findings = append(findings, Finding{"peer " + name, err.Error(), "Start `stoa serve " + name + "`, or name its address in STOA_PEERS."})
			continue
		}
		_ = c.Close()
		findings = append(findings, Finding{What: "peer " + name, Says: addr + " answers"})
	}
	return findings
}
