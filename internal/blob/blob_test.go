package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

// s3Server returns the server that the environment names.
func s3Server(t *testing.T) (endpoint, key, secret string) {
	t.Helper()
	text := os.Getenv("STOA_TEST_S3")
	if text == "" {
		t.Fatal("STOA_TEST_S3 is not set: run `make test`, or `go run ./cmd/testservers -- go test ./internal/blob/` for this package")
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	key = u.User.Username()
	secret, _ = u.User.Password()
	return u.Scheme + "://" + u.Host, key, secret
}

func openS3(t *testing.T) *blob.Bucket {
	t.Helper()
	endpoint, key, secret := s3Server(t)
	return open(t, blob.Config{
		URL:       "s3://stoa?region=us-east-1&endpoint=" + url.QueryEscape(endpoint),
		AccessKey: key, SecretKey: secret,
	})
}

func openFolder(t *testing.T) *blob.Bucket {
	t.Helper()
	return open(t, blob.Config{URL: "file://" + t.TempDir() + "/new/folder"})
}

func open(t *testing.T, cfg blob.Config) *blob.Bucket {
	t.Helper()
	b, err := blob.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func read(t *testing.T, b *blob.Bucket, key string, offset, length int64) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), key, offset, length)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return got
}

func random(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

// TestBucket is what every kind of bucket promises.
func TestBucket(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *blob.Bucket{"folder": openFolder, "s3": openS3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, *blob.Bucket){
				"stores and reads": storesAndReads, "ranges": ranges, "replaces": replaces, "absent": absent,
				"a reader that fails": failedRead, "a call given up": givenUp, "many at once": manyAtOnce, "ping": ping,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, open(t))
				})
			}
		})
	}
}

func storesAndReads(t *testing.T, b *blob.Bucket) {
	for _, size := range []int{0, 1, 4096, 8 << 20, 8<<20 + 1, 17 << 20} {
		key, want := id.New("media/size"), random(size)
		before := time.Now().Add(-2 * time.Second)
		// Without Seek or Len, as bytes come from the network.
		if err := b.Put(t.Context(), key, struct{ io.Reader }{bytes.NewReader(want)}, "image/png"); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got := read(t, b, key, 0, -1); !bytes.Equal(got, want) {
			t.Errorf("%d bytes read differently: %d bytes", size, len(got))
		}
		info, err := b.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != int64(size) || info.Modified.Before(before) || info.Modified.After(time.Now().Add(2*time.Second)) {
			t.Errorf("%d bytes: Stat = %+v", size, info)
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Stat after Delete: %v", err)
		}
	}
}

func ranges(t *testing.T, b *blob.Bucket) {
	key := id.New("media/range")
	if err := b.Put(t.Context(), key, strings.NewReader("0123456789"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, "0123456789"},
		{0, 3, "012"},
		{3, 4, "3456"},
		{7, -1, "789"},
		{7, 100, "789"},
		{9, 1, "9"},
		{10, -1, ""},
		{10, 5, ""},
		{11, -1, ""},
		{1000, 5, ""},
		{4, 0, ""},
	} {
		if got := read(t, b, key, c.offset, c.length); string(got) != c.want {
			t.Errorf("%d from %d = %q, want %q", c.length, c.offset, got, c.want)
		}
	}
	if _, err := b.Open(t.Context(), key, -1, 5); err == nil {
		t.Error("a negative offset is accepted")
	}
}

func replaces(t *testing.T, b *blob.Bucket) {
	key := id.New("media/replace")
	for _, text := range []string{"first, and longer", "second"} {
		if err := b.Put(t.Context(), key, strings.NewReader(text), "text/plain"); err != nil {
			t.Fatal(err)
		}
		if got := read(t, b, key, 0, -1); string(got) != text {
			t.Errorf("read %q, want %q", got, text)
		}
	}
}

func absent(t *testing.T, b *blob.Bucket) {
	key := id.New("media/absent")
	_, err := b.Open(t.Context(), key, 0, -1)
	if !errors.Is(err, blob.ErrNotFound) || !fault.Is(err, fault.NotFound) {
		t.Errorf("Open: %v", err)
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Stat: %v", err)
	}
	if err := b.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// failing brings n bytes and then an error.
type failing struct {
	n   int
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, f.err
	}
	n := min(f.n, len(p))
	f.n -= n
	return n, nil
}

func failedRead(t *testing.T, b *blob.Bucket) {
	broken := fault.New(fault.TooLarge, "media.too_large", "Too large.")
	for _, size := range []int{0, 100, 20 << 20} {
		fresh, held := id.New("media/fresh"), id.New("media/held")
		if err := b.Put(t.Context(), held, strings.NewReader("as it was"), "text/plain"); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{fresh, held} {
			if err := b.Put(t.Context(), key, &failing{size, broken}, "text/plain"); !errors.Is(err, broken) {
				t.Errorf("%d bytes: %v, want the reader's error", size, err)
			}
		}
		if _, err := b.Stat(t.Context(), fresh); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%d bytes: an object is left: %v", size, err)
		}
		if got := read(t, b, held, 0, -1); string(got) != "as it was" {
			t.Errorf("%d bytes: the object before became %.20q", size, got)
		}
	}
}

