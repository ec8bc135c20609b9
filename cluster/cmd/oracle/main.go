// Command oracle answers, one JSON line per JSON line, what the real Kubernetes code makes of a request or a body: see
// package oracle.
package main

import (
	"fmt"
	"os"

	"mantlet.dev/cluster/oracle"
)

func main() {
	if err := oracle.Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}
