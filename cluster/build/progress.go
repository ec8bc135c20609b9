package build

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

const between = 30 * time.Second

// progress turns the 2,800 lines of `go build -v` into one now and then; errors pass.
type progress struct {
	out               io.Writer
	begin, said       time.Time
	rest              []byte
	packages, modules int
}

func newProgress(out io.Writer) *progress {
	now := time.Now()
	return &progress{out: out, begin: now, said: now}
}

func (p *progress) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(data), nil
		}
		p.line(string(line))
		p.rest = rest
	}
}

func (p *progress) line(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.modules++
	case isPackage(line):
		p.packages++
	default:
		fmt.Fprintln(p.out, line)
		return
	}
	if now := time.Now(); now.Sub(p.said) >= between {
		p.said = now
		fmt.Fprintf(p.out, "  %s: %d modules downloaded, %d packages compiled\n", now.Sub(p.begin).Round(time.Second), p.modules, p.packages)
	}
}

// isPackage knows an import path alone on its line, which is what -v prints, from what compilers say.
func isPackage(line string) bool { return line != "" && !strings.ContainsAny(line, " \t:") }
