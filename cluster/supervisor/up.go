package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/machine"
)

// ErrEnded is why a bed's context ends when somebody wants it to: nothing went wrong.
var ErrEnded = errors.New("ended")

// Up builds what is missing, brings the cluster up, says so on o.Ready, and holds it until ctx ends or one of its processes
// does. Whatever happens, nothing is left when it returns.
func Up(ctx context.Context, o Options) (err error) {
	if err := o.resolve(); err != nil {
		return err
	}
	if o.Install && o.Node != NodeNo {
		if err := installPackages(ctx, o.Progress); err != nil {
			return err
		}
	}
	binaries, err := o.Ensure(ctx, build.Kube, build.Pause)
	if err != nil {
		return err
	}
	if err := Sweep(o.Cache); err != nil {
		return err
	}
	b, err := claim(o, binaries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.down()) }()
	endpoint, err := b.up(ctx)
	if err != nil {
		return b.explain(err)
	}
	if err := json.NewEncoder(o.Ready).Encode(endpoint); err != nil {
		return err
	}
	return b.explain(b.hold(ctx))
}

// bed is a cluster while it is up.
type bed struct {
	Options
	binaries map[build.Binary]string
	lock     *machine.Lock
	nodeLock *machine.Lock
	record   Record
	running  []*child
	ended    chan *child
}

type child struct {
	name    string
	process machine.Process
	done    chan struct{}
	err     error // after done
}

func (b *bed) up(ctx context.Context) (*Endpoint, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Limit, fmt.Errorf("not ready after %s", b.Limit))
	defer cancel()
	plan, err := b.plan(ctx)
	if err != nil {
		return nil, err
	}
	if err := plan.write(); err != nil {
		return nil, err
	}
	for _, c := range plan.controlPlane() {
		if err := b.start(c.name, exec.Command(b.binaries[build.Kube], c.args...)); err != nil {
			return nil, err
		}
	}
	var kubelet *nodeInit
	if plan.node != nil {
		if kubelet, err = b.startNode(plan); err != nil {
			return nil, err
		}
	}
	if err := b.becomeReady(ctx, plan, kubelet); err != nil {
		return nil, err
	}
	b.record.Endpoint = b.endpoint(plan)
	return b.record.Endpoint, b.save()
}

// start starts one process and notes it before anything else can happen to us.
func (b *bed) start(name string, cmd *exec.Cmd) error {
	log, err := os.Create(b.logFile(name))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environment()
	if err := machine.Start(cmd); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	process, err := machine.Identify(cmd.Process.Pid)
	if err != nil {
		// It ended already; what is recorded then matches no process.
		process = machine.Process{PID: cmd.Process.Pid}
	}
	c := &child{name: name, process: process, done: make(chan struct{})}
	b.running = append(b.running, c)
	go func() {
		c.err = cmd.Wait()
		close(c.done)
		b.ended <- c
	}()
	b.record.Children = append(b.record.Children, process)
	return b.save()
}

// hold waits for the end that somebody wants, or for a process that ends by itself: a cluster without one of its parts is
// not the cluster that was promised.
func (b *bed) hold(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case c := <-b.ended:
		return endedError{c}
	}
}

type endedError struct{ *child }

func (e endedError) Error() string { return fmt.Sprintf("%s ended: %v", e.name, e.err) }

// down kills in reverse order: a graceful end takes the API server 5-10 s, and nothing in here is worth it.
func (b *bed) down() error {
	for _, c := range slices.Backward(b.running) {
		_ = c.process.Signal(killSignal)
		select {
		case <-c.done:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("%s (pid %d) does not die; its state is left in %s", c.name, c.process.PID, b.Dir)
		}
	}
	err := b.record.removeNode()
	if b.nodeLock != nil && err == nil {
		b.nodeLock.Remove()
	}
	err = errors.Join(err, b.record.removeFiles(b.Cache))
	b.giveUpDir()
	return err
}

// giveUpDir removes the folder, unless something of somebody else's is in there: no reason to fail, and none to delete it.
func (b *bed) giveUpDir() {
	b.lock.Remove()
	_ = os.Remove(b.Dir)
}

func (b *bed) logFile(name string) string { return filepath.Join(b.Dir, "log", name+".log") }
