package debugpage

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
)

func TestHeaders(t *testing.T) {
	p := opened(t, Config{AllowInvalidate: true})
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/x/", nil),
		httptest.NewRequest(http.MethodGet, "/x/?file=live.js", nil),
		httptest.NewRequest(http.MethodGet, "/x/?cache=none", nil),
		httptest.NewRequest(http.MethodPost, "/x/", nil),
		httptest.NewRequest(http.MethodPut, "/x/", nil),
	} {
		h := send(p, r).Result().Header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; ", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if !strings.HasPrefix(h.Get(name), want) {
				t.Errorf("%s %s: %s: %q", r.Method, r.URL, name, h.Get(name))
			}
		}
		if strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
			t.Errorf("the policy permits what is unsafe")
		}
	}
}

func TestStatusCodes(t *testing.T) {
	for target, want := range map[string]int{
		"GET ?": 200, "HEAD ?": 200, "GET ?cache=a": 200, "GET ?cache=none": 404,
		"GET ?file=style.css": 200, "GET ?file=live.js": 200, "GET ?file=icon.svg": 200,
		"GET ?file=page.html": 404, "GET ?file=../serve.go": 404, "GET ?file=": 404,
		"POST ?": 405, "PUT ?": 405, "DELETE ?cache=a&key=1": 405,
	} {
		p, c := opened(t, Config{}), new(fake)
		p.Watch("a", c)
		method, query, _ := strings.Cut(target, " ")
		if w := send(p, httptest.NewRequest(method, "/x/"+query, nil)); w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
		if len(c.invalidated) > 0 {
			t.Errorf("%s invalidated", target)
		}
	}
}

// TestOnlyAllowedPostsChange: neither a GET, nor a page that may not, nor one of another
// site invalidates anything.
func TestOnlyAllowedPostsChange(t *testing.T) {
	form := url.Values{"cache": {"a"}, "key": {"k"}}
	for name, c := range map[string]struct {
		allow  bool
		fields []string
		status int
	}{
		"off":                     {false, nil, 405},
		"on":                      {true, nil, 200},
		"on, same origin":         {true, []string{"Sec-Fetch-Site: same-origin"}, 200},
		"on, another site":        {true, []string{"Sec-Fetch-Site: cross-site"}, 403},
		"on, a sibling":           {true, []string{"Sec-Fetch-Site: same-site"}, 403},
		"on, an old browser":      {true, []string{"Origin: http://evil.example"}, 403},
		"on, from a sandbox":      {true, []string{"Origin: null"}, 403},
		"on, own, an old browser": {true, []string{"Origin: http://example.com"}, 200},
	} {
		p, cache := opened(t, Config{AllowInvalidate: c.allow}), new(fake)
		p.Watch("a", cache)
		w := post(p, form, c.fields...)
		if w.Code != c.status || (fmt.Sprint(cache.invalidated) == "[k]") != (c.status == 200) {
			t.Errorf("%s: status %d, invalidated %q", name, w.Code, cache.invalidated)
		}
		if strings.Contains(get(t, p, "?cache=a&key=k"), "Invalidate</button>") != c.allow {
			t.Errorf("%s: the button is wrong", name)
		}
		cache.invalidated = nil
		get(t, p, "?cache=a&key=k&invalidate=1")
		if len(cache.invalidated) > 0 {
			t.Errorf("%s: a GET invalidated", name)
		}
	}
}

func TestInvalidationFails(t *testing.T) {
	p := opened(t, Config{AllowInvalidate: true})
	p.Hooks("planned")
	p.Watch("a", &fake{err: nearcache.ErrClosed})
	w := post(p, url.Values{"cache": {"a"}, "key": {"k"}})
	has(t, w.Body.String(), "Invalidate failed: "+nearcache.ErrClosed.Error())
	if w.Code != 502 {
		t.Errorf("status %d", w.Code)
	}
	if w := post(p, url.Values{"cache": {"planned"}, "key": {"k"}}); w.Code != 503 {
		t.Errorf("no cache: status %d", w.Code)
	}
	if w := post(p, url.Values{"cache": {"a"}, "key": {strings.Repeat("k", maxForm)}}); w.Code != 400 {
		t.Errorf("a huge form: status %d", w.Code)
	}
}

