package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func entries(t *testing.T, in io.Reader) (names []string, contents map[string][]byte) {
	t.Helper()
	contents = map[string][]byte{}
	r := tar.NewReader(in)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, contents[header.Name] = append(names, header.Name), content
	}
}

type descriptor struct {
	MediaType, Digest string
	Size              int
	Annotations       map[string]string
}

func TestEveryDigestIsThatOfItsBlobAndEveryNameIsGiven(t *testing.T) {
	image := Image{Names: []string{"a.test/x:1", "b.test/y:2"}, Files: []File{{Path: "/bin/x", Mode: 0o755, Content: []byte("x")}}}
	var out bytes.Buffer
	if err := image.Write(&out); err != nil {
		t.Fatal(err)
	}
	_, contents := entries(t, &out)
	blob := func(d descriptor) []byte {
		content := contents["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if digest(content) != d.Digest || len(content) != d.Size {
			t.Fatalf("%s is not the blob of its digest", d.MediaType)
		}
		return content
	}
	var index struct{ Manifests []descriptor }
	decode(t, contents["index.json"], &index)
	if len(index.Manifests) != 2 || index.Manifests[1].Annotations["io.containerd.image.name"] != "b.test/y:2" {
		t.Fatalf("index %+v", index)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	decode(t, blob(index.Manifests[0]), &manifest)
	var config struct {
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, blob(manifest.Config), &config)
	layer, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(layer)
	if err != nil {
		t.Fatal(err)
	}
	if digest(plain) != config.Rootfs.DiffIDs[0] {
		t.Error("the layer is not that of the configuration")
	}
}

func TestParentsComeOnceAndBeforeTheirChildren(t *testing.T) {
	image := Image{Files: []File{{Path: "/a/b/file"}, {Path: "/a/b/link", Link: "file"}, {Path: "/a/c/", Mode: 0o1777}, {Path: "/a/c/d"}}}
	layer, err := image.layer()
	if err != nil {
		t.Fatal(err)
	}
	names, _ := entries(t, bytes.NewReader(layer))
	if want := []string{"a/", "a/b/", "a/b/file", "a/b/link", "a/c/", "a/c/d"}; !slices.Equal(names, want) {
		t.Errorf("layer %v, want %v", names, want)
	}
}

func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
