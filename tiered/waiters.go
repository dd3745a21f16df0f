package tiered

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nearcache/nearcache/l1"
)

// How long a waiter goes without asking whether the lease has ended. A wake-up
// usually comes first; polling is for when it was lost.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 250 * time.Millisecond
)

// await waits until the lease of key may have ended, and reports false when
// patience is over: the lease has then ended in any case. try counts the waits
// so far.
func (t *Tiers[V]) await(ctx context.Context, key, holder string, patience l1.Instant, try int) bool {
	left := patience.Sub(l1.Now())
	if left <= 0 || ctx.Err() != nil {
		return false
	}
	t.counters.leaseWaits.Add(1)
	woken, forget := t.waiters.register(key)
	defer forget()
	// The holder is told only now that somebody listens: its wake-up cannot come
	// before us.
	if held, err := t.l2.Flag(ctx, key, holder); err == nil && !held {
		return true
	}
	poll := min(firstPoll<<min(try, 10), lastPoll)
	timer := time.NewTimer(min(left, poll/2+rand.N(poll)))
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// waiters are the reads that wait for leases of others to end. The zero value
// is ready.
type waiters struct {
	mu    sync.Mutex
	byKey map[string]map[chan struct{}]struct{}
}

// register returns a channel that is closed when key is woken, and a function
// that must be called when nobody waits on it any more.
func (w *waiters) register(key string) (<-chan struct{}, func()) {
	ch := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = make(map[string]map[chan struct{}]struct{})
	}
	if w.byKey[key] == nil {
		w.byKey[key] = make(map[chan struct{}]struct{})
	}
	w.byKey[key][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.byKey[key], ch); len(w.byKey[key]) == 0 {
			delete(w.byKey, key)
		}
	}
}

func (w *waiters) wake(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		for ch := range w.byKey[key] {
			close(ch)
		}
		delete(w.byKey, key)
	}
}
