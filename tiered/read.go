package tiered

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

var (
	// ErrMiss: no tier has a value, and there is no loader.
	ErrMiss = errors.New("nearcache: no tier has the key and there is no loader")
	// ErrNotFound: there is no such value at the source. Loaders return it.
	ErrNotFound = errors.New("nearcache: not found")
)

// TTL is the life of an entry in each tier; a negative one keeps it out of it.
type TTL struct {
	L1, L2, Negative time.Duration
}

// Source is where a value came from.
type Source uint8

const (
	FromL1 Source = iota + 1
	FromL2
	FromLoader
)

// Answer is the outcome of a read.
type Answer[V any] struct {
	Value    V
	Negative bool // there is no such value; Value is zero
	Source   Source
}

// Query is one read beyond L1.
type Query[V any] struct {
	Key    string
	Bound  time.Duration // of staleness; 0 skips L1
	Ticket Ticket
	TTL    TTL
	Load   func(context.Context, string) (V, error) // nil: none
}

// Lookup reads L1 alone.
func (t *Tiers[V]) Lookup(key string, bound time.Duration) (*l1.Entry[V], bool) {
	e, ok := t.l1.Get(key, bound)
	if !ok {
		t.counters.misses.Add(1)
	}
	return e, ok
}

// Ticket returns the ticket of a read of key that begins now.
func (t *Tiers[V]) Ticket(key string) Ticket {
	return NewTicket(t.shardOf(key).epoch.Load(), t.l1.Hash(key))
}

// Fetch reads L2, and loads what it does not hold. Whatever is wrong with
// Redis or with what it holds costs a load, never an error.
//
// It looks into L1 once more: between its caller's look and the start of its
// flight, another flight may have landed.
func (t *Tiers[V]) Fetch(ctx context.Context, q Query[V]) (Answer[V], error) {
	if q.Bound > 0 {
		if e, ok := t.l1.Get(q.Key, q.Bound); ok {
			return Answer[V]{Value: e.Value, Negative: e.Negative, Source: FromL1}, nil
		}
		t.counters.relooks.Add(1)
	}
	s := t.shardOf(q.Key)
	if !t.readable(s, q) {
		return t.load(ctx, q, grant{Ticket: q.Ticket})
	}
	patience := l1.Now().Add(t.lease)
	for try := 0; ; try++ {
		g := grant{Ticket: q.Ticket}
		if q.Load != nil {
			g.token = t.l2.Token()
		}
		g.Born = l1.Now()
		reply, err := t.l2.Read(ctx, q.Key, g.token, t.lease)
		if err != nil {
			t.counters.redisErrors.Add(1)
			return t.load(ctx, q, grant{Ticket: q.Ticket})
		}
		if !t.trusts(s, q, reply) {
			if reply.State == l2.Leased {
				t.giveBack(q.Key, g)
			}
			return t.load(ctx, q, grant{Ticket: q.Ticket})
		}
		g.record = reply.Record
		g.Stamp = max(g.Stamp, l1.StampOf(reply.Record.Seq))
		switch reply.State {
		case l2.Absent, l2.Leased:
			return t.load(ctx, q, g)
		case l2.Present, l2.Foreign:
			if a, ok := t.open(s, q, g, reply); ok {
				return a, nil
			}
			if dropped, err := t.l2.Drop(ctx, q.Key, reply, g.token, t.lease); err != nil || !dropped {
				g.token = "" // somebody else replaced it: what we load, we keep to ourselves
			}
			return t.load(ctx, q, g)
		case l2.Held:
			if !t.await(ctx, q.Key, reply.Holder, patience, try) {
				g.token = "" // the lease's holder may still fill; what we load goes no further
				return t.load(ctx, q, g)
			}
		}
	}
}

// readable reports whether L2 may be asked for q: not while it is away, and not
// for a key whose change by this instance has not reached it.
func (t *Tiers[V]) readable(s *shard, q Query[V]) bool {
	return t.l2 != nil && q.TTL.L2 >= 0 && q.Ticket.Epoch.ID() != "" && t.disagree.Load() == nil &&
		!t.l2.Away() && !s.outbox.holds(q.Key)
}

// trusts reports whether a reply comes from the life of the shard's data that
// this instance follows. A record that is missing, of another epoch, or behind
// what we have seen says that data was lost: a heartbeat finds out.
//
// The number is noted before the outbox is asked once more. A change that fails
// meanwhile is entered there before it fences, so either we find it, or its
// fence comes after our number and above our stamp.
func (t *Tiers[V]) trusts(s *shard, q Query[V], reply l2.Reply) bool {
	e := q.Ticket.Epoch
	if !reply.Known || reply.Record.Epoch != e.ID() || reply.Record.Seq < q.Ticket.Stamp.Seq() {
		if !reply.Known {
			t.faults.note("record", errors.New("the shard's record in Redis is missing or cannot be read"))
		}
		t.bus.Kick()
		return false
	}
	e.See(l1.StampOf(reply.Record.Seq))
	return !s.outbox.holds(q.Key)
}

