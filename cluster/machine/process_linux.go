package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// started is the boot and the clock tick in which the process began.
func started(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	tick, err := startTick(string(stat))
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(boot)) + " " + tick, err
}

// startTick reads field 22 of proc(5)'s stat. Field 2, the name, may hold spaces and parentheses itself.
func startTick(stat string) (string, error) {
	const state, startTime = 0, 19 // fields 3 and 22, counted from behind the name
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startTime {
		return "", errors.New("not a stat line")
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return "", os.ErrProcessDone
	}
	return fields[startTime], nil
}
