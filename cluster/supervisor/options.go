// Package supervisor runs one Kubernetes: etcd, the control plane and, where the machine can, a node. It holds every process,
// so that the cluster ends with it, and it knows what to remove when it was itself killed.
package supervisor

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"mantlet.dev/cluster/build"
)

// Options is what one wants of a bed.
type Options struct {
	build.Request
	// Dir holds all state of this cluster, and is removed with it.
	Dir  string
	Node NodeWish
	// Install the Debian packages that a node needs and that are missing.
	Install bool
	// AuditLevel is a level of audit.k8s.io/v1: None, Metadata, Request or RequestResponse.
	AuditLevel string
	// APIServer is further flags of kube-apiserver.
	APIServer []string
	// Limit is how long the cluster may take to be ready, once it is built.
	Limit time.Duration
	// Ready gets one line of JSON, an Endpoint, when the cluster is ready.
	Ready io.Writer
}

// NodeWish says what to do about a node.
type NodeWish string

const (
	// NodeAuto brings a node up if this machine can have one.
	NodeAuto NodeWish = "auto"
	// NodeYes fails if it cannot.
	NodeYes NodeWish = "yes"
	// NodeNo brings the control plane up alone.
	NodeNo NodeWish = "no"
)

// Set reads the wish from a flag.
func (w *NodeWish) Set(text string) error {
	switch wish := NodeWish(text); wish {
	case NodeAuto, NodeYes, NodeNo:
		*w = wish
		return nil
	}
	return fmt.Errorf("`%s` is none of auto, yes, no", text)
}

func (w *NodeWish) String() string { return string(*w) }

func (o *Options) resolve() error {
	switch o.AuditLevel {
	case "None", "Metadata", "Request", "RequestResponse":
	default:
		return fmt.Errorf("audit level `%s` is none of None, Metadata, Request, RequestResponse", o.AuditLevel)
	}
	if o.Dir == "" {
		return fmt.Errorf("no folder for the cluster\nhint: name one with --dir")
	}
	dir, err := filepath.Abs(o.Dir)
	o.Dir = dir
	return err
}
