// Command kube is every Kubernetes component of the test bed in one binary, at one version.
//
//	kube COMPONENT [flags]     or a symbolic link named after the component, such as kubectl
//
// One binary, because the components share all but a few of their 2,800 packages: separate ones would only add links.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var components = map[string]func(){}

func register(name string, run func()) { components[name] = run }

func main() {
	if run, ok := components[filepath.Base(os.Args[0])]; ok {
		run()
		return
	}
	if len(os.Args) < 2 || components[os.Args[1]] == nil {
		usage()
	}
	// The components read os.Args themselves, and say their own name from its first word.
	os.Args = os.Args[1:]
	components[os.Args[0]]()
}

func usage() {
	var names []string
	for name := range components {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(os.Stderr, "usage: kube COMPONENT [flags]; components: "+strings.Join(names, " "))
	os.Exit(2)
}
