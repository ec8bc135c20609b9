package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/machine"
)

const (
	nodeName = "node1"
	bridge   = "mantlet0"
	// The bridge's address is the node's: a kubelet refuses a loopback one.
	nodeAddress  = "10.213.0.1"
	podRange     = "10.213.0.0/16"
	firstPod     = "10.213.0.10"
	proxyTable   = "kube-proxy" // kube-proxy's own name for its nft tables
	busyboxImage = "mantlet.test/busybox:1"
	pauseImage   = "mantlet.test/pause:1"
	// One node on a machine: bridge, addresses and nft tables are fixed names.
	nodeLockFile = "/run/mantlet-node.lock"
)

// node is what is settled of a node before it starts.
type node struct {
	port        int
	cgroup      string
	plugins     string // the CNI plugins' folder
	busybox     string
	pause       string
	snapshotter string
}

// plan settles ports and whether there is a node, whose bridge and cgroups it makes: the API server is told of them.
func (b *bed) plan(ctx context.Context) (*plan, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	p := &plan{Options: b.Options, kube: b.binaries[build.Kube], etcd: ports[0], etcdPeer: ports[1], api: ports[2]}
	if b.Node == NodeNo {
		p.nodeReason = "none was asked for"
		return p, nil
	}
	if p.nodeReason = whyNoNode(); p.nodeReason == "" {
		p.nodeReason, err = b.takeNode(ctx)
	}
	if err != nil {
		return nil, err
	}
	if p.nodeReason == "" {
		p.node, err = b.planNode(ports[3])
	} else if b.Node == NodeYes {
		return nil, fmt.Errorf("no node: %s\nhint: --node auto brings the control plane up without one", p.nodeReason)
	}
	return p, err
}

func (b *bed) planNode(port int) (*node, error) {
	plugins, err := pluginFolder()
	if err != nil {
		return nil, err
	}
	box, err := busybox()
	if err != nil {
		return nil, err
	}
	return &node{
		port: port, cgroup: b.record.Node.Cgroup, plugins: plugins, busybox: box,
		pause: b.binaries[build.Pause], snapshotter: snapshotter(b.Dir),
	}, nil
}

// takeNode makes this bed the one with the machine's node, or says why it cannot be.
func (b *bed) takeNode(ctx context.Context) (reason string, err error) {
	lock, err := machine.PatientLock(nodeLockFile, endingTakes)
	if errors.Is(err, machine.ErrLocked) {
		return "another cluster on this machine has the one node that it can hold", nil
	}
	if err != nil {
		return err.Error(), nil
	}
	if err := removeFormer(lock); err != nil {
		lock.Release()
		return "", err
	}
	if reason := someoneElses(ctx); reason != "" {
		lock.Remove()
		return reason, nil
	}
	b.nodeLock, b.record.Node = lock, &NodeRecord{Cgroup: "mantlet-" + strconv.Itoa(os.Getpid())}
	if err := b.save(); err != nil { // first the note, then the deed
		return "", err
	}
	if err := b.record.Node.make(ctx); err != nil {
		return b.giveNodeBack(err)
	}
	return "", nil
}

func (b *bed) giveNodeBack(why error) (reason string, err error) {
	if err := b.record.removeNode(); err != nil {
		return "", errors.Join(why, err)
	}
	b.nodeLock.Remove()
	b.nodeLock, b.record.Node = nil, nil
	return why.Error(), b.save()
}

// removeFormer removes the node of the lock's last holder, if that was killed: it removed its note otherwise.
func removeFormer(lock *machine.Lock) error {
	note, err := lock.Content()
	if err != nil || len(note) == 0 {
		return err
	}
	former, err := parseRecord(note)
	if err != nil {
		return fmt.Errorf("%s: %w", nodeLockFile, err)
	}
	for _, process := range former.Children {
		_ = process.Signal(killSignal)
		if !process.Gone(10 * time.Second) {
			return fmt.Errorf("process %d of a former cluster does not die", process.PID)
		}
	}
	return former.removeNode()
}

// someoneElses finds what has our names though no note says that it is ours.
func someoneElses(ctx context.Context) string {
	if _, err := net.InterfaceByName(bridge); err == nil {
		return "this machine has a network interface " + bridge + " that no cluster of ours made"
	}
	tables, err := run(ctx, "nft", "list", "tables")
	if err != nil {
		return err.Error()
	}
	if len(proxyTables(tables)) > 0 {
		return "this machine has a kube-proxy of its own (nft table " + proxyTable + ")"
	}
	return ""
}

// proxyTables finds the families that have a table of kube-proxy's in what `nft list tables` prints.
func proxyTables(listing string) []string {
	var families []string
	for line := range strings.Lines(listing) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "table" && fields[2] == proxyTable {
			families = append(families, fields[1])
		}
	}
	return families
}

func (n *NodeRecord) make(ctx context.Context) error {
	_, mask, _ := strings.Cut(podRange, "/")
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"addr", "add", nodeAddress + "/" + mask, "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if _, err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	// From pod to service to pod. Of this interface alone; the machine's ip_forward stays as it is.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+bridge+"/forwarding", []byte("1"), 0o600); err != nil {
		return err
	}
	return makeCgroup(n.Cgroup)
}

// removeNode removes all that a node has outside of its folder; what is already gone is fine.
func (r *Record) removeNode() error {
	if r.Node == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all error
	if _, err := net.InterfaceByName(bridge); err == nil {
		_, err := run(ctx, "ip", "link", "delete", bridge)
		all = errors.Join(all, err)
	}
	tables, err := run(ctx, "nft", "list", "tables")
	all = errors.Join(all, err)
	for _, family := range proxyTables(tables) {
		_, err := run(ctx, "nft", "delete", "table", family, proxyTable)
		all = errors.Join(all, err)
	}
	return errors.Join(all, removeCgroup(ctx, r.Node.Cgroup))
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// nodeInit is the first process of the node's namespaces; when it dies, so do containerd, every container, every mount and
// every network namespace of a pod.
type nodeInit struct{ stdin io.Closer }

func (b *bed) startNode(p *plan) (*nodeInit, error) {
	cmd := exec.Command("/proc/self/exe", NodeInit, "run", p.Dir, p.kube)
	cmd.SysProcAttr = namespaces()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &nodeInit{stdin}, b.start("node", cmd)
}

// proceed lets the kubelet start: there is an API server for it.
func (n *nodeInit) proceed() { _ = n.stdin.Close() }
