package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/randfill"
)

// invent fills an object of the Go types at random, the same for the same seed, and answers with what the decoder of its
// protobuf finds: as JSON, as YAML, and the protobuf itself. The kinds take turns.
func invent(q *question, a *answer) error {
	kinds := inventable()
	kind := kinds[int(q.Seed)%len(kinds)]
	object, err := filled(kind, q.Seed)
	if err != nil {
		return err
	}
	var encoded bytes.Buffer
	if err := asProtobuf.Encode(object, &encoded); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	a.Data = encoded.Bytes()
	decoded, found, _, err := read(a.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	a.GVK = found.String()
	if a.JSON, err = write(decoded); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	var text bytes.Buffer
	err = asYAML.Encode(decoded, &text)
	a.YAML = text.String()
	return err
}

// inventable are the kinds that come as objects in bodies: those with metadata, of the groups that are served.
func inventable() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for kind, t := range known.AllKnownTypes() {
		_, hasMeta := t.FieldByName("ObjectMeta")
		message := implements[interface{ Marshal() ([]byte, error) }](t)
		if hasMeta && message && kind.Version != runtime.APIVersionInternal && !strings.HasSuffix(kind.Group, "meta.k8s.io") {
			kinds = append(kinds, kind)
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return kinds
}

func implements[I any](t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

func filled(kind schema.GroupVersionKind, seed int64) (object runtime.Object, err error) {
	if object, err = known.New(kind); err != nil {
		return nil, err
	}
	filler := randfill.NewWithSeed(seed).NilChance(0.62).NumElements(1, 2).MaxDepth(11).Funcs(inventors...)
	filler.Fill(object)
	object.GetObjectKind().SetGroupVersionKind(kind)
	return object, nil
}

// Words that encodings stumble over: what YAML takes for something else than text, what it folds, what JSON escapes. But for
// `<<` and U+2028, which go-yaml writes so that they read as something else.
var words = []string{
	"", "web", "shop-1", "a.example.dev/b", "yes", "No", "on", "null", "~", "true", "0777", "0x1F", "0o17", "1_000", "1e3", "1.0", "-7", "+5",
	".5", ".inf", "1:20", "2026-11-23", "2026-11-23T17:00:00Z", "=", "- a", "a: b", "a #b", "# a", "'", "\"", "\\", "a\\nb", "{", "[x]", "&a", "*a",
	"!!binary aGk=", "%YAML 1.1", "---", "...", "a\nb", "a\nb\n", "a\n\n\nb\n\n", "\na", " a", "a ", "\ta\tb", "a\r\nb", "é", "日本", "😀", "\u00a0",
	"\ufeff", "<&>", strings.Repeat("long ", 24),
}

// Of types whose fields say nothing, or whose random value nobody could send.
var inventors = []any{
	func(s *string, c randfill.Continue) { *s = words[c.Intn(len(words))] },
	func(b *[]byte, c randfill.Continue) {
		*b = make([]byte, c.Intn(6))
		for i := range *b {
			(*b)[i] = byte(c.Intn(256))
		}
	},
	func(n *int32, c randfill.Continue) { *n = int32(number(c, math.MinInt32, math.MaxInt32)) },
	func(n *int64, c randfill.Continue) { *n = number(c, math.MinInt64, math.MaxInt64) },
	func(t *meta.Time, c randfill.Continue) { *t = meta.Unix(instant(c), 0) },
	func(t *meta.MicroTime, c randfill.Continue) {
		*t = meta.MicroTime{Time: time.Unix(instant(c), c.Int63n(1_000_000)*1000)}
	},
	func(t *meta.TypeMeta, c randfill.Continue) {},
	func(q *resource.Quantity, c randfill.Continue) {
		*q = resource.MustParse([]string{"0", "1", "100m", "1Gi", "128Mi", "-5", "1500m", "0.5", "1e3", "12E", "1n", "9223372036854775807"}[c.Intn(12)])
	},
	func(v *intstr.IntOrString, c randfill.Continue) {
		if c.Bool() {
			*v = intstr.FromInt32(int32(number(c, math.MinInt32, math.MaxInt32)))
		} else {
			*v = intstr.FromString(words[c.Intn(len(words))])
		}
	},
	func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = document(c) },
	func(f *meta.FieldsV1, c randfill.Continue) {
		f.Raw = []byte(`{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}`)
	},
	func(j *apiextensions.JSON, c randfill.Continue) { j.Raw = document(c) },
	func(s *apiextensions.JSONSchemaPropsOrBool, c randfill.Continue) {
		if s.Allows = true; c.Bool() {
			s.Schema = schemaOf(c)
		}
	},
	func(s *apiextensions.JSONSchemaPropsOrArray, c randfill.Continue) {
		if s.Schema = schemaOf(c); c.Bool() {
			s.Schema, s.JSONSchemas = nil, []apiextensions.JSONSchemaProps{*schemaOf(c), *schemaOf(c)}
		}
	},
	func(s *apiextensions.JSONSchemaPropsOrStringArray, c randfill.Continue) {
		if s.Schema = schemaOf(c); c.Bool() {
			s.Schema, s.Property = nil, []string{"a", "b"}
		}
	},
}

func number(c randfill.Continue, least, most int64) int64 {
	return []int64{0, 1, 2, 30, 80, 8080, -1, 1 << 20, least, most}[c.Intn(10)]
}

// Between the years 1 and 9999, mostly near today.
func instant(c randfill.Continue) int64 {
	return []int64{0, 1, 1_795_453_200, 1_795_453_261, -1, -62_135_596_799, 253_402_207_200}[c.Intn(7)]
}

// Keys in the order in which Go writes them: what is raw stays as it is.
func document(c randfill.Continue) []byte {
	return []byte([]string{`{"a":[1,"x",null,true],"b":{"c":1.5}}`, `{}`, `{"kind":"Widget","spec":{"yes":"no"}}`, `[]`, `"text"`, `7`}[c.Intn(6)])
}

func schemaOf(c randfill.Continue) *apiextensions.JSONSchemaProps {
	return &apiextensions.JSONSchemaProps{Type: "string", Description: words[c.Intn(len(words))], MaxLength: new(int64)}
}

var errNoMapping = errors.New("the patch is not a mapping")

// apply reads an apply patch as pkg/endpoints/handlers/patch.go does, newApplyPatcher.
func apply(q *question, a *answer) (err error) {
	var object map[string]any
	if err := yaml.Unmarshal(q.Data, &object); err != nil {
		return err
	}
	if object == nil {
		return errNoMapping
	}
	a.JSON, err = json.Marshal(object)
	return err
}
