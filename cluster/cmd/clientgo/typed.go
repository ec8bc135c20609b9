package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

const image = "registry.invalid/typed:1"

// typed does to objects what a controller does, with bodies in protobuf.
func typed(ctx context.Context, where place) error {
	client, err := kubernetes.NewForConfig(speakingProtobuf(where.config))
	if err != nil {
		return err
	}
	return each(
		func() error { return configMaps(ctx, client, where.namespace) },
		func() error { return deployments(ctx, client, where.namespace) },
	)
}

// speakingProtobuf writes protobuf, and reads it where the server has it: how controllers are set up.
func speakingProtobuf(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config
}

func configMaps(ctx context.Context, client kubernetes.Interface, namespace string) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "typed-"}, Data: map[string]string{"tries": "3"}}
	var name string
	return each(
		func() error {
			stored, err := maps.Create(ctx, made, metav1.CreateOptions{})
			if err == nil {
				name = stored.Name
			}
			return step("configmap created with a name of the server's", err)
		},
		func() error {
			return step("configmap updated, again on a conflict", retry.RetryOnConflict(retry.DefaultRetry, func() error {
				live, err := maps.Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				live.Data["tries"] = "5"
				_, err = maps.Update(ctx, live, metav1.UpdateOptions{})
				return err
			}))
		},
		func() error {
			listed, err := maps.List(ctx, metav1.ListOptions{Limit: 500, FieldSelector: "metadata.name=" + name})
			if err == nil && (len(listed.Items) != 1 || listed.Items[0].Data["tries"] != "5") {
				err = fmt.Errorf("it lists %v", listed.Items)
			}
			return step("configmap listed as it was updated", err)
		},
		func() error {
			return step("configmap deleted by its uid", deleteByUID(ctx, client, namespace, name))
		},
		func() error {
			_, err := maps.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return step("configmap is gone", nil)
			}
			return fmt.Errorf("the configmap is still there: %w", err)
		},
	)
}

func deleteByUID(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	live, err := maps.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return maps.Delete(ctx, name, *metav1.NewPreconditionDeleteOptions(string(live.UID)))
}

func deployments(ctx context.Context, client kubernetes.Interface, namespace string) error {
	deployments := client.AppsV1().Deployments(namespace)
	patch := func(kind types.PatchType, text string) error {
		_, err := deployments.Patch(ctx, "typed", kind, []byte(text), metav1.PatchOptions{FieldManager: "clientgo"})
		return step("deployment patched as "+string(kind), err)
	}
	return each(
		func() error {
			_, err := deployments.Create(ctx, deployment(), metav1.CreateOptions{FieldManager: "clientgo"})
			return step("deployment created", err)
		},
		func() error {
			return patch(types.JSONPatchType, `[{"op":"add","path":"/metadata/labels","value":{"one":"json"}}]`)
		},
		func() error { return patch(types.MergePatchType, `{"metadata":{"labels":{"two":"merge"}}}`) },
		func() error {
			return patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"A","value":"b"}]}]}}}}`)
		},
		func() error {
			owned := appsapply.Deployment("typed", namespace).WithSpec(appsapply.DeploymentSpec().
				WithSelector(metaapply.LabelSelector().WithMatchLabels(labels())).
				WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels()).WithSpec(coreapply.PodSpec().
					WithContainers(coreapply.Container().WithName("app").WithImage(image)))))
			_, err := deployments.Apply(ctx, owned, metav1.ApplyOptions{FieldManager: "clientgo-apply", Force: true})
			return step("deployment applied", err)
		},
		func() error {
			_, err := deployments.UpdateScale(ctx, "typed", &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Name: "typed", Namespace: namespace},
				Spec:       autoscalingv1.ScaleSpec{Replicas: 0},
			}, metav1.UpdateOptions{})
			return step("deployment scaled", err)
		},
		func() error {
			foreground := metav1.DeletePropagationForeground
			return step("deployment deleted", deployments.Delete(ctx, "typed", metav1.DeleteOptions{PropagationPolicy: &foreground}))
		},
	)
}

// deployment has no replicas: nothing of it needs a node.
func deployment() *appsv1.Deployment {
	none := int32(0)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "typed"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: labels()},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels()},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
}

func labels() map[string]string { return map[string]string{"app": "typed"} }
