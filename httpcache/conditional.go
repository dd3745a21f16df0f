package httpcache

import (
	"net/http"
	"strings"
)

// unmodified reports whether the client has the response already: If-None-Match, and
// only without it If-Modified-Since (RFC 9111, 4.3.2; RFC 9110, 13.1).
func unmodified(r *http.Request, etag, modified string) bool {
	if lines := r.Header["If-None-Match"]; lines != nil {
		return matches(lines, etag)
	}
	since := r.Header["If-Modified-Since"]
	if since == nil {
		return false
	}
	than, ok := parseDate(since[0])
	if !ok {
		return false
	}
	last, ok := parseDate(modified)
	return ok && !last.After(than)
}

// matches reports whether a list of entity tags has etag, by the weak comparison
// (RFC 9110, 8.8.3.2).
func matches(lines []string, etag string) bool {
	if etag == "" {
		return len(lines) == 1 && strings.TrimSpace(lines[0]) == "*"
	}
	opaque := strings.TrimPrefix(etag, "W/")
	for _, line := range lines {
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			tag := tagLength(line)
			if line[:tag] == "*" || strings.TrimPrefix(line[:tag], "W/") == opaque && tag > 0 {
				return true
			}
			line = line[tag:]
		}
	}
	return false
}

// tagLength returns the length of the entity tag that s begins with: up to its closing
// quote, or without quotes up to a comma.
func tagLength(s string) int {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if strings.HasPrefix(s[start:], `"`) {
		if end := strings.IndexByte(s[start+1:], '"'); end >= 0 {
			return start + 1 + end + 1
		}
	}
	if end := strings.IndexAny(s, ", \t"); end >= 0 {
		return max(end, min(1, len(s)))
	}
	return len(s)
}

// writeNotModified turns the response in w's header into a 304 (RFC 9110, 15.4.5).
func writeNotModified(w http.ResponseWriter) {
	h := w.Header()
	delete(h, "Content-Type")
	delete(h, "Content-Length")
	delete(h, "Content-Encoding")
	if h["Etag"] != nil {
		delete(h, "Last-Modified")
	}
	w.WriteHeader(http.StatusNotModified)
}

// conditions are the fields of a request that are about what its client has. The
// handler is asked for the whole response, for all clients.
var conditions = []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"}

// ask makes a request of h's client one of the cache, which has known (RFC 9111, 4.3.1).
func ask(h http.Header, known *entry) {
	for _, name := range conditions {
		delete(h, name)
	}
	if known == nil {
		return
	}
	if known.etag != "" && !known.MadeTag {
		h["If-None-Match"] = []string{known.etag}
	}
	if modified := known.Header["Last-Modified"]; modified != nil {
		h["If-Modified-Since"] = modified[:1]
	}
}

// confirms reports whether a 304 response is about the stored one (RFC 9111, 4.3.4).
func confirms(h http.Header, known *entry) bool {
	tag := h.Get("Etag")
	return tag == "" || known.MadeTag || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(known.etag, "W/")
}
