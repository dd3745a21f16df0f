package httpcache

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxTag     = 500 // of the engine's 512 bytes, two are a kind
	maxFolders = 32  // of a path
)

// pathTags returns the tags of a path: its own, and those of the folders that it is in.
func pathTags(path string) []string {
	tags := []string{pathTag('p', path)}
	for i := 0; i < len(path) && len(tags) <= maxFolders; i++ {
		if path[i] == '/' {
			tags = append(tags, pathTag('f', path[:i+1]))
		}
	}
	return tags
}

func pathTag(kind byte, path string) string {
	if len(path) > maxTag {
		path = "\x00" + hashed(path)
	}
	return string([]byte{kind, ':'}) + path
}

// InvalidatePath takes away the responses of paths such as "/products/42", of every
// host and query, on every instance. Paths are compared as in [net/url.URL.Path],
// decoded. Errors are those of [nearcache.Cache.InvalidateTags].
func (c *Cache) InvalidatePath(ctx context.Context, paths ...string) error {
	tags := make([]string, len(paths))
	for i, path := range paths {
		tags[i] = pathTag('p', path)
	}
	return c.store.InvalidateTags(ctx, tags...)
}

// InvalidatePrefix takes away the responses of all paths under folders such as
// "/products/", which end in a slash and are at most 32 deep. Errors are those of
// InvalidatePath, and one that names what is no folder; nothing has happened then.
func (c *Cache) InvalidatePrefix(ctx context.Context, folders ...string) error {
	tags := make([]string, len(folders))
	for i, folder := range folders {
		if !strings.HasSuffix(folder, "/") || strings.Count(folder, "/") > maxFolders {
			return fmt.Errorf("httpcache: prefix %.64q must end in a slash and have at most %d of them", folder, maxFolders)
		}
		tags[i] = pathTag('f', folder)
	}
	return c.store.InvalidateTags(ctx, tags...)
}

// InvalidateTags takes away the responses with any of tags, which [Tags] or a handler's
// Cache-Tag field named. Errors are those of InvalidatePath.
func (c *Cache) InvalidateTags(ctx context.Context, tags ...string) error {
	named := make([]string, len(tags))
	for i, tag := range tags {
		named[i] = "t:" + tag
	}
	return c.store.InvalidateTags(ctx, named...)
}

// Clear takes all responses away. Errors are those of InvalidatePath.
func (c *Cache) Clear(ctx context.Context) error { return c.store.Clear(ctx) }

// unsafe runs the handler for a request that may change things. A response without an
// error invalidates its target, and what Location and Content-Location name on the
// same host (RFC 9111, 4.4), before the client can see it.
func (rt *route) unsafe(w http.ResponseWriter, r *http.Request) {
	rt.note(w.Header(), forwarded{why: fwdMethod})
	s := &seen{ResponseWriter: w}
	s.final = func(status int) {
		if status < 200 || status >= 400 {
			return
		}
		keys := rt.targets(r, w.Header())
		if err := rt.cache.store.Invalidate(context.WithoutCancel(r.Context()), keys...); err != nil {
			// It has taken effect here, and the engine repeats it. The request has
			// been carried out; its client cannot be told that it was not.
			rt.cache.logger().Warn("httpcache: an unsafe request has not yet invalidated what it changed elsewhere",
				"method", r.Method, "path", r.URL.Path, "err", err)
		}
	}
	rt.next.ServeHTTP(s, r)
	s.begin(http.StatusOK)
}

// targets returns the keys that an unsafe request invalidates.
func (rt *route) targets(r *http.Request, h http.Header) []string {
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	var keys []string
	add := func() {
		if key := rt.keyOf(get); key != "" {
			keys = append(keys, key)
		}
	}
	add()
	base := *r.URL
	base.Host = r.Host
	if base.Scheme == "" {
		base.Scheme = "http"
		if r.TLS != nil {
			base.Scheme = "https"
		}
	}
	for _, field := range []string{"Location", "Content-Location"} {
		ref, err := url.Parse(h.Get(field))
		if err != nil || h.Get(field) == "" {
			continue
		}
		target := base.ResolveReference(ref)
		if !strings.EqualFold(target.Host, r.Host) || target.Scheme != base.Scheme {
			continue // one origin must not take away what another has (4.4)
		}
		target.Fragment = ""
		get.URL = target
		add()
	}
	return keys
}

// seen is a ResponseWriter that notices when the final response begins.
type seen struct {
	http.ResponseWriter
	final func(status int)
	begun bool
}

func (s *seen) begin(status int) {
	if !s.begun && (status >= 200 || status == http.StatusSwitchingProtocols) {
		s.begun = true
		s.final(status)
	}
}

func (s *seen) WriteHeader(status int) {
	s.begin(status)
	s.ResponseWriter.WriteHeader(status)
}

func (s *seen) Write(p []byte) (int, error) {
	s.begin(http.StatusOK)
	return s.ResponseWriter.Write(p)
}

func (s *seen) FlushError() error {
	s.begin(http.StatusOK)
	return http.NewResponseController(s.ResponseWriter).Flush()
}

func (s *seen) Flush() { _ = s.FlushError() }

// Unwrap is for [http.ResponseController].
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }
