package httpcache

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneCallForAll: 500 clients ask for what is cold at once, with and without Vary.
func TestOneCallForAll(t *testing.T) {
	for _, vary := range []string{"", "Accept-Encoding"} {
		t.Run("Vary "+vary, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
					time.Sleep(time.Second)
					if vary != "" {
						w.Header().Set("Vary", vary)
					}
					_, _ = io.WriteString(w, body(n))
				}}
				h := open(t, Config{}).Handler(time.Hour)(o)
				crowd(t, h, 500, func(*http.Request, int) {}, func(_ int, got *http.Response) {
					if b := text(got); b != "body 1" {
						t.Errorf("%q", b)
					}
				})
				o.want(t, 1)
			})
		})
	}
	t.Run("a failure is shared, once", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
				time.Sleep(time.Second)
				w.WriteHeader(503)
			}}
			h := open(t, Config{}).Handler(time.Hour)(o)
			for range 2 {
				crowd(t, h, 50, func(*http.Request, int) {}, func(_ int, got *http.Response) {
					if got.StatusCode != 503 {
						t.Errorf("status %d", got.StatusCode)
					}
				})
			}
			o.want(t, 2)
		})
	})
}

// TestPrivateRequestsDoNotQueue: once a resource is known to be each client's own, its
// requests run side by side.
func TestPrivateRequestsDoNotQueue(t *testing.T) {
	simulate(t, func(t *testing.T) {
		says := "private"
		h := open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			set(w.Header(), "Cache-Control: "+says, `ETag: "a"`)
		}))
		do(h, "/")
		began := time.Now()
		crowd(t, h, 20, func(*http.Request, int) {}, func(int, *http.Response) {})
		if took := time.Since(began); took != time.Second {
			t.Fatalf("20 requests took %v", took)
		}
		began = time.Now()
		crowd(t, h, 20, func(r *http.Request, _ int) { r.URL.Path = "/cold"; r.Header.Set("Cookie", "a") }, func(int, *http.Response) {})
		// One that asks just when the first begins may wait for that.
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("20 requests with cookies took %v", took)
		}
		says = "public, max-age=1"
		do(h, "/turned")
		time.Sleep(2 * time.Second)
		says = "private"
		began = time.Now()
		crowd(t, h, 20, func(r *http.Request, _ int) { r.URL.Path = "/turned"; r.Header.Set("Cookie", "a") }, func(int, *http.Response) {})
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("20 requests with cookies for what is not public any more took %v", took)
		}
	})
}

// recorder is a ResponseRecorder that can be looked at while it is written.
type recorder struct {
	mu  sync.Mutex
	rec *httptest.ResponseRecorder
}

func (r *recorder) Header() http.Header { return r.rec.Header() }

func (r *recorder) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.Write(p)
}

func (r *recorder) Flush() {}

func (r *recorder) body() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.Body.String()
}

// TestPassedThrough: what is not stored reaches its client as the handler writes it.
func TestPassedThrough(t *testing.T) {
	for name, before := range map[string]func(w http.ResponseWriter){
		"flushed":               func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"flushed by controller": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"too long":              func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("x", 101)) },
		"long by its length":    func(w http.ResponseWriter) { w.Header().Set("Content-Length", "101"); w.WriteHeader(200) },
		"private":               func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "private"); w.WriteHeader(200) },
		"with a trailer":        func(w http.ResponseWriter) { w.Header().Set("Trailer", "X-Sum"); w.WriteHeader(200) },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{}
				o.serve = func(w http.ResponseWriter, _ *http.Request, n int64) {
					w.Header().Set("X-A", "b")
					before(w)
					_, _ = io.WriteString(w, "first ")
					time.Sleep(time.Second)
					_, _ = io.WriteString(w, "second")
				}
				h := open(t, Config{MaxBodyBytes: 100}).Handler(time.Hour)(o)
				rec := &recorder{rec: httptest.NewRecorder()}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
				}()
				synctest.Wait()
				if got := rec.body(); !strings.HasSuffix(got, "first ") {
					t.Fatalf("so far %q", got)
				}
				// Another client neither gets that nor waits for it.
				began := time.Now()
				got := text(do(h, "/"))
				if time.Since(began) != time.Second || !strings.HasSuffix(got, "first second") {
					t.Fatalf("another client got %q after %v", got, time.Since(began))
				}
				<-ended
				if got := rec.body(); !strings.HasSuffix(got, "first second") || rec.Header().Get("X-A") != "b" {
					t.Fatalf("in the end %q, %v", got, rec.Header())
				}
				o.want(t, 2)
			})
		})
	}
}

// TestLongBodyArrivesWhole: the part that was kept before the bound was passed is not lost.
func TestLongBodyArrivesWhole(t *testing.T) {
	simulate(t, func(t *testing.T) {
		h := open(t, Config{MaxBodyBytes: 100}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 50 {
				_, _ = io.WriteString(w, "0123456789")
			}
		}))
		for range 2 {
			want(t, do(h, "/"), 200, strings.Repeat("0123456789", 50))
		}
	})
}

