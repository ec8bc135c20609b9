package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func namespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
}

// snapshotter: overlayfs does not lie on overlayfs, which a container's own folders are on.
func snapshotter(dir string) string {
	const overlay = 0x794c7630 // linux/magic.h, OVERLAYFS_SUPER_MAGIC
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err == nil && stat.Type == overlay {
		return "native"
	}
	return "overlayfs"
}

// RunNodeInit is the first process of a node's namespaces: `probe`, or `run DIR KUBE`. It returns when the node ends.
func RunNodeInit(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "probe":
		return mounts("/", "/bin/sh") // any folder and any program: not /proc/self/exe, which is of our parent's namespace
	case len(args) == 3 && args[0] == "run":
		if err := mounts(args[1], args[2]); err != nil {
			return err
		}
		return runNode()
	}
	return errors.New("not to be called by hand")
}

// mounts gives the node empty folders in the places that its programs have hard-wired (device plugins in /var/lib/kubelet,
// /var/log/containers, shims in /run/containerd, /run/netns), and what it needs of ours in them.
func mounts(dir, kube string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts cannot be made private: %w", err)
	}
	// Opened first: they may lie in what is covered next.
	bed, err := os.Open(dir)
	if err != nil {
		return err
	}
	binary, err := os.Open(kube)
	if err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc cannot be mounted: %w", err)
	}
	for _, place := range []string{"/run", "/var/lib", "/var/log"} {
		if err := syscall.Mount("tmpfs", place, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("tmpfs cannot be mounted on %s: %w", place, err)
		}
	}
	for _, place := range []string{insideDir, "/run/netns", "/run/containerd", "/run/lock", "/var/lib/kubelet"} {
		if err := os.MkdirAll(place, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(os.WriteFile(insideKube, nil, 0o700), bind(bed, insideDir), bind(binary, insideKube))
}

func bind(what *os.File, place string) error {
	defer func() { _ = what.Close() }()
	err := syscall.Mount(fmt.Sprintf("/proc/self/fd/%d", what.Fd()), place, "", syscall.MS_BIND|syscall.MS_REC, "")
	if err != nil {
		return fmt.Errorf("%s cannot be mounted on %s: %w", what.Name(), place, err)
	}
	return nil
}

func runNode() error {
	children := newReaper()
	containerd, err := children.start("containerd", "containerd", "--config", insideDir+"/containerd.toml", "--log-level", "warn")
	if err != nil {
		return err
	}
	if err := children.importImages(containerd); err != nil {
		return err
	}
	// The bed closes our stdin when the API server is ready.
	if _, err := io.Copy(io.Discard, bufio.NewReader(os.Stdin)); err != nil {
		return err
	}
	kubelet, err := children.start("kubelet", insideKube, "kubelet", "--config", insideDir+"/kubelet.json", "--kubeconfig", insideDir+"/pki/node.kubeconfig",
		"--root-dir", insideDir+"/kubelet", "--cert-dir", insideDir+"/kubelet-pki", "--hostname-override", nodeName, "--node-ip", nodeAddress)
	if err != nil {
		return err
	}
	select {
	case status := <-containerd:
		return fmt.Errorf("containerd ended with %d, see containerd.log", status.ExitStatus())
	case status := <-kubelet:
		return fmt.Errorf("kubelet ended with %d, see kubelet.log", status.ExitStatus())
	}
}

func (r *reaper) importImages(containerd <-chan syscall.WaitStatus) error {
	for {
		answered, err := r.run("ctr", "ctr", "--address", insideSocket, "version")
		if err != nil {
			return err
		}
		if answered {
			break
		}
		select {
		case status := <-containerd:
			return fmt.Errorf("containerd ended with %d, see containerd.log", status.ExitStatus())
		case <-time.After(50 * time.Millisecond):
		}
	}
	archives, err := filepath.Glob(insideDir + "/images/*.tar")
	if err != nil {
		return err
	}
	for _, archive := range archives {
		imported, err := r.run("ctr", "ctr", "--address", insideSocket, "--namespace", "k8s.io", "images", "import", archive)
		if err != nil {
			return err
		}
		if !imported {
			return fmt.Errorf("%s was not imported, see ctr.log", archive)
		}
	}
	return nil
}

// reaper takes every process that ends: as the first of a PID namespace we are the parent of every orphan in it, so waiting
// for single children, as os/exec does, would leave the others.
type reaper struct {
	mutex   sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	r.mutex.Lock() // not between a start and the note of it
	defer r.mutex.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if done, ok := r.waiting[pid]; ok {
			done <- status
			delete(r.waiting, pid)
		}
	}
}

// start starts a program with a log of its own; the channel gets how it ended.
func (r *reaper) start(log string, args ...string) (<-chan syscall.WaitStatus, error) {
	out, err := os.OpenFile(filepath.Join(insideDir, "log", log+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan syscall.WaitStatus, 1)
	r.waiting[cmd.Process.Pid] = done
	return done, cmd.Process.Release()
}

func (r *reaper) run(log string, args ...string) (succeeded bool, err error) {
	done, err := r.start(log, args...)
	if err != nil {
		return false, err
	}
	return (<-done).ExitStatus() == 0, nil
}
