package httpcache

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
)

// Handler returns the middleware that caches responses to GET, and answers HEAD from
// them. A response lives as long as its Cache-Control or Expires says (RFC 9111, 4.2.1);
// one that says nothing lives for ttl, or if that is 0 for a tenth of the time since it
// was last modified, at most a day (4.2.2).
//
// The handler runs with the values of the context of the request that it answers, and is
// cancelled when nobody waits for it any more. It sees a GET without conditions and
// ranges. A response that nobody else may have, is too large, has trailers or is flushed
// reaches that client while it is written; others run the handler for themselves. If it
// panics so does the middleware, in the request that ran it.
//
// Requests with a body, Upgrade or If-Match pass by, and so do ranges and HEAD that
// nothing stored answers. Methods other than GET, HEAD, OPTIONS and TRACE invalidate what
// RFC 9111, 4.4 says.
func (c *Cache) Handler(ttl time.Duration, opts ...Option) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		rt := &route{cache: c, next: next, ttl: min(max(ttl, 0), maxLife)}
		for _, opt := range opts {
			opt(rt)
		}
		return rt
	}
}

// route is a handler behind the cache.
type route struct {
	cache *Cache
	next  http.Handler
	ttl   time.Duration
	key   func(*http.Request) string
	only  []func(*http.Request) bool
	tags  []string
	allow Allowance
}

func (c *Cache) logger() *slog.Logger {
	if c.cfg.Logger != nil {
		return c.cfg.Logger
	}
	return slog.Default()
}

func (rt *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions, http.MethodTrace, http.MethodConnect:
		rt.direct(w, r, fwdMethod)
		return
	default:
		rt.unsafe(w, r)
		return
	}
	if !rt.cacheable(r) {
		rt.direct(w, r, fwdBypass)
		return
	}
	ex := newExchange(rt, w, r)
	ex.serve()
	ex.release()
}

// cacheable reports whether the cache has anything to do with a GET or HEAD.
func (rt *route) cacheable(r *http.Request) bool {
	if r.ContentLength != 0 || r.Header["Upgrade"] != nil || r.Header["If-Match"] != nil || r.Header["If-Unmodified-Since"] != nil {
		return false
	}
	for _, f := range rt.only {
		if !f(r) {
			return false
		}
	}
	return true
}

// direct runs the handler as if there were no cache.
func (rt *route) direct(w http.ResponseWriter, r *http.Request, why forward) {
	rt.note(w.Header(), forwarded{why: why})
	rt.next.ServeHTTP(w, r)
}

// serve answers the request.
func (ex *exchange) serve() {
	rt, r := ex.route, ex.r
	if ex.key = rt.keyOf(r); ex.key == "" {
		rt.direct(ex.w, r, fwdBypass)
		return
	}
	ex.wants = wanted(r, rt.cache.cfg.IgnoreRequests)
	if ex.wants.noStore {
		rt.direct(ex.w, r, fwdRequest)
		return
	}
	ex.secrets = rt.secretsOf(r)
	ex.lookOnly = !ex.loads() || ex.secrets != 0 || ex.wants.onlyIfCached || ex.wants.maxStale >= 0
	for range tries {
		e, done, err := ex.look()
		switch {
		case done:
			return
		case err == nil && ex.judge(e):
			return
		case err == nil, errors.Is(err, errLookOnly) && ex.lookOnly:
			if ex.beyond() {
				return
			}
		case errors.Is(err, nearcache.ErrLoadTimeout):
			gatewayTimeout(ex.w)
			return
		case errors.Is(err, nearcache.ErrClosed), errors.Is(err, nearcache.ErrReentrant):
			rt.direct(ex.w, r, fwdBypass)
			return
		}
	}
	rt.direct(ex.w, r, ex.why(ex.known != nil))
}

// tries bounds how often a request asks the cache, which fails it when the load that it
// has joined was another client's, and ended with that.
const tries = 4

// loads reports whether the handler can be run for what others may share.
func (ex *exchange) loads() bool { return ex.r.Method == http.MethodGet && ex.r.Header["Range"] == nil }

var noDirectives = parseDirectives(nil)

