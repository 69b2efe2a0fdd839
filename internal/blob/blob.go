// Package blob stores objects, which are named runs of bytes, in a bucket: a
// folder or a bucket of an S3 server. Both behave the same, which one suite of
// tests holds.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

// Config says which bucket to open.
type Config struct {
	// URL is "file:///absolute/folder", which is made when it is not there, or
	// "s3://bucket?region=us-east-1&endpoint=http://host:port"; without endpoint
	// it is Amazon's.
	URL string
	// AccessKey and SecretKey are the credentials for S3. They are never looked
	// for anywhere else.
	AccessKey, SecretKey string
}

// ErrNotFound is told for an object that is not there.
var ErrNotFound = fault.New(fault.NotFound, "blob.not_found", "There is no such file.")

// ErrUnavailable is told when the bucket does not answer.
var ErrUnavailable = &fault.Error{
	Kind: fault.Unavailable, Code: "blob.unavailable",
	Message: "The file store does not answer. Try again.", Retry: time.Second,
}

// grace is how long a write that was given up may take to clean up after
// itself.
const grace = 5 * time.Second

// probes is where [Bucket.Ping] writes.
const probes = ".probe/"

// Bucket holds objects. Its methods may be called from any goroutine.
type Bucket struct {
	bucket *blob.Bucket
	upload func(ctx context.Context, b *blob.Bucket, key string, r io.Reader, opts *blob.WriterOptions) error
	parts  multiparts
}

// Open returns the bucket that cfg names. It succeeds while an S3 server is
// away; [Bucket.Ping] tells.
func Open(ctx context.Context, cfg Config) (*Bucket, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("blob: URL: %w", err)
	}
	switch u.Scheme {
	case "file":
		return openFolder(u)
	case "s3":
		return openS3(ctx, u, cfg)
	default:
		return nil, fmt.Errorf("blob: URL %q: it begins with file:/// or s3://", cfg.URL)
	}
}

func openFolder(u *url.URL) (*Bucket, error) {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" {
		return nil, fmt.Errorf("blob: URL %q: a folder is written as file:///absolute/folder", u)
	}
	b, err := fileblob.OpenBucket(u.Path, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700,
		// A rename from another file system would fail, and a copy is not atomic.
		NoTempDir: true,
		// A second file per object could get lost without the first.
		Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", u.Path, err)
	}
	return &Bucket{b, folder(u.Path).upload, folderParts{u.Path}}, nil
}

// folder is where the objects of a folder bucket are.
type folder string

// upload writes beside the file and renames when all is written. Upload of the
// driver would rename what it has got when the disk is full. When it returns nil
// the file outlives a loss of power too.
func (dir folder) upload(ctx context.Context, b *blob.Bucket, key string, r io.Reader, opts *blob.WriterOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.NewWriter(ctx, key, opts)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		cancel()
		_ = w.Close() // removes what was written, and says that it was cancelled
		return err
	}
	if err := w.Close(); err != nil || !plainKey.MatchString(key) {
		return err
	}
	path := filepath.Join(string(dir), filepath.FromSlash(key))
	f, err := os.Open(path) //nolint:gosec // within the bucket
	if errors.Is(err, os.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

// Put stores what it reads until the end of r under key, in place of what was
// there. Either all of it is stored or, when reading or storing fails or ctx
// ends, nothing is changed. An error of r is returned as it is. The content
// type is for those who look into an S3 bucket with other tools.
func (b *Bucket) Put(ctx context.Context, key string, r io.Reader, contentType string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Giving up is told through the reader, so that parts which S3 has already
	// got can still be thrown away; only a store that hangs is left behind.
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	src := &source{ctx: ctx, r: r}
	err := b.upload(patient, b.bucket, key, src, &blob.WriterOptions{
		ContentType: contentType,
		// Parts of 8 MiB let an object have 80 GB; two at a time bound the
		// memory that one upload takes.
		BufferSize: 8 << 20, MaxConcurrency: 2,
	})
	switch {
	case err == nil:
		return nil
	case src.err != nil:
		return src.err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return told("put", key, err)
	}
}

// source remembers how reading failed and fails when the context has ended.
type source struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	r   io.Reader
	err error // nil at the end of r
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Open returns length bytes of an object from offset on, up to its end when
// length is negative or there are fewer. From its end on there are none. The
// caller closes what is returned; it fails when ctx ends.
func (b *Bucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("blob: open %s: offset %d", key, offset)
	}
	r, err := b.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, told("open", key, err)
	}
	return &reader{r, key}, nil
}

// reader tells errors as the other methods do.
type reader struct {
	*blob.Reader
	key string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = told("read", r.key, err)
	}
	return n, err
}

// WriteTo hides that of the embedded reader, whose errors are not told.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}

// Info is what is known of an object.
type Info struct {
	Size     int64
	Modified time.Time
}

// Stat returns what is known of an object.
func (b *Bucket) Stat(ctx context.Context, key string) (Info, error) {
	attrs, err := b.bucket.Attributes(ctx, key)
	if err != nil {
		return Info{}, told("stat", key, err)
	}
	return Info{Size: attrs.Size, Modified: attrs.ModTime.UTC()}, nil
}

// Delete removes an object. One that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	err := b.bucket.Delete(ctx, key)
	if err == nil || gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return told("delete", key, err)
}

// Ping reports whether objects can be stored, read and deleted now.
func (b *Bucket) Ping(ctx context.Context) error {
	key := id.New(probes + "probe")
	if err := b.Put(ctx, key, strings.NewReader(key), "text/plain"); err != nil {
		return err
	}
	text, err := b.readAll(ctx, key)
	if err == nil && text != key {
		err = fmt.Errorf("blob: what was stored reads differently: %q", text)
	}
	return errors.Join(err, b.Delete(context.WithoutCancel(ctx), key))
}

func (b *Bucket) readAll(ctx context.Context, key string) (string, error) {
	r, err := b.Open(ctx, key, 0, -1)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), errors.Join(err, r.Close())
}

// Close lets go of the bucket.
func (b *Bucket) Close() error { return b.bucket.Close() }

// told makes an error of what the driver says: absent, not answering, or
// something that is for the operator to read in the log.
func told(verb, key string, err error) error {
	at := fmt.Errorf("blob: %s %s: %w", verb, key, err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return at
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrBadPart):
		return at
	case noUpload(err):
		return fmt.Errorf("%w: %w", ErrNotFound, at)
	case badPart(err):
		return fmt.Errorf("%w: %w", ErrBadPart, at)
	case gcerrors.Code(err) == gcerrors.NotFound && !noBucket(err):
		return fmt.Errorf("%w: %w", ErrNotFound, at)
	case unanswered(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, at)
	default:
		return at
	}
}