// TestClientsThatLeave: a client that leaves takes nothing from others, and if it was the
// only one its response is dropped, also one that the handler made of its cancellation.
func TestClientsThatLeave(t *testing.T) {
	t.Run("among others", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
				time.Sleep(time.Second)
				_, _ = io.WriteString(w, body(n))
			}}
			h := open(t, Config{}).Handler(time.Hour)(o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			crowd(t, h, 10, func(r *http.Request, i int) {
				if i > 0 {
					time.Sleep(time.Second / 4)
					return
				}
				*r = *r.WithContext(ctx)
			}, func(i int, got *http.Response) {
				if b := text(got); i > 0 && b != "body 1" || i == 0 && b != "" {
					t.Errorf("%d got %q", i, b)
				}
			})
			o.want(t, 1)
		})
	})
	for name, long := range map[string]bool{"alone": false, "alone, streaming": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
					if n > 1 {
						_, _ = io.WriteString(w, body(n))
						return
					}
					_, _ = io.WriteString(w, "half")
					if long {
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done() // and returns as if nothing were wrong
				}}
				h := open(t, Config{}).Handler(time.Hour)(o)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				synctest.Wait()
				want(t, do(h, "/"), 200, "body 2")
			})
		})
	}
	t.Run("before the response is handed over", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			var failed error
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
				if n == 1 {
					time.Sleep(2 * time.Second)
					w.Header().Set("Cache-Control", "private")
					_, failed = io.WriteString(w, "secret")
				}
			}}
			h := open(t, Config{}).Handler(time.Hour)(o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if rec.Body.Len() > 0 || failed == nil {
				t.Fatalf("wrote %q to a client that had left, %v", rec.Body, failed)
			}
		})
	})
}

// TestReentrantHandler: a handler that asks the cache for what it is making is run again,
// and nobody waits forever.
func TestReentrantHandler(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var h http.Handler
		o := &origin{}
		o.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
			if n == 1 {
				h.ServeHTTP(w, r)
				return
			}
			_, _ = io.WriteString(w, body(n))
		}
		h = open(t, Config{}).Handler(time.Hour)(o)
		want(t, do(h, "/"), 200, "body 2")
	})
}

// TestClosedCache: handlers go on without it.
func TestClosedCache(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := c.Handler(time.Hour)(says())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range int64(2) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		want(t, rec.Result(), 200, body(n+1))
	}
}

// TestCacheStatus: RFC 9211, 2.
func TestCacheStatus(t *testing.T) {
	simulate(t, func(t *testing.T) {
		h := open(t, Config{CacheStatus: "web"}).Handler(0)(says("Cache-Control: max-age=60", "Cache-Status: up; hit"))
		for _, c := range []struct{ request, field, status string }{
			{"/", "X-A: b", "web; fwd=uri-miss; fwd-status=200; stored"},
			{"/", "X-A: b", "web; hit; ttl=60"},
			{"/", "Cache-Control: no-cache", "web; fwd=request; fwd-status=200; stored"},
			{"/", "If-Match: *", "web; fwd=bypass"},
			{"OPTIONS /", "X-A: b", "web; fwd=method"},
			{"POST /", "X-A: b", "web; fwd=method"},
			{"/2", "Authorization: x", "web; fwd=uri-miss; fwd-status=200"},
		} {
			got := do(h, c.request, c.field).Header["Cache-Status"]
			if len(got) != 2 || got[0] != c.status && got[1] != c.status {
				t.Errorf("%s, %s: %q, want %q among them", c.request, c.field, got, c.status)
			}
		}
		time.Sleep(61 * time.Second)
		h2 := open(t, Config{CacheStatus: "web"}).Handler(0)(says(`ETag: "a"`, "Cache-Control: max-age=1", "Vary: Foo"))
		do(h2, "/")
		wantField(t, do(h2, "/", "Foo: 1"), "Cache-Status", "web; fwd=vary-miss; fwd-status=200; stored")
		time.Sleep(2 * time.Second)
		wantField(t, do(h2, "/"), "Cache-Status", "web; fwd=stale; fwd-status=200; stored")
		h3 := open(t, Config{CacheStatus: "web"}).Handler(0)(confirming([]string{`ETag: "a"`, "Cache-Control: no-cache"}, nil))
		do(h3, "/")
		wantField(t, do(h3, "/"), "Cache-Status", "web; fwd=stale; fwd-status=304; stored")
	})
}

// TestLeftClientIsNotTouched: neither its request nor its ResponseWriter, in the two races
// that a load can lose.
func TestLeftClientIsNotTouched(t *testing.T) {
	ex := &exchange{left: true}
	if rn := ex.begin(t.Context(), nil); rn != nil {
		t.Error("a handler runs for a request whose client has left")
	}
	for name, rn := range map[string]*run{
		"it left":             {client: httptest.NewRecorder(), left: true, hold: func() bool { return true }},
		"the load has ended":  {client: httptest.NewRecorder(), hold: func() bool { return false }},
		"there never was any": {hold: func() bool { return true }},
	} {
		cancelled := false
		rn.cancel, rn.handed = func() { cancelled = true }, make(chan struct{})
		if rn.take() || !cancelled {
			t.Errorf("%s: its ResponseWriter was taken, or its handler goes on", name)
		}
	}
}