// wanted returns the directives of a request. Pragma counts where there is no
// Cache-Control (RFC 9111, 5.4).
func wanted(r *http.Request, ignore bool) directives {
	lines := r.Header["Cache-Control"]
	switch {
	case ignore:
	case lines != nil:
		return parseDirectives(lines)
	case r.Header["Pragma"] != nil:
		d := noDirectives
		d.noCache = strings.Contains(strings.ToLower(strings.Join(r.Header["Pragma"], ",")), "no-cache")
		return d
	}
	return noDirectives
}

// secretsOf returns what a request has that keeps it from sharing responses that do not
// say that they are for all.
func (rt *route) secretsOf(r *http.Request) (s Allowance) {
	if r.Header["Authorization"] != nil {
		s |= AllowAuthorization
	}
	if r.Header["Cookie"] != nil {
		s |= AllowCookie
	}
	return s &^ rt.allow
}

// look asks the engine for the resource, and if that varies for the variant. done says
// that the client has been answered.
func (ex *exchange) look() (e *entry, done bool, err error) {
	ex.index, ex.stored = nil, ex.key
	e, done, err = ex.find(ex.key)
	if done || err != nil || e.Kind != kindIndex {
		return e, done, err
	}
	ex.index, ex.stored = e, e.variantKey(ex.key, ex.r)
	if ex.secrets == AllowCookie && slices.Contains(e.Names, "Cookie") {
		ex.secrets = 0 // the variant is for this cookie only
		ex.lookOnly = !ex.loads() || ex.wants.onlyIfCached || ex.wants.maxStale >= 0
	}
	return ex.find(ex.stored)
}

// find asks the engine for what key has. A request with secrets does not wait for the
// load of another: what that brings is likely to be the other's alone. Nor does a HEAD.
func (ex *exchange) find(key string) (e *entry, done bool, err error) {
	if ex.secrets != 0 || ex.r.Method == http.MethodHead {
		if _, busy := ex.route.cache.probing.Load(key); busy {
			return nil, false, errLookOnly
		}
	}
	return ex.get(key, nearcache.WithInfo(&ex.info))
}

// mayHave reports whether a stored response is for requests with the secrets of this one.
func (ex *exchange) mayHave(e *entry) bool {
	return (ex.secrets&AllowAuthorization == 0 || e.Authorization) && (ex.secrets&AllowCookie == 0 || e.Cookie)
}

// judge answers from e if it may (RFC 9111, 4).
func (ex *exchange) judge(e *entry) (answered bool) {
	if e.Kind != kindResponse || !ex.mayHave(e) {
		return false
	}
	now := ex.now.UnixNano()
	if ex.info.Source != nearcache.FromL1 {
		now = time.Now().UnixNano() // it took a while
	}
	if e.once {
		ex.answer(e, now)
		return true
	}
	age, left := now-e.Born, e.freshUntil()-now
	d := &ex.wants
	ex.known = e
	if d.noCache || d.maxAge >= 0 && age > int64(d.maxAge) || d.minFresh >= 0 && left < int64(d.minFresh) {
		return false
	}
	switch {
	case left > 0:
	case d.maxStale >= 0 && !e.NoStale && -left <= int64(d.maxStale):
	case -left < int64(e.SWR):
		if !ex.info.Stale { // else it is being replaced already
			ex.route.refresh(ex, e)
		}
	case ex.info.Stale && !ex.lookOnly && ex.standsIn(e, now): // else nobody has asked the handler
	default:
		return false
	}
	ex.answer(e, now)
	return true
}

// answer writes e, which others may have too.
func (ex *exchange) answer(e *entry, now int64) {
	how := forwarded{}
	if ex.info.Source == nearcache.FromLoader {
		how = forwarded{why: ex.why(ex.known != nil), status: e.Status, collapsed: true}
	}
	age := max(now-e.Born, 0) / int64(time.Second)
	if age == 0 && how.collapsed {
		age = noAge
	}
	how.ttl = (e.freshUntil() - now) / int64(time.Second)
	ex.route.answer(ex.w, ex.r, e, age, how)
}

