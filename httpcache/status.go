package httpcache

import (
	"net/http"
	"slices"
	"strconv"
)

// forward says why a request was not answered from what is stored (RFC 9211, 2.2).
type forward string

const (
	fwdBypass  forward = "bypass"    // it is not for the cache
	fwdMethod  forward = "method"    // likewise, by its method
	fwdMiss    forward = "uri-miss"  // nothing is stored
	fwdVary    forward = "vary-miss" // no variant that is stored is for it
	fwdStale   forward = "stale"     // what is stored was not fresh
	fwdRequest forward = "request"   // the client did not want what is stored
)

// forwarded is how a response came about, for Cache-Status (RFC 9211, 2).
type forwarded struct {
	why               forward // empty: from what is stored, which is fresh for
	ttl               int64   // seconds
	status            int     // of the handler's response, if it is known
	stored, collapsed bool
}

// note appends to Cache-Status, if that is on. The values that are there may be shared.
func (rt *route) note(h http.Header, f forwarded) {
	name := rt.cache.cfg.CacheStatus
	if name == "" {
		return
	}
	s := name + "; hit; ttl=" + strconv.FormatInt(f.ttl, 10)
	if f.why != "" {
		s = name + "; fwd=" + string(f.why)
	}
	if f.status != 0 {
		s += "; fwd-status=" + strconv.Itoa(f.status)
	}
	if f.stored {
		s += "; stored"
	}
	if f.collapsed {
		s += "; collapsed"
	}
	h["Cache-Status"] = append(slices.Clip(h["Cache-Status"]), s)
}
