package httpcache

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
)

var (
	errLookOnly = errors.New("httpcache: nothing is stored, and nothing was to be loaded")
	errLeft     = errors.New("httpcache: the client has left before its request was handled")
	errCrashed  = errors.New("httpcache: the handler panicked, or cut its response off")
	errMine     = errors.New("httpcache: the response is for one client, whose request has what others have not")
	errFailed   = errors.New("httpcache: the handler failed, and a stale response may stand in")
)

// passLife is how long requests for what cannot be shared are not made to wait for
// each other.
const passLife = 5 * time.Second

// indexLife is how long the names that a resource varies on are remembered.
const indexLife = 24 * time.Hour

var nowhere = nearcache.TTL{L1: -1, L2: -1}

// pass is the value of a load whose response belongs to one client.
var pass = (&entry{Kind: kindPass}).prepare()

// load is the engine's loader. It runs the handler for the exchange in ctx, and
// decides what its response is to others.
func (c *Cache) load(ctx context.Context, key string, item *nearcache.Item[*entry]) (*entry, error) {
	ex, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok || ex.lookOnly {
		return nil, errLookOnly
	}
	if first, ok := c.settling.Load(key); ok {
		first := first.(*settling)
		item.TTL, item.Tags = first.entry.ttl(time.Now(), c.cfg.KeepStale), first.tags
		return first.entry, nil
	}
	known := ex.known
	if item.HasOld && item.Old.Kind == kindResponse {
		known = item.Old
	}
	l := &loading{cache: c, ex: ex, key: key, item: item, known: known}
	e, err := l.load(ctx)
	if errors.Is(err, errUnconfirmed) { // ask for the whole of it
		l.known = nil
		e, err = l.load(ctx)
	}
	return e, err
}

var errUnconfirmed = errors.New("httpcache: a 304 response is about another stored one")

// loading is one load.
type loading struct {
	cache *Cache
	ex    *exchange
	key   string
	item  *nearcache.Item[*entry]
	known *entry // what the handler is asked to confirm, or nil

	status int // of the handler's response
}

func (l *loading) load(ctx context.Context) (*entry, error) {
	asked := time.Now()
	rn := l.ex.begin(ctx, l.known)
	if rn == nil {
		return nil, errLeft
	}
	handed := false
	select {
	case <-rn.handed:
		handed = true
	case <-rn.done:
		handed = rn.state != keeping // or dropped, and then the handler returned
	}
	now := time.Now()
	switch {
	case handed && rn.asked.Method == http.MethodHead:
		return l.headed(ctx, rn, asked, now)
	case handed:
		return l.unshared()
	}
	l.status = rn.status
	switch {
	case rn.crashed || !rn.whole():
		return nil, errCrashed
	case ctx.Err() != nil: // the handler may have given up halfway
		return nil, context.Cause(ctx)
	case rn.status == http.StatusNotModified && l.known != nil:
		return l.confirmed(ctx, rn, asked, now)
	}
	return l.finished(ctx, rn, asked, now)
}

// unshared is the value of a response that others may not have. What is fresh is
// left alone: this client has asked for something better. Nor does a response to a
// request with secrets say anything of others.
func (l *loading) unshared() (*entry, error) {
	if l.ex.secrets != 0 {
		return nil, errMine
	}
	l.item.TTL = nearcache.TTL{L1: passLife, L2: -1}
	if l.known != nil && l.known.freshUntil() > time.Now().UnixNano() {
		l.item.TTL = nowhere
	}
	return pass, nil
}

// confirmed is the outcome of a 304 response about the known one.
func (l *loading) confirmed(ctx context.Context, rn *run, asked, now time.Time) (*entry, error) {
	if !confirms(rn.sent, l.known) {
		return nil, errUnconfirmed
	}
	merged := l.known.merged(rn.sent)
	v := l.ex.route.judge(rn.asked, l.known.Status, merged, now)
	return l.keep(ctx, rn.asked, v, l.known.updated(v, merged, asked, now), merged)
}

