package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const tailLines = 15

// explain shows the ends of the logs for an error that they may explain; an end that was wanted is no error.
func (b *bed) explain(err error) error {
	if err == nil || errors.Is(err, ErrEnded) {
		return nil
	}
	var ended endedError
	for _, c := range b.running {
		if errors.As(err, &ended) && ended.child != c {
			continue
		}
		fmt.Fprintf(b.Progress, "--- last lines of %s\n%s\n", c.name, tail(b.logFile(c.name)))
	}
	return err
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
