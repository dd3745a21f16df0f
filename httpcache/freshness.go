package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// verdict is what may be done with a response.
type verdict struct {
	store  bool
	shared bool // if it is not stored: it may be answered to those who waited for it
	life   time.Duration
	swr    time.Duration
	sie    time.Duration
	names  []string // of the request fields that it varies on
	hidden []string // fields that are not stored

	authorization, cookie bool // requests with these may have it
	noStale               bool // not even a client that accepts it may have it stale
}

// heuristic are the status codes that may be stored for a life that the response does
// not give (RFC 9110, 15.1).
var heuristic = []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}

// judge applies RFC 9111, 3: whether the response to r may be stored, and for how long.
func (rt *route) judge(r *http.Request, status int, h http.Header, now time.Time) verdict {
	d := parseDirectives(h["Cache-Control"])
	names, all := varyNames(h)
	v := verdict{names: names, hidden: d.hidden}
	v.authorization = d.public || d.sMaxAge >= 0 || d.mustRevalidate || rt.allow&AllowAuthorization != 0
	v.cookie = d.public || d.sMaxAge >= 0 || rt.allow&AllowCookie != 0
	if !rt.mayShare(r, status, h, d, v) || all {
		return v
	}
	if status >= 500 && len(names) == 0 {
		v.shared = true
	}
	explicit := d.public || d.maxAge >= 0 || d.sMaxAge >= 0 || h["Expires"] != nil
	if status < 200 || status == http.StatusPartialContent || status == http.StatusNotModified ||
		!explicit && !slices.Contains(heuristic, status) {
		return v
	}
	v.life = rt.life(d, h, now)
	if !d.noCache && !d.mustRevalidate && !d.proxyRevalidate {
		// Beside s-maxage, which forbids stale answers as proxy-revalidate does, they
		// are the origin's more explicit word.
		v.swr, v.sie = max(d.swr, 0), max(d.sie, 0)
	}
	// What was made for a cookie has not come this far, unless it varies on it. The rest
	// is good for all for as long as the origin itself says.
	v.cookie = v.cookie || explicit
	v.noStale = d.noCache || d.mustRevalidate || d.proxyRevalidate || d.sMaxAge >= 0
	v.store = true
	return v
}

// mayShare reports whether anybody but the client of r may see the response.
func (rt *route) mayShare(r *http.Request, status int, h http.Header, d directives, v verdict) bool {
	noStore, private := d.noStore, d.private
	if d.mustUnderstand {
		if http.StatusText(status) == "" {
			return false
		}
		noStore = false // for caches that do not know the status (RFC 9111, 5.2.2.3)
	}
	switch {
	case noStore && rt.allow&AllowNoStore == 0:
	case private && rt.allow&AllowPrivate == 0:
	case h["Set-Cookie"] != nil && rt.allow&AllowSetCookie == 0:
	case r.Header["Authorization"] != nil && !v.authorization:
	case r.Header["Cookie"] != nil && !v.cookie && !slices.Contains(v.names, "Cookie"):
	default:
		return true
	}
	return false
}

// life is the freshness lifetime (RFC 9111, 4.2.1 and 4.2.2).
func (rt *route) life(d directives, h http.Header, now time.Time) time.Duration {
	switch {
	case d.noCache:
		return 0
	case d.sMaxAge >= 0:
		return d.sMaxAge
	case d.maxAge >= 0:
		return d.maxAge
	}
	date := dateOf(h, now)
	if expires := h["Expires"]; expires != nil {
		t, ok := parseDate(expires[0])
		if !ok || len(expires) > 1 {
			return 0 // "0" and the like: it has expired (5.3)
		}
		return min(max(t.Sub(date), 0), maxLife)
	}
	if rt.ttl > 0 {
		return rt.ttl
	}
	if t, ok := parseDate(h.Get("Last-Modified")); ok {
		return min(max(date.Sub(t)/10, 0), 24*time.Hour)
	}
	return 0
}

func dateOf(h http.Header, now time.Time) time.Time {
	if t, ok := parseDate(h.Get("Date")); ok {
		return t
	}
	return now
}

// initialAge is the corrected initial age (RFC 9111, 4.2.3) of a response that was
// asked for at asked and had arrived at now.
func initialAge(h http.Header, asked, now time.Time) time.Duration {
	apparent := now.Sub(dateOf(h, now)).Truncate(time.Second) // a Date is never more exact
	var value time.Duration
	if lines := h["Age"]; lines != nil {
		first, _, _ := strings.Cut(lines[0], ",")
		n, _ := digits(strings.TrimSpace(first))
		value = time.Duration(n) * time.Second
	}
	return min(max(apparent, value+now.Sub(asked)), maxLife)
}

// hopByHop are the fields that are not stored (RFC 9111, 3.1), with those that
// Connection names.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// storable returns the fields that may be stored, without the hidden ones.
func storable(h http.Header, hidden []string) http.Header {
	kept := h.Clone()
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			kept.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		delete(kept, name)
	}
	for _, name := range hidden {
		kept.Del(name)
	}
	delete(kept, "Set-Cookie")
	delete(kept, "Age") // it is in the time of birth
	return kept
}
