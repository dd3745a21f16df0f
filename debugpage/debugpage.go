// Package debugpage shows what caches do and have done in the last five minutes, as a
// page for a browser: is it current, is it worth it, what happened, where does a key
// stand. It is an http.Handler for any path, behind the access control of whoever mounts
// it. It shows no values, keys only if it may, and changes nothing unless it may.
package debugpage

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/nearcache/nearcache"
)

// Config is what a page may show and do. The zero value shows no key and changes nothing.
type Config struct {
	// ShowKeys shows keys, tags and the texts of errors, which may contain some: the
	// keys that are read most, and what an event was caused by. Default false. The page
	// answers for a key that is typed in all the same.
	ShowKeys bool

	// AllowInvalidate adds a button that invalidates the key that is typed in, on every
	// instance. Requests from other sites are refused. Default false.
	AllowInvalidate bool
}

// Cache is what a page asks of a cache, which is a *nearcache.Cache of any type.
type Cache interface {
	Stats() nearcache.Stats
	Explain(ctx context.Context, key string) (nearcache.Explanation, error)
	Invalidate(ctx context.Context, keys ...string) error
}

// Page is a page about any number of caches, each under a name that is the page's own.
// It is safe for concurrent use. Of each cache it keeps 300 samples, 100 events, and
// with ShowKeys 64 keys.
type Page struct {
	cfg   Config
	guard *http.CrossOriginProtection

	mu     sync.Mutex
	caches []*watched // in the order in which they were named

	stop context.CancelFunc
	done chan struct{}
}

// New returns a page without caches, which looks at those that it gets once a second
// until Close.
func New(cfg Config) *Page {
	ctx, stop := context.WithCancel(context.Background())
	p := &Page{cfg: cfg, guard: http.NewCrossOriginProtection(), stop: stop, done: make(chan struct{})}
	go p.run(ctx)
	return p
}

// Hooks returns the hooks of the cache that Watch is given under the same name, for its
// nearcache.Config, with [nearcache.Tee] beside others. Without them the page lacks
// latencies, lags, events and hot keys.
func (p *Page) Hooks(name string) nearcache.Hooks { return p.named(name).hooks() }

// Watch puts a cache on the page, in the place of the one that had the name before. Nil
// takes that away.
func (p *Page) Watch(name string, cache Cache) { p.named(name).watch(cache) }

// Close stops looking at the caches, and waits for that. It may be called twice. What
// the page has seen it still shows.
func (p *Page) Close() {
	p.stop()
	<-p.done
}

func (p *Page) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, w := range p.all() {
			w.sample(time.Now())
		}
	}
}

func (p *Page) all() []*watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*watched(nil), p.caches...)
}

func (p *Page) named(name string) *watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.caches {
		if w.name == name {
			return w
		}
	}
	w := newWatched(name, p.cfg.ShowKeys)
	p.caches = append(p.caches, w)
	return w
}
