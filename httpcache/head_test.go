package httpcache

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHead: a HEAD from a stored GET has its fields and no body.
func TestHead(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := says("X-A: b")
		h := open(t, Config{}).Handler(time.Hour)(o)
		do(h, "/")
		r := do(h, "HEAD /")
		want(t, r, 200, "")
		wantField(t, r, "X-A", "b")
		wantField(t, r, "Content-Length", "6")
		wantField(t, r, "Age", "0")
		o.want(t, 1)
	})
}

// heads is an origin that answers GET with a body and these fields, and HEAD with others,
// for a status. It ignores conditions.
func heads(get []string, status int, head []string) *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
		if r.Method == http.MethodHead {
			set(w.Header(), head...)
			w.WriteHeader(status)
			return
		}
		set(w.Header(), get...)
		_, _ = io.WriteString(w, body(n))
	}}
}

// TestHeadFreshens: RFC 9111, 4.3.5: what a HEAD that goes to the handler brings is the
// client's, and freshens the stored response if a validator says that it is the same.
func TestHeadFreshens(t *testing.T) {
	const etag, other, modified = `ETag: "a"`, `ETag: "b"`, "Last-Modified: " + monday
	for name, c := range map[string]struct {
		get    []string
		status int
		head   []string
		body   string // of the next GET
		asks   string // a field of the HEAD
	}{
		"the same tag":               {[]string{etag}, 200, []string{etag}, "body 1", ""},
		"a weak one of it":           {[]string{etag}, 200, []string{`ETag: W/"a"`}, "body 1", ""},
		"the same time":              {[]string{modified}, 200, []string{modified}, "body 1", ""},
		"the same tag and length":    {[]string{etag}, 200, []string{etag, "Content-Length: 6"}, "body 1", ""},
		"another length":             {[]string{etag}, 200, []string{etag, "Content-Length: 7"}, "body 3", ""},
		"another tag":                {[]string{etag, modified}, 200, []string{other, modified}, "body 3", ""},
		"another time":               {[]string{etag, modified}, 200, []string{etag, "Last-Modified: " + tuesday}, "body 3", ""},
		"a tag where none was":       {nil, 200, []string{etag}, "body 3", ""},
		"no validator":               {[]string{etag}, 200, nil, "body 3", ""},
		"an error":                   {[]string{etag}, 500, []string{etag}, "body 3", ""},
		"another status":             {[]string{etag}, 410, []string{etag}, "body 3", ""},
		"the same, not to be stored": {[]string{etag}, 200, []string{etag, "Cache-Control: no-store"}, "body 3", ""},
		"the same, of one user":      {[]string{etag}, 200, []string{etag, "Set-Cookie: a=b"}, "body 3", ""},
		"the same, varying":          {[]string{etag}, 200, []string{etag, "Vary: X-Any"}, "body 1", ""},
		"the same, but for a user":   {[]string{etag}, 200, []string{etag}, "body 3", "Cookie: a=b"},
		"the same for all users":     {[]string{etag}, 200, []string{etag, "Cache-Control: public"}, "body 1", "Cookie: a=b"},
		"a range is for GET":         {[]string{etag}, 200, []string{etag}, "body 1", "Range: bytes=0-1"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := heads(append(c.get, "Cache-Control: max-age=10", "X-A: 1"), c.status, append(c.head, "Cache-Control: max-age=60", "X-A: 2"))
				h := open(t, Config{}).Handler(0)(o)
				want(t, do(h, "/"), 200, "body 1")
				time.Sleep(11 * time.Second)
				var asks []string
				if c.asks != "" {
					asks = append(asks, c.asks)
				}
				r := do(h, "HEAD /", asks...)
				want(t, r, c.status, "")
				wantField(t, r, "X-A", "2")
				o.want(t, 2)
				time.Sleep(20 * time.Second)
				r = do(h, "/")
				want(t, r, 200, c.body)
				if c.body == "body 1" {
					wantField(t, r, "X-A", "2")
					wantField(t, r, "Age", "20")
					wantField(t, r, "Content-Length", "6")
				}
			})
		})
	}
}

