// Command bed builds and runs a real Kubernetes for tests and for `mantlet dev --sandbox`.
//
//	bed build [--src DIR] [--only kube,oracle]   build what is not in the cache; prints the paths as JSON
//	bed up --dir DIR [--src DIR] [flags]         bring a cluster up, print an endpoint as one line of JSON, hold it
//	bed down --dir DIR                           end the cluster in DIR
//	bed status --dir DIR                         print its endpoint
//	bed user --dir DIR NAME[/GROUP,GROUP]        write a kubeconfig for a user, print its path
//	bed idp --dir DIR --users FILE [-- FLAGS]    a real OpenID Provider on loopback, its authority in DIR/ca.crt; see idp/main.go
//
// It imports nothing of Kubernetes, so that it is itself built in seconds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/pki"
	"mantlet.dev/cluster/supervisor"
)

var commands = map[string]func(args []string) error{
	"build": buildAll, "up": up, "down": down, "status": status, "user": user, "idp": idp,
	supervisor.NodeInit: supervisor.RunNodeInit,
}

func main() {
	// What a node needs lies where the PATH of a plain user, or of a su, does not look.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bed build | up | down | status | user | idp, each with --help")
		os.Exit(2)
	}
	err := commands[os.Args[1]](os.Args[2:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp), errors.Is(err, supervisor.ErrEnded):
	default:
		fmt.Fprintln(os.Stderr, "bed "+os.Args[1]+": "+err.Error())
		os.Exit(1)
	}
}

func buildAll(args []string) error {
	flags := flag.NewFlagSet("bed build", flag.ContinueOnError)
	request, err := requestOf(flags)
	if err != nil {
		return err
	}
	only := flags.String("only", "", "binaries to build, by comma: kube, oracle, schema, pause, idp (default: all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := binaries(*only)
	if err != nil {
		return err
	}
	ctx, stop := untilEnded(false)
	defer stop()
	paths, err := request.Ensure(ctx, wanted...)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(paths)
}

func binaries(only string) ([]build.Binary, error) {
	if only == "" {
		return build.All, nil
	}
	var wanted []build.Binary
	for name := range strings.SplitSeq(only, ",") {
		switch binary := build.Binary(name); binary {
		case build.Kube, build.Oracle, build.Schema, build.Pause, build.IdP:
			wanted = append(wanted, binary)
		default:
			return nil, fmt.Errorf("`%s` is none of kube, oracle, schema, pause, idp", name)
		}
	}
	return wanted, nil
}

func up(args []string) error {
	flags := flag.NewFlagSet("bed up", flag.ContinueOnError)
	request, err := requestOf(flags)
	if err != nil {
		return err
	}
	o := supervisor.Options{Node: supervisor.NodeAuto, Ready: os.Stdout}
	flags.StringVar(&o.Dir, "dir", "", "folder for all state of the cluster, removed at its end")
	flags.Var(&o.Node, "node", "auto, yes or no: whether to run pods; needs root and Linux")
	flags.BoolVar(&o.Install, "install", false, "as root on Debian, install the packages that a node lacks")
	flags.StringVar(&o.AuditLevel, "audit-level", "Metadata", "None, Metadata, Request or RequestResponse")
	flags.DurationVar(&o.Limit, "timeout", 3*time.Minute, "how long the cluster may take once it is built")
	flags.Func("apiserver-flag", "a further flag of kube-apiserver (repeatable)", func(text string) error {
		o.APIServer = append(o.APIServer, text)
		return nil
	})
	untilStdinCloses := flags.Bool("until-stdin-closes", false, "end when stdin does, as when whoever started it dies")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Request = *request
	ctx, stop := untilEnded(*untilStdinCloses)
	defer stop()
	return supervisor.Up(ctx, o)
}

func down(args []string) error {
	dir, _, err := dirOf("down", args)
	if err != nil {
		return err
	}
	cache, err := build.Cache()
	if err != nil {
		return err
	}
	return supervisor.Down(cache, dir)
}

func status(args []string) error {
	dir, _, err := dirOf("status", args)
	if err != nil {
		return err
	}
	endpoint, err := supervisor.Status(dir)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(endpoint)
}

func user(args []string) error {
	dir, who, err := dirOf("user", args)
	if err != nil {
		return err
	}
	path, err := supervisor.User(dir, strings.Join(who, " "))
	if err != nil {
		return err
	}
	_, err = fmt.Println(path)
	return err
}

// idp becomes the provider, with a certificate of an authority made for it.
func idp(args []string) error {
	flags := flag.NewFlagSet("bed idp", flag.ContinueOnError)
	request, err := requestOf(flags)
	if err != nil {
		return err
	}
	dir := flags.String("dir", "", "folder for its certificates")
	users := flags.String("users", "", "JSON file of the users")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("no folder for its certificates\nhint: name one with --dir")
	}
	ctx, stop := untilEnded(false)
	defer stop()
	paths, err := request.Ensure(ctx, build.IdP)
	if err != nil {
		return err
	}
	cert, key, err := certify(*dir)
	if err != nil {
		return err
	}
	command := append([]string{paths[build.IdP], "--cert", cert, "--key", key, "--users", *users}, flags.Args()...)
	return syscall.Exec(command[0], command, os.Environ())
}

// certify writes an authority and a certificate for loopback.
func certify(dir string) (cert, key string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	authority, err := pki.NewAuthority("mantlet-idp")
	if err != nil {
		return "", "", err
	}
	pair, err := authority.Server(pki.Subject{Name: "idp", Hosts: []string{"127.0.0.1", "::1", "localhost"}})
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "idp.crt"), filepath.Join(dir, "idp.key")
	return cert, key, errors.Join(
		os.WriteFile(filepath.Join(dir, "ca.crt"), authority.Cert, 0o644),
		os.WriteFile(cert, pair.Cert, 0o644),
		os.WriteFile(key, pair.Key, 0o600),
	)
}

func dirOf(command string, args []string) (dir string, rest []string, err error) {
	flags := flag.NewFlagSet("bed "+command, flag.ContinueOnError)
	flags.StringVar(&dir, "dir", "", "folder of the cluster")
	if err := flags.Parse(args); err != nil {
		return "", nil, err
	}
	if dir == "" {
		return "", nil, errors.New("no folder of a cluster\nhint: name one with --dir")
	}
	return dir, flags.Args(), nil
}

func requestOf(flags *flag.FlagSet) (*build.Request, error) {
	cache, err := build.Cache()
	if err != nil {
		return nil, err
	}
	request := &build.Request{Cache: cache, Progress: os.Stderr}
	flags.StringVar(&request.Source, "src", ".", "folder of the cluster's Go module")
	return request, nil
}

// untilEnded ends with a signal, with the process that started us, or, if asked for, with stdin.
func untilEnded(stdin bool) (context.Context, func()) {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		end(supervisor.ErrEnded) // and further ones do not hurry the cleaning up
	}()
	if stdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end(supervisor.ErrEnded)
		}()
	}
	go func() {
		awaitOrphaned()
		end(supervisor.ErrEnded)
	}()
	return ctx, func() { end(nil) }
}

// awaitOrphaned returns when another process has become our parent: the former one died. Linux could signal that, but at
// the end of the thread that started us, which may be long before.
func awaitOrphaned() {
	for parent := os.Getppid(); os.Getppid() == parent; {
		time.Sleep(250 * time.Millisecond)
	}
}
