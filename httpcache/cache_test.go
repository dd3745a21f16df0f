package httpcache

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Cache {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// origin is a handler that counts its calls, and shows the number in each body.
type origin struct {
	calls atomic.Int64
	serve func(w http.ResponseWriter, r *http.Request, n int64)
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.serve(w, r, o.calls.Add(1)) }

// says returns an origin whose responses have these fields, "Name: value" each.
func says(fields ...string) *origin {
	return &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
		set(w.Header(), fields...)
		_, _ = io.WriteString(w, body(n))
	}}
}

func body(n int64) string { return "body " + string(rune('0'+n)) }

func set(h http.Header, fields ...string) {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
}

// do sends one request, "METHOD target" or just a target, with these fields, and waits
// until all that it caused is done. It works in simulated time only.
func do(h http.Handler, request string, fields ...string) *http.Response {
	method, target, ok := strings.Cut(request, " ")
	if !ok {
		method, target = http.MethodGet, request
	}
	r := httptest.NewRequest(method, target, nil)
	set(r.Header, fields...)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	synctest.Wait()
	return rec.Result()
}

// beside sends a request from beside the test.
func beside(h http.Handler) {
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

func text(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// want checks a response: its status, and its body up to the end, "" for none.
func want(t *testing.T, r *http.Response, status int, body string) {
	t.Helper()
	if got := text(r); r.StatusCode != status || got != body {
		t.Fatalf("%d %q, want %d %q (%v)", r.StatusCode, got, status, body, r.Header)
	}
}

func wantField(t *testing.T, r *http.Response, name, value string) {
	t.Helper()
	if got := r.Header.Get(name); got != value {
		t.Fatalf("%s is %q, want %q", name, got, value)
	}
}

func (o *origin) want(t *testing.T, calls int64) {
	t.Helper()
	if n := o.calls.Load(); n != calls {
		t.Fatalf("%d calls of the handler, want %d", n, calls)
	}
}

// simulate runs f in simulated time.
func simulate(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// crowd sends n requests at once, and checks each response.
func crowd(t *testing.T, h http.Handler, n int, prepare func(r *http.Request, i int), check func(i int, got *http.Response)) {
	t.Helper()
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			prepare(r, i)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			check(i, rec.Result())
		})
	}
	clients.Wait()
}