// beyond goes on with a request that nothing stored answers: it runs the handler for
// this client alone, where that is due, and reports whether the client was answered.
func (ex *exchange) beyond() (answered bool) {
	switch {
	case ex.wants.onlyIfCached:
		ex.route.note(ex.w.Header(), forwarded{why: fwdRequest})
		gatewayTimeout(ex.w) // RFC 9111, 5.2.1.7
		return true
	case ex.r.Method == http.MethodHead && ex.known != nil:
		ex.freshen()
		return true
	case !ex.loads():
		ex.route.direct(ex.w, ex.r, ex.why(ex.known != nil))
		return true
	case ex.lookOnly && ex.secrets == 0: // no response was stale enough
		ex.lookOnly = false
		return false
	}
	ex.lookOnly = false
	if ex.known == nil || ex.secrets != 0 {
		// The response is likely to be this client's alone. One such request at a time
		// learns whether it is, and others do not wait for that.
		if _, busy := ex.route.cache.probing.LoadOrStore(ex.stored, struct{}{}); busy {
			ex.route.direct(ex.w, ex.r, ex.why(false))
			return true
		}
		defer ex.route.cache.probing.Delete(ex.stored)
	}
	_, done, _ := ex.get(ex.stored, nearcache.WithInfo(&ex.info),
		nearcache.SkipL1(), nearcache.WithTTL(nearcache.TTL{L2: -1}))
	return done
}

// why says why the handler runs; stale, that something is stored for this request.
func (ex *exchange) why(stale bool) forward {
	switch {
	case ex.wants.noCache:
		return fwdRequest
	case stale:
		return fwdStale
	case ex.index != nil:
		return fwdVary
	}
	return fwdMiss
}

// get asks the engine. done says that the client has been answered, or has left.
func (ex *exchange) get(key string, opts ...nearcache.Option) (e *entry, done bool, err error) {
	ex.mu.Lock()
	ex.left, ex.run, ex.led = false, nil, nil
	ex.mu.Unlock()
	e, err = ex.route.cache.store.Get(ex, key, opts...)
	ex.mu.Lock()
	ex.left = true
	rn, led := ex.run, ex.led
	ex.mu.Unlock()
	if rn == nil {
		return e, err != nil && ex.parent.Err() != nil, err
	}
	if rn.leave() { // the handler has returned
		rn.repanic()
		return nil, true, nil
	}
	if ex.parent.Err() != nil {
		return nil, true, nil
	}
	ex.conclude(e, err, rn, led)
	return nil, true, nil
}

// conclude answers the client whose request ran the handler.
func (ex *exchange) conclude(e *entry, err error, rn *run, led *outcome) {
	now := time.Now()
	old := ex.known
	if err == nil && e.Kind == kindResponse && ex.info.Stale && ex.mayHave(e) {
		old = e
	}
	switch {
	case old != nil && ex.standsIn(old, now.UnixNano()) && (led == nil || led.stale):
		how := forwarded{why: fwdStale, ttl: (old.freshUntil() - now.UnixNano()) / int64(time.Second)}
		ex.route.answer(ex.w, ex.r, old, max(now.UnixNano()-old.Born, 0)/int64(time.Second), how)
	case led != nil:
		how := forwarded{why: ex.why(led.revalidated), status: led.status, stored: led.stored}
		ex.route.answer(ex.w, ex.r, led.answer, noAge, how)
	default:
		select {
		case <-rn.done:
			rn.repanic()
		default:
		}
		gatewayTimeout(ex.w) // it takes too long, or the cache was closed under it
	}
}

func gatewayTimeout(w http.ResponseWriter) {
	http.Error(w, http.StatusText(http.StatusGatewayTimeout), http.StatusGatewayTimeout)
}

// refresh replaces a stale response that has been answered (RFC 5861, 3), in the
// background and once for all instances: they answer it too until then.
func (rt *route) refresh(ex *exchange, e *entry) {
	c := rt.cache
	if _, busy := c.refreshing.LoadOrStore(ex.stored, struct{}{}); busy {
		return
	}
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.ending.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ex.r.Context()))
	stop := context.AfterFunc(c.ending, cancel)
	behind := &exchange{parent: ctx, route: rt, r: ex.r.Clone(ctx), wants: noDirectives, secrets: ex.secrets,
		now: ex.now, known: e, index: ex.index, key: ex.key, stored: ex.stored}
	c.background.Go(func() {
		defer c.refreshing.Delete(behind.stored)
		defer cancel()
		defer stop()
		// Where Redis is away the old one is gone now, and readers wait for the new one.
		_ = c.store.Expire(ctx, behind.stored)
		_, _ = c.store.Get(behind, behind.stored)
	})
}
