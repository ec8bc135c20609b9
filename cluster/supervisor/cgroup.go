package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const cgroups = "/sys/fs/cgroup"

// What a kubelet needs on version 2; version 1 has a hierarchy for each.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

var cgroupName = regexp.MustCompile(`^mantlet-[0-9]+$`)

// hierarchies lists the roots in which a cgroup has to be made.
func hierarchies() ([]string, error) {
	if isCgroup2() {
		return []string{cgroups}, nil
	}
	procs, err := filepath.Glob(filepath.Join(cgroups, "*", "cgroup.procs"))
	var roots []string
	for _, path := range procs {
		root := filepath.Dir(path)
		// `cpu` may be a link to `cpu,cpuacct`.
		if info, err := os.Lstat(root); err == nil && info.IsDir() {
			roots = append(roots, root)
		}
	}
	if err == nil && roots == nil {
		err = fmt.Errorf("no cgroups in %s", cgroups)
	}
	return roots, err
}

func isCgroup2() bool {
	_, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers"))
	return err == nil
}

func makeCgroup(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	if isCgroup2() {
		if err := enable(filepath.Join(cgroups, "cgroup.subtree_control")); err != nil {
			return err
		}
	}
	for _, root := range roots {
		own := filepath.Join(root, name)
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := inheritCPUs(root, own); err != nil {
			return err
		}
	}
	if isCgroup2() {
		return enable(filepath.Join(cgroups, name, "cgroup.subtree_control"))
	}
	return nil
}

// enable hands controllers down. At a root that holds processes, as in a container, the kernel refuses.
func enable(file string) error {
	for _, controller := range controllers {
		if err := os.WriteFile(file, []byte("+"+controller), 0o600); err != nil {
			return fmt.Errorf("cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// inheritCPUs fills what a new cpuset of version 1 lacks: without it no process can be put in.
func inheritCPUs(root, own string) error {
	if isCgroup2() {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(own, file), value, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes the cgroup and all below it. The kernel frees one a moment after its last process is gone.
func removeCgroup(ctx context.Context, name string) error {
	if !cgroupName.MatchString(name) {
		return fmt.Errorf("`%s` is no cgroup of ours", name)
	}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for {
		var left []string
		for _, root := range roots {
			left = append(left, removeTree(filepath.Join(root, name))...)
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("cgroups cannot be removed: %s", strings.Join(left, ", "))
		}
	}
}

// removeTree removes folders, deepest first, and lists those that stay.
func removeTree(root string) []string {
	var folders []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return nil // what vanished meanwhile is what we want
	})
	var left []string
	for _, folder := range slices.Backward(folders) {
		if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, folder)
		}
	}
	return left
}
