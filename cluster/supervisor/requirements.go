package supervisor

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"mantlet.dev/cluster/machine"
)

// programs is what a node needs of the machine, and the Debian package of each.
var programs = []struct{ name, debian string }{
	{"containerd", "containerd"}, {"containerd-shim-runc-v2", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"},
	{"nft", "nftables"}, {"ip", "iproute2"}, {"mount", "mount"}, {"umount", "mount"}, {"nsenter", "util-linux"},
}

const (
	busyboxPackage = "busybox-static"
	pluginsPackage = "containernetworking-plugins"
)

// missingPackages lists the Debian packages that a node still needs.
func missingPackages() []string {
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program.name); err != nil && !slices.Contains(missing, program.debian) {
			missing = append(missing, program.debian)
		}
	}
	if _, err := busybox(); err != nil {
		missing = append(missing, busyboxPackage)
	}
	if _, err := pluginFolder(); err != nil {
		missing = append(missing, pluginsPackage)
	}
	return missing
}

// busybox finds one that runs where nothing else is: in an image of its own.
func busybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", err
	}
	file, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is not static", path)
		}
	}
	return path, nil
}

func pluginFolder() (string, error) {
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin"} { // Debian's place, and that of everybody else
		all := true
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			_, err := os.Stat(filepath.Join(folder, plugin))
			all = all && err == nil
		}
		if all {
			return folder, nil
		}
	}
	return "", fmt.Errorf("no CNI plugins")
}

// whyNoNode says what keeps this machine from having a node, or nothing.
func whyNoNode() string {
	if runtime.GOOS != "linux" {
		return "a node needs Linux"
	}
	if os.Geteuid() != 0 {
		return "a node needs root"
	}
	if missing := missingPackages(); len(missing) > 0 {
		return "not installed: " + strings.Join(missing, ", ") + "; type: " + strings.Join(aptInstall(missing), " ")
	}
	if taken := overlap(); taken != "" {
		return taken
	}
	if err := probeNode(); err != nil {
		return "this machine gives no namespaces for a node: " + err.Error()
	}
	return ""
}

// overlap looks for a network of the machine's that holds the pods' addresses.
func overlap() string {
	_, pods, _ := net.ParseCIDR(podRange)
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err.Error()
	}
	for _, address := range addresses {
		if other, ok := address.(*net.IPNet); ok && (pods.Contains(other.IP) || other.Contains(pods.IP)) && !isOurBridge(other) {
			return fmt.Sprintf("the network %s of this machine overlaps the pods' %s", other, podRange)
		}
	}
	return ""
}

// isOurBridge knows the address of our own bridge, which a killed bed may have left: whose it is, the node lock tells.
func isOurBridge(address *net.IPNet) bool { return address.IP.String() == nodeAddress }

// probeNode makes and leaves the namespaces and mounts of a node.
func probeNode() error {
	cmd := exec.Command("/proc/self/exe", NodeInit, "probe")
	cmd.SysProcAttr = namespaces()
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := machine.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

func aptInstall(packages []string) []string {
	return append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, packages...)
}

// installPackages installs what is missing, where that can be done without asking: as root on a Debian.
func installPackages(ctx context.Context, progress io.Writer) error {
	if _, err := exec.LookPath("apt-get"); err != nil || runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return nil // whyNoNode says what is missing
	}
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	for _, args := range [][]string{{"apt-get", "update"}, aptInstall(missing)} {
		fmt.Fprintln(progress, strings.Join(args, " "))
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := machine.Run(ctx, cmd); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, said.String())
		}
	}
	return nil
}
