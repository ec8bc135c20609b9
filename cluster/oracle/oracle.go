// Package oracle answers what the real Kubernetes code makes of a request or a body, one JSON line for each JSON line.
//
//	{"op":"requestinfo","method":"GET","url":"/api/v1/pods?watch=1","headers":{}}    -> {"info":{..},"attributes":{..}}
//	{"op":"decode","data":"<base64>"}                      -> {"json":{..},"gvk":"..","from":"protobuf|cbor|json|yaml"}
//	{"op":"encode","json":{..},"to":"protobuf"}            -> {"data":"<base64>","gvk":".."}
//	                                                          to: protobuf, rawprotobuf, cbor, yaml or json
//	{"op":"frames","data":"<base64>","contentType":"application/vnd.kubernetes.protobuf;stream=watch"}
//	                                                       -> {"frames":[{"type":"ADDED","object":{..}}]}
//	{"op":"audit","json":{"kind":"Event",..}}              -> {"events":1,"gvk":".."}
//	                                                          an EventList too; unknown fields are errors
//	{"op":"auditrule","policy":"..","request":{..}}        -> {"audit":{"level":"Metadata","omitManagedFields":false}}
//	{"op":"apply","data":"<base64>"}                       -> {"json":{..}}; an apply patch, YAML or JSON, as the server reads it
//	{"op":"invent","seed":7}                               -> {"json":{..},"yaml":"..","data":"<base64>","gvk":".."}; some object
//
// A question it cannot answer gives {"error":".."}, beside what was found until then. An "id" comes back as it was sent.
package oracle

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apiserver/pkg/endpoints/request"
)

type question struct {
	ID          json.RawMessage     `json:"id,omitempty"`
	Op          string              `json:"op"`
	Method      string              `json:"method"`
	URL         string              `json:"url"`
	Headers     map[string][]string `json:"headers"`
	Body        string              `json:"body"`
	Data        []byte              `json:"data"`
	ContentType string              `json:"contentType"`
	JSON        json.RawMessage     `json:"json"`
	To          string              `json:"to"`
	Policy      string              `json:"policy"`
	Request     *auditRequest       `json:"request"`
	Seed        int64               `json:"seed"`
}

type answer struct {
	ID         json.RawMessage      `json:"id,omitempty"`
	Error      string               `json:"error,omitempty"`
	Info       *request.RequestInfo `json:"info,omitempty"`
	Attributes *attributes          `json:"attributes,omitempty"`
	GVK        string               `json:"gvk,omitempty"`
	From       string               `json:"from,omitempty"`
	JSON       json.RawMessage      `json:"json,omitempty"`
	YAML       string               `json:"yaml,omitempty"`
	Data       []byte               `json:"data,omitempty"`
	Frames     []frame              `json:"frames,omitempty"`
	Events     int                  `json:"events,omitempty"`
	Audit      *auditAnswer         `json:"audit,omitempty"`
}

// Serve answers until in ends.
func Serve(in io.Reader, out io.Writer) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriterSize(out, 1<<20)
	questions := json.NewDecoder(reader)
	answers := json.NewEncoder(writer)
	answers.SetEscapeHTML(false)
	for {
		var q question
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return writer.Flush()
		} else if err != nil {
			return errors.Join(err, writer.Flush())
		}
		if err := answers.Encode(reply(&q)); err != nil {
			return err
		}
		// Somebody who waits for the answer gets it at once; a file of questions is answered in blocks.
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
	}
}

func reply(q *question) *answer {
	a := &answer{ID: q.ID}
	if err := ask(q, a); err != nil {
		a.Error = err.Error()
	}
	return a
}

func ask(q *question, a *answer) (err error) {
	defer func() {
		if r := recover(); r != nil { // hostile bytes are what it is here for
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	switch q.Op {
	case "requestinfo":
		return requestInfo(q, a)
	case "decode":
		return decode(q, a)
	case "encode":
		return encode(q, a)
	case "frames":
		return frames(q, a)
	case "audit":
		return audited(q, a)
	case "auditrule":
		return auditRule(q, a)
	case "apply":
		return apply(q, a)
	case "invent":
		return invent(q, a)
	}
	return fmt.Errorf("unknown op %q", q.Op)
}
