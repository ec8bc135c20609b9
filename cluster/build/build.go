package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mantlet.dev/cluster/machine"
)

// Request is what to build, from where, to where.
type Request struct {
	// Source is the folder of this module's go.mod.
	Source string
	// Cache is the folder for what is built, kept between runs.
	Cache string
	// Progress gets lines for people.
	Progress io.Writer
}

// Cache is where what is built stays: MANTLET_CACHE, else `mantlet` in the user's cache folder.
func Cache() (string, error) {
	if own := os.Getenv("MANTLET_CACHE"); own != "" {
		return filepath.Abs(own)
	}
	if xdg := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "mantlet"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for a cache: %w\nhint: set MANTLET_CACHE to a folder", err)
	}
	return filepath.Join(home, ".cache", "mantlet"), nil
}

// Ensure returns the paths of the binaries, and builds those that are not there yet.
func (r *Request) Ensure(ctx context.Context, wanted ...Binary) (map[Binary]string, error) {
	paths := map[Binary]string{}
	for _, binary := range wanted {
		key, err := binary.key(r.Source)
		if err != nil {
			return nil, fmt.Errorf("cannot read the sources of the cluster: %w\nhint: name their folder with --src", err)
		}
		paths[binary] = filepath.Join(r.Cache, "cluster", string(binary)+"-"+key)
	}
	if len(missing(wanted, paths)) == 0 {
		return paths, nil
	}
	lock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if left := missing(wanted, paths); len(left) > 0 { // nobody built them while we waited
		err = r.build(ctx, left, paths)
	}
	return paths, err
}

func missing(wanted []Binary, paths map[Binary]string) []Binary {
	var absent []Binary
	for _, binary := range wanted {
		if _, err := os.Stat(paths[binary]); err != nil {
			absent = append(absent, binary)
		}
	}
	return absent
}

func (r *Request) lock() (*machine.Lock, error) {
	path := filepath.Join(r.Cache, "cluster", "lock")
	lock, err := machine.TryLock(path)
	if errors.Is(err, machine.ErrLocked) {
		fmt.Fprintln(r.Progress, "another process builds the cluster; waiting for it")
		return machine.WaitLock(path)
	}
	return lock, err
}

// build builds into a temporary folder and renames, so that a path in the cache is a whole binary.
func (r *Request) build(ctx context.Context, wanted []Binary, paths map[Binary]string) error {
	version, err := Kubernetes(r.Source)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("the Go tool is not on PATH\nhint: install Go 1.25 or later, https://go.dev/dl")
	}
	// We hold the lock: a folder that is there is of a build that was killed.
	fresh := filepath.Join(r.Cache, "cluster", "fresh")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	fmt.Fprintf(r.Progress, "building Kubernetes %s from Go modules (%s), once, about 10 minutes on 2 cores\n", version, list(wanted))
	begin := time.Now()
	for _, module := range byModule(wanted) {
		if err := r.run(ctx, module, version, fresh); err != nil {
			return err
		}
	}
	for _, binary := range wanted {
		if err := os.Rename(filepath.Join(fresh, string(binary)), paths[binary]); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.Progress, "built %s in %s\n", list(wanted), time.Since(begin).Round(time.Second))
	return nil
}

// byModule sorts binaries by the module that builds them: one build for each, since the Go tool knows one module at a time.
func byModule(wanted []Binary) [][]Binary {
	groups := map[string][]Binary{}
	for _, binary := range wanted {
		groups[binary.module()] = append(groups[binary.module()], binary)
	}
	return slices.Collect(maps.Values(groups))
}

// run builds binaries of one module.
func (r *Request) run(ctx context.Context, wanted []Binary, version, out string) error {
	module := wanted[0].module()
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-v", "-ldflags", linkFlags(version), "-o", out + "/"}, flags...)
	for _, binary := range wanted {
		folder, err := filepath.Rel(module, binary.command())
		if err != nil {
			return err
		}
		args = append(args, "./"+filepath.ToSlash(folder))
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(r.Source, module)
	// Flags and workspaces of the user's own would be cold builds, or others than the key says.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	progress := newProgress(r.Progress)
	cmd.Stdout, cmd.Stderr = progress, progress
	if err := machine.Run(ctx, cmd); err != nil {
		return fmt.Errorf("go build of %s: %w", list(wanted), err)
	}
	return nil
}

func list(binaries []Binary) string {
	var names []string
	for _, binary := range binaries {
		names = append(names, string(binary))
	}
	return strings.Join(names, ", ")
}
