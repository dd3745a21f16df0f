package browsertest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nearcache/nearcache/browsertest/internal/browser"
	"github.com/nearcache/nearcache/httpcache"
)

// site is a real server of a handler behind the cache, which tells in Cache-Status how
// each response came about.
type site struct {
	*httptest.Server
	calls atomic.Int64 // of the handler
}

func serve(t *testing.T, cfg httpcache.Config, h http.Handler) *site {
	t.Helper()
	cfg.CacheStatus, cfg.Logger = "web", slog.New(slog.DiscardHandler)
	c, err := httpcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := new(site)
	s.Server = httptest.NewServer(c.Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/favicon.ico" {
			s.calls.Add(1)
		}
		h.ServeHTTP(w, r)
	})))
	t.Cleanup(func() {
		s.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// settle waits until the cache, which takes values in the background, has a response.
func (s *site) settle(t *testing.T, path string, fields ...string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cache-Control", "only-if-cached")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		got, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, got.Body)
		_ = got.Body.Close()
		if strings.Contains(got.Header.Get("Cache-Status"), "; hit;") {
			return
		}
	}
	t.Fatalf("%s is not stored", path)
}

func (s *site) wantCalls(t *testing.T, n int64) {
	t.Helper()
	if got := s.calls.Load(); got != n {
		t.Fatalf("%d calls of the handler, want %d", got, n)
	}
}

// wantHit checks a response that the cache gave by itself.
func wantHit(t *testing.T, x browser.Exchange, status int) {
	t.Helper()
	if x.Status != status || !strings.HasPrefix(x.Response.Get("Cache-Status"), "web; hit;") {
		t.Fatalf("no hit with %d: %v", status, x)
	}
}

// wantForward checks a response that the handler gave.
func wantForward(t *testing.T, x browser.Exchange, status int, why string) {
	t.Helper()
	if x.Status != status || !strings.HasPrefix(x.Response.Get("Cache-Status"), "web; fwd="+why) {
		t.Fatalf("not forwarded for %s with %d: %v", why, status, x)
	}
}

// files is a folder behind http.FileServer.
func files(t *testing.T, content map[string]string) http.Handler {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return http.FileServer(http.Dir(dir))
}

// TestBrowserReload: a reload asks whether the page is still the same. The cache has the
// handler confirm it, as the browser demands with max-age=0, or with IgnoreRequests
// answers 304 by itself.
func TestBrowserReload(t *testing.T) {
	for name, c := range map[string]struct {
		ignore bool
		calls  int64
	}{"obeyed": {false, 2}, "ignored": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, httpcache.Config{IgnoreRequests: c.ignore}, files(t, map[string]string{"a.txt": "hello"}))
			b := newTab(t, browser.Open(t))
			wantForward(t, b.visit(s.URL+"/a.txt"), 200, "uri-miss")
			s.settle(t, "/a.txt")
			s.wantCalls(t, 1)
			x := b.does(chromedp.Reload())
			if x.Request.Get("If-None-Match")+x.Request.Get("If-Modified-Since") == "" || x.Request.Get("Cache-Control") != "max-age=0" {
				t.Fatalf("a reload without a condition: %v", x)
			}
			if c.ignore {
				wantHit(t, x, 304)
			} else {
				wantForward(t, x, 304, "stale")
			}
			s.wantCalls(t, c.calls)
			if got := b.text(); got != "hello" {
				t.Fatalf("the page shows %q", got)
			}
		})
	}
}

// TestBrowserFileServer: ranges pass through where nothing is stored and are cut from what
// is, HEAD is answered from a GET, and what is too long to be stored arrives whole.
func TestBrowserFileServer(t *testing.T) {
	long := strings.Repeat("0123456789", 5000)
	s := serve(t, httpcache.Config{MaxBodyBytes: 10_000, IgnoreRequests: true},
		files(t, map[string]string{"start.html": "<title>start</title>", "a.txt": "hello, world", "long.txt": long}))
	b := newTab(t, browser.Open(t))
	b.visit(s.URL + "/start.html")
	s.wantCalls(t, 1)

	// The browser's own cache is kept out: it would cut ranges too.
	x, body := b.fetch("/a.txt", `{cache: "no-store", headers: {Range: "bytes=7-"}}`)
	wantForward(t, x, 206, "uri-miss")
	if body != "world" {
		t.Fatalf("%q: %v", body, x)
	}
	x, body = b.fetch("/a.txt", `{cache: "no-store"}`)
	wantForward(t, x, 200, "uri-miss") // the range was not stored as the whole
	if body != "hello, world" {
		t.Fatalf("%q: %v", body, x)
	}
	s.settle(t, "/a.txt")
	s.wantCalls(t, 3)
	x, body = b.fetch("/a.txt", `{cache: "no-store", headers: {Range: "bytes=0-4"}}`)
	wantHit(t, x, 206)
	if body != "hello" || x.Response.Get("Content-Range") != "bytes 0-4/12" {
		t.Fatalf("%q: %v", body, x)
	}
	x, body = b.fetch("/a.txt", `{cache: "no-store", method: "HEAD"}`)
	wantHit(t, x, 200)
	if body != "" || x.Method != "HEAD" || x.Response.Get("Content-Length") != "12" {
		t.Fatalf("%q: %v", body, x)
	}
	s.wantCalls(t, 3)

	for range 2 {
		x, body = b.fetch("/long.txt", `{cache: "no-store"}`)
		wantForward(t, x, 200, "uri-miss")
		if body != long {
			t.Fatalf("%d bytes: %v", len(body), x)
		}
	}
	x, body = b.fetch("/long.txt", `{cache: "no-store", headers: {Range: "bytes=5-9"}}`)
	wantForward(t, x, 206, "uri-miss")
	if body != "56789" {
		t.Fatalf("%q: %v", body, x)
	}
	s.wantCalls(t, 6)
}