// grant is what a read may do with what it finds: keep it in L1 under the
// ticket, and fill L2 if it holds a lease.
type grant struct {
	Ticket
	token  string    // of the lease; empty: none
	record l2.Record // as of the read of L2
}

// open takes the value out of its envelope and keeps it in L1, or says why it
// cannot be believed.
func (t *Tiers[V]) open(s *shard, q Query[V], g grant, reply l2.Reply) (Answer[V], bool) {
	h, payload, err := codec.Open(reply.Data)
	if reply.State == l2.Foreign {
		err = errors.New("a Redis type other than string")
	}
	if err == nil && h.Codec != t.cfg.Codec.ID() {
		err = errors.New("written with codec " + strconv.Itoa(int(h.Codec)) + ", read with " + strconv.Itoa(int(t.cfg.Codec.ID())))
	}
	a := Answer[V]{Source: FromL2, Negative: h.Negative}
	if err == nil && !h.Negative {
		a.Value, err = decode(t.cfg.Codec, payload)
	}
	if err != nil {
		t.faults.note("value", err)
		return Answer[V]{}, false
	}
	left := time.Duration(h.Expires*1000-s.clock()) * time.Microsecond
	if left <= 0 || t.overtaken(s, g, h) {
		return Answer[V]{}, false
	}
	t.counters.l2Hits.Add(1)
	t.keep(q.Key, a.Value, h.Negative, g.Ticket, min(left, t.life(q.TTL, h.Negative)))
	return a, true
}

// overtaken reports whether a value was born before something that took it
// away: a clear, or, when data was lost since, an invalidation that this
// instance saw and Redis forgot.
func (t *Tiers[V]) overtaken(s *shard, g grant, h codec.Header) bool {
	if h.Birth < g.record.Cleared {
		return true
	}
	if epoch, err := strconv.ParseUint(g.record.Epoch, 16, 64); err == nil && h.Epoch == epoch {
		return false
	}
	if t.cfg.Strict {
		t.counters.refusedValues.Add(1)
		return true
	}
	p := s.prior.Load()
	if p != nil && l1.Now() < p.until && l1.StampOf(h.Birth) < p.epoch.LastFloor(g.Hash) {
		t.counters.refusedValues.Add(1)
		return true
	}
	return false
}

// load asks the loader, and keeps its answer where the grant permits.
func (t *Tiers[V]) load(ctx context.Context, q Query[V], g grant) (Answer[V], error) {
	if q.Load == nil {
		return Answer[V]{}, ErrMiss
	}
	t.counters.loads.Add(1)
	v, err := q.Load(ctx, q.Key)
	a := Answer[V]{Value: v, Negative: errors.Is(err, ErrNotFound), Source: FromLoader}
	if err != nil && !a.Negative {
		t.counters.loadErrors.Add(1)
		t.giveBack(q.Key, g)
		return Answer[V]{}, err
	}
	if a.Negative {
		a.Value = *new(V)
	}
	t.keep(q.Key, a.Value, a.Negative, g.Ticket, t.life(q.TTL, a.Negative))
	t.fill(q, a, g)
	return a, nil
}

// keep puts a value into L1. It asks for no proof that the value is still
// current: the stamp says what it reflects, and floors judge that at read.
func (t *Tiers[V]) keep(key string, v V, negative bool, ticket Ticket, life time.Duration) {
	if life <= 0 {
		return
	}
	if guard.Removed(guard.StampAtRead) {
		if ticket.Stamp < ticket.Epoch.Floor(ticket.Hash) {
			return // checked when it is put, as others do
		}
		ticket.Stamp = math.MaxUint64 - 1
	}
	t.l1.Put(&l1.Entry[V]{
		Key: key, Value: v, Negative: negative,
		Epoch: ticket.Epoch, Stamp: ticket.Stamp, Born: ticket.Born,
		Expires: l1.Now().Add(life),
	})
}

// life returns how long an entry lives in L1, negative if not at all.
func (t *Tiers[V]) life(ttl TTL, negative bool) time.Duration {
	if negative && ttl.L1 >= 0 {
		return t.jittered(ttl.Negative)
	}
	return t.jittered(ttl.L1)
}

// jittered shortens a life at random: what a fleet stored at once must not
// expire at once.
func (t *Tiers[V]) jittered(d time.Duration) time.Duration {
	return d - time.Duration(float64(d)*t.cfg.Jitter*rand.Float64())
}
