package supervisor

import "strconv"

type component struct {
	name string
	args []string // the component's name first
}

// controlPlane lists the components in the order in which they start; each waits for those that it needs.
func (p *plan) controlPlane() []component {
	return []component{
		named("etcd", p.etcdArgs()), named("kube-apiserver", p.apiServerArgs()),
		named("kube-controller-manager", p.controllerManagerArgs()), named("kube-scheduler", p.schedulerArgs()),
	}
}

func named(name string, args []string) component {
	return component{name, append([]string{name}, args...)}
}

func (p *plan) etcdArgs() []string {
	client, peer := p.etcdURL(p.etcd), p.etcdURL(p.etcdPeer)
	return []string{
		"--name=default", "--data-dir=" + p.at("etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
	}
}

func (p *plan) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + p.etcdURL(p.etcd), "--secure-port=" + strconv.Itoa(p.api),
		"--tls-cert-file=" + p.pki("apiserver.crt"), "--tls-private-key-file=" + p.pki("apiserver.key"),
		"--client-ca-file=" + p.pki("client-ca.crt"),
		// Else it makes /var/run/kubernetes.
		"--cert-dir=" + p.at("apiserver"),
		"--service-account-issuer=" + issuer, "--service-account-key-file=" + p.pki("sa.crt"),
		"--service-account-signing-key-file=" + p.pki("sa.key"), "--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--kubelet-client-certificate=" + p.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + p.pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + p.pki("server-ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + p.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + frontProxy + "," + gatewayFrontProxy,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.pki(frontProxy+".crt"), "--proxy-client-key-file=" + p.pki(frontProxy+".key"),
		"--audit-policy-file=" + p.at("audit", "policy.json"), "--audit-log-path=" + p.auditLog(),
		// An event is in the file before its answer is sent; and one file, not several by size.
		"--audit-log-mode=blocking", "--audit-log-maxsize=1000000",
		"--profiling=false",
	}
	if p.node != nil {
		// Pods reach it at the bridge, clients at loopback: it takes only one address or all.
		args = append(args, "--bind-address=0.0.0.0", "--advertise-address="+nodeAddress)
	} else {
		// Without `none` it complains for ever that a loopback address is no endpoint.
		args = append(args, "--bind-address="+loopback, "--advertise-address="+loopback, "--endpoint-reconciler-type=none")
	}
	return append(args, p.APIServer...)
}

// With the default of 20 calls a second the first ServiceAccount comes 2-4 s later.
var swift = []string{"--kube-api-qps=1000", "--kube-api-burst=2000", "--leader-elect=false", "--secure-port=0", "--profiling=false"}

func (p *plan) controllerManagerArgs() []string {
	config := p.config("kube-controller-manager")
	return append([]string{
		"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
		"--use-service-account-credentials", "--service-account-private-key-file=" + p.pki("sa.key"),
		"--root-ca-file=" + p.pki("server-ca.crt"),
		"--cluster-signing-cert-file=" + p.pki("client-ca.crt"), "--cluster-signing-key-file=" + p.pki("client-ca.key"),
		"--bind-address=" + loopback,
		// Else it makes a folder in /usr.
		"--flex-volume-plugin-dir=" + p.at("flex"),
	}, swift...)
}

func (p *plan) schedulerArgs() []string {
	return append([]string{"--kubeconfig=" + p.config("kube-scheduler"), "--bind-address=" + loopback}, swift...)
}

// auditPolicy logs every request but those of the components themselves and of those who ask for health: a test joins the
// log with what a gateway recorded, and these come through no gateway.
func auditPolicy(level string) any {
	type rule = map[string]any
	return rule{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": []string{"RequestReceived"},
		"rules": []rule{
			{"level": "None", "users": []string{"system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"}},
			{"level": "None", "userGroups": []string{"system:nodes", "system:serviceaccounts:kube-system"}},
			{"level": "None", "nonResourceURLs": []string{"/readyz*", "/livez*", "/healthz*"}},
			{"level": level},
		},
	}
}
