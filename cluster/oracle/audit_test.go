package oracle

import (
	"strings"
	"testing"
)

func TestAnEventWithAnUnknownFieldIsNoEvent(t *testing.T) {
	const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/api","verb":"get","user":{},"requestReceivedTimestamp":"2026-01-02T09:10:45.000006Z","stageTimestamp":"2026-01-02T09:10:45.000006Z"`
	answers := asked(t,
		`{"op":"audit","json":`+event+`}}`,
		`{"op":"audit","json":`+event+`,"sourceIPs":["127.0.0.1"],"annotations":{"a":"b"}}}`,
		`{"op":"audit","json":`+event+`,"session":"s"}}`,
		`{"op":"audit","json":{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`+event+`},`+event+`}]}}`)
	for i, events := range []int{1, 1, 0, 2} {
		if answers[i].Events != events || (answers[i].Error == "") != (events > 0) {
			t.Errorf("%d: %+v", i, answers[i])
		}
	}
	if !strings.Contains(answers[2].Error, "session") {
		t.Errorf("the field is not named: %s", answers[2].Error)
	}
}

func TestTheFirstRuleThatFitsCounts(t *testing.T) {
	const policy = `"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Request\n  resources: [{group: '', resources: [pods/*]}]\n- level: None\n"`
	answers := asked(t,
		`{"op":"auditrule","policy":`+policy+`,"request":{"verb":"get","resource":"pods","subresource":"log","namespace":"a"}}`,
		`{"op":"auditrule","policy":`+policy+`,"request":{"verb":"get","path":"/version"}}`,
		`{"op":"auditrule","policy":"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []","request":{}}`)
	if answers[0].Audit == nil || answers[0].Audit.Level != "Request" || answers[1].Audit == nil || answers[1].Audit.Level != "None" {
		t.Errorf("%+v", answers)
	}
	if answers[2].Error == "" {
		t.Error("a policy without rules is taken")
	}
}
