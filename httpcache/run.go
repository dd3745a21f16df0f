package httpcache

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// run is one call of a handler, on a goroutine of its own, and the ResponseWriter
// that the handler sees. It keeps the response until it is complete, or hands it over:
// from then on what the handler writes goes to the client whose request it is, if
// that still waits. There is nothing to share then.
//
// The client's goroutine waits in a Get meanwhile, and calls leave before it returns:
// nobody writes to its ResponseWriter after that.
type run struct {
	client  http.ResponseWriter // nil: nobody waits
	request *http.Request       // of the client
	asked   *http.Request       // that the handler was given
	limit   int                 // of the body
	shares  func(status int, h http.Header) bool
	note    func(h http.Header, status int) // says how a response that is handed over came about
	cancel  context.CancelFunc              // ends the handler's context
	hold    func() bool                     // keeps the end of the load from the handler's context; false: too late

	header  http.Header // the handler's
	handed  chan struct{}
	done    chan struct{} // the handler has returned
	crashed bool          // it did not return
	panic   any           // with what

	mu     sync.Mutex
	state  runState
	left   bool
	status int         // 0: not yet written
	sent   http.Header // header as it was at that time
	body   []byte
}

type runState uint8

const (
	keeping  runState = iota // the response is kept
	handing                  // it goes to the client
	muted                    // the client has been answered with 304, which has no body
	dropping                 // nobody wants it
)

var errDropped = errors.New("httpcache: the client has left and the response cannot be stored")

func (rn *run) Header() http.Header { return rn.header }

// WriteHeader sends interim responses on, and decides on final ones.
func (rn *run) WriteHeader(status int) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if status >= 100 && status < 200 {
		rn.inform(status)
		return
	}
	rn.begin(status)
}

// inform sends an interim response (RFC 9110, 15.2), which is not stored.
func (rn *run) inform(status int) {
	if rn.client == nil || rn.left || rn.status != 0 || rn.state == dropping {
		return
	}
	h := rn.client.Header()
	before := h.Clone()
	copyHeader(h, rn.header)
	rn.client.WriteHeader(status)
	clear(h)
	copyHeader(h, before)
}

func copyHeader(to, from http.Header) {
	for name, values := range from {
		to[name] = values
	}
}

func (rn *run) begin(status int) {
	if rn.status != 0 {
		return
	}
	rn.status, rn.sent = status, rn.header.Clone()
	length, _ := strconv.ParseInt(rn.sent.Get("Content-Length"), 10, 64)
	if length > int64(rn.limit) || rn.sent["Trailer"] != nil || !rn.shares(status, rn.sent) {
		rn.handOver()
	}
}

func (rn *run) Write(p []byte) (int, error) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.begin(http.StatusOK)
	if rn.state == keeping && len(rn.body)+len(p) > rn.limit {
		rn.handOver()
	}
	switch rn.state {
	case keeping:
		rn.body = append(rn.body, p...)
		return len(p), nil
	case handing:
		return rn.client.Write(p)
	case muted:
		return len(p), nil
	}
	return 0, errDropped
}

// FlushError says that the response is a stream: it is handed over. See
// [http.ResponseController].
func (rn *run) FlushError() error {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.begin(http.StatusOK)
	rn.handOver()
	switch rn.state {
	case handing:
		return http.NewResponseController(rn.client).Flush()
	case muted:
		return nil
	}
	return errDropped
}

// Flush is FlushError for those who look for [http.Flusher].
func (rn *run) Flush() { _ = rn.FlushError() }

// Hijack gives the client's connection to the handler.
func (rn *run) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if rn.status != 0 || !rn.take() {
		return nil, nil, http.ErrNotSupported
	}
	return http.NewResponseController(rn.client).Hijack()
}

// take takes the client's ResponseWriter, if the client waits.
func (rn *run) take() bool {
	if rn.client == nil || rn.left || !rn.hold() {
		rn.state, rn.body = dropping, nil
		rn.cancel()
		return false
	}
	rn.state = handing
	close(rn.handed)
	return true
}

// handOver gives the client what there is of the response. A client that has the whole
// of it already, by the handler's own validators, is told so: its conditions were
// kept from the handler.
func (rn *run) handOver() {
	if rn.state != keeping || !rn.take() {
		return
	}
	h := rn.client.Header()
	copyHeader(h, rn.sent)
	rn.note(h, rn.status)
	if rn.status == http.StatusOK && unmodified(rn.request, rn.sent.Get("Etag"), rn.sent.Get("Last-Modified")) {
		rn.state, rn.body = muted, nil
		writeNotModified(rn.client)
		return
	}
	rn.client.WriteHeader(rn.status)
	if len(rn.body) > 0 {
		_, _ = rn.client.Write(rn.body) // the handler's next write tells
		rn.body = nil
	}
}

// serve runs the handler.
func (rn *run) serve(next http.Handler, r *http.Request) {
	rn.crashed = true
	defer close(rn.done)
	defer rn.cancel()
	defer func() { rn.panic = recover() }()
	next.ServeHTTP(rn, r)
	rn.finish()
	rn.crashed = false
}

// finish sees to the trailers, which only a response that is handed over can have.
func (rn *run) finish() {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.begin(http.StatusOK)
	for name, values := range rn.header {
		if rn.state == keeping && strings.HasPrefix(name, http.TrailerPrefix) {
			rn.handOver()
		}
		if rn.state == handing && (strings.HasPrefix(name, http.TrailerPrefix) || names(rn.sent["Trailer"], name)) {
			rn.client.Header()[name] = values
		}
	}
}

// names reports whether a list of field names has name.
func names(lines []string, name string) bool {
	for _, line := range lines {
		for n := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(n), name) {
				return true
			}
		}
	}
	return false
}

// whole reports whether the body is as long as the handler said. If not, it was cut
// off.
func (rn *run) whole() bool {
	said := rn.sent.Get("Content-Length")
	return said == "" || said == strconv.Itoa(len(rn.body)) || rn.status == http.StatusNotModified
}

// repanic does in the client's goroutine what the handler did in its own, which has
// ended. net/http then closes the connection.
func (rn *run) repanic() {
	switch {
	case rn.crashed && rn.panic != nil:
		panic(rn.panic)
	case rn.crashed, rn.state == keeping && !rn.whole():
		panic(http.ErrAbortHandler) // Goexit; or what is left of a response
	}
}

// leave ends the client's wait. If the response was handed over it waits for the
// handler instead, and reports true: the client has been answered.
func (rn *run) leave() (answered bool) {
	rn.mu.Lock()
	if rn.state != handing && rn.state != muted {
		rn.left = true
		rn.mu.Unlock()
		return false
	}
	rn.mu.Unlock()
	<-rn.done
	return true
}
