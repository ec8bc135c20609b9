// Package build makes the binaries of the cluster module, once: they stay in a cache under a key of all that they depend on,
// and a later run never starts the Go tool.
package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Binary is one program of the module.
type Binary string

const (
	Kube   Binary = "kube"
	Oracle Binary = "oracle"
	Schema Binary = "schema"
	Pause  Binary = "pause"
	IdP    Binary = "idp"
)

// All is every binary that is cached; bed itself is not, its builder is whoever runs it.
var All = []Binary{Pause, Kube, Oracle, Schema, IdP}

// module is the folder of the go.mod that a binary is built by. One with requirements of its own must not give the others new keys.
func (b Binary) module() string {
	if b == IdP {
		return "idp"
	}
	return "."
}

// command is the folder of its main package.
func (b Binary) command() string {
	if b == IdP {
		return "idp"
	}
	return "cmd/" + string(b)
}

// folders are the packages of this module that a binary is made of. A change to the bed must not cost a new Kubernetes.
func (b Binary) folders() []string {
	switch b {
	case Oracle:
		return []string{b.command(), "oracle"}
	case Schema:
		return []string{b.command(), "schema"}
	default:
		return []string{b.command()}
	}
}

// flags are the same for every binary: each set of flags is a cold build of all packages.
var flags = []string{"-trimpath", "-buildvcs=false"}

// key names the binary by all that it is made from. An extracted copy of the sources gives the key of the checkout.
func (b Binary) key(source string) (string, error) {
	files := []string{path.Join(b.module(), "go.mod"), path.Join(b.module(), "go.sum")}
	for _, folder := range b.folders() {
		found, err := sources(source, folder)
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	sum := sha256.New()
	for _, part := range []string{runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(flags, " "), linkFlags("version")} {
		add(sum, part)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(file)))
		if err != nil {
			return "", err
		}
		add(sum, file)
		add(sum, string(content))
	}
	return hex.EncodeToString(sum.Sum(nil))[:32], nil
}

// add puts the length before each part, so that no two lists of parts read the same.
func add(sum hash.Hash, part string) { fmt.Fprintf(sum, "%d:%s", len(part), part) }

// sources lists the Go files of a folder, without tests, sorted.
func sources(source, folder string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(source), folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	if err == nil && files == nil {
		err = fmt.Errorf("no Go files in %s", filepath.Join(source, folder))
	}
	slices.Sort(files)
	return files, err
}

// Kubernetes is the version that the module builds, such as v1.35.4.
func Kubernetes(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\d+\.\d+\.\d+\S*)`).FindSubmatch(mod)
	if found == nil {
		return "", fmt.Errorf("%s does not require k8s.io/kubernetes", filepath.Join(source, "go.mod"))
	}
	return string(found[1]), nil
}

// linkFlags stamps the version as Kubernetes' own builds do; else it calls itself v0.0.0-master.
func linkFlags(version string) string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	stamps := []string{
		"gitVersion=" + version, "gitMajor=" + major, "gitMinor=" + minor, "gitTreeState=clean",
		"gitCommit=" + strings.Repeat("0", 40), "buildDate=1970-01-01T00:00:00Z",
	}
	all := "-s -w"
	for _, target := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, stamp := range stamps {
			all += " -X " + target + "." + stamp
		}
	}
	return all
}
