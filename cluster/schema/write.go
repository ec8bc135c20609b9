package schema

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Write prints the table as JSON, the same bytes for the same table: sorted, and one kind or message to a line, so that a new
// Kubernetes version is a difference one can read.
func (table *Table) Write(out io.Writer) error {
	if _, err := fmt.Fprint(out, "{\"kinds\":{"); err != nil {
		return err
	}
	if err := writeSorted(out, table.Kinds); err != nil {
		return err
	}
	if _, err := fmt.Fprint(out, "},\n\"messages\":{"); err != nil {
		return err
	}
	if err := writeSorted(out, table.Messages); err != nil {
		return err
	}
	_, err := fmt.Fprint(out, "}}\n")
	return err
}

func writeSorted[V any](out io.Writer, entries map[string]V) error {
	separator := "\n"
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		value, err := json.Marshal(entries[key])
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s%s:%s", separator, name, value); err != nil {
			return err
		}
		separator = ",\n"
	}
	return nil
}
