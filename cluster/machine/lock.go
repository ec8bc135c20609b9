// Package machine is what the bed asks of the operating system: locks, processes known beyond doubt, children that cannot
// outlive it.
package machine

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked says that somebody alive holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock is a file locked by flock: the kernel gives it up when its holder dies, however that happens.
type Lock struct{ file *os.File }

// TryLock takes the lock or returns ErrLocked.
func TryLock(path string) (*Lock, error) { return lock(path, syscall.LOCK_NB) }

// WaitLock waits for the lock.
func WaitLock(path string) (*Lock, error) { return lock(path, 0) }

// PatientLock waits a while: its holder may just be ending.
func PatientLock(path string, limit time.Duration) (*Lock, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		taken, err := TryLock(path)
		if !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return taken, err
		}
	}
}

func lock(path string, how int) (*Lock, error) {
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // its last holder removed the folder as well
		}
		if err != nil {
			return nil, err
		}
		if err := flock(file, syscall.LOCK_EX|how); err != nil {
			_ = file.Close()
			return nil, err
		}
		if isAt(file, path) {
			return &Lock{file}, nil
		}
		// Its last holder removed the file between our open and our lock: that lock excludes nobody.
		_ = file.Close()
	}
}

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ErrLocked
		}
		return err
	}
}

func isAt(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(held, there)
}

// Content is what the file holds: a note of the last holder to the next.
func (l *Lock) Content() ([]byte, error) { return os.ReadFile(l.file.Name()) }

// Note replaces the content.
func (l *Lock) Note(content []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt(content, 0)
	return err
}

// Release gives the lock up and leaves the file.
func (l *Lock) Release() { _ = l.file.Close() }

// Remove gives the lock up and removes the file, while still held so that nobody loses theirs.
func (l *Lock) Remove() {
	_ = os.Remove(l.file.Name())
	_ = l.file.Close()
}
