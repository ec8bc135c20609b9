// Package image writes OCI image archives, as `ctr images import` takes them: one layer, a configuration, a manifest, and an
// index that gives the image its names. Nothing is pulled from anywhere.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
	searchPath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Image is all that a container starts from.
type Image struct {
	// Names are full references, such as mantlet.test/busybox:1.
	Names           []string
	Entrypoint, Cmd []string
	Files           []File
}

// File is one entry of the layer: a link where Link is set, a folder where Path ends in a slash. Parents are made as needed.
type File struct {
	Path string
	// Mode is 0755 for folders and 0644 for files where it is zero.
	Mode    int64
	Content []byte
	Link    string
}

// Write writes the archive.
func (i *Image) Write(out io.Writer) error {
	layer, err := i.layer()
	if err != nil {
		return err
	}
	packed, err := pack(layer)
	if err != nil {
		return err
	}
	config, err := json.Marshal(i.config(digest(layer)))
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(object{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": describe(configType, config),
		"layers": []object{describe(layerType, packed)},
	})
	if err != nil {
		return err
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": i.named(manifest)})
	if err != nil {
		return err
	}
	return archive(out, index, manifest, config, packed)
}

type object = map[string]any

func (i *Image) config(layer string) object {
	run := object{"Env": []string{searchPath}, "WorkingDir": "/"}
	if i.Entrypoint != nil {
		run["Entrypoint"] = i.Entrypoint
	}
	if i.Cmd != nil {
		run["Cmd"] = i.Cmd
	}
	return object{
		"architecture": runtime.GOARCH, "os": "linux", "config": run,
		"rootfs": object{"type": "layers", "diff_ids": []string{layer}},
	}
}

// named gives an entry for each name: containerd takes one name of an entry.
func (i *Image) named(manifest []byte) []object {
	var entries []object
	for _, name := range i.Names {
		entry := describe(manifestType, manifest)
		entry["platform"] = object{"architecture": runtime.GOARCH, "os": "linux"}
		entry["annotations"] = object{"io.containerd.image.name": name}
		entries = append(entries, entry)
	}
	return entries
}

func (i *Image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{}
	for _, file := range i.Files {
		if err := parents(w, made, file.Path); err != nil {
			return nil, err
		}
		if err := file.write(w, made); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func parents(w *tar.Writer, made map[string]bool, name string) error {
	parent := path.Dir(strings.Trim(name, "/"))
	if parent == "." || made[parent] {
		return nil
	}
	if err := parents(w, made, parent); err != nil {
		return err
	}
	made[parent] = true
	return w.WriteHeader(&tar.Header{Name: parent + "/", Typeflag: tar.TypeDir, Mode: 0o755})
}

func (f File) write(w *tar.Writer, made map[string]bool) error {
	name := strings.Trim(f.Path, "/")
	switch {
	case f.Link != "":
		return w.WriteHeader(&tar.Header{Name: name, Linkname: f.Link, Typeflag: tar.TypeSymlink, Mode: 0o777})
	case strings.HasSuffix(f.Path, "/"):
		made[name] = true
		return w.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: f.mode(0o755)})
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(f.Content)), Mode: f.mode(0o644)}); err != nil {
		return err
	}
	_, err := w.Write(f.Content)
	return err
}

func (f File) mode(otherwise int64) int64 {
	if f.Mode == 0 {
		return otherwise
	}
	return f.Mode
}

func pack(layer []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(layer); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func archive(out io.Writer, index []byte, blobs ...[]byte) error {
	w := tar.NewWriter(out)
	if err := put(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := put(w, "index.json", index); err != nil {
		return err
	}
	for _, blob := range blobs {
		if err := put(w, "blobs/sha256/"+strings.TrimPrefix(digest(blob), "sha256:"), blob); err != nil {
			return err
		}
	}
	return w.Close()
}

func put(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func describe(mediaType string, blob []byte) object {
	return object{"mediaType": mediaType, "digest": digest(blob), "size": len(blob)}
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }
