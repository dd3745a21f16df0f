package httpcache

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache"
)

// exchange is one request on its way through the cache, and the context under which
// the cache is asked: a load finds in it the request that it is for.
//
// Hits use exchanges again. The engine looks at the context of a call only if it goes
// beyond L1, so one that nobody has looked at is held by nobody.
type exchange struct {
	parent  context.Context
	touched atomic.Bool

	route    *route
	w        http.ResponseWriter // nil: nobody waits
	r        *http.Request
	wants    directives // of the request
	now      time.Time
	known    *entry    // to be revalidated, if the engine knows none
	index    *entry    // of the resource, for a load of a variant
	key      string    // primary
	stored   string    // key of what answers the request: key, or that of the variant
	secrets  Allowance // that it has, and that were not allowed
	lookOnly bool      // nothing is to be loaded
	head     bool      // the handler is asked with HEAD: see freshen
	info     nearcache.Info

	mu   sync.Mutex
	left bool
	run  *run
	led  *outcome
}

// outcome is what a load brought for the client whose request it was made for.
type outcome struct {
	answer      *entry // complete, as for no other client
	status      int    // of the handler's response
	stored      bool
	revalidated bool // the handler was asked to confirm what is stored
	stale       bool // the handler failed, and a stale response may stand in
}

type exchangeKey struct{}

func (ex *exchange) Deadline() (time.Time, bool) { ex.touched.Store(true); return ex.parent.Deadline() }
func (ex *exchange) Done() <-chan struct{}       { ex.touched.Store(true); return ex.parent.Done() }
func (ex *exchange) Err() error                  { ex.touched.Store(true); return ex.parent.Err() }
func (ex *exchange) Value(key any) any {
	ex.touched.Store(true)
	if key == (exchangeKey{}) {
		return ex
	}
	return ex.parent.Value(key)
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// newExchange returns an exchange for a client's request.
func newExchange(rt *route, w http.ResponseWriter, r *http.Request) *exchange {
	ex := exchanges.Get().(*exchange)
	ex.parent, ex.route, ex.w, ex.r, ex.now = r.Context(), rt, w, r, time.Now()
	return ex
}

// release gives an exchange back that nobody has looked at.
func (ex *exchange) release() {
	if !ex.touched.Load() {
		*ex = exchange{}
		exchanges.Put(ex)
	}
}

// begin starts the handler for a load whose context is ctx, unless the client has left:
// its request is not ours any more then.
func (ex *exchange) begin(ctx context.Context, known *entry) *run {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if ex.left {
		return nil
	}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	rt := ex.route
	r := ex.r.Clone(detached)
	r.Method, r.Body, r.ContentLength = http.MethodGet, http.NoBody, 0
	if ex.head {
		r.Method = http.MethodHead
	}
	ask(r.Header, known)
	rn := &run{
		client: ex.w, request: ex.r, asked: r, limit: rt.cache.cfg.MaxBodyBytes, cancel: cancel,
		header: make(http.Header), handed: make(chan struct{}), done: make(chan struct{}),
		// What is not to be shared begins to reach its client at once, unless a stored
		// response may stand in for it or is confirmed by it.
		shares: func(status int, h http.Header) bool {
			switch {
			case status == http.StatusNotModified && known != nil:
				return true
			case r.Method == http.MethodHead:
				return false
			}
			return status >= 500 || rt.judge(r, status, h, time.Now()).store
		},
		note: func(h http.Header, status int) { rt.note(h, forwarded{why: ex.why(known != nil), status: status}) },
		hold: func() bool {
			if !stop() {
				return false
			}
			context.AfterFunc(ex.parent, cancel)
			return true
		},
	}
	ex.run, ex.led = rn, nil
	go rn.serve(rt.next, r)
	return rn
}

// lead notes the outcome of the load for its client.
func (ex *exchange) lead(o outcome) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	ex.led = &o
}
