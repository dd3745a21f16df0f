package httpcache

import (
	"io"
	"net/http"
	"testing"
	"time"
)

const (
	monday  = "Mon, 01 Nov 1999 10:00:00 GMT"
	tuesday = "Tue, 02 Nov 1999 10:00:00 GMT"
)

// TestConditionalRequests: RFC 9111, 4.3.2: a stored response answers a client that has it
// with 304.
func TestConditionalRequests(t *testing.T) {
	for name, c := range map[string]struct {
		says    []string
		request []string
		status  int
	}{
		"a strong tag":                {[]string{`ETag: "a"`}, []string{`If-None-Match: "a"`}, 304},
		"a weak tag":                  {[]string{`ETag: W/"a"`}, []string{`If-None-Match: W/"a"`}, 304},
		"a weak for a strong":         {[]string{`ETag: "a"`}, []string{`If-None-Match: W/"a"`}, 304},
		"another tag":                 {[]string{`ETag: "a"`}, []string{`If-None-Match: "b"`}, 200},
		"one of many":                 {[]string{`ETag: "a"`}, []string{`If-None-Match: "x", W/"y,z" , "a","b"`}, 304},
		"in another line":             {[]string{`ETag: "a"`}, []string{`If-None-Match: "x"`, `If-None-Match: "a"`}, 304},
		"within another":              {[]string{`ETag: "a"`}, []string{`If-None-Match: "x,a"`}, 200},
		"any":                         {[]string{`ETag: "a"`}, []string{`If-None-Match: *`}, 304},
		"not modified since":          {[]string{"Last-Modified: " + monday}, []string{"If-Modified-Since: " + monday}, 304},
		"not modified long since":     {[]string{"Last-Modified: " + monday}, []string{"If-Modified-Since: " + tuesday}, 304},
		"modified since":              {[]string{"Last-Modified: " + tuesday}, []string{"If-Modified-Since: " + monday}, 200},
		"made before, without a time": {[]string{"Date: " + monday, "Age: 0"}, []string{"If-Modified-Since: " + monday}, 304},
		"no time":                     {[]string{"Last-Modified: " + tuesday}, []string{"If-Modified-Since: x"}, 200},
		"the tag has precedence":      {[]string{"Last-Modified: " + monday, `ETag: "a"`}, []string{"If-Modified-Since: " + monday, `If-None-Match: "b"`}, 200},
		"and confirms on its own":     {[]string{"Last-Modified: " + tuesday, `ETag: "a"`}, []string{"If-Modified-Since: " + monday, `If-None-Match: "a"`}, 304},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := says(append(c.says, "Cache-Control: max-age=99999999", "Content-Language: en", "X-A: b")...)
				h := open(t, Config{}).Handler(0)(o)
				check := func(r *http.Response) {
					t.Helper()
					if c.status == 200 {
						want(t, r, 200, "body 1")
						return
					}
					want(t, r, 304, "")
					wantField(t, r, "Cache-Control", "max-age=99999999")
					wantField(t, r, "Content-Type", "")
					wantField(t, r, "Content-Length", "")
					if r.Header.Get("Etag") == "" || r.Header.Get("Date") == "" {
						t.Fatalf("fields are missing: %v", r.Header)
					}
				}
				check(do(h, "/", c.request...)) // cold: the handler sees no condition
				check(do(h, "/", c.request...))
				o.want(t, 1)
			})
		})
	}
}

// TestMadeTags: responses without an entity tag get one, which depends on the body alone.
func TestMadeTags(t *testing.T) {
	for name, c := range map[string]struct {
		tags   ETags
		prefix string
	}{"strong": {StrongETags, `"`}, "weak": {WeakETags, `W/"`}, "none": {NoETags, ""}} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := says()
				h := open(t, Config{ETags: c.tags}).Handler(time.Hour)(o)
				tag := do(h, "/a").Header.Get("Etag")
				if tag == "" != (c.prefix == "") || tag != "" && tag[:len(c.prefix)] != c.prefix {
					t.Fatalf("tag %q", tag)
				}
				if got := do(h, "/a").Header.Get("Etag"); got != tag {
					t.Fatalf("then %q", got)
				}
				if tag == "" {
					return
				}
				want(t, do(h, "/a", "If-None-Match: "+tag), 304, "")
				if other := do(h, "/b").Header.Get("Etag"); other == tag {
					t.Fatal("another body has the same tag")
				}
			})
		})
	}
}

// confirming is an origin that answers 304, with these fields, to all requests with a
// condition.
func confirming(first, then []string) *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
		if r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since") != "" {
			set(w.Header(), then...)
			w.WriteHeader(304)
			return
		}
		set(w.Header(), first...)
		_, _ = io.WriteString(w, body(n))
	}}
}

