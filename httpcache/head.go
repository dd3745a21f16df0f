package httpcache

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
)

// freshen goes on with a HEAD for which there is a stored response that is not fresh
// enough: what the handler says of it freshens or outdates that (RFC 9111, 4.3.5). It is
// asked in a load, so that an update is refused if the resource was invalidated meanwhile.
// The response goes to the client as it is; only a 304, by the stored validators, is
// answered from what is stored.
func (ex *exchange) freshen() {
	c := ex.route.cache
	if _, busy := c.probing.LoadOrStore(ex.stored, struct{}{}); busy {
		ex.route.direct(ex.w, ex.r, ex.why(true))
		return
	}
	defer c.probing.Delete(ex.stored)
	ex.lookOnly, ex.head = false, true
	_, done, _ := ex.get(ex.stored, nearcache.WithInfo(&ex.info),
		nearcache.SkipL1(), nearcache.WithTTL(nearcache.TTL{L2: -1}))
	if !done { // it has joined another's load
		ex.route.direct(ex.w, ex.r, ex.why(true))
	}
}

// headed is the outcome of a response to HEAD, which its client has.
func (l *loading) headed(ctx context.Context, rn *run, asked, now time.Time) (*entry, error) {
	rn.mu.Lock() // a connection that was hijacked has no status until its handler returns
	status := rn.status
	rn.mu.Unlock()
	if status != http.StatusOK || l.known == nil {
		return nil, errMine
	}
	switch same, changed := l.known.told(rn.sent); {
	case changed:
		_ = l.cache.store.Expire(ctx, l.key)
	case same:
		return l.confirmed(ctx, rn, asked, now)
	}
	return nil, errMine
}

// told returns what the fields of a 200 response to HEAD say of the stored one: that it is
// the same, or that it has changed. RFC 9111 would take one without validators for the
// same; a page of the same length that has none may be another.
func (e *entry) told(h http.Header) (same, changed bool) {
	if length := h.Get("Content-Length"); length != "" && length != e.Header.Get("Content-Length") {
		return false, true
	}
	for name, stored := range map[string]string{"Etag": e.etag, "Last-Modified": e.Header.Get("Last-Modified")} {
		switch value := h.Get(name); {
		case value == "":
		case strings.TrimPrefix(value, "W/") == strings.TrimPrefix(stored, "W/"):
			same = true
		default:
			return false, true
		}
	}
	return same, false
}
