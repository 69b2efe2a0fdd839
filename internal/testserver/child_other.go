//go:build !linux

package testserver

import "syscall"

// endWithParent does nothing: only Linux tells a process of its parent's end.
// Elsewhere a killed test leaves its servers behind.
func endWithParent(*syscall.SysProcAttr) {}
