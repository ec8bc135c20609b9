package main

import (
	"os"
	_ "time/tzdata" // CronJobs name time zones, and a bare machine has no table of them

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	// The registrations that the mains of Kubernetes import.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func init() {
	registerCommand("kube-apiserver", func() *cobra.Command { return apiserver.NewAPIServerCommand() })
	registerCommand("kube-controller-manager", func() *cobra.Command { return manager.NewControllerManagerCommand() })
	registerCommand("kube-scheduler", func() *cobra.Command { return scheduler.NewSchedulerCommand() })
}

// registerCommand takes a function, not a command: making one registers flags and metrics, and only the one that runs may.
func registerCommand(name string, make func() *cobra.Command) {
	register(name, func() { os.Exit(cli.Run(make())) })
}