// finished is the outcome of a whole response.
func (l *loading) finished(ctx context.Context, rn *run, asked, now time.Time) (*entry, error) {
	v := l.ex.route.judge(rn.asked, rn.status, rn.sent, now)
	e := newEntry(v, rn.status, rn.sent, rn.body, asked, now, l.cache.cfg.ETags)
	if l.known != nil && rn.status >= 500 && l.ex.standsIn(l.known, now.UnixNano()) {
		l.ex.lead(outcome{answer: l.own(e, rn.sent), status: l.status, stale: true})
		return nil, errFailed
	}
	return l.keep(ctx, rn.asked, v, e, rn.sent)
}

// keep stores a response where it belongs. sent are the fields that the handler sent,
// some of which may be for its client only.
func (l *loading) keep(ctx context.Context, r *http.Request, v verdict, e *entry, sent http.Header) (*entry, error) {
	now := time.Now()
	store := v.store && !e.useless(now, l.cache.cfg.KeepStale)
	l.ex.lead(outcome{answer: l.own(e, sent), status: l.status, stored: store, revalidated: l.known != nil})
	switch {
	case !store && v.shared:
		shared := *e
		shared.once = true
		l.item.TTL = nowhere
		return &shared, nil
	case !store:
		return l.unshared()
	}
	l.item.Tags = l.ex.route.tagsOf(r, sent)
	switch {
	case l.ex.index == nil && len(v.names) > 0:
		return l.vary(ctx, r, v.names, e)
	case l.ex.index != nil && !l.ex.index.covers(v.names):
		// It varies on more than was known. The next request for the resource learns of
		// it, and the old index tells of what was known before.
		l.item.TTL = nowhere
		_ = l.cache.store.Expire(ctx, l.ex.key) // else the next such response tries again
		return pass, nil
	}
	l.item.TTL = e.ttl(now, l.cache.cfg.KeepStale)
	return e, nil
}

// settling is the first variant of a resource, on its way into the cache.
type settling struct {
	entry *entry
	tags  []string
}

// settlingLife is how long L1, which takes values in the background, may take for one.
const settlingLife = time.Second

// vary returns the index of a resource whose first variant is e, and has that stored
// before anybody can see the index. Those who wait for the index are next to ask for the
// variant, perhaps before L1 has it; load answers them what is settling. If a tag is
// invalidated while the handler runs, the index is refused, and nobody finds the variant.
func (l *loading) vary(ctx context.Context, r *http.Request, names []string, e *entry) (*entry, error) {
	if l.item.HasOld && l.item.Old.Kind == kindIndex {
		names = append(slices.Clone(names), l.item.Old.Names...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	index := newIndex(names)
	key := index.variantKey(l.ex.key, r)
	l.cache.settling.Store(key, &settling{e, l.item.Tags})
	time.AfterFunc(settlingLife, func() { l.cache.settling.Delete(key) })
	first := &exchange{parent: ctx, route: l.ex.route, r: r, index: index}
	if _, err := l.cache.store.Get(first, key); err != nil {
		return nil, err
	}
	l.item.TTL = nearcache.TTL{L1: indexLife, L2: indexLife}
	return index, nil
}

// own returns the response for the client whose request ran the handler: with the
// fields that others must not have.
func (l *loading) own(e *entry, sent http.Header) *entry {
	own := *e
	own.Header = e.Header.Clone()
	for name, values := range sent {
		if _, ok := own.Header[name]; !ok {
			own.Header[name] = values
		}
	}
	return own.prepare()
}

// standsIn reports whether the response may be answered though the handler failed: by its
// own stale-if-error, or by the request's, unless it forbids stale answers (RFC 5861, 4).
func (ex *exchange) standsIn(e *entry, now int64) bool {
	within := e.SIE
	if !e.NoStale {
		within = max(within, ex.wants.sie)
	}
	return within > 0 && now < e.freshUntil()+int64(within)
}

// maxTags bounds the tags that a response brings, beside those of its path.
const maxTags = 24

// tagsOf returns the tags of a response: its path, the folders above, and those that
// the route and the handler name.
func (rt *route) tagsOf(r *http.Request, h http.Header) []string {
	tags := pathTags(r.URL.Path)
	named := 0
	add := func(tag string) {
		if tag = strings.TrimSpace(tag); tag != "" && len(tag) <= maxTag && named < maxTags {
			tags = append(tags, "t:"+tag)
			named++
		}
	}
	for _, tag := range rt.tags {
		add(tag)
	}
	for _, line := range h["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			add(tag)
		}
	}
	return tags
}
