package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// As large a watch event as the API server can send: an object's limit in etcd, times what base64 and JSON add.
const maxFrame = 32 << 20

var (
	known      = kinds()
	codecs     = serializer.NewCodecFactory(known)
	asJSON     = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, known, known, jsonserializer.SerializerOptions{})
	asYAML     = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, known, known, jsonserializer.SerializerOptions{Yaml: true})
	asProtobuf = protobuf.NewSerializer(known, known)
	asCBOR     = cbor.NewSerializer(known, known)
)

func kinds() *runtime.Scheme {
	for _, add := range []func(*runtime.Scheme) error{
		apiextensions.AddToScheme, apiregistration.AddToScheme, meta.AddMetaToScheme, metav1beta1.AddMetaToScheme,
	} {
		utilruntime.Must(add(scheme.Scheme))
	}
	return scheme.Scheme
}

func decode(q *question, a *answer) error {
	object, kind, from, err := read(q.Data)
	a.From = from
	if kind != nil {
		a.GVK = kind.String()
	}
	if err != nil {
		return err
	}
	a.JSON, err = write(object)
	return err
}

func encode(q *question, a *answer) error {
	object, kind, _, err := read(q.JSON)
	if err != nil {
		return err
	}
	a.GVK = kind.String()
	encoder, err := encoderOf(q.To)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = encoder.Encode(object, &out)
	a.Data = out.Bytes()
	return err
}

func encoderOf(name string) (runtime.Encoder, error) {
	switch name {
	case "protobuf":
		return asProtobuf, nil
	case "rawprotobuf":
		return protobuf.NewRawSerializer(known, known), nil
	case "cbor":
		return asCBOR, nil
	case "yaml":
		return asYAML, nil
	case "json":
		return asJSON, nil
	}
	return nil, fmt.Errorf("unknown encoding %q", name)
}

type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// frames splits a watch stream and decodes each event and its object.
func frames(q *question, a *answer) error {
	mediaType, _, err := mime.ParseMediaType(q.ContentType)
	if err != nil {
		return err
	}
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	if !ok || info.StreamSerializer == nil {
		return fmt.Errorf("no stream of %q", q.ContentType)
	}
	reader := info.StreamSerializer.Framer.NewFrameReader(io.NopCloser(bytes.NewReader(q.Data)))
	buffer := make([]byte, maxFrame)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		next, err := event(info.StreamSerializer.Serializer, buffer[:n])
		if err != nil {
			return err
		}
		a.Frames = append(a.Frames, next)
	}
}

func event(decoder runtime.Decoder, data []byte) (frame, error) {
	var e meta.WatchEvent
	if _, _, err := decoder.Decode(data, nil, &e); err != nil {
		return frame{}, err
	}
	object, _, _, err := read(e.Object.Raw)
	if err != nil {
		return frame{}, err
	}
	text, err := write(object)
	return frame{e.Type, text}, err
}

// read decodes bytes of any encoding; kinds that Go does not know stay unstructured, but not in protobuf, as in Kubernetes.
func read(data []byte) (runtime.Object, *schema.GroupVersionKind, string, error) {
	from, decoder := sniff(data)
	object, kind, err := decoder.Decode(data, nil, nil)
	if err != nil && runtime.IsNotRegisteredError(err) && from != "protobuf" {
		object, kind, err = decoder.Decode(data, nil, &unstructured.Unstructured{})
	}
	if err != nil {
		return nil, kind, from, err
	}
	if kind == nil {
		return nil, nil, from, errors.New("no kind")
	}
	if object.GetObjectKind().GroupVersionKind().Empty() {
		object.GetObjectKind().SetGroupVersionKind(*kind)
	}
	return object, kind, from, nil
}

func sniff(data []byte) (string, runtime.Decoder) {
	// Neither recognizer can fail on bytes in memory.
	if ok, _, _ := asProtobuf.RecognizesData(data); ok {
		return "protobuf", asProtobuf
	}
	if ok, _, _ := asCBOR.RecognizesData(data); ok {
		return "cbor", asCBOR
	}
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		return "json", asJSON
	}
	return "yaml", asYAML
}

func write(object runtime.Object) (json.RawMessage, error) {
	var out bytes.Buffer
	err := asJSON.Encode(object, &out)
	return bytes.TrimSpace(out.Bytes()), err
}
