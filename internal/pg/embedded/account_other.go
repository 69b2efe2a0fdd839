//go:build !linux

package embedded

import "syscall"

// enterNamespace is not called: only Linux has user namespaces.
func enterNamespace(*syscall.SysProcAttr) {}

// endWithParent does nothing: only Linux tells a process of its parent's end.
// A server that outlives a killed parent is stopped by the next Start.
func endWithParent(*syscall.SysProcAttr) {}
