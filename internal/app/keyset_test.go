package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/secret"
)

// logBuffer is a log that several write to.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Envelope keys are rotated and retired while processes make and read keys: no
// read fails, and in the end one key wraps all.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: t.TempDir(), DatabaseURL: pgtest.New(t, Schemas()...)}
	db := pgtest.OpenURL(t, cfg.DatabaseURL, "notify")
	ctx, stop := context.WithCancel(t.Context())
	var (
		wg       sync.WaitGroup
		reads    atomic.Int64
		mu       sync.Mutex
		sealed   = map[string][]byte{}
		sealedBy = map[int]bool{}
	)
	for process := range 3 {
		f, err := openKeyset(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { f.watch(ctx, slog.New(slog.DiscardHandler), 20*time.Millisecond) })
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				v, err := secret.NewVault(f.keys, db) // which remembers nothing
				if err != nil {
					t.Error(err)
					return
				}
				person := fmt.Sprintf("account_%d_%d", process, i)
				k, err := v.Key(context.WithoutCancel(ctx), person)
				if err != nil {
					t.Errorf("make a key: %v", err)
					return
				}
				text := k.Seal("x", []byte(person))
				mu.Lock()
				sealed[person], sealedBy[process] = text, true
				var other string
				for other = range sealed {
					break
				}
				want := sealed[other]
				mu.Unlock()
				if k, err = v.Key(context.WithoutCancel(ctx), other); err != nil {
					t.Errorf("read a key: %v", err)
					return
				}
				if got, err := k.Unseal("x", want); err != nil || string(got) != other {
					t.Errorf("%q, %v", got, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	for i := range 3 {
		var out strings.Builder
		if err := RotateKeys(t.Context(), cfg, Rotation{Wait: 300 * time.Millisecond, Retire: true}, &out); err != nil {
			t.Error(err)
		}
		if !strings.Contains(out.String(), "is made\n") || !strings.Contains(out.String(), "seals\n") || strings.Contains(out.String(), "is retired\n") != (i > 0) {
			t.Errorf("it says %q", out.String())
		}
	}
	stop()
	wg.Wait()
	var out strings.Builder
	if err := ListKeys(t.Context(), cfg, &out); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("key 3: wraps 0 data keys\nkey 4: wraps %d data keys, seals\n", len(sealed)); out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if reads.Load() < 100 || len(sealedBy) != 3 {
		t.Errorf("%d reads by %d processes: too few to tell", reads.Load(), len(sealedBy))
	}
}

// A rotation that was interrupted anywhere is gone on with, and no key is made
// twice.
func TestRotationIsResumed(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: t.TempDir(), DatabaseURL: pgtest.New(t, Schemas()...)}
	db := pgtest.OpenURL(t, cfg.DatabaseURL, "identity")
	f, err := openKeyset(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	makeKey := func(person string) {
		t.Helper()
		v, err := secret.NewVault(f.keys, db)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Key(t.Context(), person); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(ends string) {
		t.Helper()
		if err := RotateKeys(t.Context(), cfg, Rotation{}, new(strings.Builder)); err != nil {
			t.Error(err)
		}
		var out strings.Builder
		if err := ListKeys(t.Context(), cfg, &out); err != nil || !strings.HasSuffix(out.String(), ends) {
			t.Errorf("%q, %v; want %q", out.String(), err, ends)
		}
		if _, err := f.reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	makeKey("account_1")
	// After the key was made.
	if err := f.change(t.Context(), secret.Add); err != nil {
		t.Fatal(err)
	}
	rotate("key 1: wraps 0 data keys\nkey 2: wraps 1 data keys, seals\n")
	// After it was promoted.
	for _, by := range []func([]byte) ([]byte, error){secret.Add, secret.Promote} {
		if err := f.change(t.Context(), by); err != nil {
			t.Fatal(err)
		}
	}
	makeKey("account_2")
	rotate("key 2: wraps 0 data keys\nkey 3: wraps 2 data keys, seals\n")
}

// A file that is broken, or that the KMS does not open, leaves the keys as they
// are; one that is mended is read.
func TestKeysetIsWatched(t *testing.T) {
	t.Parallel()
	kms := "base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	for _, url := range []string{"", kms} {
		cfg := Config{DataDir: t.TempDir(), KMSURL: url}
		f, err := openKeyset(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(cfg.DataDir, "keyset.json")
		good, err := os.ReadFile(path) //nolint:gosec // a folder of the test
		if err != nil || bytes.Contains(good, []byte("index")) == (url != "") {
			t.Fatalf("%q, %v", good, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		log := new(logBuffer)
		var wg sync.WaitGroup
		wg.Go(func() { f.watch(ctx, slog.New(slog.NewTextHandler(log, nil)), 10*time.Millisecond) })
		until := func(what string, done func() bool) {
			t.Helper()
			deadline := time.After(time.Minute)
			for !done() {
				select {
				case <-time.After(5 * time.Millisecond):
				case <-deadline:
					t.Fatalf("%s: %s", what, log)
				}
			}
		}
		if err := os.WriteFile(path, good[:len(good)/2], 0o600); err != nil { //nolint:gosec // a folder of the test
			t.Fatal(err)
		}
		until("a broken file is told", func() bool { return strings.Contains(log.String(), "can't be read again") })
		if f.keys.Primary() != 1 {
			t.Error("the keys are gone")
		}
		if err := os.WriteFile(path, good, 0o600); err != nil { //nolint:gosec // a folder of the test
			t.Fatal(err)
		}
		until("a mended file is read", func() bool { return strings.Contains(log.String(), "was read again") })
		// Another process changes it.
		g, err := openKeyset(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, by := range []func([]byte) ([]byte, error){secret.Add, secret.Promote} {
			if err := g.change(t.Context(), by); err != nil {
				t.Fatal(err)
			}
		}
		until("the new key seals", func() bool { return f.keys.Primary() == 2 })
		stop()
		wg.Wait()
	}
	// A keyset that is plain is no keyset of a KMS.
	dir := t.TempDir()
	if _, err := openKeyset(t.Context(), Config{DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyset(t.Context(), Config{DataDir: dir, KMSURL: kms}); err == nil || !strings.Contains(err.Error(), "keys wrap") {
		t.Errorf("%v", err)
	}
}
