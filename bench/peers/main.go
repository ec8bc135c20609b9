// Command peers is what a team writes in a day: httputil.ReverseProxy, an RS256 check of every token, impersonation headers.
// No policy, no record, no masking, no cache of verified tokens: the shape of kube-oidc-proxy.
package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"math/big"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

var (
	listen   = flag.String("listen", "", "address")
	upstream = flag.String("upstream", "", "URL of the API server")
	issuer   = flag.String("issuer", "", "issuer of the tokens")
	audience = flag.String("audience", "", "audience of the tokens")
	cert     = flag.String("cert", "", "certificate, PEM")
	key      = flag.String("key", "", "its key, PEM")
	ca       = flag.String("ca", "", "authority of the API server, PEM")
	jwks     = flag.String("jwks", "", "keys of the issuer, JSON")
)

func main() {
	flag.Parse()
	keys, err := readKeys(*jwks)
	check(err)
	proxy, err := newProxy()
	check(err)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		who, err := verify(token, keys)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer the-gateways-own")
		r.Header.Set("Impersonate-User", who.Subject)
		r.Header["Impersonate-Group"] = who.Groups
		proxy.ServeHTTP(w, r)
	})
	server := &http.Server{Addr: *listen, Handler: handler, TLSConfig: &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
	}}
	check(server.ListenAndServeTLS(*cert, *key))
}

func newProxy() (*httputil.ReverseProxy, error) {
	to, err := url.Parse(*upstream)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + *ca)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 512,
		},
	}, nil
}

type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	Groups    []string `json:"groups"`
}

func verify(token string, keys map[string]*rsa.PublicKey) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a token")
	}
	var head struct {
		Algorithm string `json:"alg"`
		Key       string `json:"kid"`
	}
	if err := decode(parts[0], &head); err != nil {
		return nil, err
	}
	key, known := keys[head.Key]
	if !known || head.Algorithm != "RS256" {
		return nil, errors.New("unknown key or algorithm")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature); err != nil {
		return nil, err
	}
	var who claims
	if err := decode(parts[1], &who); err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	if who.Issuer != *issuer || who.Audience != *audience || now >= who.Expires || now < who.NotBefore || who.Subject == "" {
		return nil, errors.New("not for us, or not now")
	}
	if slices.ContainsFunc(who.Groups, func(g string) bool { return strings.HasPrefix(g, "system:") }) {
		return nil, errors.New("a group of the system")
	}
	return &who, nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func readKeys(path string) (map[string]*rsa.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	keys := map[string]*rsa.PublicKey{}
	for _, key := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(key.N)
		if err != nil {
			return nil, err
		}
		e, err := base64.RawURLEncoding.DecodeString(key.E)
		if err != nil {
			return nil, err
		}
		keys[key.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
