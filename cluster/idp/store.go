package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// user is somebody who can log in. The name is the subject of their tokens.
type user struct {
	Name          string   `json:"name"`
	Password      string   `json:"password"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"emailVerified"`
	Groups        []string `json:"groups"`
}

// login is one request for a code, from the authorization endpoint to the token endpoint.
type login struct {
	asked   oidc.AuthRequest
	id      string
	subject string
	at      time.Time
}

// grant is what a token stands for.
type grant struct {
	subject string
	client  string
	scopes  []string
	at      time.Time
	expires time.Time
}

const (
	accessLife  = 5 * time.Minute
	refreshLife = 5 * time.Hour
)

// store is everything that the provider remembers, in memory.
type store struct {
	lock    sync.Mutex
	client  client
	users   map[string]user
	keys    []*signingKey
	logins  map[string]*login
	codes   map[string]string // to the id of a login
	access  map[string]grant
	refresh map[string]grant
	devices map[string]*device
}

type device struct {
	userCode string
	state    op.DeviceAuthorizationState
}

var (
	_ op.Storage                    = (*store)(nil)
	_ op.DeviceAuthorizationStorage = (*store)(nil)
	_ op.CanSetUserinfoFromRequest  = (*store)(nil)
)

var errUnknown = errors.New("unknown, used or expired")

func newStore(users map[string]user, app client) (*store, error) {
	key, err := newSigningKey()
	if err != nil {
		return nil, err
	}
	return &store{
		client: app, users: users, keys: []*signingKey{key},
		logins: map[string]*login{}, codes: map[string]string{},
		access: map[string]grant{}, refresh: map[string]grant{}, devices: map[string]*device{},
	}, nil
}

// knows says whether somebody has this password. A user that does not exist costs the same comparison.
func (s *store) knows(name, password string) bool {
	known := s.users[name]
	same := subtle.ConstantTimeCompare([]byte(known.Password), []byte(password)) == 1
	return same && known.Name != ""
}

// Logins for a code.

func (s *store) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, subject string) (op.AuthRequest, error) {
	if slices.Contains(asked.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired() // nobody stays logged in here
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	begun := &login{asked: *asked, id: newID(), subject: subject}
	s.logins[begun.id] = begun
	return begun.copied(), nil
}

// logIn ends the part of a login that the user sees.
func (s *store) logIn(id, name, password string) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	begun, ok := s.logins[id]
	if !ok || !s.knows(name, password) {
		return false
	}
	begun.subject, begun.at = name, time.Now()
	return true
}

func (s *store) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if found, ok := s.logins[id]; ok {
		return found.copied(), nil
	}
	return nil, errUnknown
}

func (s *store) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	s.lock.Lock()
	id := s.codes[code]
	s.lock.Unlock()
	return s.AuthRequestByID(ctx, id)
}

func (s *store) SaveAuthCode(_ context.Context, id, code string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.codes[code] = id
	return nil
}

func (s *store) DeleteAuthRequest(_ context.Context, id string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.logins, id)
	for code, of := range s.codes {
		if of == id {
			delete(s.codes, code)
		}
	}
	return nil
}

func (l *login) copied() *login { same := *l; return &same }

func (l *login) GetID() string                      { return l.id }
func (l *login) GetACR() string                     { return "" }
func (l *login) GetAMR() []string                   { return []string{"pwd"} }
func (l *login) GetAudience() []string              { return []string{l.asked.ClientID} }
func (l *login) GetAuthTime() time.Time             { return l.at }
func (l *login) GetClientID() string                { return l.asked.ClientID }
func (l *login) GetNonce() string                   { return l.asked.Nonce }
func (l *login) GetRedirectURI() string             { return l.asked.RedirectURI }
func (l *login) GetResponseType() oidc.ResponseType { return l.asked.ResponseType }
func (l *login) GetResponseMode() oidc.ResponseMode { return l.asked.ResponseMode }
func (l *login) GetScopes() []string                { return l.asked.Scopes }
func (l *login) GetState() string                   { return l.asked.State }
func (l *login) GetSubject() string                 { return l.subject }
func (l *login) Done() bool                         { return !l.at.IsZero() }

func (l *login) GetCodeChallenge() *oidc.CodeChallenge {
	if l.asked.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: l.asked.CodeChallenge, Method: l.asked.CodeChallengeMethod}
}

// Tokens.

func (s *store) CreateAccessToken(_ context.Context, request op.TokenRequest) (string, time.Time, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	id, until := s.grantAccess(request)
	return id, until, nil
}

// A refresh token is good once: its use makes the next.
func (s *store) CreateAccessAndRefreshTokens(_ context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if current != "" {
		if _, ok := s.refresh[current]; !ok {
			return "", "", time.Time{}, errUnknown
		}
		delete(s.refresh, current)
	}
	next := newID()
	s.refresh[next] = s.granted(request, refreshLife)
	id, until := s.grantAccess(request)
	return id, next, until, nil
}

