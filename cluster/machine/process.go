package machine

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is one process beyond doubt: its id, and when that began, since ids are used again.
type Process struct {
	PID int `json:"pid"`
	// Started is opaque; equal for the same process only.
	Started string `json:"started"`
}

// Identify says which process has this id now.
func Identify(pid int) (Process, error) {
	started, err := started(pid)
	return Process{pid, started}, err
}

// Alive says whether it runs. A zombie does not: it only waits for a parent that may be slow.
func (p Process) Alive() bool {
	now, err := started(p.PID)
	return err == nil && p.PID > 0 && now == p.Started
}

// Signal sends a signal to this process and to no other that might have taken its id.
func (p Process) Signal(signal syscall.Signal) error {
	// On Linux this holds a pidfd: what is looked at next is what the signal goes to.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	if !p.Alive() {
		return os.ErrProcessDone
	}
	return handle.Signal(signal)
}

// Gone waits until it does not run any more, or the limit has passed.
func (p Process) Gone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); p.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Start starts a command whose process dies with this one, and which no Ctrl-C of the terminal reaches.
func Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	done := make(chan error)
	starts <- start{cmd, done}
	return <-done
}

type start struct {
	cmd  *exec.Cmd
	done chan<- error
}

var starts = starter()

// starter starts all commands from one thread that lasts: Linux counts as the parent that dies the thread, not the process
// (prctl(2), PR_SET_PDEATHSIG), and Go ends threads as it likes.
func starter() chan<- start {
	queue := make(chan start)
	go func() {
		runtime.LockOSThread()
		for next := range queue {
			next.done <- next.cmd.Start()
		}
	}()
	return queue
}
