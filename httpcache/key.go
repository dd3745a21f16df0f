package httpcache

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

const (
	longKey = 1000           // longer keys are replaced by their hash
	maxKey  = longKey + 1000 // with what a variant's key adds
)

// key returns the primary key of a request (RFC 9111, 2), or "" for one that is not
// to be cached. Only responses to GET are stored, so that method begins each.
func (rt *route) keyOf(r *http.Request) string {
	if rt.key != nil {
		k := rt.key(r)
		if k == "" {
			return ""
		}
		return shortened("key " + k)
	}
	return defaultKey(r)
}

// defaultKey is the request's URL with its query's parameters in order. The scheme
// is part of it, so that a redirect from http to https is not answered to both.
func defaultKey(r *http.Request) string {
	var space [256]byte // on the stack
	b := append(space[:0], "GET http"...)
	if r.TLS != nil || r.URL.Scheme == "https" {
		b = append(b, 's')
	}
	b = append(b, "://"...)
	b = append(b, strings.ToLower(r.Host)...)
	b = append(b, r.URL.EscapedPath()...)
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		b = appendQuery(append(b, '?'), r.URL.RawQuery)
	}
	return shortened(string(b))
}

// appendQuery appends the parameters of a query sorted by name. Those of one name
// keep their order, which a handler may go by. A query of more than 64 stays as it is.
func appendQuery(b []byte, query string) []byte {
	var space [16]string
	parts, left := space[:0], query
	for {
		part, rest, more := strings.Cut(left, "&")
		i := len(parts)
		parts = append(parts, part)
		for ; i > 0 && paramName(part) < paramName(parts[i-1]); i-- {
			parts[i] = parts[i-1]
		}
		parts[i] = part
		if !more {
			break
		}
		if left = rest; len(parts) == maxParams { // n inserts cost n*n
			return append(b, query...)
		}
	}
	for i, part := range parts {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, part...)
	}
	return b
}

const maxParams = 64

func paramName(part string) string {
	name, _, _ := strings.Cut(part, "=")
	return name
}

func shortened(key string) string {
	if len(key) <= longKey {
		return key
	}
	return "SHA-256 " + hashed(key)
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
