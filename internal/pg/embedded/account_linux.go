package embedded

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// enterNamespace lets a process see itself as an ordinary user while it stays
// ourselves to everyone else. So root runs PostgreSQL, which refuses root,
// without a second user and on data that lies anywhere.
func enterNamespace(attr *syscall.SysProcAttr) {
	// initdb asks for the name of its user, so the id has to be one that the
	// machine knows; which one is of no consequence.
	id := 1000
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			if n, err := strconv.Atoi(u.Uid); err == nil && n != 0 {
				id = n
				break
			}
		}
	}
	attr.Cloneflags = syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: id, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: id, HostID: os.Getegid(), Size: 1}}
}

// endWithParent makes the kernel shut the process down, as Stop would, when
// the thread that started it ends.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }
