//go:build !linux

package supervisor

import (
	"errors"
	"syscall"
)

// RunNodeInit is for Linux alone.
func RunNodeInit([]string) error { return errors.New("a node needs Linux") }

func namespaces() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func snapshotter(string) string { return "native" }
