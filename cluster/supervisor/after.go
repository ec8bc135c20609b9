package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mantlet.dev/cluster/pki"
)

// Status is the endpoint of the bed that is up in a folder.
func Status(dir string) (*Endpoint, error) {
	r, err := ReadRecord(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && !r.Bed.Alive() {
		return nil, fmt.Errorf("no cluster is up in %s\nhint: bed up --dir %s", dir, dir)
	}
	if err != nil {
		return nil, err
	}
	if r.Endpoint == nil {
		return nil, fmt.Errorf("the cluster in %s is not ready yet", dir)
	}
	return r.Endpoint, nil
}

// Down ends the bed in a folder and waits, or removes what it left if it was killed. None there is fine.
func Down(cache, dir string) error {
	r, err := ReadRecord(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !r.Bed.Alive() {
		return r.sweep(cache)
	}
	if err := r.Bed.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if !r.Bed.Gone(time.Minute) {
		return fmt.Errorf("the bed in %s (pid %d) does not end", dir, r.Bed.PID)
	}
	return nil
}

// User writes a kubeconfig for `NAME` or `NAME/GROUP,GROUP` and returns its path.
func User(dir, who string) (string, error) {
	e, err := Status(dir)
	if err != nil {
		return "", err
	}
	name, groups, _ := strings.Cut(who, "/")
	if name == "" {
		return "", fmt.Errorf("`%s` names nobody\nhint: NAME or NAME/GROUP,GROUP", who)
	}
	subject := pki.Subject{Name: name}
	if groups != "" {
		subject.Groups = strings.Split(groups, ",")
	}
	authority, err := pki.ReadAuthority(e.ClientCA.Cert, e.ClientCA.Key)
	if err != nil {
		return "", err
	}
	pair, err := authority.Client(subject)
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(e.CAFile)
	if err != nil {
		return "", err
	}
	text, err := pki.Kubeconfig(e.APIServer, ca, name, pair)
	if err != nil {
		return "", err
	}
	path := filepath.Join(e.Dir, "users", fileName(name)+".kubeconfig")
	return path, replace(path, text)
}

// fileName keeps a user's name from being a path.
func fileName(user string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/\\:", r) || r < ' ' {
			return '-'
		}
		return r
	}, user)
}
