package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/machine"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func options(t *testing.T) Options {
	t.Helper()
	return Options{Request: build.Request{Cache: t.TempDir()}, Dir: filepath.Join(t.TempDir(), "cluster")}
}

// killed claims a folder as a bed that then dies: its lock is given up, its record stays.
func killed(t *testing.T, o Options) *bed {
	t.Helper()
	b, err := claim(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.record.Bed = machine.Process{PID: os.Getpid(), Started: "another time"}
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	b.lock.Release()
	return b
}

func TestWhatAKilledBedLeftIsSweptWhereverItWas(t *testing.T) {
	o := options(t)
	killed(t, o)
	write(t, filepath.Join(o.Dir, "etcd", "member", "wal"), "data")
	if err := Sweep(o.Cache); err != nil {
		t.Fatal(err)
	}
	if exists(o.Dir) {
		t.Error("its folder is left")
	}
	if notes, _ := filepath.Glob(filepath.Join(o.Cache, "beds", "*.json")); len(notes) > 0 {
		t.Errorf("its note is left: %v", notes)
	}
}

func TestWhatIsNotABedsIsLeftInItsFolder(t *testing.T) {
	o := options(t)
	write(t, filepath.Join(o.Dir, "diary"), "dear")
	killed(t, o)
	write(t, filepath.Join(o.Dir, "pki", "sa.key"), "secret")
	if err := Sweep(o.Cache); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(o.Dir, "diary")) || exists(filepath.Join(o.Dir, "pki")) {
		t.Error("removed too much, or too little")
	}
}

func TestABedThatLivesIsNotSwept(t *testing.T) {
	o := options(t)
	b, err := claim(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.lock.Release()
	write(t, filepath.Join(o.Dir, "etcd", "wal"), "data")
	if err := Sweep(o.Cache); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(o.Dir, "etcd", "wal")) {
		t.Error("swept")
	}
}

func TestAFolderIsOneBedsAtATime(t *testing.T) {
	o := options(t)
	b, err := claim(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.lock.Release()
	if _, err := claim(o, nil); err == nil || !strings.Contains(err.Error(), "bed down") {
		t.Errorf("claimed twice: %v", err)
	}
}

func TestAFolderOfSomebodyElseIsRefusedAndLeftAsItWas(t *testing.T) {
	o := options(t)
	write(t, filepath.Join(o.Dir, "log", "important"), "text")
	if _, err := claim(o, nil); err == nil || !strings.Contains(err.Error(), "not of a cluster") {
		t.Errorf("claimed: %v", err)
	}
	if !exists(filepath.Join(o.Dir, "log", "important")) || exists(filepath.Join(o.Dir, "lock")) {
		t.Error("removed something, or left something")
	}
}

func TestARecordWithoutAnAbsoluteFolderIsNotActedOn(t *testing.T) {
	for _, text := range []string{`{}`, `{"dir":"."}`, `{"dir":"../x"}`, `nonsense`} {
		if _, err := parseRecord([]byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestOnlyTablesOfKubeProxyAreFound(t *testing.T) {
	listing := "table ip filter\ntable ip kube-proxy\ntable ip6 kube-proxy\ntable inet kube-proxy-of-mine\n"
	if got := proxyTables(listing); !slices.Equal(got, []string{"ip", "ip6"}) {
		t.Errorf("found %v", got)
	}
}

func TestNoCgroupIsRemovedThatIsNotOurs(t *testing.T) {
	for _, name := range []string{"", ".", "..", "system.slice", "mantlet-1/../..", "mantlet-"} {
		if err := removeCgroup(t.Context(), name); err == nil {
			t.Errorf("`%s` was taken", name)
		}
	}
}

func TestFoldersAreRemovedDeepestFirst(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cgroup")
	if err := os.MkdirAll(filepath.Join(root, "kubepods", "pod1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if left := removeTree(root); len(left) > 0 || exists(root) {
		t.Errorf("left %v", left)
	}
}

func TestWithoutANodeTheApiServerListensOnLoopbackAlone(t *testing.T) {
	p := &plan{Options: Options{Dir: "/d"}, api: 1234}
	if args := p.apiServerArgs(); !slices.Contains(args, "--bind-address=127.0.0.1") || slices.Contains(args, "--bind-address=0.0.0.0") {
		t.Errorf("flags %v", args)
	}
	p.node = &node{}
	if args := p.apiServerArgs(); !slices.Contains(args, "--advertise-address="+nodeAddress) {
		t.Errorf("flags %v", args)
	}
}

func TestEveryFileThatAPlanWritesIsRemovedWithTheBed(t *testing.T) {
	o := options(t)
	b := killed(t, o)
	p := &plan{Options: o, kube: "/bin/sh", etcd: 1, etcdPeer: 2, api: 3}
	if err := p.write(); err != nil {
		t.Fatal(err)
	}
	if err := b.record.removeFiles(o.Cache); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(o.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 50 {
		t.Errorf("ports %v", ports)
	}
}

func TestAUsersNameIsNoPath(t *testing.T) {
	for name, want := range map[string]string{"ada": "ada", "system:node:a": "system-node-a", "../x": "..-x", "a\nb": "a-b"} {
		if got := fileName(name); got != want {
			t.Errorf("`%s` is `%s`, want `%s`", name, got, want)
		}
	}
}

func TestNoProxyIsBetweenComponents(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy")
	t.Setenv("https_proxy", "http://proxy")
	t.Setenv("KUBECONFIG", "/mine")
	for _, entry := range environment() {
		if strings.HasPrefix(strings.ToLower(entry), "https_proxy=") || strings.HasPrefix(entry, "KUBECONFIG=") {
			t.Errorf("kept %s", entry)
		}
	}
}
