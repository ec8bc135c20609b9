package machine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func sleeper(t *testing.T) (*exec.Cmd, Process) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	process, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, process
}

func TestAProcessThatEndedIsNotAliveThoughNobodyReapedIt(t *testing.T) {
	cmd, process := sleeper(t)
	if !process.Alive() {
		t.Fatal("not alive at its start")
	}
	if err := process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !process.Gone(10 * time.Second) {
		t.Error("a zombie counts as alive")
	}
	_ = cmd.Wait()
}

func TestAnotherProcessOfTheSameIdIsLeftAlone(t *testing.T) {
	cmd, process := sleeper(t)
	other := Process{process.PID, "another time"}
	if other.Alive() {
		t.Error("taken for the other")
	}
	if err := other.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signaled: %v", err)
	}
	if !process.Alive() {
		t.Error("killed")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestALockExcludesUntilItIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Note([]byte("a longer note")); err != nil {
		t.Fatal(err)
	}
	if err := first.Note([]byte("note")); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: %v", err)
	}
	time.AfterFunc(30*time.Millisecond, first.Release)
	second, err := PatientLock(path, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if note, err := second.Content(); string(note) != "note" || err != nil {
		t.Errorf("note `%s`, %v", note, err)
	}
	second.Remove()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}
