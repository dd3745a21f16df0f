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

// ahead draws how much of its life a value may have left to be refreshed now.
func (t *Tiers[V]) ahead(cost uint32) time.Duration {
	return time.Duration(float64(cost) * float64(time.Microsecond) * t.cfg.RefreshAhead * rand.ExpFloat64())
}

// attend returns when a hit has something to do beside answering. idle, unless it is 0,
// ends the life of what nobody asks for.
func (t *Tiers[V]) attend(l l1.Life, idle time.Duration, now l1.Instant) l1.Instant {
	window := time.Duration(earliest * t.cfg.RefreshAhead * float64(l.Cost) * float64(time.Microsecond))
	at := l.Expires.Add(-window) // perhaps before now; the time between them is that of others
	if idle > 0 {
		at = min(at, now.Add(idle/8))
	}
	return at
}

// Attend reports whether a hit of a due entry should begin a flight that refreshes
// what has no more than ahead left of its life, or prolongs it.
//
// The flight uses the number that is drawn here for the value in L2 too. It may have
// more of its life left than L1's copy, which is then replaced by it; but to draw
// again for one that is the same would be to refresh with the square of the
// probability, too late for a hot key.
func (t *Tiers[V]) Attend(e *l1.Entry[V]) (ahead time.Duration, ok bool) {
	life := e.Life()
	ahead = t.ahead(life.Cost)
	return ahead, idles(e) || ahead >= life.Expires.Sub(l1.Now()) && ahead > 0
}

func idles[V any](e *l1.Entry[V]) bool {
	more := e.Rarer()
	return more.Idle > 0 && e.Life().Expires < more.Cap
}

// due reports whether a flight that found e is to refresh it, after it has
// prolonged its life if somebody asking does.
func (t *Tiers[V]) due(q Query[V], e *l1.Entry[V]) bool {
	if !q.Refresh {
		return false
	}
	if !idles(e) {
		return true
	}
	now, next, life, more := l1.Now(), *e, e.Life(), e.Rarer()
	life.Expires = min(now.Add(t.slack(more.Idle)), more.Cap)
	life.Attend = t.attend(life, more.Idle, now)
	t.put(&next, life, q.Ticket.Hash)
	if t.readable(t.shardOf(q.Key), q) {
		// Not beyond the cap, which is the end of L1's life: L2 ends it by itself.
		_ = t.l2.Touch(context.Background(), q.Key, t.slack(more.Idle))
	}
	return q.Ahead >= more.Cap.Sub(now)
}

// postpone keeps hits of L1's entry from attending to it for a while.
func (t *Tiers[V]) postpone(q Query[V], while time.Duration) {
	t.counters.relooks.Add(1)
	e, saw := t.l1.Peek(q.Key, q.Bound)
	if saw == l1.Miss || saw == l1.Spent {
		return
	}
	next, life := *e, e.Life()
	life.Attend = min(l1.Now().Add(while), life.Expires)
	t.put(&next, life, q.Ticket.Hash)
}
