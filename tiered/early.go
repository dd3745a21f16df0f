package tiered

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/nearcache/nearcache/l1"
)

// A value is refreshed before its life is over by the rule of XFetch (Vattani,
// Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB
// 2015): a read at now does it if
//
//	now - cost*beta*ln(random) >= expiry
//
// so the dearer the load and the more often a key is read, the earlier. Drawing a
// number at every hit would cost more than the hit. Entries say from when on it
// could matter at all (Attend); hits before that do not ask.

// earliest is how many costs before the end a refresh may begin: the rule calls for
// an earlier one once in 150,000 draws.
const earliest = 12

// minPostponed is how long at least a refresh is left to whoever does it.
const minPostponed = 10 * time.Millisecond

// early draws whether what has left of its life is to be refreshed now.
func (t *Tiers[V]) early(cost, left time.Duration) bool {
	return time.Duration(float64(cost)*t.cfg.RefreshAhead*rand.ExpFloat64()) >= left
}

// attend returns when a hit of e has something to do beside answering.
func (t *Tiers[V]) attend(e *l1.Entry[V], now l1.Instant) l1.Instant {
	window := time.Duration(earliest * t.cfg.RefreshAhead * float64(e.Cost) * float64(time.Microsecond))
	at := max(e.Expires.Add(-window), now)
	if e.Rare != nil && e.Rare.Idle > 0 {
		at = min(at, now.Add(e.Rare.Idle/8))
	}
	return at
}

// Attend reports whether a hit of a due entry should begin a flight that refreshes
// it or prolongs its life.
func (t *Tiers[V]) Attend(e *l1.Entry[V]) bool {
	return idles(e) || t.early(time.Duration(e.Cost)*time.Microsecond, e.Expires.Sub(l1.Now()))
}

func idles[V any](e *l1.Entry[V]) bool {
	return e.Rare != nil && e.Rare.Idle > 0 && e.Expires < e.Rare.Cap
}

// due reports whether a flight that found e is to refresh it, after it has
// prolonged its life if somebody asking does.
func (t *Tiers[V]) due(q Query[V], e *l1.Entry[V]) bool {
	if !q.Refresh {
		return false
	}
	if !idles(e) {
		return true // Attend has drawn
	}
	now, next := l1.Now(), *e
	next.Expires = min(now.Add(t.slack(e.Rare.Idle)), e.Rare.Cap)
	next.Attend = t.attend(&next, now)
	t.put(&next, q.Ticket.Hash)
	if t.readable(t.shardOf(q.Key), q) {
		// Not beyond the cap, which is the end of L1's life: L2 ends it by itself.
		_ = t.l2.Touch(context.Background(), q.Key, t.slack(e.Rare.Idle))
	}
	return t.early(time.Duration(e.Cost)*time.Microsecond, e.Rare.Cap.Sub(now))
}

// postpone keeps hits of L1's entry from attending to it for a while.
func (t *Tiers[V]) postpone(q Query[V], while time.Duration) {
	t.counters.relooks.Add(1)
	e, saw := t.l1.Get(q.Key, q.Bound)
	if saw != l1.Due && saw != l1.Hit {
		return
	}
	next := *e
	next.Attend = min(l1.Now().Add(while), e.Expires)
	t.put(&next, q.Ticket.Hash)
}