// TestHeadOutdates: a HEAD whose client did not want what is fresh, and that tells of a
// change, has the next GET ask the handler.
func TestHeadOutdates(t *testing.T) {
	for name, c := range map[string]struct {
		head []string
		body string
	}{
		"the same":  {[]string{`ETag: "a"`}, "body 1"},
		"a change":  {[]string{`ETag: "b"`}, "body 3"},
		"says none": {nil, "body 1"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := heads([]string{`ETag: "a"`}, 200, c.head)
				h := open(t, Config{}).Handler(time.Hour)(o)
				do(h, "/")
				do(h, "HEAD /", "Cache-Control: no-cache")
				o.want(t, 2)
				want(t, do(h, "/"), 200, c.body)
			})
		})
	}
}

// TestHeadIsConfirmed: a 304 to a HEAD by the stored validators freshens as one to a GET
// does; the client of the HEAD has the stored fields.
func TestHeadIsConfirmed(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := confirming([]string{`ETag: "a"`, "Cache-Control: max-age=10", "X-Old: 1"}, []string{"Cache-Control: max-age=60", "X-New: 2"})
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		time.Sleep(11 * time.Second)
		r := do(h, "HEAD /")
		want(t, r, 200, "")
		wantField(t, r, "X-Old", "1")
		wantField(t, r, "X-New", "2")
		want(t, do(h, "/"), 200, "body 1")
		o.want(t, 2)
	})
}

// TestHeadIsNotConfirmed: a 304 about another response has the handler asked once more.
func TestHeadIsNotConfirmed(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := confirming([]string{`ETag: "a"`, "Cache-Control: max-age=10"}, []string{`ETag: "b"`})
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		time.Sleep(11 * time.Second)
		r := do(h, "HEAD /")
		if r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
		wantField(t, r, "Etag", `"a"`)
		o.want(t, 3)
	})
}

// TestHeadBesideGet: a HEAD that demands what a GET is just being asked for goes to the
// handler itself when that has been answered.
func TestHeadBesideGet(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
			time.Sleep(time.Second)
			set(w.Header(), `ETag: "a"`, "X-Method: "+r.Method)
			_, _ = io.WriteString(w, body(n))
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		do(h, "/")
		go func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Cache-Control", "no-cache")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		time.Sleep(time.Second / 2)
		r := do(h, "HEAD /", "Cache-Control: no-cache")
		wantField(t, r, "X-Method", "HEAD")
		o.want(t, 3)
	})
}

// TestHeadsRunSideBySide, and each is answered as it would be without a cache: also with a
// length that the body does not show, in Content-Length or by what is written.
func TestHeadsRunSideBySide(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
			time.Sleep(time.Second)
			set(w.Header(), `ETag: "a"`, "Cache-Control: max-age=10")
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "6")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, _ = io.WriteString(w, "body 1")
		}}
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		time.Sleep(11 * time.Second)
		began := time.Now()
		crowd(t, h, 20, func(r *http.Request, _ int) { r.Method = http.MethodHead }, func(_ int, got *http.Response) {
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Content-Length") != "6" {
				t.Errorf("%d %v", got.StatusCode, got.Header)
			}
		})
		// One that asks just when the first begins may wait for that.
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("20 requests took %v", took)
		}
	})
}

// TestInvalidatedWhileHeading: a HEAD that was on its way when its resource changed does
// not freshen what was stored before.
func TestInvalidatedWhileHeading(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
			set(w.Header(), `ETag: "a"`, "Cache-Control: max-age=10")
			switch r.Method {
			case http.MethodHead:
				time.Sleep(2 * time.Second)
			case http.MethodGet:
				_, _ = io.WriteString(w, body(n))
			}
		}}
		h := open(t, Config{}).Handler(0)(o)
		do(h, "/")
		time.Sleep(11 * time.Second)
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodHead, "/", nil))
		time.Sleep(time.Second)
		do(h, "POST /")
		time.Sleep(2 * time.Second)
		if got := text(do(h, "/")); !strings.HasPrefix(got, "body ") || got == "body 1" {
			t.Fatalf("%q after it was invalidated", got)
		}
	})
}
