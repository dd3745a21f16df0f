package main

import (
	"log/slog"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// newProxy returns a handler that answers with what the origin does, and a function
// that closes its connections.
func newProxy(origin *url.URL, logger *slog.Logger) (proxy http.Handler, leave func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // what the client accepts is its own matter
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 100
	reverse := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(origin)
			r.SetXForwarded()
			r.Out.Host = r.In.Host // it is part of the key, so the origin must see it
			r.Out.Header.Add("Via", "1.1 nearcache")
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reverse.ServeHTTP(&steady{w}, r)
	}), transport.CloseIdleConnections
}

// steady is a ResponseWriter that is flushed for streams of events only. The reverse
// proxy flushes all responses of unknown length, and one that is flushed is a stream
// to the cache: it is not stored.
type steady struct{ http.ResponseWriter }

// FlushError is what [http.ResponseController] looks for.
func (s *steady) FlushError() error {
	if t, _, _ := mime.ParseMediaType(s.Header().Get("Content-Type")); t != "text/event-stream" {
		return nil
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Unwrap lets the reverse proxy switch protocols.
func (s *steady) Unwrap() http.ResponseWriter { return s.ResponseWriter }