func (s *store) grantAccess(request op.TokenRequest) (string, time.Time) {
	id, given := newID(), s.granted(request, accessLife)
	s.access[id] = given
	return id, given.expires
}

func (s *store) granted(request op.TokenRequest, life time.Duration) grant {
	at := time.Now()
	if earlier, ok := request.(interface{ GetAuthTime() time.Time }); ok {
		at = earlier.GetAuthTime()
	}
	return grant{request.GetSubject(), s.client.id, request.GetScopes(), at, time.Now().Add(life)}
}

func (s *store) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	given, ok := s.refresh[token]
	if !ok || time.Now().After(given.expires) {
		return nil, errUnknown
	}
	return &refreshed{given}, nil
}

type refreshed struct{ grant }

func (r *refreshed) GetAMR() []string                 { return []string{"pwd"} }
func (r *refreshed) GetAudience() []string            { return []string{r.client} }
func (r *refreshed) GetAuthTime() time.Time           { return r.at }
func (r *refreshed) GetClientID() string              { return r.client }
func (r *refreshed) GetScopes() []string              { return r.scopes }
func (r *refreshed) GetSubject() string               { return r.subject }
func (r *refreshed) SetCurrentScopes(scopes []string) { r.scopes = scopes }

func (s *store) TerminateSession(_ context.Context, subject, _ string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, tokens := range []map[string]grant{s.access, s.refresh} {
		for id, given := range tokens {
			if given.subject == subject {
				delete(tokens, id)
			}
		}
	}
	return nil
}

func (s *store) RevokeToken(_ context.Context, token, _, _ string) *oidc.Error {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.access, token)
	delete(s.refresh, token)
	return nil
}

func (s *store) GetRefreshTokenInfo(_ context.Context, _, token string) (subject, id string, err error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	given, ok := s.refresh[token]
	if !ok {
		return "", "", op.ErrInvalidRefreshToken
	}
	return given.subject, token, nil
}

// What tokens say.

func (s *store) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string) error {
	return s.tell(info, request.GetSubject(), scopes)
}

func (s *store) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, subject, _ string) error {
	s.lock.Lock()
	given, ok := s.access[id]
	s.lock.Unlock()
	if !ok || given.subject != subject || time.Now().After(given.expires) {
		return errUnknown
	}
	return s.tell(info, subject, given.scopes)
}

func (s *store) tell(info *oidc.UserInfo, subject string, scopes []string) error {
	known, ok := s.users[subject]
	if !ok {
		return errUnknown
	}
	info.Subject = known.Name
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email, info.EmailVerified = known.Email, oidc.Bool(known.EmailVerified)
	}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.PreferredUsername = known.Name
	}
	if slices.Contains(scopes, "groups") {
		info.AppendClaims("groups", known.Groups)
	}
	return nil
}

func (*store) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil // SetUserinfoFromRequest is asked as well
}

func (*store) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errors.New("a public client may not look into tokens")
}

func (*store) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (*store) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errors.New("no client signs for itself here")
}

func (*store) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errors.New("no client signs for itself here")
}

// The device flow (RFC 8628).

func (s *store) StoreDeviceAuthorization(_ context.Context, id, code, userCode string, expires time.Time, scopes []string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.deviceOf(userCode) != nil {
		return op.ErrDuplicateUserCode
	}
	s.devices[code] = &device{userCode, op.DeviceAuthorizationState{ClientID: id, Scopes: scopes, Expires: expires}}
	return nil
}

func (s *store) GetDeviceAuthorizatonState(ctx context.Context, id, code string) (*op.DeviceAuthorizationState, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	found, ok := s.devices[code]
	if !ok || found.state.ClientID != id {
		return nil, errUnknown
	}
	if found.state.Done {
		delete(s.devices, code) // good once
	}
	state := found.state
	return &state, ctx.Err()
}

// decide allows or denies what a device waits for, as the user whose password this is.
func (s *store) decide(userCode, name, password string, allow bool) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	waiting := s.deviceOf(userCode)
	if waiting == nil || !s.knows(name, password) {
		return false
	}
	state := &waiting.state
	state.Subject, state.AMR, state.AuthTime = name, []string{"pwd"}, time.Now()
	state.Done, state.Denied = allow, !allow
	return true
}

func (s *store) deviceOf(userCode string) *device {
	for code, waiting := range s.devices {
		switch {
		case time.Now().After(waiting.state.Expires):
			delete(s.devices, code)
		case waiting.userCode == userCode:
			return waiting
		}
	}
	return nil
}

// The one client.

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.client.id {
		return nil, errUnknown
	}
	return &s.client, nil
}

func (*store) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errors.New("a public client has no secret")
}
