package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"mantlet.dev/cluster/image"
)

// Where the node's own namespaces have the bed's folder, the kube binary, and containerd's socket: short and fixed, wherever
// they are outside.
const (
	insideDir    = "/run/bed"
	insideKube   = "/run/kube"
	insideSocket = "/run/containerd/containerd.sock"
)

type object = map[string]any

// write makes the files that containerd, kubelet and kube-proxy read.
func (n *node) write(p *plan) error {
	for _, dir := range []string{"containerd", "cni", "cni-state", "kubelet", "kubelet-pki", "kubelet-plugins", "pod-logs", "images"} {
		if err := os.MkdirAll(p.at(dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"containerd.toml": n.containerd(), "resolv.conf": "nameserver " + nodeAddress + "\n"} {
		if err := os.WriteFile(p.at(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, value := range map[string]any{"cni/10-bed.conflist": cni(), "kubelet.json": n.kubelet(), "proxy.json": proxy(p)} {
		if err := p.writeJSON(name, value); err != nil {
			return err
		}
	}
	return n.writeImages(p)
}

// containerd's configuration. restrict_oom_score_adj: a root without CAP_SYS_RESOURCE may not lower oom_score_adj, and every
// sandbox would fail with "can't get final child's PID from pipe".
func (n *node) containerd() string {
	return fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, insideDir+"/containerd", insideSocket, pauseImage, n.snapshotter, n.plugins, insideDir+"/cni")
}

// cni configures the pods' network. isGateway would set the machine's ip_forward, and the bridge has its address already.
func cni() object {
	return object{
		"cniVersion": "0.4.0", "name": "bed",
		"plugins": []object{{
			"type": "bridge", "bridge": bridge, "isGateway": false, "ipMasq": false, "hairpinMode": true,
			"ipam": object{
				"type": "host-local", "dataDir": insideDir + "/cni-state",
				"ranges": [][]object{{{"subnet": podRange, "rangeStart": firstPod, "gateway": nodeAddress}}},
				"routes": []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	}
}

func (n *node) kubelet() object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": nodeAddress, "port": n.port, "readOnlyPort": 0, "healthzPort": 0,
		"containerRuntimeEndpoint": "unix://" + insideSocket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + n.cgroup, "failCgroupV1": false,
		"failSwapOn": false, "enforceNodeAllocatable": []string{"none"}, "localStorageCapacityIsolation": false,
		"makeIPTablesUtilChains": false,
		"podLogsDir":             insideDir + "/pod-logs", "volumePluginDir": insideDir + "/kubelet-plugins", "resolvConf": insideDir + "/resolv.conf",
		"clusterDomain": "cluster.local",
		// A full disk is the machine's trouble; it must not evict the pods of a test.
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": insideDir + "/pki/client-ca.crt"},
		},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   insideDir + "/pki/kubelet.crt", "tlsPrivateKeyFile": insideDir + "/pki/kubelet.key",
		"syncFrequency": "10s", "nodeStatusUpdateFrequency": "10s", "volumeStatsAggPeriod": "0s",
	}
}

// proxy configures kube-proxy. conntrack's zeros: it changes no sysctl of the machine.
func proxy(p *plan) object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "nftables", "bindAddress": nodeAddress, "nodePortAddresses": []string{nodeAddress + "/32"},
		"healthzBindAddress": "", "metricsBindAddress": "",
		"clientConnection": object{"kubeconfig": p.config("kube-proxy")},
		"hostnameOverride": nodeName, "clusterCIDR": podRange, "detectLocalMode": "ClusterCIDR",
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

func (n *node) writeImages(p *plan) error {
	pause, err := os.ReadFile(n.pause)
	if err != nil {
		return err
	}
	box, err := n.busyboxFiles()
	if err != nil {
		return err
	}
	for file, i := range map[string]image.Image{
		"pause.tar":   {Names: []string{pauseImage}, Entrypoint: []string{"/pause"}, Files: []image.File{{Path: "/pause", Mode: 0o755, Content: pause}}},
		"busybox.tar": {Names: []string{busyboxImage}, Cmd: []string{"sh"}, Files: box},
	} {
		var out bytes.Buffer
		if err := i.Write(&out); err != nil {
			return err
		}
		if err := os.WriteFile(p.at("images", file), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// busyboxFiles is the machine's busybox with a link for each applet, and the few files that programs expect.
func (n *node) busyboxFiles() ([]image.File, error) {
	program, err := os.ReadFile(n.busybox)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(n.busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", n.busybox, err)
	}
	files := []image.File{
		{Path: "/bin/busybox", Mode: 0o755, Content: program},
		{Path: "/tmp/", Mode: 0o1777}, {Path: "/root/"}, {Path: "/home/"},
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{Path: "/etc/group", Content: []byte("root:x:0:\nnobody:x:65534:\n")},
		{Path: "/www/index.html", Content: []byte("hello from busybox\n")},
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			files = append(files, image.File{Path: "/bin/" + applet, Link: "/bin/busybox"})
		}
	}
	return files, nil
}
