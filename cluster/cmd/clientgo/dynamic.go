package main

import (
	"context"
	"encoding/json"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
)

const manifest = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dynamic", "labels": {"app": "dynamic"}},
	"spec": {"selector": {"app": "dynamic"}, "ports": [{"port": 80}]}}`

// withoutTypes asks first what it may do, finds out what there is, and acts on any kind alike: how an MCP server for Kubernetes works.
func withoutTypes(ctx context.Context, where place) error {
	client, err := kubernetes.NewForConfig(where.config)
	if err != nil {
		return err
	}
	dynamic, err := dynamic.NewForConfig(where.config)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON([]byte(manifest)); err != nil {
		return err
	}
	mapping, err := mapper(client.Discovery()).RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
	if err := step("kind found by discovery", err); err != nil {
		return err
	}
	services := dynamic.Resource(mapping.Resource).Namespace(where.namespace)
	return each(
		func() error { return step("access reviewed", mayCreate(ctx, client, where.namespace, mapping)) },
		func() error {
			_, err := services.Apply(ctx, "dynamic", object, metav1.ApplyOptions{FieldManager: "mcp-server", Force: true})
			return step("service applied", err)
		},
		func() error { return step("services listed as a table", table(ctx, client, where.namespace)) },
		func() error {
			_, err := dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).
				Namespace(where.namespace).List(ctx, metav1.ListOptions{Limit: 10})
			return step("events listed", err)
		},
		func() error { return step("logs read of every pod that has any", logs(ctx, client, where.namespace)) },
		func() error { return step("service deleted", services.Delete(ctx, "dynamic", metav1.DeleteOptions{})) },
	)
}

func mapper(client discovery.DiscoveryInterface) meta.RESTMapper {
	return restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
}

func mayCreate(ctx context.Context, client kubernetes.Interface, namespace string, mapping *meta.RESTMapping) error {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: "patch", Group: mapping.Resource.Group, Resource: mapping.Resource.Resource, Name: "dynamic",
		},
	}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err == nil && !answer.Status.Allowed {
		err = fmt.Errorf("the answer is no: %s", answer.Status.Reason)
	}
	return err
}

func table(ctx context.Context, client kubernetes.Interface, namespace string) error {
	text, err := client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("services").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Raw()
	if err != nil {
		return err
	}
	var table metav1.Table
	if err := json.Unmarshal(text, &table); err != nil {
		return err
	}
	if table.Kind != "Table" || len(table.Rows) == 0 {
		return fmt.Errorf("a %s of %d rows", table.Kind, len(table.Rows))
	}
	return nil
}

func logs(ctx context.Context, client kubernetes.Interface, namespace string) error {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
	if err != nil {
		return err
	}
	lines := int64(10)
	for _, pod := range pods.Items {
		options := &corev1.PodLogOptions{TailLines: &lines}
		if _, err := client.CoreV1().Pods(namespace).GetLogs(pod.Name, options).DoRaw(ctx); err != nil {
			return err
		}
	}
	return nil
}

// deleteCollection deletes all that the selector names, which is everything if there is none: the one call of a controller that cleans up.
func deleteCollection(ctx context.Context, where place) error {
	if len(where.args) != 1 {
		return fmt.Errorf("one resource is wanted, not %d", len(where.args))
	}
	client, err := discovery.NewDiscoveryClientForConfig(where.config)
	if err != nil {
		return err
	}
	resource, err := mapper(client).ResourceFor(schema.ParseGroupResource(where.args[0]).WithVersion(""))
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(where.config)
	if err != nil {
		return err
	}
	err = objects.Resource(resource).Namespace(where.namespace).
		DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: where.selector})
	return step("collection of "+resource.Resource+" deleted", err)
}
