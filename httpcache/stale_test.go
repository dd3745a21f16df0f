package httpcache

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// failing is an origin that can be made to fail.
type failing struct {
	origin
	broken atomic.Int64 // status; -1: panics
}

func fails(fields ...string) *failing {
	o := new(failing)
	o.serve = func(w http.ResponseWriter, _ *http.Request, n int64) {
		switch status := o.broken.Load(); {
		case status < 0:
			panic("broken")
		case status > 0:
			w.WriteHeader(int(status))
			_, _ = io.WriteString(w, "broken")
		default:
			set(w.Header(), fields...)
			_, _ = io.WriteString(w, body(n))
		}
	}
	return o
}

// TestStaleIfError: RFC 5861, 4; RFC 9111, 4.2.4. The response is fresh for 10 s.
func TestStaleIfError(t *testing.T) {
	for name, c := range map[string]struct {
		says   string
		broken int64
		after  time.Duration
		stale  bool
		asks   string
	}{
		"503 within":                  {"max-age=10, stale-if-error=20", 503, 20 * time.Second, true, ""},
		"500 within":                  {"max-age=10, stale-if-error=20", 500, 20 * time.Second, true, ""},
		"a panic within":              {"max-age=10, stale-if-error=20", -1, 20 * time.Second, true, ""},
		"404 is no error":             {"max-age=10, stale-if-error=20", 404, 20 * time.Second, false, ""},
		"503 later":                   {"max-age=10, stale-if-error=20", 503, 31 * time.Second, false, ""},
		"503 without":                 {"max-age=10", 503, 20 * time.Second, false, ""},
		"503, must-revalidate":        {"max-age=10, stale-if-error=20, must-revalidate", 503, 20 * time.Second, false, ""},
		"503, proxy-revalidate":       {"max-age=10, stale-if-error=20, proxy-revalidate", 503, 20 * time.Second, false, ""},
		"503, no-cache":               {"no-cache, stale-if-error=20", 503, 5 * time.Second, false, ""},
		"503, s-maxage":               {"s-maxage=10", 503, 20 * time.Second, false, ""},
		"asked for":                   {"max-age=10", 503, 20 * time.Second, true, "stale-if-error=20"},
		"asked for, a panic":          {"max-age=10", -1, 20 * time.Second, true, "stale-if-error=20"},
		"asked for, later":            {"max-age=10", 503, 31 * time.Second, false, "stale-if-error=20"},
		"asked for, must-revalidate":  {"max-age=10, must-revalidate", 503, 20 * time.Second, false, "stale-if-error=20"},
		"asked for, s-maxage":         {"s-maxage=10", 503, 20 * time.Second, false, "stale-if-error=20"},
		"asked for less than is said": {"max-age=10, stale-if-error=20", 503, 20 * time.Second, true, "stale-if-error=1"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := fails("Cache-Control: "+c.says, `ETag: "a"`)
				h := open(t, Config{}).Handler(0)(o)
				do(h, "/")
				o.broken.Store(c.broken)
				time.Sleep(c.after)
				var asks []string
				if c.asks != "" {
					asks = append(asks, "Cache-Control: "+c.asks)
				}
				if c.stale {
					for range 2 {
						r := do(h, "/", asks...)
						want(t, r, 200, "body 1")
						wantField(t, r, "Age", "20")
						wantField(t, r, "Warning", "")
					}
				} else {
					want(t, do(h, "/", asks...), int(c.broken), "broken")
				}
				o.broken.Store(0)
				n := o.calls.Load()
				want(t, do(h, "/"), 200, body(n+1))
			})
		})
	}
}

// TestStaleForErrorsOnly: stale-if-error is for errors, also for requests that the cache
// does not load for; and who may not have a response may not have it stale.
func TestStaleForErrorsOnly(t *testing.T) {
	for name, c := range map[string]struct {
		says    string
		request []string
		broken  int64
		status  int
		body    string
	}{
		"HEAD":                    {"public, ", []string{"HEAD /"}, 0, 200, ""},
		"a range":                 {"public, ", []string{"/", "Range: bytes=0-1"}, 0, 200, "body 2"}, // which the handler ignores
		"Cookie":                  {"public, ", []string{"/", "Cookie: a=b"}, 0, 200, "body 2"},
		"Cookie, an error":        {"public, ", []string{"/", "Cookie: a=b"}, 503, 200, "body 1"},
		"Authorization":           {"public, ", []string{"/", "Authorization: a"}, 0, 200, "body 2"},
		"Authorization, 503":      {"public, ", []string{"/", "Authorization: a"}, 503, 200, "body 1"},
		"not for Authorization":   {"", []string{"/", "Authorization: a"}, 503, 503, "broken"},
		"too stale for max-stale": {"public, ", []string{"/", "Cache-Control: max-stale=1"}, 0, 200, "body 2"},
		"only-if-cached":          {"public, ", []string{"/", "Cache-Control: only-if-cached"}, 0, 504, "Gateway Timeout\n"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := fails("Cache-Control: " + c.says + "max-age=10, stale-if-error=100")
				h := open(t, Config{}).Handler(0)(o)
				do(h, "/")
				o.broken.Store(c.broken)
				time.Sleep(20 * time.Second)
				r := do(h, c.request[0], c.request[1:]...)
				if c.body != "" {
					want(t, r, c.status, c.body)
				}
				if c.status != 504 {
					o.want(t, 2)
				}
			})
		})
	}
}

