// Package cert has the certificates by which processes and browsers know whom
// they speak with: kept in files, read again when those change, and made for
// small installations.
package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// lookEvery is how often files are looked at: connections in between take what
// was read last.
const lookEvery = time.Second

// File is something kept in one or more files, which is read again when they
// change. Files that can't be read, or don't belong together yet, leave it as it
// was.
type File[T any] struct {
	paths []string
	parse func(texts [][]byte) (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	value  T
	stamps []stamp
	looked time.Time
	told   string
}

type stamp struct {
	changed time.Time
	size    int64
}

func open[T any](log *slog.Logger, parse func([][]byte) (T, error), paths ...string) (*File[T], error) {
	f := &File[T]{paths: paths, parse: parse, log: log, now: time.Now}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.looked = f.now()
	return f, nil
}

// Pair returns a certificate and its key.
func Pair(certFile, keyFile string, log *slog.Logger) (*File[*tls.Certificate], error) {
	return open(log, func(texts [][]byte) (*tls.Certificate, error) {
		c, err := tls.X509KeyPair(texts[0], texts[1])
		if err != nil {
			return nil, err
		}
		return &c, nil
	}, certFile, keyFile)
}

// Pool returns the authorities of a file: one, or several while they are
// changed.
func Pool(file string, log *slog.Logger) (*File[*x509.CertPool], error) {
	return open(log, func(texts [][]byte) (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(texts[0]) {
			return nil, errors.New("there is no certificate in it")
		}
		return pool, nil
	}, file)
}

// Current returns what the files have by now.
func (f *File[T]) Current() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= lookEvery {
		f.looked = now
		if err := f.read(); err != nil && err.Error() != f.told {
			f.told = err.Error()
			f.log.Error("certificates can't be read again; those that were read before stay", "error", f.told)
		}
	}
	return f.value
}

// read reads the files when one has changed.
func (f *File[T]) read() error {
	stamps, texts := make([]stamp, len(f.paths)), make([][]byte, len(f.paths))
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	if slices.Equal(stamps, f.stamps) {
		return nil
	}
	for i, path := range f.paths {
		var err error
		if texts[i], err = os.ReadFile(path); err != nil { //nolint:gosec // the operator names the file
			return err
		}
	}
	value, err := f.parse(texts)
	if err != nil {
		return fmt.Errorf("%s: %w", f.paths[0], err)
	}
	f.value, f.stamps, f.told = value, stamps, ""
	// Files tell time in ticks, on FAT of two seconds: one that has just changed may change
	// once more and tell the same. It is read again until that is over.
	if slices.ContainsFunc(stamps, func(s stamp) bool { return time.Since(s.changed) < 3*time.Second }) {
		f.stamps = nil
	}
	return nil
}
