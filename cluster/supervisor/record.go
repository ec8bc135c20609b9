package supervisor

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/machine"
)

const killSignal = syscall.SIGKILL

// contents is every entry that a bed makes in its folder. Only these are ever removed from it.
var contents = []string{
	"apiserver", "audit", "bin", "cni", "cni-state", "containerd", "containerd.toml", "etcd", "flex", "images", "kubeconfig",
	"kubelet", "kubelet.json", "kubelet-pki", "kubelet-plugins", "log", "pki", "pod-logs", "proxy.json", "resolv.conf", "users",
	recordFile,
}

const recordFile = "bed.json"

// endingTakes is how long a bed that is ending may still hold its locks: whoever restarts one at once finds it going.
const endingTakes = 3 * time.Second

// Record is what must be known to remove a bed that was killed. It lies in the bed's folder, in the cache, so that the next
// start finds it wherever that folder was, and, of a node, in the machine's node lock.
type Record struct {
	Dir      string            `json:"dir"`
	Bed      machine.Process   `json:"bed"`
	Children []machine.Process `json:"children"`
	Node     *NodeRecord       `json:"node,omitempty"`
	Endpoint *Endpoint         `json:"endpoint,omitempty"`
}

// NodeRecord is what a node has outside of its folder.
type NodeRecord struct {
	Cgroup string `json:"cgroup"`
}

// claim takes the folder, and removes what a dead bed left in it.
func claim(o Options, binaries map[build.Binary]string) (*bed, error) {
	lock, err := machine.PatientLock(filepath.Join(o.Dir, "lock"), endingTakes)
	if errors.Is(err, machine.ErrLocked) {
		return nil, fmt.Errorf("a cluster is up in %s\nhint: bed down --dir %s", o.Dir, o.Dir)
	}
	if err != nil {
		return nil, err
	}
	b := &bed{Options: o, binaries: binaries, lock: lock, ended: make(chan *child, 16)}
	if err := b.begin(); err != nil {
		b.giveUpDir()
		return nil, err
	}
	return b, nil
}

func (b *bed) begin() error {
	if old, err := ReadRecord(b.Dir); err == nil {
		if err := old.remove(b.Cache); err != nil {
			return err
		}
	} else if taken := foreign(b.Dir); len(taken) > 0 {
		return fmt.Errorf("%s holds %s, which is not of a cluster\nhint: name an empty folder with --dir", b.Dir, taken[0])
	}
	self, err := machine.Identify(os.Getpid())
	if err != nil {
		return err
	}
	b.record = Record{Dir: b.Dir, Bed: self}
	return b.save()
}

// foreign lists what lies under names that we would remove, though no record says that it is ours.
func foreign(dir string) []string {
	return slices.DeleteFunc(slices.Clone(contents), func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err != nil
	})
}

// save writes the record wherever it is looked for.
func (b *bed) save() error {
	text, err := json.MarshalIndent(b.record, "", "  ")
	if err != nil {
		return err
	}
	if b.nodeLock != nil {
		if err := b.nodeLock.Note(text); err != nil {
			return err
		}
	}
	return errors.Join(
		replace(cacheRecord(b.Cache, b.Dir), text),
		replace(filepath.Join(b.Dir, recordFile), text),
	)
}

// replace writes a file so that whoever reads it sees the old or the new, never half.
func replace(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func cacheRecord(cache, dir string) string {
	return filepath.Join(cache, "beds", fmt.Sprintf("%x.json", sha256.Sum256([]byte(dir))))
}

// ReadRecord reads the record of the bed in a folder.
func ReadRecord(dir string) (*Record, error) { return readRecord(filepath.Join(dir, recordFile)) }

func readRecord(path string) (*Record, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseRecord(text)
}

func parseRecord(text []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("record of a cluster: %w", err)
	}
	if !filepath.IsAbs(r.Dir) {
		return nil, fmt.Errorf("record of a cluster: folder `%s` is not absolute", r.Dir)
	}
	return &r, nil
}

// Sweep removes what beds left that were killed, in whatever folder they were.
func Sweep(cache string) error {
	folder := filepath.Join(cache, "beds")
	lock, err := machine.WaitLock(filepath.Join(folder, "lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		r, err := readRecord(path)
		if err != nil {
			// Not ours, or of another version of us: nothing can be known, so nothing is touched but the note itself.
			_ = os.Remove(path)
			continue
		}
		if err := r.sweep(cache); err != nil {
			return err
		}
	}
	return nil
}

func (r *Record) sweep(cache string) error {
	if r.Bed.Alive() {
		return nil
	}
	if _, err := os.Stat(r.Dir); errors.Is(err, os.ErrNotExist) {
		return r.remove(cache)
	}
	lock, err := machine.TryLock(filepath.Join(r.Dir, "lock"))
	if errors.Is(err, machine.ErrLocked) {
		return nil // a new bed has the folder and removes what is in it
	}
	if err != nil {
		return err
	}
	old := &bed{Options: Options{Dir: r.Dir, Request: build.Request{Cache: cache}}, lock: lock, record: *r}
	if err := r.remove(cache); err != nil {
		lock.Release()
		return err
	}
	old.giveUpDir()
	return nil
}

// remove removes all that a dead bed left.
func (r *Record) remove(cache string) error {
	for _, process := range slices.Backward(r.Children) {
		_ = process.Signal(killSignal)
		if !process.Gone(10 * time.Second) {
			return fmt.Errorf("process %d of a former cluster does not die", process.PID)
		}
	}
	return errors.Join(r.removeNode(), r.removeFiles(cache))
}

func (r *Record) removeFiles(cache string) error {
	var all error
	for _, name := range contents {
		all = errors.Join(all, os.RemoveAll(filepath.Join(r.Dir, name)))
	}
	return errors.Join(all, forget(cacheRecord(cache, r.Dir)))
}

func forget(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