// TestStaleIsNotForAll: the engine's stale response is not for a client who may not have
// it. Nothing stale reaches it but when its load follows one that it had joined.
func TestStaleIsNotForAll(t *testing.T) {
	rt := &route{cache: &Cache{}}
	rec := httptest.NewRecorder()
	ex := newExchange(rt, rec, httptest.NewRequest(http.MethodGet, "/", nil))
	ex.secrets, ex.info.Stale = AllowAuthorization, true
	old := (&entry{Kind: kindResponse, Status: 200, Born: time.Now().UnixNano(), SIE: time.Hour}).prepare()
	mine := (&entry{Kind: kindResponse, Status: 503}).prepare()
	ex.conclude(old, nil, nil, &outcome{answer: mine, stale: true})
	if rec.Code != 503 {
		t.Fatalf("status %d", rec.Code)
	}
}

// TestStaleAtOnce: a response that is stale from the first is answered for an error only,
// also while the engine still takes it for alive.
func TestStaleAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := fails("Cache-Control: max-age=0, stale-if-error=60")
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		want(t, do(h, "/"), 200, "body 2")
		want(t, do(h, "/"), 200, "body 3")
		o.broken.Store(503)
		want(t, do(h, "/"), 200, "body 3")
	})
}

// TestStaleWhileRevalidate: RFC 5861, 3: a stale response is answered at once, and replaced
// by one call behind its reader's back.
func TestStaleWhileRevalidate(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
			if n > 1 {
				time.Sleep(5 * time.Second)
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=20")
			_, _ = io.WriteString(w, body(n))
		}}
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		time.Sleep(15 * time.Second)
		asked := time.Now()
		for range 10 {
			r := do(h, "/")
			want(t, r, 200, "body 1")
			wantField(t, r, "Age", "15")
		}
		if took := time.Since(asked); took != 0 {
			t.Fatalf("readers waited for %v", took)
		}
		time.Sleep(6 * time.Second)
		want(t, do(h, "/"), 200, "body 2")
		o.want(t, 2)
		time.Sleep(31 * time.Second) // beyond its window
		want(t, do(h, "/"), 200, "body 3")
	})
	for _, says := range []string{"max-age=10", "max-age=10, stale-while-revalidate=20, must-revalidate", "no-cache, stale-while-revalidate=20"} {
		t.Run(says, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				h := open(t, Config{}).Handler(0)(fails("Cache-Control: " + says))
				do(h, "/")
				time.Sleep(15 * time.Second)
				want(t, do(h, "/"), 200, "body 2")
			})
		})
	}
	t.Run("of a variant", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := says("Cache-Control: max-age=10, stale-while-revalidate=20", "Vary: Foo")
			h := open(t, Config{}).Handler(0)(o)
			do(h, "/", "Foo: 1")
			time.Sleep(15 * time.Second)
			want(t, do(h, "/", "Foo: 1"), 200, "body 1")
			want(t, do(h, "/", "Foo: 1"), 200, "body 2")
		})
	})
}

// TestFailuresAreNotKept: a panic, an error, a response that was cut off, a handler that
// takes too long: each client sees what it would without a cache, and the next is answered.
func TestFailuresAreNotKept(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request){
		"panic":         func(http.ResponseWriter, *http.Request) { panic("broken") },
		"panic halfway": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("broken") },
		"abort": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "half")
		},
		"panic, flushed": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{}
				o.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
					if n == 1 {
						fail(w, r)
						return
					}
					_, _ = io.WriteString(w, body(n))
				}
				h := open(t, Config{}).Handler(time.Hour)(o)
				func() {
					defer func() {
						if recover() == nil {
							t.Error("the client was not told")
						}
					}()
					do(h, "/")
				}()
				want(t, do(h, "/"), 200, "body 2")
				time.Sleep(2 * passLife)
				r := do(h, "/")
				if got := text(r); got != "body 2" && got != "body 3" {
					t.Fatalf("%q", got)
				}
			})
		})
	}
	t.Run("500", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := fails()
			o.broken.Store(500)
			h := open(t, Config{}).Handler(time.Hour)(o)
			want(t, do(h, "/"), 500, "broken")
			o.broken.Store(0)
			want(t, do(h, "/"), 200, "body 2")
		})
	})
	t.Run("too slow", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			ended := false
			h := open(t, Config{Timeout: time.Second}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				ended = true
				_, _ = io.WriteString(w, "half")
			}))
			if r := do(h, "/"); r.StatusCode != 504 || !ended {
				t.Fatalf("status %d, ended %v", r.StatusCode, ended)
			}
			if r := do(h, "/"); r.StatusCode != 504 {
				t.Fatalf("then status %d", r.StatusCode)
			}
		})
	})
}
