package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func asked(t *testing.T, questions ...string) []answer {
	t.Helper()
	var out bytes.Buffer
	if err := Serve(strings.NewReader(strings.Join(questions, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	var answers []answer
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

func TestAWatchOfOneNameHasThatName(t *testing.T) {
	a := asked(t, `{"id":7,"op":"requestinfo","method":"GET","url":"/api/v1/namespaces/d/pods?watch=1&fieldSelector=metadata.name%3Dweb"}`)[0]
	if a.Error != "" || string(a.ID) != "7" {
		t.Fatalf("answered %+v", a)
	}
	if a.Attributes.Verb != "watch" || a.Attributes.Name != "web" || a.Attributes.Namespace != "d" {
		t.Errorf("attributes %+v", a.Attributes)
	}
}

func TestAnObjectSurvivesEveryEncoding(t *testing.T) {
	const secret = `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"a":"aGk="}}`
	for _, encoding := range []string{"protobuf", "cbor", "yaml", "json"} {
		encoded := asked(t, `{"op":"encode","to":"`+encoding+`","json":`+secret+`}`)[0]
		data, err := json.Marshal(encoded.Data)
		if err != nil {
			t.Fatal(err)
		}
		decoded := asked(t, `{"op":"decode","data":`+string(data)+`}`)[0]
		if decoded.Error != "" || decoded.From != encoding || string(decoded.JSON) != secret {
			t.Errorf("%s: got %s from %s (%s)", encoding, decoded.JSON, decoded.From, decoded.Error)
		}
	}
}

func TestAWatchStreamIsSplitIntoItsEvents(t *testing.T) {
	const stream = `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"}}` + "\n" + `{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1"}}`
	data, err := json.Marshal([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	a := asked(t, `{"op":"frames","contentType":"application/json;stream=watch","data":`+string(data)+`}`)[0]
	if a.Error != "" || len(a.Frames) != 2 || a.Frames[1].Type != "DELETED" {
		t.Errorf("answered %+v", a)
	}
}

func TestTheSameSeedInventsTheSameObject(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range 60 {
		question := fmt.Sprintf(`{"op":"invent","seed":%d}`, seed)
		both := asked(t, question, question)
		a, b := both[0], both[1]
		if a.Error != "" || !bytes.Equal(a.Data, b.Data) || !bytes.Equal(a.JSON, b.JSON) || a.YAML != b.YAML {
			t.Fatalf("seed %d: %s, or two objects", seed, a.Error)
		}
		kinds[a.GVK] = true
	}
	if len(kinds) < 60 {
		t.Errorf("%d kinds of 60", len(kinds))
	}
}

func TestAnApplyPatchIsReadAsTheServerReadsIt(t *testing.T) {
	data, err := json.Marshal([]byte("a: yes\nb: 0777\n---\nc: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	answers := asked(t, `{"op":"apply","data":`+string(data)+`}`, `{"op":"apply","data":"LSBh"}`)
	if got := string(answers[0].JSON); got != `{"a":true,"b":511}` {
		t.Errorf("read %s (%s)", got, answers[0].Error)
	}
	if answers[1].Error == "" {
		t.Error("a list was taken for a patch")
	}
}

func TestWhatItCannotAnswerIsAnError(t *testing.T) {
	for _, a := range asked(t, `{"op":"sing"}`, `{"op":"decode","data":"AAAA"}`, `{"op":"requestinfo","method":"GET","url":"no path"}`) {
		if a.Error == "" {
			t.Errorf("answered %+v", a)
		}
	}
}
