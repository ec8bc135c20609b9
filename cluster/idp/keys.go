package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// signingKey signs with RS256, which OpenID Connect Core 1.0 (15.1) makes every provider able to do.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func newSigningKey() (*signingKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &signingKey{newID(), key}, nil
}

func (k *signingKey) ID() string                                  { return k.id }
func (k *signingKey) Key() any                                    { return k.key }
func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// publicKey is what the JWKS shows of it.
type publicKey struct{ *signingKey }

func (k publicKey) Key() any                           { return &k.key.PublicKey }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }

// SigningKey is the newest.
func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.keys[len(s.keys)-1], nil
}

func (s *store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *store) KeySet(context.Context) ([]op.Key, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	var keys []op.Key
	for _, key := range s.keys {
		keys = append(keys, publicKey{key})
	}
	return keys, nil
}

// rotate signs with a new key from now on; the old ones stay published.
func (s *store) rotate() error {
	key, err := newSigningKey()
	if err != nil {
		return err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.keys = append(s.keys, key)
	return nil
}

// forget takes back every key but the newest.
func (s *store) forget() {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.keys = s.keys[len(s.keys)-1:]
}

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails since Go 1.24
	return hex.EncodeToString(id)
}
