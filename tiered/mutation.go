package tiered

import (
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/nearcache/nearcache/l1"
)

// watch finds out that somebody changed a value that L1 shares: it knows what every
// value was when it was put there, and compares in the background. Entries are held
// weakly, so that L1 alone decides how long they stay; and they are asked for here,
// not in L1, whose entries and hits know nothing of it.
//
// The comparison reads what somebody may be writing. That is the bug that it looks
// for: the race detector may report it at this place before it is logged.
type watch[V any] struct {
	log   *slog.Logger
	cache string
	found atomic.Uint64

	mu    sync.Mutex
	known map[weak.Pointer[l1.Entry[V]]]uint64 // digests
	named map[string]bool                      // keys that were logged

	stop    chan struct{}
	stopped chan struct{}
}

const (
	watchEvery = time.Second
	maxNamed   = 1000 // keys; further ones are only counted
)

func startWatch[V any](cache string, log *slog.Logger) *watch[V] {
	w := &watch[V]{log: log, cache: cache, known: make(map[weak.Pointer[l1.Entry[V]]]uint64), named: make(map[string]bool),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(w.stopped)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
				w.sweep()
			}
		}
	}()
	return w
}

// close looks once more, so that short programs learn of it too.
func (w *watch[V]) close() {
	close(w.stop)
	<-w.stopped
	w.sweep()
}

// note remembers what the value of an entry is, before anybody is given it.
func (w *watch[V]) note(e *l1.Entry[V]) {
	if e.Rarer().Err != nil {
		return
	}
	sum, ok := digestOf(&e.Value)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[weak.Make(e)] = sum
}

// sweep compares all values with what they were.
func (w *watch[V]) sweep() {
	for e, sum := range w.held() {
		if now, ok := digestOf(&e.Value); ok && now == sum {
			continue
		}
		w.found.Add(1)
		if w.isNew(e) {
			w.log.Error("nearcache: a value was changed after L1 got it, and all readers see that: treat values as read-only or set Config.Clone",
				"cache", w.cache, "key", e.Key, "type", reflect.TypeFor[V]().String())
		}
	}
}

// held returns the entries that still exist, and forgets the others.
func (w *watch[V]) held() map[*l1.Entry[V]]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := make(map[*l1.Entry[V]]uint64, len(w.known))
	for p, sum := range w.known {
		if e := p.Value(); e != nil {
			held[e] = sum
		} else {
			delete(w.known, p)
		}
	}
	return held
}

// isNew forgets an entry that was found, and reports whether its key is to be logged.
func (w *watch[V]) isNew(e *l1.Entry[V]) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, weak.Make(e))
	if w.named[e.Key] || len(w.named) == maxNamed {
		return false
	}
	w.named[e.Key] = true
	return true
}