// TestPrefix: every URL is relative to the page's own path, whatever that is.
func TestPrefix(t *testing.T) {
	p := opened(t, Config{ShowKeys: true, AllowInvalidate: true})
	h := p.Hooks("a b&c")
	p.Watch("a b&c", new(fake))
	h.Sampled("k&\"<", true)
	page := get(t, p, "")
	links := regexp.MustCompile(`(?:href|src|action|formaction)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 7 {
		t.Fatalf("%d links", len(links))
	}
	for _, l := range links {
		if l[1] != "" && l[1][0] != '?' && l[1][0] != '#' {
			t.Errorf("a link to %q", l[1])
		}
	}
	has(t, page, `href="?cache=a%20b%26c&amp;key=k%26%22%3c#ask"`)
	if w := send(p, httptest.NewRequest(http.MethodGet, "/?cache=a%20b%26c&key=k", nil)); w.Code != 200 {
		t.Errorf("at the root: %d", w.Code)
	}
}

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u202e\x00'`{{.}}"

// TestHostile: what others write stands on the page as text.
func TestHostile(t *testing.T) {
	p := opened(t, Config{ShowKeys: true, AllowInvalidate: true})
	for _, name := range []string{hostile, "b"} {
		h := p.Hooks(name)
		c := &fake{explanation: nearcache.Explanation{Key: hostile, Epoch: hostile, Next: hostile,
			L2: nearcache.Copy{Holds: "value", Refused: hostile, Tags: []string{hostile}, NTags: 1}}}
		p.Watch(name, c)
		h.Sampled(hostile, true)
		h.Sampled(strings.Repeat("<b>", 20_000), false)
		h.Event(nearcache.Event{Kind: hostile, Server: hostile, Err: &url.Error{Op: hostile, URL: hostile, Err: errSecret}})
	}
	for _, query := range []string{"", "?cache=b", "?cache=b&key=" + url.QueryEscape(hostile), "?cache=" + url.QueryEscape(hostile)} {
		// The form has the key as it is, as its value.
		page := regexp.MustCompile(`<input[^>]*>`).ReplaceAllString(get(t, p, query), "")
		lacks(t, page, "<script>", "<img", "<b>", "\u202e", "\x00")
		if len(page) > 100_000 {
			t.Errorf("%q: %d bytes", query, len(page))
		}
	}
	has(t, get(t, p, "?cache=b"), "… (60,000 bytes)")
}

// TestKeysAreHidden: without ShowKeys nothing on the page names a key or a tag.
func TestKeysAreHidden(t *testing.T) {
	for _, show := range []bool{false, true} {
		p := opened(t, Config{ShowKeys: show})
		h := p.Hooks("a")
		if (h.Sampled != nil) != show {
			t.Errorf("Sampled is wrong with ShowKeys %v", show)
		}
		if show {
			h.Sampled("secret-key", true)
		}
		p.Watch("a", &fake{explanation: nearcache.Explanation{Next: `load: its tag "secret-tag" was invalidated since`,
			L2: nearcache.Copy{Holds: "value", Refused: `its tag "secret-tag" was invalidated since`, Tags: []string{"secret-tag"}, NTags: 1}}})
		h.Event(nearcache.Event{Kind: "fault", Shard: -1, Err: errSecret})
		page := get(t, p, "?cache=a&key=mine")
		has(t, page, "mine", "fault")
		if show {
			has(t, page, "secret-42", "secret-tag", "secret-key")
		} else {
			lacks(t, page, "secret")
		}
	}
}

// TestBare: a page without caches, one whose cache is not there yet, one just begun, one
// whose cache was taken away, one that is closed.
func TestBare(t *testing.T) {
	p := opened(t, Config{ShowKeys: true})
	has(t, get(t, p, ""), "Nothing to see yet")
	has(t, get(t, p, "?key=k"), "There is no cache under this name")
	h := p.Hooks("a")
	has(t, get(t, p, ""), "Nothing to see yet", "None yet", "No read was sampled yet")
	p.Watch("a", &fake{stats: nearcache.Stats{MaxStaleness: 2 * time.Second, ProofAge: -1}})
	has(t, get(t, p, ""), "Not proven current", "nothing yet")
	p.Watch("a", nil)
	h.Event(nearcache.Event{Kind: "gap"})
	has(t, get(t, p, ""), "Nothing to see yet")
	p.Watch("b", new(fake))
	has(t, get(t, p, "?cache=b"), "Not seen: give the cache the page's hooks")
	p.Close()
	p.Close()
	has(t, get(t, p, "?cache=b"), "In this process only")
}

func TestExplainFails(t *testing.T) {
	p := opened(t, Config{})
	p.Watch("a", &fake{err: nearcache.ErrClosed})
	has(t, get(t, p, "?key=k"), nearcache.ErrClosed.Error())
}
