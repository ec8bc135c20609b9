// Package schema derives, from the Go types of the Kubernetes API, the table by which its protobuf is read: for each message
// its fields by number, with JSON name, kind and shape.
//
// The .proto files do not serve: they do not say what JSON inlines (a Volume's source, a probe's handler) or wraps. The struct
// tags, which Kubernetes itself encodes by, do.
package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Table is all that a decoder needs to know.
type Table struct {
	// Kinds maps "GROUP/VERSION/KIND", or "v1/KIND", to the name of its message.
	Kinds map[string]string
	// Messages maps the name of a message, its Go type, to its fields by number.
	Messages map[string]Message
}

// Message is the fields of one message by their number on the wire.
type Message map[int]Field

// Field says what stands behind one number.
type Field struct {
	// JSON is the name, empty where the message is inlined into its parent.
	JSON string `json:"json"`
	// Kind is a Go kind (string, bool, int32, int64, float64 ...), bytes, message, items (a message that wraps a list of
	// strings as its field 1) or special (a type that writes its own JSON).
	Kind string `json:"kind"`
	// Type names the message, items or special.
	Type string `json:"type,omitempty"`
	// Shape is list, map (from string to Kind) or empty.
	Shape string `json:"shape,omitempty"`
	// Omit: the zero value does not appear in JSON.
	Omit bool `json:"omit,omitempty"`
	// Ptr: absent on the wire is absent, not zero.
	Ptr bool `json:"ptr,omitempty"`
}

// Build walks every type that client-go, CRDs and APIServices register.
func Build() (*Table, error) {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, apiextensions.AddToScheme, apiregistration.AddToScheme, meta.AddMetaToScheme,
	} {
		if err := add(known); err != nil {
			return nil, err
		}
	}
	table := &Table{Kinds: map[string]string{}, Messages: map[string]Message{}}
	for kind, t := range known.AllKnownTypes() {
		if kind.Version == runtime.APIVersionInternal || t.Kind() != reflect.Struct {
			continue
		}
		if err := table.add(t); err != nil {
			return nil, err
		}
		table.Kinds[kind.GroupVersion().String()+"/"+kind.Kind] = nameOf(t)
	}
	return table, nil
}

// add walks one message type and, by its fields, all that it holds.
func (table *Table) add(t reflect.Type) error {
	if _, done := table.Messages[nameOf(t)]; done {
		return nil
	}
	message := Message{}
	table.Messages[nameOf(t)] = message // before the fields: types may hold themselves
	for i := range t.NumField() {
		tag := t.Field(i).Tag.Get("protobuf")
		if tag == "" || tag == "-" {
			continue
		}
		number, field, err := table.field(t.Field(i), tag)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", nameOf(t), t.Field(i).Name, err)
		}
		message[number] = field
	}
	return nil
}

func (table *Table) field(f reflect.StructField, tag string) (int, Field, error) {
	parts := strings.Split(tag, ",")
	if len(parts) < 2 {
		return 0, Field{}, fmt.Errorf("tag `%s` has no number", tag)
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, Field{}, fmt.Errorf("tag `%s`: %w", tag, err)
	}
	var field Field
	if field.JSON, field.Omit, err = jsonOf(f); err != nil {
		return 0, Field{}, err
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		field.Ptr, t = true, t.Elem()
	}
	if field.Shape, t, err = shapeOf(t); err != nil {
		return 0, Field{}, err
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	field.Kind, field.Type, err = table.kind(t)
	return number, field, err
}

// jsonOf reads the name (empty: inlined) and whether zero is left out.
func jsonOf(f reflect.StructField) (name string, omit bool, err error) {
	options := strings.Split(f.Tag.Get("json"), ",")
	inline := false
	for _, option := range options[1:] {
		omit = omit || option == "omitempty" || option == "omitzero"
		inline = inline || option == "inline"
	}
	if name = options[0]; inline {
		return "", omit, nil
	}
	if name == "" {
		return "", omit, fmt.Errorf("neither a JSON name nor inline")
	}
	return name, omit, nil
}

func shapeOf(t reflect.Type) (shape string, element reflect.Type, err error) {
	switch {
	case t.Kind() == reflect.Map && t.Key().Kind() != reflect.String:
		return "", nil, fmt.Errorf("a map from %s", t.Key())
	case t.Kind() == reflect.Map:
		return "map", t.Elem(), nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 && !writesProtobuf(t) && !writesJSON(t):
		return "list", t.Elem(), nil
	}
	return "", t, nil
}

// kind says what one value is on the wire, and what it looks like in JSON.
func (table *Table) kind(t reflect.Type) (kind, name string, err error) {
	switch {
	case t.PkgPath() != "" && writesJSON(t):
		return "special", nameOf(t), nil
	case t.Kind() == reflect.Struct:
		return "message", nameOf(t), table.add(t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "bytes", "", nil
	case t.Kind() == reflect.Slice && writesProtobuf(t):
		return "items", nameOf(t), nil
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return t.Kind().String(), "", nil
	}
	return "", "", fmt.Errorf("no way to read a %s", t)
}

var (
	protobufMarshaler = reflect.TypeFor[interface{ Marshal() ([]byte, error) }]()
	jsonMarshaler     = reflect.TypeFor[json.Marshaler]()
)

func writesProtobuf(t reflect.Type) bool { return implements(t, protobufMarshaler) }
func writesJSON(t reflect.Type) bool     { return implements(t, jsonMarshaler) }

func implements(t, what reflect.Type) bool {
	return t.Implements(what) || reflect.PointerTo(t).Implements(what)
}

func nameOf(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }
