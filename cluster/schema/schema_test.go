package schema

import (
	"bytes"
	"testing"
)

func build(t *testing.T) *Table {
	t.Helper()
	table, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestAVolumesSourceIsInlined(t *testing.T) {
	volume := build(t).Messages["k8s.io/api/core/v1.Volume"]
	want := Field{Kind: "message", Type: "k8s.io/api/core/v1.VolumeSource"}
	if got := volume[2]; got != want {
		t.Errorf("field 2 of Volume is %+v, want %+v", got, want)
	}
}

func TestSecretDataIsAMapOfBytes(t *testing.T) {
	table := build(t)
	secret := table.Messages[table.Kinds["v1/Secret"]]
	want := Field{JSON: "data", Kind: "bytes", Shape: "map", Omit: true}
	if got := secret[2]; got != want {
		t.Errorf("field 2 of Secret is %+v, want %+v", got, want)
	}
}

func TestEveryMessageNamedIsInTheTable(t *testing.T) {
	table := build(t)
	for kind, name := range table.Kinds {
		if _, ok := table.Messages[name]; !ok {
			t.Errorf("kind %s: no message %s", kind, name)
		}
	}
	for name, message := range table.Messages {
		for number, field := range message {
			if _, ok := table.Messages[field.Type]; field.Kind == "message" && !ok {
				t.Errorf("field %d of %s: no message %s", number, name, field.Type)
			}
		}
	}
}

func TestTheSameTableIsTheSameBytes(t *testing.T) {
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := build(t).Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs differ")
	}
}
