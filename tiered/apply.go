package tiered

import (
	"context"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/invalidation"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// The bus tells Tiers what happened to a shard, one thing at a time. Every
// change ends as a raised floor; the rest is memory and statistics.
var _ invalidation.Handler = (*Tiers[any])(nil)

// Apply takes away what an announced change concerns: from L1 by its floors,
// and from reads that are under way by the same, since their stamps are older.
func (t *Tiers[V]) Apply(shard int, m invalidation.Message) {
	s := t.shards[shard]
	e, stamp := s.epoch.Load(), l1.StampOf(m.Seq)
	switch m.Op {
	case l2.OpClear:
		e.RaiseAll(stamp)
	case l2.OpTags:
		for _, tag := range m.Keys {
			e.RaiseTag(t.l1.Hash(tag), stamp)
		}
		s.markers.announced(m.Keys, m.Seq)
	default:
		for _, key := range m.Keys {
			e.Raise(t.l1.Hash(key), stamp)
			t.l1.Reclaim(key, stamp)
		}
		t.waiters.wake(m.Keys) // the change took the lease away that they wait for
	}
	lag := time.Duration(-1)
	if s.behind.Load() != 0 {
		// The estimate of the server's clock is never ahead, so it may be a little behind.
		lag = max(time.Duration(s.clock()-int64(m.Seq))*time.Microsecond, 0)
		t.lag.Record(lag)
	}
	if t.cfg.Announced != nil {
		t.cfg.Announced(shard, m, lag)
	}
}

// Distrust gives up on what may have been changed by messages that are lost.
func (t *Tiers[V]) Distrust(shard int, seq uint64) {
	t.counters.distrusts.Add(1)
	s := t.shards[shard]
	s.epoch.Load().RaiseAll(l1.StampOf(seq))
	s.markers.forget(seq)
	t.events.report(Event{Kind: EventDistrust, Shard: shard})
}

// Renew begins a new epoch: nothing in L1 is believed any more, and what this
// instance invalidated lately is sent again, since it may be what was lost.
//
// The new epoch is published last: whoever has a ticket of it must find the rest done.
func (t *Tiers[V]) Renew(shard int, r l2.Record) {
	s := t.shards[shard]
	old, next := s.epoch.Load(), l1.NewEpoch(r.Epoch, l1.StampOf(r.Seq), s.stripes)
	s.outbox.renew(r.Epoch)
	next.Succeed(old, l1.Now().Add(s.window))
	s.markers.forget(r.Seq)
	s.life.Store(0)
	s.epoch.Store(next)
	if old.ID() == "" {
		return
	}
	t.counters.epochs.Add(1)
	t.events.report(Event{Kind: EventEpoch, Shard: shard})
	t.running.Go(func() { t.agreeAgain(shard) })
}

// agreeAgain records the number of shards again, which may be lost too.
func (t *Tiers[V]) agreeAgain(shard int) {
	if err := t.agree(context.Background()); err != nil {
		t.events.report(Event{Kind: EventDisagreement, Shard: -1, Err: err})
		t.Disprove(shard)
	}
}

// Wake tells reads that wait for a lease that it has ended.
func (t *Tiers[V]) Wake(keys []string) { t.waiters.wake(keys) }

// Prove lets L1 be believed for the bound from sent on.
func (t *Tiers[V]) Prove(shard int, sent time.Time, clock int64) {
	s := t.shards[shard]
	s.behind.Store(clock - time.Duration(l1.Now()).Microseconds())
	if guard.Removed(guard.ProofAges) {
		s.epoch.Load().Prove(l1.Always)
	}
	if t.disagree.Load() == nil {
		s.epoch.Load().Prove(l1.At(sent))
	}
	s.outbox.tidy()
	if s.outbox.pending.Load() > 0 {
		select {
		case t.resend <- struct{}{}:
		default:
		}
	}
}

// Disprove ends the proof: the server that gave it serves no writes any more.
func (t *Tiers[V]) Disprove(shard int) { t.shards[shard].epoch.Load().Disprove() }

// Garbage counts a message that could not be read. Had it been a change, the
// next one shows the gap.
func (t *Tiers[V]) Garbage(err error) { t.events.fault("message", err) }

// Missing tells that a message of the shard has not come, and is looked for.
func (t *Tiers[V]) Missing(shard int) { t.events.report(Event{Kind: EventGap, Shard: shard}) }

// breaker tells of a server whose breaker opened or closed.
func (t *Tiers[V]) breaker(server string, open bool, cause error) {
	kind := EventBreakerClosed
	if open {
		kind = EventBreakerOpen
	}
	t.events.report(Event{Kind: kind, Shard: -1, Server: server, Err: cause})
}

// Deaf tells that the subscription was lost, and Listens that there is another.
func (t *Tiers[V]) Deaf(err error) { t.events.report(Event{Kind: EventDeaf, Shard: -1, Err: err}) }
func (t *Tiers[V]) Listens()       { t.events.report(Event{Kind: EventSubscribed, Shard: -1}) }
