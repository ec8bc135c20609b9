package supervisor

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mantlet.dev/cluster/build"
	"mantlet.dev/cluster/pki"
)

const (
	serviceRange   = "10.96.0.0/16"
	serviceAddress = "10.96.0.1" // the API server's, the first of the range
	issuer         = "https://kubernetes.default.svc"
	loopback       = "127.0.0.1"
	// The names that a front proxy's certificate may have: the API server's own, and the gateway's.
	frontProxy        = "front-proxy-client"
	gatewayFrontProxy = "mantlet"
)

// plan is all that is settled before the first process starts.
type plan struct {
	Options
	kube     string
	etcd     int
	etcdPeer int
	api      int
	node     *node
	// nodeReason is why there is no node.
	nodeReason string
}

func (p *plan) server() string            { return fmt.Sprintf("https://%s:%d", loopback, p.api) }
func (p *plan) at(path ...string) string  { return filepath.Join(append([]string{p.Dir}, path...)...) }
func (p *plan) pki(name string) string    { return p.at("pki", name) }
func (p *plan) config(user string) string { return p.pki(user + ".kubeconfig") }
func (p *plan) etcdURL(port int) string   { return fmt.Sprintf("http://%s:%d", loopback, port) }
func (p *plan) auditLog() string          { return p.at("audit", "audit.log") }

// Outside of the ranges that systems take ports from for outgoing connections (Linux: from 32768), so that none is taken
// between our looking and the component's listening.
const firstPort, ports = 20000, 12000

func freePorts(n int) ([]int, error) {
	var found []int
	for range 1000 {
		port := firstPort + rand.IntN(ports)
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer func() { _ = listener.Close() }() // all at once at the end, so that they differ
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("no free ports from %d to %d", firstPort, firstPort+ports)
}

// write makes every file that the components read.
func (p *plan) write() error {
	for _, dir := range []string{"log", "audit", "pki", "bin", "users"} {
		if err := os.MkdirAll(p.at(dir), 0o700); err != nil {
			return err
		}
	}
	if err := p.writePKI(); err != nil {
		return err
	}
	if err := p.writeJSON("audit/policy.json", auditPolicy(p.AuditLevel)); err != nil {
		return err
	}
	if p.node != nil {
		if err := p.node.write(p); err != nil {
			return err
		}
	}
	return os.Symlink(p.kube, p.at("bin", "kubectl"))
}

// writeJSON writes configuration; where Kubernetes says YAML, JSON is that.
func (p *plan) writeJSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(p.at(name), text, 0o600)
}

func (p *plan) writePKI() error {
	made := map[string]*pki.Pair{}
	authority := func(name string) (*pki.Authority, error) {
		a, err := pki.NewAuthority(name)
		if err == nil {
			made[name] = &a.Pair
		}
		return a, err
	}
	servers, err := authority("server-ca")
	if err != nil {
		return err
	}
	clients, err := authority("client-ca")
	if err != nil {
		return err
	}
	fronts, err := authority("front-proxy-ca")
	if err != nil {
		return err
	}
	if made["sa"], err = pki.NewSigningKey(); err != nil {
		return err
	}
	issue := func(name string, by func(pki.Subject) (*pki.Pair, error), s pki.Subject) {
		if err == nil {
			made[name], err = by(s)
		}
	}
	issue("apiserver", servers.Server, pki.Subject{Name: "kube-apiserver", Hosts: apiServerHosts()})
	issue("kubelet", servers.Server, pki.Subject{Name: "system:node:" + nodeName, Groups: []string{"system:nodes"}, Hosts: []string{nodeName, nodeAddress, loopback}})
	issue("apiserver-kubelet-client", clients.Client, pki.Subject{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}})
	issue(frontProxy, fronts.Client, pki.Subject{Name: frontProxy})
	users := map[string]pki.Subject{
		"admin":                   {Name: "admin", Groups: []string{"system:masters"}},
		"kube-controller-manager": {Name: "system:kube-controller-manager"},
		"kube-scheduler":          {Name: "system:kube-scheduler"},
		"kube-proxy":              {Name: "system:kube-proxy"},
		"node":                    {Name: "system:node:" + nodeName, Groups: []string{"system:nodes"}},
	}
	for name, subject := range users {
		issue("client-"+name, clients.Client, subject)
	}
	if err != nil {
		return err
	}
	if err := p.savePairs(made); err != nil {
		return err
	}
	return p.saveKubeconfigs(servers.Cert, users, made)
}

func (p *plan) savePairs(made map[string]*pki.Pair) error {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if err := os.WriteFile(p.pki(name+".crt"), made[name].Cert, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(p.pki(name+".key"), made[name].Key, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) saveKubeconfigs(ca []byte, users map[string]pki.Subject, made map[string]*pki.Pair) error {
	for name, subject := range users {
		text, err := pki.Kubeconfig(p.server(), ca, subject.Name, made["client-"+name])
		if err != nil {
			return err
		}
		file := p.config(name)
		if name == "admin" {
			file = p.at("kubeconfig")
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func apiServerHosts() []string {
	return []string{
		loopback, "::1", "localhost", serviceAddress, nodeAddress,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
}

// environment is ours without proxies: no component's calls to another may go through one.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return strings.HasSuffix(strings.ToLower(name), "_proxy") || name == "KUBECONFIG"
	})
}

func kubernetesVersion(o Options) string {
	version, err := build.Kubernetes(o.Source)
	if err != nil {
		return "" // it was read for the build; only the endpoint shows it
	}
	return version
}
