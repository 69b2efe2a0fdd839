package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
)

// keysetEvery is how often a process looks whether the keyset was changed, and
// keysetTimeout how long a KMS may take.
const (
	keysetEvery   = 2 * time.Second
	keysetTimeout = 10 * time.Second
)

// keysetFile is where the keys that encrypt personal secrets are kept: the file
// that is named, or one of the data folder.
type keysetFile struct {
	path string
	kms  *secret.KMS // nil where it is kept as it is
	keys *secret.Keys

	mu     sync.Mutex
	loaded stamp
	text   []byte // what was read then
}

// stamp tells one version of a file from the next.
type stamp struct {
	changed time.Time
	size    int64
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// openKeyset reads the keyset, making one in the data folder at the first start
// where none is named.
func openKeyset(ctx context.Context, cfg Config) (*keysetFile, error) {
	f := &keysetFile{path: cfg.KeysetFile, keys: new(secret.Keys)}
	if cfg.KMSURL != "" {
		var err error
		if f.kms, err = cfg.kms(ctx); err != nil {
			return nil, fmt.Errorf("STOA_KMS_URL: %w", err)
		}
	}
	if f.path == "" {
		f.path = filepath.Join(cfg.DataDir, "keyset.json")
		_, err := cfg.made("keyset.json", func() ([]byte, error) { return NewKeyset(ctx, f.kms) })
		if err != nil {
			return nil, err
		}
	}
	if _, err := f.reload(ctx); err != nil {
		return nil, fmt.Errorf("STOA_KEYSET_FILE: %w", err)
	}
	return f, nil
}

// Keyset returns the keys that encrypt personal secrets, for the administrator's
// command line.
func Keyset(ctx context.Context, cfg Config) (*secret.Keys, error) {
	f, err := openKeyset(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return f.keys, nil
}

func (c *Config) kms(ctx context.Context) (*secret.KMS, error) {
	return secret.OpenKMS(ctx, secret.KMSConfig{URL: c.KMSURL, AccessKey: c.KMSAccessKey, SecretKey: c.KMSSecretKey})
}

// NewKeyset returns a new keyset as it is kept, wrapped when kms is not nil.
func NewKeyset(ctx context.Context, kms *secret.KMS) ([]byte, error) {
	text, err := secret.Generate()
	if err != nil || kms == nil {
		return text, err
	}
	return kms.Wrap(ctx, text)
}

// OpenKMS returns the KMS of the settings.
func OpenKMS(ctx context.Context, cfg Config) (*secret.KMS, error) {
	if cfg.KMSURL == "" {
		return nil, errors.New("STOA_KMS_URL is not set")
	}
	return cfg.kms(ctx)
}

// read returns the keyset as text.
func (f *keysetFile) read(ctx context.Context) ([]byte, error) {
	text, err := os.ReadFile(f.path)
	if err != nil || f.kms == nil {
		return text, err
	}
	ctx, cancel := context.WithTimeout(ctx, keysetTimeout)
	defer cancel()
	return f.kms.Unwrap(ctx, text)
}

// write replaces the file at once, so that nobody reads half of it.
func (f *keysetFile) write(ctx context.Context, text []byte) error {
	if err := new(secret.Keys).Replace(text); err != nil {
		return err
	}
	if f.kms != nil {
		var err error
		if text, err = f.kms.Wrap(ctx, text); err != nil {
			return err
		}
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.path+".new", text, info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return err
	}
	_, err = f.reload(ctx)
	return err
}

// reload reads the file when it is another than the one read last, and reports
// whether it was. A file that can't be read leaves the keys as they are.
func (f *keysetFile) reload(ctx context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stampOf(f.path) // before reading: a change in between is seen next time
	if err != nil || now == f.loaded {
		return false, err
	}
	text, err := f.read(ctx)
	if err == nil {
		err = f.keys.Replace(text)
	}
	if err != nil {
		f.text = nil // the next that can be read is news
		return false, err
	}
	changed := !bytes.Equal(text, f.text)
	f.text = text
	// Files tell time in ticks: one that has just changed may change once more and tell
	// the same. It is read again until that is over.
	if f.loaded = now; time.Since(now.changed) < fileTick {
		f.loaded = stamp{}
	}
	return changed, nil
}

// fileTick is longer than any file system takes from one time to the next: FAT takes
// two seconds.
const fileTick = 3 * time.Second

// watch reloads the file when it changes, until ctx ends.
func (f *keysetFile) watch(ctx context.Context, log *slog.Logger, every time.Duration) {
	f.keys.OnMissing(func() { _, _ = f.reload(ctx) })
	tick := time.NewTicker(every)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		changed, err := f.reload(ctx)
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			log.ErrorContext(ctx, "the keyset can't be read again; the keys that were read before stay", "error", told)
		case changed:
			told = ""
			log.InfoContext(ctx, "the keyset was read again", "seals", f.keys.Primary(), "keys", len(f.keys.IDs()))
		}
	}
}

