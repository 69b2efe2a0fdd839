package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Tools that files are processed with are programs of others that read what
// strangers send. Each runs as if it were theirs: in a folder of its own, with
// nothing of our environment and none of our descriptors, within limits of
// memory, processor time, files and open descriptors that the kernel holds it to,
// without a network where the kernel lets us take it away, behind everything else
// in the queue for a processor, and for a time after which all that it has
// started is killed.
//
// The limits are set by a shell that becomes the tool: Go can't run anything
// between fork and exec, and limits that are set from outside come too late.

// limits of a run.
type limits struct {
	time   time.Duration // on the clock, of all
	cpu    time.Duration // on processors, of each process
	memory int64         // bytes of address space of each process
	file   int64         // bytes of each file written
	files  int           // open descriptors of each process
	output int64         // bytes in the folder, of all
	stdout int64         // bytes
}

var defaultLimits = limits{
	time: 2 * time.Minute, cpu: 2 * time.Minute, memory: 4 << 30, file: 4 << 30, files: 256, output: 8 << 30, stdout: 4 << 20,
}

// tools are the programs that are needed, with the packages that bring them.
var tools = map[string]string{
	"ffmpeg": "ffmpeg", "ffprobe": "ffmpeg",
	"pdfinfo": "poppler-utils", "pdftoppm": "poppler-utils", "pdftotext": "poppler-utils",
	"soffice": "libreoffice-impress",
}

// missingError says which tool is not there.
type missingError struct{ tool string }

func (e *missingError) Error() string {
	return fmt.Sprintf("media: %s is not installed: install %s", e.tool, tools[e.tool])
}

// find returns where a tool is. It is looked for at each run: one that was
// missing is there once it is installed.
func find(tool string) (string, error) {
	path, err := exec.LookPath(tool)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", &missingError{tool}
	}
	return path, nil
}

// Tool is a program that the service needs.
type Tool struct{ Name, Package string }

// MissingTools returns what the service would need and is not installed.
func MissingTools() []Tool {
	var missing []Tool
	for _, name := range []string{"ffmpeg", "ffprobe", "pdfinfo", "pdftoppm", "pdftotext", "soffice"} {
		if _, err := find(name); err != nil {
			missing = append(missing, Tool{name, tools[name]})
		}
	}
	return missing
}

// Isolated reports whether tools are run without a network, which takes a kernel
// that lets users make namespaces.
var Isolated = sync.OnceValue(func() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", ":")
	cmd.SysProcAttr = isolation()
	return cmd.Run() == nil
})

// closeInherited keeps from tools what whoever started us left open in us; what we
// open ourselves is theirs never.
var closeInherited = sync.OnceFunc(func() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // kernels before 5.11 can't
})

// isolation is a network without interfaces, and processes of its own, of which
// none outlives the first.
func isolation() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getgid(), Size: 1}},
	}
}

// runError is a run that failed.
type runError struct {
	tool   string
	code   int  // what it answered; -1 when it was ended by a signal
	slow   bool // it took longer than it may
	large  bool // it wrote more than it may
	stderr string
}

func (e *runError) Error() string {
	switch {
	case e.slow:
		return fmt.Sprintf("media: %s took too long", e.tool)
	case e.large:
		return fmt.Sprintf("media: %s wrote too much", e.tool)
	case e.code < 0:
		return fmt.Sprintf("media: %s was killed: %s", e.tool, e.stderr)
	default:
		return fmt.Sprintf("media: %s answered %d: %s", e.tool, e.code, e.stderr)
	}
}

// refused reports whether the tool ended by itself and says that it can't do what
// it was asked to: the file is bad, not the machine.
func refused(err error) bool {
	e, ok := errors.AsType[*runError](err)
	return ok && !e.slow && !e.large && e.code > 0 && e.code < 126
}

// errOutput ends a run that writes more than it may.
var errOutput = errors.New("media: too much output")

// job is a folder for the runs of one piece of work.
type job struct{ dir string }