// TestRevalidation: RFC 9111, 4.3.1, 4.3.3, 4.3.4 and 3.2: what is stale is asked for by its
// own validators, and a 304 freshens it, with its fields.
func TestRevalidation(t *testing.T) {
	for name, c := range map[string]struct {
		first, then []string
		calls       int64 // of which the second confirms
		body        string
	}{
		"by tag":             {[]string{`ETag: "a"`}, nil, 2, "body 1"},
		"by weak tag":        {[]string{`ETag: W/"a"`}, []string{`ETag: W/"a"`}, 2, "body 1"},
		"by time":            {[]string{"Last-Modified: " + monday}, nil, 2, "body 1"},
		"without validators": {nil, nil, 2, "body 2"},
		"of another tag":     {[]string{`ETag: "a"`}, []string{`ETag: "b"`}, 3, "body 3"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := confirming(append(c.first, "Cache-Control: max-age=10", "X-Old: 1", "X-A: 1"),
					append(c.then, "Cache-Control: max-age=20", "X-A: 2", "X-New: 2", "Content-Length: 0", "Content-Encoding: x", "Content-Type: x/y"))
				h := open(t, Config{ETags: NoETags}).Handler(0)(o)
				do(h, "/")
				time.Sleep(11 * time.Second)
				r := do(h, "/", `If-None-Match: "client"`) // not what the handler is asked
				want(t, r, 200, c.body)
				o.want(t, c.calls)
				if c.body != "body 1" {
					return
				}
				time.Sleep(15 * time.Second) // fresh again, for longer
				r = do(h, "/")
				want(t, r, 200, "body 1")
				o.want(t, 2)
				for name, value := range map[string]string{"X-Old": "1", "X-A": "2", "X-New": "2", "Content-Length": "6",
					"Content-Type": "x/y", "Content-Encoding": "", "Cache-Control": "max-age=20", "Age": "15"} {
					wantField(t, r, name, value)
				}
			})
		})
	}
	t.Run("a tag that we made is not the handler's", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := confirming([]string{"Cache-Control: max-age=10"}, nil)
			h := open(t, Config{}).Handler(0)(o)
			do(h, "/")
			time.Sleep(11 * time.Second)
			want(t, do(h, "/"), 200, "body 2")
		})
	})
	t.Run("nor is it asked for beside the handler's own time", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request, n int64) {
				set(w.Header(), "Cache-Control: max-age=10", "Last-Modified: "+monday)
				if tag := r.Header.Get("If-None-Match"); tag != "" {
					t.Errorf("asked for %s", tag)
				}
				if n > 1 && r.Header.Get("If-Modified-Since") != monday {
					t.Errorf("asked with %v", r.Header)
				}
			}}
			h := open(t, Config{}).Handler(0)(o)
			do(h, "/")
			time.Sleep(11 * time.Second)
			do(h, "/")
			o.want(t, 2)
		})
	})
	t.Run("no-cache is asked each time", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := confirming([]string{`ETag: "a"`, "Cache-Control: no-cache"}, nil)
			h := open(t, Config{}).Handler(time.Hour)(o)
			for range 3 {
				want(t, do(h, "/"), 200, "body 1")
			}
			o.want(t, 3)
		})
	})
	t.Run("a 304 that forbids to store", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := confirming([]string{`ETag: "a"`, "Cache-Control: max-age=10"}, []string{"Cache-Control: no-store"})
			h := open(t, Config{}).Handler(0)(o)
			do(h, "/")
			time.Sleep(11 * time.Second)
			want(t, do(h, "/"), 200, "body 1")
			want(t, do(h, "/"), 200, "body 3")
		})
	})
	t.Run("of a variant", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := confirming([]string{`ETag: "a"`, "Cache-Control: max-age=10", "Vary: Foo"}, nil)
			h := open(t, Config{}).Handler(0)(o)
			do(h, "/", "Foo: 1")
			time.Sleep(11 * time.Second)
			want(t, do(h, "/", "Foo: 1"), 200, "body 1")
			o.want(t, 2)
			want(t, do(h, "/", "Foo: 2"), 200, "body 3") // whose tag is nobody's of this variant
		})
	})
}

// TestRanges: RFC 9111, 3.3 and 3.4; RFC 9110, 14: ranges are cut from a stored response,
// and pass through where there is none.
func TestRanges(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
			w.Header().Set("Etag", `"a"`)
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 0-1/10")
				w.Header().Set("Cache-Control", "max-age=60")
				w.WriteHeader(206)
				_, _ = io.WriteString(w, "01")
				return
			}
			_, _ = io.WriteString(w, "0123456789")
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		want(t, do(h, "/", "Range: bytes=0-1"), 206, "01")
		want(t, do(h, "/", "Range: bytes=0-1"), 206, "01")
		o.want(t, 2) // partial responses are not stored
		want(t, do(h, "/"), 200, "0123456789")
		o.want(t, 3)
		r := do(h, "/", "Range: bytes=3-5")
		want(t, r, 206, "345")
		wantField(t, r, "Content-Range", "bytes 3-5/10")
		wantField(t, r, "Content-Length", "3")
		want(t, do(h, "/", "Range: bytes=-1"), 206, "9")
		want(t, do(h, "/", "Range: bytes=7-"), 206, "789")
		want(t, do(h, "/", "Range: bytes=3-5", `If-Range: "b"`), 200, "0123456789")
		want(t, do(h, "/", "Range: bytes=3-5", `If-None-Match: "a"`), 304, "")
		if r := do(h, "/", "Range: bytes=20-"); r.StatusCode != 416 {
			t.Fatalf("status %d beyond the end", r.StatusCode)
		}
		want(t, do(h, "/", "Range: lines=3-5"), 200, "0123456789")
		want(t, do(h, "HEAD /", "Range: bytes=3-5"), 200, "")
		o.want(t, 3)
	})
}
