package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFree(t *testing.T) {
	t.Parallel()
	if n := available(); n < 64<<20 {
		t.Errorf("%d bytes of memory are available, and this test runs", n)
	}
	for _, path := range []string{"/proc", "/no-such-folder", "/sys"} {
		if n := free(path); n != 0 {
			t.Errorf("%d bytes are free in %s", n, path)
		}
	}
}

// The servers and the command have their files in one folder, which is gone
// afterwards.
func TestFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if parent := folder(); parent != "" {
		t.Errorf("TMPDIR is set, the folder is %s", parent)
	}
	t.Setenv("TMPDIR", "")
	parent := folder()
	told := filepath.Join(t.TempDir(), "told")
	status, err := run(nil, []string{"sh", "-c", `printf %s "$TMPDIR" >"$0" && { [ -z "$TMPDIR" ] || touch "$TMPDIR/file"; }`, told})
	if status != 0 || err != nil {
		t.Fatalf("status %d, %v", status, err)
	}
	temp, err := os.ReadFile(told) //nolint:gosec // a path of our own
	if err != nil {
		t.Fatal(err)
	}
	if (parent == "") != (len(temp) == 0) {
		t.Fatalf("the folder is %q, the command's %q", parent, temp)
	}
	if len(temp) > 0 {
		if _, err := os.Stat(filepath.Dir(string(temp))); !os.IsNotExist(err) { //nolint:gosec // what testservers itself has said
			t.Errorf("%s is left: %v", temp, err)
		}
	}
}