// endless brings bytes until its context ends in the middle of them.
type endless struct {
	n      int
	cancel context.CancelFunc
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n -= len(p); e.n < 0 {
		e.cancel()
	}
	return len(p), nil
}

func givenUp(t *testing.T, b *blob.Bucket) {
	for _, size := range []int{100, 20 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		key := id.New("media/givenup")
		if err := b.Put(ctx, key, &endless{size, cancel}, "text/plain"); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d bytes: %v", size, err)
		}
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("after %d bytes an object is left: %v", size, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Put(ctx, id.New("media/late"), strings.NewReader("x"), "text/plain"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that had ended: %v", err)
	}
}

func manyAtOnce(t *testing.T, b *blob.Bucket) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			key, want := id.New("media/many"), fmt.Sprintf("object %d", i)
			if err := b.Put(t.Context(), key, strings.NewReader(want), "text/plain"); err != nil {
				t.Error(err)
				return
			}
			if got := read(t, b, key, 0, -1); string(got) != want {
				t.Errorf("read %q, want %q", got, want)
			}
		})
	}
	wg.Wait()
}

func ping(t *testing.T, b *blob.Bucket) {
	if err := b.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// A folder holds the objects and nothing else, whatever went wrong.
func TestFolderIsClean(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, blob.Config{URL: "file://" + dir})
	if err := b.Put(t.Context(), "media/one", strings.NewReader("one"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "media/two", &failing{100, errors.New("broken")}, "text/plain"); err == nil {
		t.Fatal("no error")
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(files, " "); got != "/media/one" {
		t.Errorf("the folder holds %s", got)
	}
}

// Parts of an upload that failed cost money until somebody throws them away.
func TestS3KeepsNoParts(t *testing.T) {
	t.Parallel()
	b := openS3(t)
	key := id.New("media/parts")
	if err := b.Put(t.Context(), key, &failing{20 << 20, errors.New("broken")}, "text/plain"); err == nil {
		t.Fatal("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Put(ctx, key, &endless{20 << 20, cancel}, "text/plain"); err == nil {
		t.Fatal("no error")
	}
	endpoint, user, secret := s3Server(t)
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: user, SecretAccessKey: secret}, nil
		}),
	})
	uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("stoa"), Prefix: aws.String(key)})
	if err != nil {
		t.Fatal(err)
	}
	if len(uploads.Uploads) != 0 {
		t.Errorf("%d uploads are left unfinished", len(uploads.Uploads))
	}
}

func TestS3Away(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := open(t, blob.Config{URL: "s3://stoa?endpoint=http://127.0.0.1:1", AccessKey: "k", SecretKey: "s"})
	if err := b.Ping(ctx); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	if _, err := b.Open(ctx, "media/x", 0, -1); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
}

// What an operator has to put right is not told to callers.
func TestS3Refuses(t *testing.T) {
	t.Parallel()
	endpoint, key, secret := s3Server(t)
	for name, cfg := range map[string]blob.Config{
		"wrong secret": {URL: "s3://stoa?endpoint=" + endpoint, AccessKey: key, SecretKey: secret + "x"},
		"no bucket":    {URL: "s3://absent?endpoint=" + endpoint, AccessKey: key, SecretKey: secret},
	} {
		b := open(t, cfg)
		if err := b.Ping(t.Context()); err == nil || !fault.Is(err, fault.Internal) {
			t.Errorf("%s: Ping: %v", name, err)
		}
		if _, err := b.Open(t.Context(), "media/x", 0, -1); err == nil || !fault.Is(err, fault.Internal) {
			t.Errorf("%s: Open: %v", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []blob.Config{
		{URL: ""},
		{URL: "::"},
		{URL: "/var/lib/stoa"},
		{URL: "file://relative/folder"},
		{URL: "file:///tmp/x?create=1"},
		{URL: "http://bucket"},
		{URL: "file:///proc/version"},
		{URL: "s3://stoa"},
		{URL: "s3://stoa", AccessKey: "k"},
		{URL: "s3://", AccessKey: "k", SecretKey: "s"},
		{URL: "s3://stoa/prefix", AccessKey: "k", SecretKey: "s"},
		{URL: "s3://stoa?endpoint=host", AccessKey: "k", SecretKey: "s"},
		{URL: "s3://stoa?regoin=x", AccessKey: "k", SecretKey: "s"},
	} {
		if b, err := blob.Open(t.Context(), cfg); err == nil {
			t.Errorf("%q is accepted", cfg.URL)
			_ = b.Close()
		}
	}
}
