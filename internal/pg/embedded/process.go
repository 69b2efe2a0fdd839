package embedded

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that ends when this process does.
type process struct {
	cmd  *exec.Cmd
	tail *tail
	done chan struct{} // closed when the child has ended
	err  error         // how it ended; read after done
}

// start runs a command as an account, in a process group of its own so that a
// Ctrl-C in the terminal reaches only us. Its output goes to log, and the end
// of it is kept for an error's text.
func start(cmd *exec.Cmd, who account, log io.Writer) (*process, error) {
	p := &process{cmd: cmd, tail: &tail{log: log}, done: make(chan struct{})}
	cmd.SysProcAttr = who.attr()
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = p.tail, p.tail
	// A child of the child that outlives it holds the pipe of the output open.
	cmd.WaitDelay = time.Second
	// A group is killed as one when the command's context ends.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

	started := make(chan error)
	go func() {
		// The kernel tells the child of its parent's end when the thread ends
		// that forked, not the process. So that thread is kept until the child
		// has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal sends a signal to the child, if it still runs.
func (p *process) signal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

// environment returns ours without what would change PostgreSQL's behaviour.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if name != "LANG" && name != "TZ" && !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "LC_") {
			env = append(env, e)
		}
	}
	return env
}

// tail passes on what is written to it and keeps the last of it.
type tail struct {
	mu   sync.Mutex
	log  io.Writer
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if len(t.last) > keep {
		t.last = append([]byte(nil), t.last[len(t.last)-keep:]...)
	}
	if t.log != nil {
		// A failing log must not end the copying, or the server would block.
		_, _ = t.log.Write(b)
	}
	return len(b), nil
}

// String returns what was written last.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
