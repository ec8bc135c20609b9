package oracle

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// As kube-apiserver makes it: server.NewRequestInfoResolver with DefaultLegacyAPIPrefix.
var resolver = &request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("apis", "api"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

// attributes is what the authorizer is asked.
type attributes struct {
	Verb, APIGroup, APIVersion, Namespace, Resource, Subresource, Name, Path string
	ResourceRequest, ReadOnly                                                bool
	FieldSelector, LabelSelector                                             []string
	FieldError, LabelError                                                   string
}

func requestInfo(q *question, a *answer) error {
	req, err := readRequest(q)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	a.Info, err = resolver.NewRequestInfo(req)
	if err != nil {
		return fmt.Errorf("requestinfo: %w", err)
	}
	ctx := request.WithUser(request.WithRequestInfo(req.Context(), a.Info), &user.DefaultInfo{Name: "oracle"})
	found, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	a.Attributes = attributesOf(found)
	return nil
}

// readRequest does to the request line exactly what the server of net/http does.
func readRequest(q *question) (*http.Request, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: oracle\r\n", q.Method, q.URL)
	for name, values := range q.Headers {
		for _, value := range values {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	fmt.Fprintf(&text, "\r\n%s", q.Body)
	return http.ReadRequest(bufio.NewReader(strings.NewReader(text.String())))
}

func attributesOf(found authorizer.Attributes) *attributes {
	a := &attributes{
		Verb: found.GetVerb(), APIGroup: found.GetAPIGroup(), APIVersion: found.GetAPIVersion(),
		Namespace: found.GetNamespace(), Resource: found.GetResource(), Subresource: found.GetSubresource(),
		Name: found.GetName(), Path: found.GetPath(),
		ResourceRequest: found.IsResourceRequest(), ReadOnly: found.IsReadOnly(),
	}
	fields, err := found.GetFieldSelector()
	if err != nil {
		a.FieldError = err.Error()
	}
	for _, r := range fields {
		a.FieldSelector = append(a.FieldSelector, fmt.Sprintf("%s %s %s", r.Field, r.Operator, r.Value))
	}
	labels, err := found.GetLabelSelector()
	if err != nil {
		a.LabelError = err.Error()
	}
	for _, r := range labels {
		a.LabelSelector = append(a.LabelSelector, r.String())
	}
	return a
}
