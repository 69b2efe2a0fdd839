package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Find returns the folder of PostgreSQL's server programs: the newest of
// Debian's, else the one in PATH, else the newest of Homebrew's or of the
// packages of postgresql.org. Its error says what to install.
func Find() (string, error) {
	all := findAll()
	if len(all) == 0 {
		return "", errors.New("PostgreSQL's server programs (postgres, initdb) are not installed: " +
			"apt-get install postgresql, or brew install postgresql, or dnf install postgresql-server")
	}
	return all[0], nil
}

// Version returns the version of the server programs in a folder, such as
// "15.20".
func Version(binDir string) (string, error) {
	return version(context.Background(), binDir)
}

func version(ctx context.Context, binDir string) (string, error) {
	out, err := command(ctx, binDir, "postgres", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	// "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
	_, rest, ok := strings.Cut(string(out), "(PostgreSQL) ")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return "", fmt.Errorf("%s is not PostgreSQL's: it answers %q to --version", filepath.Join(binDir, "postgres"), out)
	}
	return fields[0], nil
}

// command returns a command that runs a server program of a folder.
func command(ctx context.Context, bin, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(bin, program), args...) //nolint:gosec // programs found on the machine
}

// programsFor returns the folder of programs that can serve the data: binDir,
// or when that is empty the first on the machine of the data's version.
func programsFor(ctx context.Context, binDir, data string) (string, error) {
	candidates := []string{binDir}
	if binDir == "" {
		if candidates = findAll(); len(candidates) == 0 {
			_, err := Find()
			return "", err
		}
	}
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION")) //nolint:gosec // a file of the cluster
	if errors.Is(err, os.ErrNotExist) {
		return candidates[0], nil // a new cluster
	} else if err != nil {
		return "", err
	}
	want := strings.TrimSpace(string(content))
	var have []string
	for _, dir := range candidates {
		v, err := version(ctx, dir)
		if err != nil {
			return "", err
		}
		if major(v) == want {
			return dir, nil
		}
		have = append(have, fmt.Sprintf("%s in %s", v, dir))
	}
	return "", fmt.Errorf("%s was written by PostgreSQL %s, which only that version can read; there is %s. "+
		"Install version %[2]s (apt-get install postgresql-%[2]s), or dump the data with it and load the dump into a new folder",
		data, want, strings.Join(have, ", "))
}

// major returns "15" of "15.20", of "16beta1" and of "17devel", and "16" for
// itself.
func major(version string) string {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return version
	}
	return version[:end]
}

// findAll returns the folders that hold the server programs, the preferred
// one first.
func findAll() []string {
	dirs := newestFirst("/usr/lib/postgresql/*/bin")
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, pattern := range []string{
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin", "/usr/pgsql-*/bin",
	} {
		dirs = append(dirs, newestFirst(pattern)...)
	}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		for _, name := range []string{"postgres", "initdb"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() {
				return true
			}
		}
		return false
	})
}

// newestFirst returns what matches a pattern whose only number is a version,
// the highest first.
func newestFirst(pattern string) []string {
	found, _ := filepath.Glob(pattern) // fails only on a malformed pattern
	number := func(path string) int {
		digits := strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, path)
		n, _ := strconv.Atoi(digits)
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(number(b), number(a)) })
	return found
}