// Rotation says how to rotate the envelope keys.
type Rotation struct {
	Wait   time.Duration // how long it takes until all processes have a new keyset
	Retire bool          // first remove the keys of former rotations, which wrap nothing any more
}

// rewrapBatch is how many data keys are wrapped anew at once.
const rewrapBatch = 1000

// RotateKeys makes a new envelope key, has it seal, and wraps all data keys with
// it, while processes serve. What was interrupted is gone on with.
func RotateKeys(ctx context.Context, cfg Config, how Rotation, out io.Writer) error {
	f, err := openKeyset(ctx, cfg)
	if err != nil {
		return err
	}
	return withVaults(ctx, cfg, f.keys, func(vaults map[string]*secret.Vault) error {
		wraps, err := countWraps(ctx, vaults)
		if err != nil {
			return err
		}
		if how.Retire {
			if err := f.retire(ctx, wraps, out); err != nil {
				return err
			}
		}
		ids, primary := f.keys.IDs(), f.keys.Primary()
		newest := ids[len(ids)-1]
		unfinished := wraps.others(primary) > 0
		if newest == primary && !unfinished {
			if err := f.change(ctx, secret.Add); err != nil {
				return err
			}
			ids = f.keys.IDs()
			newest = ids[len(ids)-1]
			fmt.Fprintf(out, "key %d is made\n", newest)
		}
		if newest != primary {
			if err := waitFor(ctx, how.Wait, out); err != nil {
				return err
			}
			if err := f.change(ctx, secret.Promote); err != nil {
				return err
			}
			fmt.Fprintf(out, "key %d seals\n", newest)
		}
		// Until all processes have it, some wrap with the key before.
		if err := waitFor(ctx, how.Wait, out); err != nil {
			return err
		}
		for _, s := range Schemas() {
			for total := 0; ; {
				n, err := vaults[s.Name].Rewrap(ctx, rewrapBatch)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				if n == 0 {
					break
				}
				total += n
				fmt.Fprintf(out, "%s: %d data keys are wrapped anew\n", s.Name, total)
			}
		}
		return nil
	})
}

// change writes the keyset changed.
func (f *keysetFile) change(ctx context.Context, by func([]byte) ([]byte, error)) error {
	text, err := f.read(ctx)
	if err != nil {
		return err
	}
	if text, err = by(text); err != nil {
		return err
	}
	if err := f.write(ctx, text); err != nil {
		return fmt.Errorf("write the keyset: %w", err)
	}
	return nil
}

// retire removes keys that wrap nothing in any schema.
func (f *keysetFile) retire(ctx context.Context, wraps wraps, out io.Writer) error {
	return f.change(ctx, func(text []byte) ([]byte, error) {
		text, gone, err := secret.Retire(text, func(id int64) bool { return wraps[id] > 0 })
		for _, id := range gone {
			fmt.Fprintf(out, "key %d is retired\n", id)
		}
		return text, err
	})
}

// ListKeys writes which envelope keys there are and how much each wraps.
func ListKeys(ctx context.Context, cfg Config, out io.Writer) error {
	f, err := openKeyset(ctx, cfg)
	if err != nil {
		return err
	}
	return withVaults(ctx, cfg, f.keys, func(vaults map[string]*secret.Vault) error {
		wraps, err := countWraps(ctx, vaults)
		if err != nil {
			return err
		}
		for _, id := range f.keys.IDs() {
			seals := ""
			if id == f.keys.Primary() {
				seals = ", seals"
			}
			fmt.Fprintf(out, "key %d: wraps %d data keys%s\n", id, wraps[id], seals)
			delete(wraps, id)
		}
		for id, n := range wraps {
			fmt.Fprintf(out, "key %d: is not in the keyset, and wraps %d data keys that nobody can read\n", id, n)
		}
		return nil
	})
}

// wraps is how many data keys each envelope key wraps.
type wraps map[int64]int

func (w wraps) others(id int64) int {
	n := 0
	for k, count := range w {
		if k != id {
			n += count
		}
	}
	return n
}

func countWraps(ctx context.Context, vaults map[string]*secret.Vault) (wraps, error) {
	total := wraps{}
	for name, v := range vaults {
		of, err := v.Wraps(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for id, n := range of {
			total[id] += n
		}
	}
	return total, nil
}

// withVaults calls fn with the data keys of all schemas.
func withVaults(ctx context.Context, cfg Config, keys *secret.Keys, fn func(map[string]*secret.Vault) error) error {
	return WithDatabase(ctx, cfg, func(url string) error {
		vaults := map[string]*secret.Vault{}
		for _, s := range Schemas() {
			db, err := pg.Open(ctx, pg.Config{URL: url, Schema: s.Name, MaxConns: 2})
			if err != nil {
				return err
			}
			defer db.Close()
			if vaults[s.Name], err = secret.NewVault(keys, db); err != nil {
				return err
			}
		}
		return fn(vaults)
	})
}

func waitFor(ctx context.Context, d time.Duration, out io.Writer) error {
	if d <= 0 {
		return nil
	}
	fmt.Fprintf(out, "waiting %s until all processes have it\n", d)
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
