//go:build !linux

package machine

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Nothing like it exists here: what a kill -9 leaves is found by its record at the next start.
func dieWithParent(*syscall.SysProcAttr) {}

// started is the second in which the process began.
func started(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", err
	}
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if strings.HasPrefix(state, "Z") {
		return "", os.ErrProcessDone
	}
	return strings.TrimSpace(started), nil
}
