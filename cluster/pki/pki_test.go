package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func parse(t *testing.T, pair *Pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(pair.Cert)
	return must(x509.ParseCertificate(block.Bytes))(t)
}

func verify(ca *Authority, cert *x509.Certificate, host string, usage x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestAServerIsTrustedForItsHostsAndNothingElse(t *testing.T) {
	ca := must(NewAuthority("server-ca"))(t)
	cert := parse(t, must(ca.Server(Subject{Name: "apiserver", Hosts: []string{"127.0.0.1", "kubernetes.default"}}))(t))
	for _, host := range []string{"127.0.0.1", "kubernetes.default"} {
		if err := verify(ca, cert, host, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if verify(ca, cert, "127.0.0.2", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("trusted for another address")
	}
	if verify(ca, cert, "", x509.ExtKeyUsageClientAuth) == nil {
		t.Error("trusted as a client")
	}
	if verify(must(NewAuthority("server-ca"))(t), cert, "127.0.0.1", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("trusted by another authority of the same name")
	}
}

func TestAClientIsAUserWithGroups(t *testing.T) {
	ca := must(NewAuthority("client-ca"))(t)
	pair := must(ca.Client(Subject{Name: "ada", Groups: []string{"dev", "sre"}}))(t)
	cert := parse(t, pair)
	if err := verify(ca, cert, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if got := cert.Subject.Organization; cert.Subject.CommonName != "ada" || !slices.Equal(got, []string{"dev", "sre"}) {
		t.Errorf("subject %s", cert.Subject)
	}
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Error(err)
	}
}

func TestAnAuthorityReadBackSignsAsBefore(t *testing.T) {
	ca := must(NewAuthority("client-ca"))(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "ca.crt"), filepath.Join(t.TempDir(), "ca.key")
	if err := os.WriteFile(certFile, ca.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, ca.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	again := must(ReadAuthority(certFile, keyFile))(t)
	cert := parse(t, must(again.Client(Subject{Name: "ada"}))(t))
	if err := verify(ca, cert, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if _, err := ReadAuthority(keyFile, keyFile); err == nil {
		t.Error("a key was read as a certificate")
	}
}

func TestAKubeconfigHoldsTheCertificatesThemselves(t *testing.T) {
	text := must(Kubeconfig("https://127.0.0.1:1", []byte("ca"), "ada", &Pair{[]byte("cert"), []byte("key")}))(t)
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string
				CA     []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Key []byte `json:"client-key-data"`
			}
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if string(config.Clusters[0].Cluster.CA) != "ca" || string(config.Users[0].User.Key) != "key" {
		t.Errorf("wrote %s", text)
	}
}
