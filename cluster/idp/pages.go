package main

import (
	"context"
	"html/template"
	"net/http"
)

// pages are what a user sees: where they log in, and where they allow a device.
type pages struct {
	store *store
	done  func(ctx context.Context, id string) string
}

var form = template.Must(template.New("form").Parse(`<!doctype html><title>{{.Title}}</title><h1>{{.Title}}</h1>
{{with .Wrong}}<p role="alert">{{.}}</p>{{end}}
<form method="post" action="{{.Action}}">
{{if .Device}}<label>Code <input name="user_code" value="{{.Code}}"></label>{{else}}<input type="hidden" name="id" value="{{.Code}}">{{end}}
<label>Name <input name="name" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button name="action" value="allow">{{if .Device}}Allow{{else}}Log in{{end}}</button>
{{if .Device}}<button name="action" value="deny">Deny</button>{{end}}
</form>
`))

type shown struct {
	Title, Action, Code, Wrong string
	Device                     bool
}

const wrong = "The name, the password or the code is wrong."

func show(w http.ResponseWriter, code int, page shown) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_ = form.Execute(w, page)
}

func (p *pages) login(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, shown{Title: "Log in", Action: "/login", Code: r.FormValue("id")})
}

func (p *pages) loggedIn(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("id")
	if !p.store.logIn(id, r.PostFormValue("name"), r.PostFormValue("password")) {
		show(w, http.StatusForbidden, shown{Title: "Log in", Action: "/login", Code: id, Wrong: wrong})
		return
	}
	http.Redirect(w, r, p.done(r.Context(), id), http.StatusSeeOther)
}

func (p *pages) device(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, shown{Title: "Allow a device", Action: "/device", Code: r.FormValue("user_code"), Device: true})
}

func (p *pages) deviceDecided(w http.ResponseWriter, r *http.Request) {
	code, allow := r.PostFormValue("user_code"), r.PostFormValue("action") == "allow"
	if !p.store.decide(code, r.PostFormValue("name"), r.PostFormValue("password"), allow) {
		show(w, http.StatusForbidden, shown{Title: "Allow a device", Action: "/device", Code: code, Wrong: wrong, Device: true})
		return
	}
	_, _ = w.Write([]byte("Go back to the device.\n"))
}
