package httpcache

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// sink is a ResponseWriter that is used again and again, and allocates nothing.
type sink struct {
	header http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }

// hit returns a function that answers one request from the cache.
func hit(tb testing.TB, vary bool, field string) func() {
	c, err := New(Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	h := c.Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"a"`)
		if vary {
			w.Header().Set("Vary", "Accept-Encoding")
		}
		_, _ = io.WriteString(w, `{"id": 42}`)
	}))
	r := httptest.NewRequest(http.MethodGet, "/products/42?b=2&a=1", nil)
	r.Header.Set("Accept-Encoding", "gzip, br")
	if field != "" {
		set(r.Header, field)
	}
	s := &sink{header: make(http.Header)}
	for deadline := time.Now().Add(10 * time.Second); s.header["Age"] == nil; { // stores are asynchronous
		if time.Now().After(deadline) {
			tb.Fatal("nothing is stored")
		}
		h.ServeHTTP(s, r)
	}
	return func() { h.ServeHTTP(s, r) }
}

// TestHitAllocations: a hit allocates its key and nothing else; one of a variant a second
// key.
func TestHitAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		vary  bool
		field string
		most  float64
	}{
		"whole":   {false, "", 1},
		"variant": {true, "", 2},
		"304":     {false, `If-None-Match: "a"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			most := c.most
			if raceDetector() { // under which sync.Pool drops a quarter of what it is given
				most++
			}
			if n := testing.AllocsPerRun(1000, hit(t, c.vary, c.field)); n > most {
				t.Fatalf("%v allocations, want %v at most", n, most)
			}
		})
	}
}

func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func BenchmarkHit(b *testing.B) {
	for name, vary := range map[string]bool{"whole": false, "variant": true} {
		b.Run(name, func(b *testing.B) {
			f := hit(b, vary, "")
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
