package machine

import (
	"context"
	"os/exec"
	"syscall"
)

// Run runs a command to its end. When ctx ends it kills the command and all that it started.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	if err := Start(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		// Start made it the leader of a group of its own.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return context.Cause(ctx)
	}
}
