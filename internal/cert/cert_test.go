package cert

import (
	"crypto/x509"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What Make writes is valid for its service, and renewed by the same authority.
func TestMake(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), "certs"), time.Now()
	log := slog.New(slog.DiscardHandler)
	renew := func(services ...string) {
		t.Helper()
		if err := Make(dir, services, now, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) *x509.Certificate {
		t.Helper()
		p, err := Pair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"), log)
		if err != nil {
			t.Fatal(err)
		}
		return p.Current().Leaf
	}
	renew("courses", "media")
	ca, courses, media := read("ca"), read("courses/tls"), read("media/tls")
	renew("courses")
	if !read("ca").Equal(ca) || !read("media/tls").Equal(media) || read("courses/tls").Equal(courses) {
		t.Error("the authority or another's certificate is another, or the one named is not")
	}
	pool, err := Pool(filepath.Join(dir, "courses/ca.crt"), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range []*x509.Certificate{courses, read("courses/tls")} {
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool.Current(), DNSName: "courses.stoa", KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
				t.Error(err)
			}
		}
		if leaf.VerifyHostname("media.stoa") == nil || leaf.IsCA || leaf.NotAfter.After(now.Add(25*time.Hour)) {
			t.Errorf("%+v", leaf)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Half of an authority is none.
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if err := Make(dir, []string{"courses"}, now, time.Hour); err == nil {
		t.Error("without the authority's key")
	}
}

// Files that are broken or don't belong together leave what was read; what is
// mended is read.
func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), time.Now()
	if err := Make(dir, []string{"a", "b"}, clock, time.Hour); err != nil {
		t.Fatal(err)
	}
	text := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // a folder of the test
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	put := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Pair(filepath.Join(dir, "a/tls.crt"), filepath.Join(dir, "a/tls.key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return clock }
	is := func(name string) {
		t.Helper()
		clock = clock.Add(lookEvery)
		if got := p.Current().Leaf.DNSNames; len(got) != 1 || got[0] != name {
			t.Errorf("%v, want %s", got, name)
		}
	}
	is("a.stoa")
	put("a/tls.key", text("b/tls.key"))
	is("a.stoa") // the key of another certificate
	put("a/tls.crt", []byte("broken"))
	is("a.stoa")
	put("a/tls.crt", text("b/tls.crt"))
	is("b.stoa")
	if err := os.Remove(filepath.Join(dir, "a/tls.crt")); err != nil {
		t.Fatal(err)
	}
	is("b.stoa")
	for _, bad := range [][2]string{{"x.crt", "a/tls.key"}, {"b/tls.crt", "ca.key"}} {
		if _, err := Pair(filepath.Join(dir, bad[0]), filepath.Join(dir, bad[1]), nil); err == nil {
			t.Errorf("%v passed", bad)
		}
	}
	if _, err := Pool(filepath.Join(dir, "b/tls.key"), nil); err == nil {
		t.Error("a key is no authority")
	}
}
