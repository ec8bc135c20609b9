// Command schema prints the table by which Kubernetes protobuf is read: see package schema.
package main

import (
	"fmt"
	"os"

	"mantlet.dev/cluster/schema"
)

func main() {
	table, err := schema.Build()
	if err == nil {
		err = table.Write(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}
