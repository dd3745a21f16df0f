// Package httpcache is a shared HTTP cache (RFC 9111) in front of any
// [http.Handler], on a nearcache.Cache: responses live in this process and in
// Redis, concurrent misses are one call of the handler, and an invalidation
// reaches every instance.
//
//	cache, err := httpcache.New(httpcache.Config{Name: "web", Redis: rdb})
//	mux.Handle("/products/", cache.Handler(50*time.Second)(products))
//
// A response that says how long it is fresh lives as long as it says; others for
// what Handler was given. What one user may not see of another is not kept:
// responses that are private or no-store, that set a cookie, that vary on
// everything, and those to requests with credentials or cookies that do not call
// themselves public. docs/http.md has each rule with the test that shows it.
//
// # How a response is stored
//
// A response without Vary is stored under the key of its URL. One with Vary is
// stored under a key of its own, made of the fields that the request had, and the
// URL's key holds an index: the names of those fields and a random generation,
// which is part of every variant's key. One entry that holds all variants would
// have concurrent loads of two variants overwrite each other, on one instance and
// between them; and it would coalesce requests that must not be. With a
// generation, taking away the index takes away all variants, also those that are
// being loaded at that time, in one announcement.
//
// Freshness is a matter of the response and is judged here at each hit; the life
// of the entry below is the time in which it may be answered without waiting, its
// freshness and stale-while-revalidate, and after that the time in which it is kept
// to be revalidated or to stand in (stale-if-error).
package httpcache
