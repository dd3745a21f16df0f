package httpcache

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
)

// serve starts a real server of h.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	s.Client().Transport.(*http.Transport).DisableCompression = true
	t.Cleanup(s.Close)
	return s
}

// fetch sends a request through the server's client.
func fetch(t *testing.T, s *httptest.Server, request string, fields ...string) (*http.Response, string) {
	t.Helper()
	method, path, ok := strings.Cut(request, " ")
	if !ok {
		method, path = http.MethodGet, request
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	set(r.Header, fields...)
	got, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got, string(b)
}

// stored fetches a path until the answer comes from the cache, which takes values in the
// background.
func stored(t *testing.T, s *httptest.Server, path string, fields ...string) *http.Response {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if r, _ := fetch(t, s, path, fields...); r.Header.Get("Age") != "" {
			return r
		}
	}
	t.Fatalf("%s is not stored", path)
	return nil
}

// TestFileServer: in front of http.FileServer, for a real client.
func TestFileServer(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("0123456789", 5000)
	for name, content := range map[string]string{"a.txt": "hello, world", "long.txt": long} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := http.FileServer(http.Dir(dir))
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) { files.ServeHTTP(w, r) }}
	s := serve(t, open(t, Config{MaxBodyBytes: 10_000}).Handler(time.Hour)(o))

	first, b := fetch(t, s, "/a.txt")
	if first.StatusCode != 200 || b != "hello, world" || first.Header.Get("Last-Modified") == "" {
		t.Fatalf("%d %q %v", first.StatusCode, b, first.Header)
	}
	r := stored(t, s, "/a.txt")
	calls := o.calls.Load()
	for _, field := range []string{"If-None-Match: " + r.Header.Get("Etag"), "If-Modified-Since: " + r.Header.Get("Last-Modified")} {
		if r, b := fetch(t, s, "/a.txt", field); r.StatusCode != 304 || b != "" {
			t.Fatalf("%s: %d %q", field, r.StatusCode, b)
		}
	}
	if r, b := fetch(t, s, "/a.txt", "Range: bytes=7-"); r.StatusCode != 206 || b != "world" || r.Header.Get("Content-Range") != "bytes 7-11/12" {
		t.Fatalf("%d %q %v", r.StatusCode, b, r.Header)
	}
	if r, b := fetch(t, s, "HEAD /a.txt"); r.StatusCode != 200 || b != "" || r.ContentLength != 12 {
		t.Fatalf("%d %q %v", r.StatusCode, b, r.Header)
	}
	o.want(t, calls)

	for range 2 {
		if r, b := fetch(t, s, "/long.txt"); b != long || r.Header.Get("Age") != "" || r.ContentLength != int64(len(long)) {
			t.Fatalf("%d bytes, %v", len(b), r.Header)
		}
	}
	if r, b := fetch(t, s, "/long.txt", "Range: bytes=5-9"); r.StatusCode != 206 || b != "56789" {
		t.Fatalf("%d %q", r.StatusCode, b)
	}
	o.want(t, calls+3)
	r, _ = fetch(t, s, "/long.txt")
	if r, b := fetch(t, s, "/long.txt", "If-Modified-Since: "+r.Header.Get("Last-Modified")); r.StatusCode != 304 || b != "" {
		t.Fatalf("%d %q", r.StatusCode, b)
	}
	if r, _ := fetch(t, s, "/none.txt"); r.StatusCode != 404 {
		t.Fatal(r.StatusCode)
	}
}

// api is a small JSON API that answers in the language that it is asked for.
func api(delay time.Duration) *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
		time.Sleep(delay)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Vary", "Accept-Language")
		_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.Path, "language": r.Header.Get("Accept-Language"), "call": n})
	}}
}

// TestJSONAPI: 500 clients of a real server, cold, in two languages: two calls.
func TestJSONAPI(t *testing.T) {
	o := api(300 * time.Millisecond)
	s := serve(t, open(t, Config{}).Handler(time.Hour)(o))
	s.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 500
	var clients sync.WaitGroup
	for i := range 500 {
		clients.Go(func() {
			r, b := fetch(t, s, "/products", "Accept-Language: de")
			if r.StatusCode != 200 || !strings.Contains(b, `"call":1,"language":"de"`) {
				t.Errorf("%d: %d %q", i, r.StatusCode, b)
			}
		})
	}
	clients.Wait()
	o.want(t, 1)
	stored(t, s, "/products", "Accept-Language: en")
	if _, b := fetch(t, s, "/products", "Accept-Language: en"); !strings.Contains(b, `"language":"en"`) {
		t.Fatal(b)
	}
	if _, b := fetch(t, s, "/products", "Accept-Language: de"); !strings.Contains(b, `"call":1,"language":"de"`) {
		t.Fatal(b)
	}
}