func newJob(parent string) (*job, error) {
	dir, err := os.MkdirTemp(parent, "stoa-media-*")
	if err != nil {
		return nil, err
	}
	return &job{dir: dir}, nil
}

func (j *job) close() error { return os.RemoveAll(j.dir) }

func (j *job) path(name string) string { return filepath.Join(j.dir, filepath.FromSlash(name)) }

// run runs a tool in the folder and returns what it wrote to its standard output.
func (j *job) run(ctx context.Context, l limits, tool string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := j.stream(ctx, l, func(r io.Reader) error {
		n, err := io.Copy(&out, io.LimitReader(r, l.stdout+1))
		if n > l.stdout {
			return errOutput
		}
		return err
	}, tool, args...)
	return out.Bytes(), err
}

// stream runs a tool, while read takes what it writes to its standard output.
// When read fails, the tool is killed.
func (j *job) stream(ctx context.Context, l limits, read func(io.Reader) error, tool string, args ...string) error {
	path, err := find(tool)
	if err != nil {
		return err
	}
	return j.exec(ctx, l, read, tool, path, args...)
}

// limited sets the limits and becomes what follows. Both the soft and the hard
// ones are set, so that nothing can raise them. A unit of -f is 512 bytes.
const limited = `ulimit -c 0; ulimit -t "$1" && ulimit -v "$2" && ulimit -f "$3" && ulimit -n "$4" || exit 126; shift 4; exec "$@"`

func (j *job) exec(parent context.Context, l limits, read func(io.Reader) error, tool, path string, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(parent, l.time, context.DeadlineExceeded)
	defer cancel()
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	command := append([]string{
		"-c", limited, "sh", strconv.Itoa(max(1, int(l.cpu.Seconds()))), strconv.FormatInt(l.memory>>10, 10),
		strconv.FormatInt(max(1, l.file>>9), 10), strconv.Itoa(l.files), path,
	}, args...)
	cmd := exec.CommandContext(ctx, "/bin/sh", command...) //nolint:gosec // the tool and its arguments are ours; the script takes them as they are
	cmd.Dir = j.dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + j.dir, "TMPDIR=" + j.dir, "LANG=C.UTF-8", "LC_ALL=C.UTF-8"}
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if Isolated() {
		cmd.SysProcAttr = isolation()
	}
	closeInherited()
	// A group of its own is killed as a whole; what dies with us dies at once.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stderr := &tail{max: 2000}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// The signal of Pdeathsig comes when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("media: start %s: %w", tool, err)
	}
	_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10) // nice: it is no worse without
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		j.watch(ctx, l.output, kill)
	}()
	readErr := read(stdout)
	if readErr != nil {
		kill(readErr)
	}
	waitErr := cmd.Wait()
	cause := context.Cause(ctx)
	kill(nil)
	<-watched
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left behind
	switch {
	case parent.Err() != nil:
		return context.Cause(parent)
	case errors.Is(cause, errOutput):
		return &runError{tool: tool, code: -1, large: true}
	case errors.Is(cause, context.DeadlineExceeded):
		return &runError{tool: tool, code: -1, slow: true}
	case readErr != nil:
		return readErr
	case waitErr == nil:
		return nil
	}
	exit, ok := errors.AsType[*exec.ExitError](waitErr)
	if !ok {
		return waitErr
	}
	return &runError{tool: tool, code: exit.ExitCode(), stderr: strings.TrimSpace(stderr.String() + " " + exit.String())}
}

// watchEvery is how often the folder of a run is measured.
const watchEvery = 500 * time.Millisecond

// watch kills a run whose folder has grown larger than it may.
func (j *job) watch(ctx context.Context, most int64, kill context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if j.size() > most {
				kill(errOutput)
				return
			}
		}
	}
}

// size returns how much is in the folder. What vanishes meanwhile is not counted.
func (j *job) size() int64 {
	var n int64
	_ = filepath.WalkDir(j.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// tail keeps the end of what is written to it.
type tail struct {
	max  int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.max; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "") }
