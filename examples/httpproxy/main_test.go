package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin answers by its request's path, and counts.
type origin struct {
	*httptest.Server
	calls  atomic.Int64
	broken atomic.Bool
}

func newOrigin(t *testing.T) *origin {
	o := new(origin)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := o.calls.Add(1)
		if o.broken.Load() {
			panic(http.ErrAbortHandler)
		}
		h := w.Header()
		h.Set("Cache-Control", "max-age=600")
		switch r.URL.Path {
		case "/chunked":
			_, _ = io.WriteString(w, "one ")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "two")
			return
		case "/cut":
			h.Set("Content-Length", "100")
		case "/vary":
			h.Set("Vary", "Foo")
		case "/private":
			h.Set("Cache-Control", "private, max-age=600")
		case "/error":
			h.Set("Cache-Control", "max-age=0, stale-if-error=600")
		case "/validate":
			h.Set("Cache-Control", "no-cache")
			h.Set("Etag", `"a"`)
			h.Set("X-Call", fmt.Sprint(n))
			if r.Header.Get("If-None-Match") == `"a"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		case "/make":
			h.Set("Location", "/made")
			w.WriteHeader(http.StatusCreated)
			return
		case "/events":
			h.Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = fmt.Fprintf(w, "%s %d", r.URL.Path, n)
	}))
	t.Cleanup(o.Close)
	return o
}

// start runs the program before an origin, and returns its URL.
func start(t *testing.T, o *origin, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan int)
	go func() {
		code := run(ctx, append([]string{"-listen", "127.0.0.1:0", "-origin", o.URL}, args...), in, io.Discard)
		_ = in.Close()
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d", code)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ := strings.Cut(line, " ")
	return address
}

func fetch(t *testing.T, method, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, ""
	}
	defer got.Body.Close()
	b, _ := io.ReadAll(got.Body)
	return got, string(b)
}

// stored fetches until an answer comes from the cache.
func stored(t *testing.T, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if r, b := fetch(t, "GET", url, fields...); r != nil && r.Header.Get("Age") != "" {
			return r, b
		}
	}
	t.Fatalf("%s is not stored", url)
	return nil, ""
}

// TestProxy: a shared cache before a real origin.
func TestProxy(t *testing.T) {
	o := newOrigin(t)
	proxy := start(t, o, "-status", "edge")
	if r, b := stored(t, proxy+"/plain"); !strings.HasPrefix(b, "/plain ") || !strings.HasPrefix(r.Header.Get("Cache-Status"), "edge; hit") {
		t.Errorf("%q, %v", b, r.Header)
	}
	if _, b := stored(t, proxy+"/chunked"); b != "one two" {
		t.Errorf("chunked: %q", b)
	}
	_, one := stored(t, proxy+"/vary", "Foo", "1")
	_, two := stored(t, proxy+"/vary", "Foo", "2")
	if _, again := stored(t, proxy+"/vary", "Foo", "1"); one == two || one != again {
		t.Errorf("variants %q, %q, %q", one, two, again)
	}
	if r, b := fetch(t, "GET", proxy+"/plain", "Range", "bytes=1-5"); r.StatusCode != 206 || b != "plain" {
		t.Errorf("range: %d %q", r.StatusCode, b)
	}
	_, first := fetch(t, "GET", proxy+"/private")
	if _, second := fetch(t, "GET", proxy+"/private"); first == second {
		t.Errorf("private: %q twice", first)
	}
	_, first = fetch(t, "GET", proxy+"/secret", "Authorization", "x")
	if _, second := fetch(t, "GET", proxy+"/secret", "Authorization", "y"); first == second {
		t.Errorf("with Authorization: %q twice", first)
	}
	_, first = fetch(t, "GET", proxy+"/validate")
	if r, second := fetch(t, "GET", proxy+"/validate"); first != second || r.StatusCode != 200 || strings.HasSuffix(second, r.Header.Get("X-Call")) {
		t.Errorf("validated: %q, then %q with %v", first, second, r.Header)
	}
	_, first = stored(t, proxy+"/made")
	fetch(t, "POST", proxy+"/make")
	if _, second := fetch(t, "GET", proxy+"/made"); first == second {
		t.Errorf("after its Location: %q still", second)
	}
}

// TestBrokenOrigin: what is cut off is neither stored nor passed for whole, and errors are
// bridged where the origin permits it.
func TestBrokenOrigin(t *testing.T) {
	o := newOrigin(t)
	proxy := start(t, o)
	for range 2 {
		if r, b := fetch(t, "GET", proxy+"/cut"); r != nil {
			t.Errorf("cut off: %d %q", r.StatusCode, b)
		}
	}
	_, first := fetch(t, "GET", proxy+"/error")
	stored(t, proxy+"/error", "Cache-Control", "only-if-cached, max-stale")
	o.broken.Store(true)
	if r, b := fetch(t, "GET", proxy+"/error"); r.StatusCode != 200 || b != first {
		t.Errorf("stale-if-error: %d %q, want %q", r.StatusCode, b, first)
	}
	if r, _ := fetch(t, "GET", proxy+"/plain"); r.StatusCode != http.StatusBadGateway {
		t.Errorf("without: %d", r.StatusCode)
	}
}

// TestEvents: a stream arrives while it is made.
func TestEvents(t *testing.T) {
	proxy := start(t, newOrigin(t))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, proxy+"/events", nil)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if line, err := bufio.NewReader(got.Body).ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// TestMisuse: arguments that make no sense are named.
func TestMisuse(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-origin", "nowhere"}, misuse, `"nowhere"`},
		{[]string{"x"}, misuse, `"x"`},
		{[]string{"-help"}, ended, "-listen"},
		{[]string{"-listen", "127.0.0.1:-1"}, failed, "-1"},
		{[]string{"-max-body", "-1"}, failed, "MaxBodyBytes is -1"},
	} {
		var stderr strings.Builder
		if code := run(t.Context(), c.args, io.Discard, &stderr); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%q: exit code %d, %s", c.args, code, stderr.String())
		}
		for line := range strings.Lines(stderr.String()) {
			if len(strings.TrimRight(line, "\n")) > 110 {
				t.Errorf("%d columns: %q", len(line), line)
			}
		}
	}
}
