package httpcache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestUnsafeMethods: RFC 9111, 4.4. /a and /b are stored.
func TestUnsafeMethods(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
		says    []string
		a, b    bool // whether they are stored after it
	}{
		"POST":                       {"POST /a", 200, nil, false, true},
		"PUT":                        {"PUT /a", 204, nil, false, true},
		"DELETE":                     {"DELETE /a", 200, nil, false, true},
		"PATCH":                      {"PATCH /a", 200, nil, false, true},
		"a method that nobody knows": {"FROB /a", 200, nil, false, true},
		"a redirect":                 {"POST /a", 303, nil, false, true},
		"an error":                   {"POST /a", 400, nil, true, true},
		"a failure":                  {"POST /a", 500, nil, true, true},
		"OPTIONS is safe":            {"OPTIONS /a", 200, nil, true, true},
		"HEAD is safe":               {"HEAD /a", 200, nil, true, true},
		"Location":                   {"POST /x", 201, []string{"Location: /b"}, true, false},
		"Content-Location":           {"POST /a", 200, []string{"Content-Location: b"}, false, false},
		"Location, absolute":         {"POST /a", 201, []string{"Location: http://example.com/b#x"}, false, false},
		"Location of another host":   {"POST /a", 201, []string{"Location: http://other.test/b"}, false, true},
		"Location of another scheme": {"POST /a", 201, []string{"Location: https://example.com/b"}, false, true},
		"Location of a failure":      {"POST /a", 500, []string{"Location: /b"}, true, true},
		"a Location that is none":    {"POST /a", 201, []string{"Location: http://[/b"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{}
				o.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
					if r.Method != http.MethodGet {
						set(w.Header(), c.says...)
						w.WriteHeader(c.status)
						return
					}
					_, _ = io.WriteString(w, body(n))
				}
				h := open(t, Config{}).Handler(time.Hour)(o)
				do(h, "/a")
				do(h, "/b")
				do(h, c.request)
				for path, kept := range map[string]bool{"/a": c.a, "/b": c.b} {
					before := o.calls.Load()
					do(h, path)
					if (o.calls.Load() == before) != kept {
						t.Errorf("%s: stored is %v, want %v", path, !kept, kept)
					}
				}
			})
		})
	}
}

// TestUnsafeInvalidatesBeforeItsClientKnows: who has seen the answer to a POST sees what
// it did.
func TestUnsafeInvalidatesBeforeItsClientKnows(t *testing.T) {
	simulate(t, func(t *testing.T) {
		value := "old"
		var h http.Handler
		h = open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				value = "new"
				w.WriteHeader(200)
				want(t, do(h, "/"), 200, "new")
				return
			}
			_, _ = io.WriteString(w, value)
		}))
		want(t, do(h, "/"), 200, "old")
		do(h, "POST /")
	})
}

// TestInvalidate: by path, by prefix, by a handler's tags, and all.
func TestInvalidate(t *testing.T) {
	paths := []string{"/a/b", "/a/b?x=1", "/a/c", "/ab", "/d"}
	for name, c := range map[string]struct {
		f    func(ctx context.Context, cache *Cache) error
		gone map[string]bool
	}{
		"a path":          {func(ctx context.Context, c *Cache) error { return c.InvalidatePath(ctx, "/a/b") }, map[string]bool{"/a/b": true, "/a/b?x=1": true}},
		"two paths":       {func(ctx context.Context, c *Cache) error { return c.InvalidatePath(ctx, "/ab", "/d") }, map[string]bool{"/ab": true, "/d": true}},
		"a prefix":        {func(ctx context.Context, c *Cache) error { return c.InvalidatePrefix(ctx, "/a/") }, map[string]bool{"/a/b": true, "/a/b?x=1": true, "/a/c": true}},
		"a handler's tag": {func(ctx context.Context, c *Cache) error { return c.InvalidateTags(ctx, "pages") }, map[string]bool{"/a/b": true, "/a/b?x=1": true, "/a/c": true, "/ab": true, "/d": true}},
		"a response's":    {func(ctx context.Context, c *Cache) error { return c.InvalidateTags(ctx, "at /d") }, map[string]bool{"/d": true}},
		"all":             {func(ctx context.Context, c *Cache) error { return c.Clear(ctx) }, map[string]bool{"/a/b": true, "/a/b?x=1": true, "/a/c": true, "/ab": true, "/d": true}},
		"another's tag":   {func(ctx context.Context, c *Cache) error { return c.InvalidateTags(ctx, "/d") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				var wrong []string
				for range 3 { // a tag takes one in 4,096 others with it, in caches whose hashes say so
					if wrong = invalidated(t, paths, c.f, c.gone); wrong == nil {
						return
					}
				}
				t.Error(wrong)
			})
		})
	}
	if err := open(t, Config{}).InvalidatePrefix(t.Context(), "/a"); err == nil {
		t.Error("a prefix without a slash is taken")
	}
}

// invalidated stores paths, calls f, and returns those of which it took too much or too
// little.
func invalidated(t *testing.T, paths []string, f func(context.Context, *Cache) error, gone map[string]bool) (wrong []string) {
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
		w.Header().Set("Cache-Tag", "x, at "+r.URL.Path)
		w.Header().Set("Vary", "Foo")
	}}
	cache := open(t, Config{})
	h := cache.Handler(time.Hour, Tags("pages"))(o)
	for _, path := range paths {
		do(h, path)
	}
	if err := f(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		before := o.calls.Load()
		do(h, path)
		if is := o.calls.Load() > before; is != gone[path] {
			wrong = append(wrong, fmt.Sprintf("%s: gone is %v", path, is))
		}
	}
	return wrong
}

// TestInvalidatedWhileLoading: a response that was being made when its resource changed is
// not stored, nor its variant.
func TestInvalidatedWhileLoading(t *testing.T) {
	for name, f := range map[string]func(h http.Handler, c *Cache){
		"by a POST": func(h http.Handler, _ *Cache) { do(h, "POST /") },
		"by path":   func(_ http.Handler, c *Cache) { _ = c.InvalidatePath(context.Background(), "/") },
		"by tag":    func(_ http.Handler, c *Cache) { _ = c.InvalidateTags(context.Background(), "a") },
	} {
		for _, vary := range []string{"", "Foo"} {
			t.Run(name+" "+vary, func(t *testing.T) {
				simulate(t, func(t *testing.T) {
					var value atomic.Value
					value.Store("old")
					cache := open(t, Config{})
					h := cache.Handler(time.Hour, Tags("a"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost {
							return
						}
						read := value.Load().(string)
						time.Sleep(time.Second)
						if vary != "" {
							w.Header().Set("Vary", vary)
						}
						_, _ = io.WriteString(w, read)
					}))
					go beside(h)
					time.Sleep(time.Second / 2)
					value.Store("new")
					f(h, cache)
					time.Sleep(time.Second)
					want(t, do(h, "/"), 200, "new")
				})
			})
		}
	}
}
