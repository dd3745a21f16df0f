package debugpage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/nearcache/nearcache"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a cache that says what a test wants.
type fake struct {
	mu          sync.Mutex
	stats       nearcache.Stats
	explanation nearcache.Explanation
	err         error
	invalidated []string
}

func (f *fake) Stats() nearcache.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

func (f *fake) Explain(context.Context, string) (nearcache.Explanation, error) {
	return f.explanation, f.err
}

func (f *fake) Invalidate(_ context.Context, keys ...string) error {
	f.invalidated = append(f.invalidated, keys...)
	return f.err
}

func (f *fake) change(how func(*nearcache.Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(&f.stats)
}

func opened(t *testing.T, cfg Config) *Page {
	t.Helper()
	p := New(cfg)
	t.Cleanup(p.Close)
	return p
}

// send sends a request to the page.
func send(p *Page, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// get returns the page with a query, which must be given.
func get(t *testing.T, p *Page, query string) string {
	t.Helper()
	w := send(p, httptest.NewRequest(http.MethodGet, "/debug/nearcache/"+query, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%q: status %d, %s", query, w.Code, w.Body)
	}
	return w.Body.String()
}

// post sends a form, with fields of the header as "Name: value".
func post(p *Page, form url.Values, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/debug/nearcache/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	return send(p, r)
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q", part)
		}
	}
}

func lacks(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("says %q", part)
		}
	}
}

var errSecret = errors.New("validator of key secret-42: no")
