package nearcache

import (
	"context"
	"sync"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/tiered"
)

// looks coalesces looks into L2: what most misses of L1 need, and no more. One of the
// callers looks on its own goroutine, and the others take what it finds. Flights are
// for loads, which outlive their callers and may do anything; a goroutine and a context
// for each value that Redis simply has would cost as much as the value. The zero value
// is ready.
type looks[V any] struct {
	shards [64]struct {
		mu    sync.Mutex
		calls map[string]*look[V]
	}
}

type look[V any] struct {
	ticket tiered.Ticket
	bound  time.Duration
	done   chan struct{} // made by the first who joins; guarded by the shard's mu

	answer tiered.Answer[V] // these are there once done is closed
	found  tiered.Found
}

// do returns what see finds, or what another caller's look does that is under way, if
// its ticket is current for a reader that accepts q.Bound of staleness.
func (l *looks[V]) do(ctx context.Context, q tiered.Query[V],
	see func(context.Context, tiered.Query[V]) (tiered.Answer[V], tiered.Found)) (tiered.Answer[V], tiered.Found) {
	s := &l.shards[q.Ticket.Hash%uint64(len(l.shards))]
	for {
		s.mu.Lock()
		k := s.calls[q.Key]
		if k == nil || k.bound > q.Bound || !k.ticket.Current(q.Bound) && !guard.Removed(guard.JoinCurrent) {
			break
		}
		if k.done == nil {
			k.done = make(chan struct{})
		}
		done := k.done
		s.mu.Unlock()
		select {
		case <-done:
			if k.found != tiered.Abandoned && k.answer.Shared() {
				return k.answer, k.found
			}
			q.Ticket = q.Ticket.Again() // its caller left, or it overtook a tag: we look
		case <-ctx.Done():
			return tiered.Answer[V]{}, tiered.Abandoned
		}
	}
	if s.calls == nil {
		s.calls = make(map[string]*look[V])
	}
	k := &look[V]{ticket: q.Ticket, bound: q.Bound}
	s.calls[q.Key] = k // one that is not current any more is set aside
	s.mu.Unlock()
	k.answer, k.found = see(ctx, q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[q.Key] == k {
		delete(s.calls, q.Key)
	}
	if k.done != nil {
		close(k.done)
	}
	return k.answer, k.found
}
