package main

import (
	"bufio"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// free returns how many bytes can be written into a file system that is kept in
// memory: none where it is kept elsewhere, or where no program may be started
// from it, as tests do.
func free(path string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || fs.Flags&unix.ST_NOEXEC != 0 || unix.Access(path, unix.W_OK) != nil {
		return 0
	}
	return min(int64(fs.Bavail)*fs.Bsize, available()) //nolint:gosec // no memory is so large
}

// available returns how much memory programs can have without others losing
// theirs. A file system promises what the machine may not have.
func available() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kB int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kB); n == 1 {
			return kB << 10
		}
	}
	return 0
}
