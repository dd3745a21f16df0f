package httpcache

import "net/http"

// Option changes what [Cache.Handler] does around one handler.
type Option func(*route)

// Key has requests keyed by what f returns, instead of by scheme, host, path and
// sorted query; an empty string passes the request by. All that the response
// depends on must be in it, but what Vary names. Unsafe methods invalidate the key
// that f returns for their request with the method GET. Keys of all handlers of a
// cache share one space.
func Key(f func(*http.Request) string) Option { return func(rt *route) { rt.key = f } }

// Only caches the requests for which f returns true; others pass by. Several Only
// and [Unless] must all agree.
func Only(f func(*http.Request) bool) Option {
	return func(rt *route) { rt.only = append(rt.only, f) }
}

// Unless passes the requests by for which f returns true.
func Unless(f func(*http.Request) bool) Option {
	return Only(func(r *http.Request) bool { return !f(r) })
}

// Tags names the tags of all responses that are stored; [Cache.InvalidateTags] of
// any of them takes them away. A handler names more for one response in its
// Cache-Tag field, separated by commas. At most 24 tags of 1 to 500 bytes count.
func Tags(tags ...string) Option { return func(rt *route) { rt.tags = append(rt.tags, tags...) } }

// Allow caches what a shared cache must keep away from, or had better. Use it where
// the key, or Vary, holds what tells users apart, or where they all see the same.
func Allow(what Allowance) Option { return func(rt *route) { rt.allow |= what } }

// Allowance is a set of things that [Allow] allows.
type Allowance uint8

const (
	// AllowAuthorization treats requests with Authorization as others. Otherwise they
	// share only responses with public, s-maxage or must-revalidate (RFC 9111, 3.5).
	AllowAuthorization Allowance = 1 << iota
	// AllowCookie treats requests with Cookie as others. Otherwise their responses are
	// shared only with public or s-maxage, or among equal cookies with a Vary that names
	// Cookie; and they are answered with others' that say how long they are fresh, but
	// not with those that live for what Handler was given.
	AllowCookie
	// AllowSetCookie stores responses with Set-Cookie, without that field; the client
	// whose request ran the handler gets it.
	AllowSetCookie
	// AllowPrivate stores responses with private (RFC 9111, 5.2.2.7).
	AllowPrivate
	// AllowNoStore stores responses with no-store (RFC 9111, 5.2.2.5).
	AllowNoStore
)
