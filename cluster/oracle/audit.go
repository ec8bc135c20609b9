package oracle

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var strictAudit = serializer.NewCodecFactory(audit.Scheme, serializer.EnableStrict).UniversalDeserializer()

// audited decodes an Event or an EventList as a receiver of the API server's own audit backends would, but unknown or
// doubled fields are errors here.
func audited(q *question, a *answer) error {
	object, kind, err := strictAudit.Decode(q.JSON, nil, nil)
	if err != nil {
		return err
	}
	a.GVK = kind.GroupVersion().String() + ", Kind=" + kind.Kind
	switch object := object.(type) {
	case *auditv1.EventList:
		a.Events = len(object.Items)
	case runtime.Object:
		a.Events = 1
	}
	return nil
}

// auditRule says how the API server would record a request under an audit policy.
func auditRule(q *question, a *answer) error {
	rules, err := policy.LoadPolicyFromBytes([]byte(q.Policy))
	if err != nil {
		return err
	}
	r := q.Request
	if r == nil {
		return fmt.Errorf("no request")
	}
	found := policy.NewPolicyRuleEvaluator(rules).EvaluatePolicyRule(authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: r.User, Groups: r.Groups}, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Group,
		APIVersion: r.Version, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
		ResourceRequest: r.Resource != "", Path: r.Path,
	})
	a.Audit = &auditAnswer{Level: string(found.Level), OmitManagedFields: found.OmitManagedFields}
	return nil
}

type auditRequest struct {
	User        string   `json:"user"`
	Groups      []string `json:"groups"`
	Verb        string   `json:"verb"`
	Namespace   string   `json:"namespace"`
	Group       string   `json:"group"`
	Version     string   `json:"version"`
	Resource    string   `json:"resource"`
	Subresource string   `json:"subresource"`
	Name        string   `json:"name"`
	Path        string   `json:"path"`
}

type auditAnswer struct {
	Level             string `json:"level"`
	OmitManagedFields bool   `json:"omitManagedFields"`
}
