package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// informer lists, watches, and waits until it has seen its own changes come back.
func informer(ctx context.Context, where place) error {
	client, err := kubernetes.NewForConfig(speakingProtobuf(where.config))
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(where.namespace))
	maps := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 100)
	if err := watchFor("informed", maps, seen); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer stop() // before Shutdown, which waits for it
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), maps.HasSynced) {
		return errors.New("the informer did not synchronize in time")
	}
	if err := step("informer is in step", nil); err != nil {
		return err
	}
	own := client.CoreV1().ConfigMaps(where.namespace)
	informed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "informed"}}
	changed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "informed"}, Data: map[string]string{"a": "b"}}
	return each(
		func() error { _, err := own.Create(ctx, informed, metav1.CreateOptions{}); return err },
		func() error { return await(ctx, seen, "added") },
		func() error { _, err := own.Update(ctx, changed, metav1.UpdateOptions{}); return err },
		func() error { return await(ctx, seen, "updated") },
		func() error { return own.Delete(ctx, "informed", metav1.DeleteOptions{}) },
		func() error { return await(ctx, seen, "deleted") },
	)
}

func watchFor(name string, informer cache.SharedIndexInformer, seen chan<- string) error {
	tell := func(what string) func(any) {
		return func(object any) {
			if changed, ok := object.(*corev1.ConfigMap); ok && changed.Name == name {
				seen <- what
			}
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    tell("added"),
		UpdateFunc: func(_, object any) { tell("updated")(object) },
		DeleteFunc: tell("deleted"),
	})
	return err
}

func await(ctx context.Context, seen <-chan string, wanted string) error {
	for {
		select {
		case what := <-seen:
			if what == wanted {
				return step("informer saw it "+wanted, nil)
			}
		case <-ctx.Done():
			return fmt.Errorf("nothing was %s in time: %w", wanted, ctx.Err())
		}
	}
}
