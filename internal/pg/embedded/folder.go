package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The folder of a server holds
//
//	data/          the cluster, made whole or not at all
//	init-*/        a cluster being made
//	lock           locked while a server is ours, and the process that has it
//	.s.PGSQL.5432  the socket, unless its path were too long
//	socket         then the folder where it is

// makePrivate makes a folder that only its owner may enter. The server trusts
// whoever reaches its socket, so this is its lock on the door.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a folder has to be entered
}

// lockFolder takes the folder for this process until the file is closed, which
// the kernel does when the process ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close() //nolint:errcheck // nothing was written
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		return nil, fmt.Errorf("%w: %s is that of process %s; stop it or name another folder",
			ErrInUse, dir, bytes.TrimSpace(holder[:n]))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		unlockFolder(f)
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// unlockFolder frees the folder. To close the file would not be enough: a process
// that is being started anywhere in this program has it open too, for a moment.
func unlockFolder(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}

// initialize makes the cluster if there is none. It is made beside its place
// and moved there when it is complete, so that a crash leaves either none or
// all of it.
func initialize(ctx context.Context, bin, dir, data string, who account, scratch bool) error {
	halfFinished, err := filepath.Glob(filepath.Join(escapeGlob(dir), "init-*"))
	if err != nil {
		return err
	}
	for _, old := range halfFinished {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(data); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}

	fresh, err := os.MkdirTemp(dir, "init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) //nolint:errcheck // the next start does it again
	if err := who.own(fresh); err != nil {
		return err
	}
	locale := "C.UTF-8"
	if runtime.GOOS == "darwin" {
		locale = "en_US.UTF-8" // it has had no C.UTF-8 for long
	}
	args := []string{"-D", fresh, "-U", role, "-A", "trust", "-E", "UTF8", "--locale=" + locale}
	if scratch {
		args = append(args, "--no-sync")
	}
	p, err := start(command(ctx, bin, "initdb", args...), who, nil)
	if err != nil {
		return err
	}
	if <-p.done; p.err != nil {
		return fmt.Errorf("initdb in %s: %w\n%s", dir, p.err, p.tail)
	}
	if err := os.Rename(fresh, data); err != nil {
		return err
	}
	if scratch {
		return nil
	}
	// The new name must be on the disk before data is.
	parent, err := os.Open(dir) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // only read
	return parent.Sync()
}

// escapeGlob returns a pattern that matches exactly the path.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// socketFolder returns the folder for the socket. That is the server's own,
// unless a socket there could not be addressed: a path of more than some 100
// bytes does not fit the kernel's structure, and a comma separates hosts in a
// connection string.
func socketFolder(dir string, who account) (string, error) {
	record := filepath.Join(dir, "socket")
	if content, err := os.ReadFile(record); err == nil { //nolint:gosec // our own folder
		// Left by a killed process. The name is one that we made, and RemoveAll
		// follows no link.
		if old := string(content); strings.HasPrefix(filepath.Base(old), socketPrefix) {
			_ = os.RemoveAll(old) //nolint:gosec // see above
		}
		if err := os.Remove(record); err != nil {
			return "", err
		}
	}
	if addressable(dir) {
		return dir, nil
	}
	for _, parent := range []string{"", "/tmp"} {
		short, err := os.MkdirTemp(parent, socketPrefix)
		if err != nil {
			continue
		}
		if addressable(short) {
			if err := os.WriteFile(record, []byte(short), 0o600); err != nil {
				return "", err
			}
			return short, who.own(short)
		}
		_ = os.Remove(short)
	}
	return "", fmt.Errorf("the path %s is too long for a socket, and no temporary folder with a short path could be made", dir)
}

const socketPrefix = "stoa-pg-"

func addressable(dir string) bool {
	return len(dir)+len("/.s.PGSQL."+port) <= 100 && !strings.Contains(dir, ",")
}

// stopOrphan stops a server of this data that outlived the process that
// started it, and makes sure that a left pid file does not prevent the start
// of the next.
func stopOrphan(ctx context.Context, data string) error {
	running := func() (pid int) {
		lines := readPidFile(data)
		if len(lines) == 0 {
			return 0
		}
		pid, err := strconv.Atoi(lines[0])
		if err != nil || pid <= 1 || syscall.Kill(pid, 0) != nil || !servesData(ctx, pid, data) {
			return 0
		}
		return pid
	}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
	for next, since := 0, time.Now(); ; {
		pid := running()
		if pid == 0 {
			break
		}
		// Ten seconds for a checkpoint, then five to quit without.
		if next == 0 || next < len(signals) && time.Since(since) > time.Duration(15-5*next)*time.Second {
			if err := syscall.Kill(pid, signals[next]); err != nil {
				return fmt.Errorf("stop the PostgreSQL that still runs in %s (process %d): %w", data, pid, err)
			}
			next, since = next+1, time.Now()
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("stop the PostgreSQL that still runs in %s (process %d): %w", data, pid, context.Cause(ctx))
		}
	}

	// PostgreSQL itself discards a pid file whose process is gone, after it has
	// made sure that no backend of it is left. But it takes any process with
	// that id for a server, and ids come again: after a reboot, in a new
	// container, or as a zombie. An id it never takes for another server is
	// that of its parent.
	path := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(path) //nolint:gosec // a file of the cluster
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	_, rest, ok := bytes.Cut(content, []byte("\n"))
	if !ok {
		return os.Remove(path) // a crash came between its making and its writing
	}
	return os.WriteFile(path, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600) //nolint:gosec // a file of the cluster
}

// readPidFile returns the lines of the running server's file: its process, its
// folder, its start, its port, its socket's folder, its address, its shared
// memory, its state. It returns nothing when there is no file.
func readPidFile(data string) []string {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid")) //nolint:gosec // a file of the cluster
	if err != nil {
		return nil
	}
	lines := strings.Split(string(content), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// servesData reports whether a process is a PostgreSQL server of the data, and
// not another that has come to the same id.
func servesData(ctx context.Context, pid int, data string) bool {
	var command string
	if runtime.GOOS == "linux" {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return false
		}
		command = strings.ReplaceAll(string(content), "\x00", " ")
	} else {
		out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
		if err != nil {
			return false
		}
		command = string(out)
	}
	program, _, _ := strings.Cut(command, " ")
	if name := filepath.Base(program); name != "postgres" && name != "postmaster" {
		return false
	}
	// It works in its data's folder, which tells also when that was renamed.
	there, err1 := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	here, err2 := os.Stat(data)
	if err1 == nil && err2 == nil {
		return os.SameFile(there, here)
	}
	return strings.Contains(command, data)
}
