package build

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = ".." // this module itself

func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(module)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func keyOf(t *testing.T, b Binary, source string) string {
	t.Helper()
	key, err := b.key(source)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edit(t *testing.T, source, file string) {
	t.Helper()
	path := filepath.Join(source, file)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, "\n// another line\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestACopyOfTheSourcesHasTheSameKey(t *testing.T) {
	source := copied(t)
	for _, binary := range All {
		if keyOf(t, binary, source) != keyOf(t, binary, module) {
			t.Errorf("%s differs", binary)
		}
	}
}

func TestAKeyChangesWithItsOwnSourcesOnly(t *testing.T) {
	for file, changed := range map[string][]Binary{
		"go.sum":                {Pause, Kube, Oracle, Schema},
		"idp/go.sum":            {IdP},
		"idp/store.go":          {IdP},
		"cmd/kube/etcd.go":      {Kube},
		"oracle/codec.go":       {Oracle},
		"schema/write.go":       {Schema},
		"cmd/bed/main.go":       nil,
		"pki/pki.go":            nil,
		"oracle/oracle_test.go": nil,
	} {
		source := copied(t)
		edit(t, source, file)
		for _, binary := range All {
			differs := keyOf(t, binary, source) != keyOf(t, binary, module)
			if differs != slices.Contains(changed, binary) {
				t.Errorf("%s edited: key of %s changed: %v", file, binary, differs)
			}
		}
	}
}

func TestAKeyCoversEveryPackageOfTheModuleThatABinaryImports(t *testing.T) {
	for _, binary := range All {
		for _, folder := range binary.folders() {
			for _, imported := range importsOf(t, folder) {
				if !slices.Contains(binary.folders(), imported) {
					t.Errorf("%s imports %s, which its key does not cover", binary, imported)
				}
			}
		}
	}
}

func importsOf(t *testing.T, folder string) []string {
	t.Helper()
	files, err := sources(module, folder)
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(module, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := strings.CutPrefix(path, "mantlet.dev/cluster/"); ok {
				own = append(own, name)
			}
		}
	}
	return own
}

func TestWhatIsCachedIsNotBuiltAgain(t *testing.T) {
	t.Setenv("PATH", "") // a Go tool that would be started is not found
	request := Request{Source: module, Cache: t.TempDir(), Progress: &bytes.Buffer{}}
	if _, err := request.Ensure(context.Background(), Pause); err == nil || !strings.Contains(err.Error(), "Go tool") {
		t.Fatalf("an empty cache gave %v", err)
	}
	path := filepath.Join(request.Cache, "cluster", "pause-"+keyOf(t, Pause, module))
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	paths, err := request.Ensure(context.Background(), Pause)
	if err != nil || paths[Pause] != path {
		t.Errorf("got %v, %v", paths, err)
	}
}

func TestCompilerErrorsPassAndPackageNamesDoNot(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	for _, part := range []string{"k8s.io/api/co", "re/v1\n# x\nx.go:1:2: bad", "\ngo: downloading a v1\n"} {
		if _, err := p.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "# x\nx.go:1:2: bad\n" || p.packages != 1 || p.modules != 1 {
		t.Errorf("wrote `%s` after %d packages, %d modules", out.String(), p.packages, p.modules)
	}
}

func TestTheVersionOfKubernetesIsThatOfTheModule(t *testing.T) {
	version, err := Kubernetes(module)
	if err != nil {
		t.Fatal(err)
	}
	if flags := linkFlags(version); !strings.Contains(flags, ".gitMinor="+strings.Split(version, ".")[1]+" ") {
		t.Errorf("stamps of %s: %s", version, flags)
	}
}
