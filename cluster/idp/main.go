// Command idp is a real OpenID Provider for tests: the certified library github.com/zitadel/oidc with a login page, code flow with PKCE, device
// flow and refresh tokens, over https, for a fixed set of users.
//
//	idp --cert FILE --key FILE --users FILE [--listen ADDRESS] [--client ID] [--redirect URI] [--token-life DURATION]
//
// It prints one line of JSON, {"issuer": URL}, and ends when its standard input does. A line `rotate` there makes a new signing key and
// publishes the old one beside it, `forget` publishes only the current one; each is answered by a line.
//
// A module of its own: what it needs must not cost the cluster a new build, nor its requirements.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "idp: "+err.Error())
		os.Exit(1)
	}
}

func run() error {
	slog.SetLogLoggerLevel(slog.LevelError) // a login that waits or fails is no news in a test
	flags := flag.NewFlagSet("idp", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address of the provider; its host and port are the issuer's")
	cert := flags.String("cert", "", "PEM, the server's certificate")
	key := flags.String("key", "", "PEM, the certificate's key")
	users := flags.String("users", "", `JSON file: [{"name", "password", "email", "emailVerified", "groups"}]`)
	app := client{}
	flags.StringVar(&app.id, "client", "mantlet", "id of the one client, a public one; the audience of its ID tokens")
	flags.StringVar(&app.redirect, "redirect", "http://127.0.0.1/callback", "where the code flow ends")
	flags.DurationVar(&app.life, "token-life", 10*time.Minute, "how long an ID token is good")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	people, err := readUsers(*users)
	if err != nil {
		return err
	}
	store, err := newStore(people, app)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	issuer := "https://" + listener.Addr().String()
	handler, err := provider(issuer, store)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, *cert, *key) }()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"issuer": issuer}); err != nil {
		return err
	}
	told := make(chan error, 1)
	go func() { told <- obey(store) }()
	select {
	case err = <-failed:
	case err = <-told:
		_ = server.Close()
	}
	return err
}

func provider(issuer string, store *store) (http.Handler, error) {
	config := &op.Config{
		CodeMethodS256:        true,
		GrantTypeRefreshToken: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: 5 * time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20,
		},
	}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(config, store, op.StaticIssuer(issuer))
	if err != nil {
		return nil, err
	}
	pages := pages{store: store, done: op.AuthCallbackURL(provider)}
	interceptor := op.NewIssuerInterceptor(provider.IssuerFromRequest)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", pages.login)
	mux.HandleFunc("POST /login", interceptor.HandlerFunc(pages.loggedIn))
	mux.HandleFunc("GET /device", pages.device)
	mux.HandleFunc("POST /device", pages.deviceDecided)
	mux.Handle("/", provider)
	return mux, nil
}

// obey does what the lines of standard input say, until it ends.
func obey(store *store) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var err error
		switch lines.Text() {
		case "rotate":
			err = store.rotate()
		case "forget":
			store.forget()
		default:
			err = fmt.Errorf("`%s` is neither rotate nor forget", lines.Text())
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Println("done"); err != nil {
			return err
		}
	}
	return lines.Err()
}

func readUsers(file string) (map[string]user, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("no users: %w\nhint: name a JSON file with --users", err)
	}
	var list []user
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	users := map[string]user{}
	for _, u := range list {
		if u.Name == "" || u.Password == "" {
			return nil, fmt.Errorf("%s: a user without name or password", file)
		}
		users[u.Name] = u
	}
	return users, nil
}

// Health is asked by the library's own probe.
func (*store) Health(context.Context) error { return nil }