// shop is a small JSON API. GET of any path tells the price, in the language that is asked
// for; a browser must ask again each time, and the cache need not. POST raises it.
func shop() http.Handler {
	var price atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			price.Add(1)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=0, s-maxage=600")
		h.Set("Vary", "Accept-Language")
		_ = json.NewEncoder(w).Encode(map[string]any{"language": r.Header.Get("Accept-Language"), "price": price.Load()})
	})
}

type offer struct {
	Language string
	Price    int
}

func (b *tab) offer() (o offer) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(b.text()), &o); err != nil {
		b.t.Fatal(err)
	}
	return o
}

// TestBrowserUnsafe: what a page posts, it sees when it asks next, though what the cache
// had was fresh.
func TestBrowserUnsafe(t *testing.T) {
	s := serve(t, httpcache.Config{}, shop())
	b := newTab(t, browser.Open(t))
	x := b.visit(s.URL + "/products/42")
	language := "Accept-Language: " + x.Request.Get("Accept-Language")
	s.settle(t, "/products/42", language)
	x, _ = b.fetch("/products/42", "{}")
	wantHit(t, x, 304) // the tag is the cache's: the handler gave none
	s.wantCalls(t, 1)

	x, _ = b.fetch("/products/42", `{method: "POST"}`)
	wantForward(t, x, 204, "method")
	x = b.visit(s.URL + "/products/42")
	if got := b.offer(); got.Price != 1 || x.Status != 200 {
		t.Fatalf("a price of %d after it was raised to 1: %v", got.Price, x)
	}
	s.wantCalls(t, 3)
}

// TestBrowserVary: two users with two languages get each their own, and a third who speaks
// one of them is answered from the cache.
func TestBrowserVary(t *testing.T) {
	s := serve(t, httpcache.Config{}, shop())
	ctx := browser.Open(t)
	for i, c := range []struct {
		language string
		hit      bool
	}{{"de", false}, {"fr", false}, {"de", true}} {
		if i > 0 {
			ctx = browser.Another(t, ctx)
		}
		b := newTab(t, ctx)
		b.speak(c.language)
		x := b.visit(s.URL + "/products/42")
		if got := b.offer(); got.Language != x.Request.Get("Accept-Language") || !strings.HasPrefix(got.Language, c.language) {
			t.Fatalf("asked for %s, got %q: %v", c.language, got.Language, x)
		}
		if c.hit {
			wantHit(t, x, 200)
		} else {
			wantForward(t, x, 200, "")
		}
		s.settle(t, "/products/42", "Accept-Language: "+x.Request.Get("Accept-Language"))
	}
	s.wantCalls(t, 2)
}

// accounts lets users sign in, and greets them by their cookies. Both pages would be
// cached if it were not for Set-Cookie and Cookie.
func accounts() http.Handler {
	mux := http.NewServeMux()
	var visitors atomic.Int64
	mux.HandleFunc("/welcome", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		name := fmt.Sprintf("visitor-%d", visitors.Add(1))
		http.SetCookie(w, &http.Cookie{Name: "user", Value: name, Path: "/"})
		_, _ = io.WriteString(w, "welcome, "+name)
	})
	mux.HandleFunc("/account", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		user, err := r.Cookie("user")
		if err != nil {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "the account of "+user.Value)
	})
	return mux
}

// TestBrowserUsersDoNotMeet: users of two profiles get their own cookies and their own
// pages, in whatever order they ask.
func TestBrowserUsersDoNotMeet(t *testing.T) {
	// What browsers demand of a cache would spare it the question.
	s := serve(t, httpcache.Config{IgnoreRequests: true}, accounts())
	ctx := browser.Open(t)
	users := []*tab{newTab(t, ctx), newTab(t, browser.Another(t, ctx))}
	for i, b := range users {
		name := fmt.Sprintf("visitor-%d", i+1)
		x := b.visit(s.URL + "/welcome")
		wantForward(t, x, 200, "")
		if got := eval[string](b, "document.cookie"); got != "user="+name || b.text() != "welcome, "+name {
			t.Fatalf("%s has the cookie %q, and sees %q", name, got, b.text())
		}
	}
	for range 2 {
		for i, b := range users {
			x, body := b.fetch("/account", `{cache: "reload"}`)
			if want := fmt.Sprintf("the account of visitor-%d", i+1); x.Status != 200 || body != want {
				t.Fatalf("%q, want %q: %v", body, want, x)
			}
		}
	}
}
