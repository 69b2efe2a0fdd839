package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// account is who the server runs as; the zero value is whoever we are.
type account struct {
	credential *syscall.Credential // another user, for a root process
	namespace  bool                // ourselves, called by another id in a user namespace
}

// attr returns the attributes of a process of the account.
func (a account) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Credential: a.credential}
	if a.namespace {
		enterNamespace(attr)
	}
	endWithParent(attr)
	return attr
}

// own gives a file to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// try reports why the account can't run the programs in the folder.
func (a account) try(ctx context.Context, bin, dir string) error {
	cmd := command(ctx, bin, "postgres", "--version")
	cmd.Dir = dir
	p, err := start(cmd, a, nil)
	if err != nil {
		return err
	}
	<-p.done
	return p.err
}

// chooseAccount returns who is to run the server of a folder. PostgreSQL
// refuses root, so a root process needs someone else; the folder tells who it
// was the last time, by its owner.
func chooseAccount(ctx context.Context, bin, dir string, mayNamespace bool) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return account{}, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		a := account{credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
		if err := a.try(ctx, bin, dir); err != nil {
			return account{}, fmt.Errorf("run PostgreSQL as user %d, who owns %s: %w", owner.Uid, dir, err)
		}
		return a, nil
	}

	failures := []error{fmt.Errorf("PostgreSQL refuses root, and no other way to run it in %s was found: "+
		"run this as an ordinary user, or choose a folder that the user postgres can reach, such as one in /var/lib", dir)}
	if mayNamespace && runtime.GOOS == "linux" {
		a := account{namespace: true}
		err := a.try(ctx, bin, dir)
		if err == nil {
			return a, nil
		}
		failures = append(failures, fmt.Errorf("in a user namespace: %w", err))
	}
	if _, err := os.Lstat(filepath.Join(dir, "data")); err == nil {
		// The cluster is root's, made in a namespace: it can't be given away.
		return account{}, errors.Join(append(failures, fmt.Errorf("the data in %s belongs to root", dir))...)
	}
	for _, name := range []string{"postgres", "nobody"} {
		a, err := accountOf(name)
		if err == nil {
			err = a.own(dir)
		}
		if err == nil {
			if err = a.try(ctx, bin, dir); err == nil {
				return a, nil
			}
			_ = os.Chown(dir, 0, 0)
		}
		failures = append(failures, fmt.Errorf("as user %s: %w", name, err))
	}
	return account{}, errors.Join(failures...)
}

// accountOf returns the account of a user of the machine.
func accountOf(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, err
	}
	return account{credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
