package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"mantlet.dev/cluster/build"
)

// becomeReady waits for the API server, starts what needs it, and waits for what a first pod needs.
func (b *bed) becomeReady(ctx context.Context, p *plan, kubelet *nodeInit) error {
	client, err := p.admin()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if err := b.until(ctx, "the API server", func() bool { return ask(ctx, client, p.server()+"/readyz", nil) == nil }); err != nil {
		return err
	}
	if p.node != nil {
		kubelet.proceed()
		if err := b.start("kube-proxy", exec.Command(b.binaries[build.Kube], "kube-proxy", "--config", p.at("proxy.json"))); err != nil {
			return err
		}
		if err := b.until(ctx, "the node", func() bool { return nodeIsReady(ctx, client, p.server()) }); err != nil {
			return err
		}
	}
	// Pods are refused before it exists.
	return b.until(ctx, "the default ServiceAccount", func() bool {
		return ask(ctx, client, p.server()+"/api/v1/namespaces/default/serviceaccounts/default", nil) == nil
	})
}

func (b *bed) until(ctx context.Context, what string, probe func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !probe() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case c := <-b.ended:
			return fmt.Errorf("waiting for %s: %w", what, endedError{c})
		}
	}
	return nil
}

func (p *plan) admin() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(p.pki("client-admin.crt"), p.pki("client-admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.pki("server-ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the server CA is not PEM")
	}
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}},
	}, nil
}

func ask(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(into)
}

func nodeIsReady(ctx context.Context, client *http.Client, server string) bool {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if ask(ctx, client, server+"/api/v1/nodes/"+nodeName, &node) != nil {
		return false
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}
