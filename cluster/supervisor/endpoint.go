package supervisor

// Endpoint is how to use a cluster: what `bed up` prints, on one line, when it is ready. All paths are absolute.
type Endpoint struct {
	// APIServer is its URL, on loopback.
	APIServer string `json:"apiserver"`
	// Kubernetes is its version, such as v1.35.4.
	Kubernetes string `json:"kubernetes"`
	// Kubeconfig is that of a cluster administrator.
	Kubeconfig string `json:"kubeconfig"`
	// CAFile signed the API server's certificate.
	CAFile string `json:"caFile"`
	// ClientCA signs client certificates that the API server takes: CN is the user, O the groups.
	ClientCA Files `json:"clientCA"`
	// FrontProxyCA signs the certificate of a front proxy, whose X-Remote headers the API server takes.
	FrontProxyCA Files `json:"frontProxyCA"`
	// FrontProxyNames are the names that such a certificate may have.
	FrontProxyNames []string `json:"frontProxyNames"`
	// ServiceAccountKey signs ServiceAccount tokens; cert is the public key alone.
	ServiceAccountKey Files `json:"serviceAccountKey"`
	// ServiceAccountIssuer is the issuer in them.
	ServiceAccountIssuer string `json:"serviceAccountIssuer"`
	// AuditLog is the API server's, one JSON event to a line.
	AuditLog string `json:"auditLog"`
	// Kubectl is a kubectl of the cluster's own version.
	Kubectl string `json:"kubectl"`
	// Node says whether pods run.
	Node bool `json:"node"`
	// NodeReason is why they do not.
	NodeReason string `json:"nodeReason,omitempty"`
	// Images are those that pods may use, with imagePullPolicy Never.
	Images []string `json:"images,omitempty"`
	Dir    string   `json:"dir"`
	// PIDs are the processes by name; `bed` is the supervisor.
	PIDs map[string]int `json:"pids"`
}

// Files are a certificate and its key.
type Files struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

func (b *bed) endpoint(p *plan) *Endpoint {
	files := func(name string) Files { return Files{p.pki(name + ".crt"), p.pki(name + ".key")} }
	e := &Endpoint{
		APIServer: p.server(), Kubernetes: kubernetesVersion(p.Options), Kubeconfig: p.at("kubeconfig"), CAFile: p.pki("server-ca.crt"),
		ClientCA: files("client-ca"), FrontProxyCA: files("front-proxy-ca"), FrontProxyNames: []string{frontProxy, gatewayFrontProxy},
		ServiceAccountKey: files("sa"), ServiceAccountIssuer: issuer,
		AuditLog: p.auditLog(), Kubectl: p.at("bin", "kubectl"),
		Node: p.node != nil, NodeReason: p.nodeReason, Dir: p.Dir,
		PIDs: map[string]int{"bed": b.record.Bed.PID},
	}
	for _, c := range b.running {
		e.PIDs[c.name] = c.process.PID
	}
	if p.node != nil {
		e.Images = []string{busyboxImage}
	}
	return e
}
