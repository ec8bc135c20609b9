// Command clientgo is a client as Go programs are, and knows nothing of gateways. It goes where KUBECONFIG says.
//
//	clientgo typed -n NS                                   a typed client that speaks protobuf: every verb of a controller
//	clientgo informer -n NS                                a shared informer that sees objects come, change and go
//	clientgo dynamic -n NS                                 no types: discovery, server-side apply, Tables, logs, as MCP servers do
//	clientgo deletecollection -n NS [--selector S] RESOURCE    one DELETE of a collection, of everything if no selector is given
//
// Each prints a line for every step that went well, and ends with 1 at the first that did not, with the reason that client-go saw.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// place is where a command acts.
type place struct {
	config    *rest.Config
	namespace string
	selector  string
	args      []string
}

var commands = map[string]func(context.Context, place) error{
	"typed": typed, "informer": informer, "dynamic": withoutTypes, "deletecollection": deleteCollection,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clientgo typed | informer | dynamic | deletecollection, each with -n NAMESPACE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "clientgo %s: %s: %v\n", os.Args[1], apierrors.ReasonForError(err), err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	flags := flag.NewFlagSet("clientgo "+command, flag.ContinueOnError)
	var where place
	flags.StringVar(&where.namespace, "n", "default", "namespace")
	flags.StringVar(&where.selector, "selector", "", "labels of what is deleted; everything if empty")
	within := flags.Duration("within", time.Minute, "how long it may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	where.args = flags.Args()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return err
	}
	config.UserAgent = "clientgo/1.0"
	where.config = config
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	return commands[command](ctx, where)
}

// step says what went well, or with which step it ended.
func step(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Println(name)
	return nil
}

// each makes steps in turn, up to the first that fails.
func each(steps ...func() error) error {
	for _, next := range steps {
		if err := next(); err != nil {
			return err
		}
	}
	return nil
}