// TestCurl: a client that is not Go's.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here")
	}
	s := serve(t, open(t, Config{CacheStatus: "web"}).Handler(time.Hour)(api(0)))
	tag := stored(t, s, "/products").Header.Get("Etag")
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"hit":   {nil, []string{"HTTP/1.1 200 OK", "Age: ", "Cache-Status: web; hit; ttl=", `"path":"/products"`}},
		"304":   {[]string{"-H", "If-None-Match: " + tag}, []string{"HTTP/1.1 304 Not Modified"}},
		"range": {[]string{"-r", "1-6"}, []string{"HTTP/1.1 206 Partial Content", "\r\n\r\n\"call\""}},
		"HEAD":  {[]string{"-I"}, []string{"HTTP/1.1 200 OK", "Age: "}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), curl, append(c.args, "-sS", "-i", "--max-time", "10", s.URL+"/products")...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, part := range c.want {
				if !strings.Contains(string(out), part) {
					t.Errorf("%q is missing in %s", part, out)
				}
			}
		})
	}
}

// TestInterimResponses: 103 reaches the client whose request the handler answers; RFC 9110,
// 15.2.
func TestInterimResponses(t *testing.T) {
	s := serve(t, open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "body")
	})))
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(status, h.Get("Link")))
		return nil
	}})
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	got, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if len(hints) != 1 || hints[0] != "103</style.css>" || got.Header.Get("Link") != "" {
		t.Fatalf("hints %q, then %v", hints, got.Header)
	}
	if r := stored(t, s, "/"); r.Header.Get("Link") != "" {
		t.Fatalf("stored with %v", r.Header)
	}
}

// TestTrailers: both kinds reach the client, and such responses are not stored.
func TestTrailers(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]func(h http.Header){
		"announced":     func(h http.Header) { h.Set("Trailer", "X-Sum") },
		"not announced": func(http.Header) {},
	} {
		t.Run(name, func(t *testing.T) {
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
				c(w.Header())
				_, _ = io.WriteString(w, long) // net/http drops the trailers of short ones
				if name == "announced" {
					w.Header().Set("X-Sum", "4")
				} else {
					w.Header().Set(http.TrailerPrefix+"X-Sum", "4")
				}
			}}
			s := serve(t, open(t, Config{}).Handler(time.Hour)(o))
			for n := range int64(3) {
				r, b := fetch(t, s, "/")
				if b != long || r.Trailer.Get("X-Sum") != "4" {
					t.Fatalf("%q, trailer %v, %v", b, r.Trailer, r.Header)
				}
				o.want(t, n+1)
			}
		})
	}
}

// TestHijack: with Upgrade and without, the connection is the handler's.
func TestHijack(t *testing.T) {
	for name, fields := range map[string][]string{"upgrade": {"Connection: Upgrade", "Upgrade: x"}, "plain": nil} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
				_ = rw.Flush()
			})))
			for range 2 {
				if _, b := fetch(t, s, "/", fields...); b != "mine" {
					t.Fatalf("%q", b)
				}
			}
		})
	}
}

// TestServerSentEvents: each event arrives when it is sent.
func TestServerSentEvents(t *testing.T) {
	next := make(chan string)
	s := serve(t, open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for event := range next {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", event)
			_ = http.NewResponseController(w).Flush()
		}
	})))
	got, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	lines := bufio.NewReader(got.Body)
	for _, event := range []string{"one", "two"} {
		next <- event
		line, err := lines.ReadString('\n')
		if err != nil || line != "data: "+event+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = lines.ReadString('\n')
	}
	close(next)
}

// TestInstances: two instances with one Redis share responses and invalidations.
func TestInstances(t *testing.T) {
	server := redistest.Start(t)
	for _, vary := range []string{"", "Foo"} {
		t.Run("Vary "+vary, func(t *testing.T) {
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
				w.Header().Set("X-A", "\xff")
				if vary != "" {
					w.Header().Set("Vary", vary)
				}
				_, _ = io.WriteString(w, body(n))
			}}
			cfg := Config{Name: "web" + vary, MaxStaleness: 100 * time.Millisecond, CacheStatus: "web"}
			cfg.Redis = server.Client(t)
			// Their servers have other ports, and so other hosts: the key leaves that out.
			path := Key(func(r *http.Request) string { return r.URL.Path })
			one := serve(t, open(t, cfg).Handler(time.Hour, path)(o))
			cfg.Redis = server.Client(t)
			two := serve(t, open(t, cfg).Handler(time.Hour, path)(o))
			stored(t, one, "/")
			calls := o.calls.Load()
			stored(t, two, "/")
			o.want(t, calls)
			if _, b := fetch(t, two, "POST /"); b == "" {
				t.Fatal("no answer")
			}
			deadline := time.Now().Add(10 * time.Second)
			for {
				if _, b := fetch(t, one, "/"); b > body(calls+1) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the invalidation never arrived")
				}
			}
		})
	}
}
