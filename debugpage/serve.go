package debugpage

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"time"
)

//go:embed page.html style.css live.js icon.svg
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// assets are what the page is made of. All its URLs are queries of its own path, so that
// it does not have to know under which one it is mounted.
var assets = map[string]string{
	"style.css": "text/css; charset=utf-8",
	"live.js":   "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
}

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const (
	maxForm  = 256 << 10 // bytes: the longest key there may be, with each byte as three
	patience = 5 * time.Second
)

// ServeHTTP answers GET with the page, and POST with the page after it has invalidated a
// key, if Config.AllowInvalidate lets it.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// With "no-referrer" browsers send "Origin: null" with forms, which is refused.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		p.get(w, r)
		return
	case http.MethodPost:
		if p.cfg.AllowInvalidate {
			p.post(w, r)
			return
		}
	}
	h.Set("Allow", "GET, HEAD")
	if p.cfg.AllowInvalidate {
		h.Set("Allow", "GET, HEAD, POST")
	}
	http.Error(w, "this page answers "+h.Get("Allow"), http.StatusMethodNotAllowed)
}

func (p *Page) get(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("file") {
		serveAsset(w, q.Get("file"))
		return
	}
	c, ok := p.choose(q.Get("cache"))
	if !ok {
		http.Error(w, "no cache has this name", http.StatusNotFound)
		return
	}
	v := p.view(c, time.Now())
	if q.Has("key") {
		v.Ask.explain(r.Context(), c, q.Get("key"), p.cfg.ShowKeys)
	}
	render(w, http.StatusOK, v)
}

func (p *Page) post(w http.ResponseWriter, r *http.Request) {
	if err := p.guard.Check(r); err != nil {
		http.Error(w, "refused: the request comes from another site", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	c, ok := p.choose(r.PostForm.Get("cache"))
	if !ok {
		http.Error(w, "no cache has this name", http.StatusNotFound)
		return
	}
	key := r.PostForm.Get("key")
	notice, status := c.invalidate(r.Context(), key)
	v := p.view(c, time.Now())
	v.Ask.explain(r.Context(), c, key, p.cfg.ShowKeys)
	v.Ask.Notice = notice
	render(w, status, v)
}

// invalidate returns what to tell of it.
func (w *watched) invalidate(ctx context.Context, key string) (notice string, status int) {
	c := w.current()
	if c == nil {
		return "Not invalidated: there is no cache under this name.", http.StatusServiceUnavailable
	}
	// Who leaves must not keep the change from the other instances.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := c.Invalidate(ctx, key); err != nil {
		return "Invalidate failed: " + shorten(err.Error(), 300), http.StatusBadGateway
	}
	return "Invalidated on every instance.", http.StatusOK
}

func (w *watched) current() Cache {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cache
}

// choose returns the cache of a name, without one the first. There may be none at all.
func (p *Page) choose(name string) (*watched, bool) {
	all := p.all()
	for _, c := range all {
		if c.name == name {
			return c, true
		}
	}
	if name != "" {
		return nil, false
	}
	if len(all) == 0 {
		return newWatched("", false), true
	}
	return all[0], true
}

func serveAsset(w http.ResponseWriter, name string) {
	kind, ok := assets[name]
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	b, err := files.ReadFile(name)
	if err != nil {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b) // who has left gets nothing
}

func render(w http.ResponseWriter, status int, v *view) {
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		slog.Error("nearcache: the debug page", slog.Any("error", err))
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
