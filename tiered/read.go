package tiered

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

var (
	// ErrMiss: no tier has a value, and there is no loader.
	ErrMiss = errors.New("nearcache: no tier has the key and there is no loader")
	// ErrNotFound: there is no such value at the source. Loaders return it.
	ErrNotFound = errors.New("nearcache: not found")
	// ErrNotModified: the value that a loader was shown is still current.
	ErrNotModified = errors.New("nearcache: not modified")
)

// Source is where a value came from.
type Source uint8

const (
	FromL1 Source = iota + 1
	FromL2
	FromLoader
)

// Answer is the outcome of a read.
type Answer[V any] struct {
	Value  V
	Err    error // answered instead of Value: ErrNotFound, or a failure that is not to be repeated yet
	Source Source
	Stale  bool // Value's life is over, and it stands in for what cannot be had

	Failed error // what an old value stands in for

	read   Ticket   // when the value was read or its load began
	tags   []uint64 // hashes of its tags
	older  bool     // than the ticket of its flight
	judged bool     // it is old, and to be judged once more when it is answered
}

// Good reports whether a reader that accepts bound of staleness may be given the
// answer now. What stands in must not have been invalidated since, and is nothing
// for a reader that accepts none.
func (a Answer[V]) Good(bound time.Duration) bool {
	return !a.judged || bound > 0 && a.read.Current(bound) && a.read.Epoch.TagsBelieve(a.read.Stamp, a.tags)
}

// Shared reports whether the answer of a flight is good for one who joined it and accepts
// bound of staleness. A flight does not know its value's tags before it has it, so readers
// may have joined after one of them was invalidated. Nor does it know whether it finds
// something that is older than its ticket, by which they joined.
func (a Answer[V]) Shared(bound time.Duration) bool {
	if a.older && !a.read.Current(bound) {
		return false
	}
	return a.read.Epoch == nil || a.read.Epoch.TagsBelieve(a.read.Stamp, a.tags)
}

// AnswerOf returns what an entry of L1 answers.
func AnswerOf[V any](e *l1.Entry[V]) Answer[V] {
	a := Answer[V]{Value: e.Value, Source: FromL1}
	if e.Rare != nil {
		a.Err, a.Stale = e.Rarer().Err, e.Rare.Stale
	}
	return a
}

// Query is one read beyond L1, for all who join it.
type Query[V any] struct {
	Key        string
	Bound      time.Duration // of staleness; 0 skips L1
	Ticket     Ticket
	TTL        TTL
	Load       Loader[V]                                  // nil: none
	Waits      func()                                     // told when the read begins to wait for another instance's load; or nil
	Turn       func(ctx context.Context, wait bool) error // takes a place among the loads in flight
	Offer      func(a Answer[V], soft bool)               // tells of a value that may stand in while the load goes on
	Refresh    bool                                       // L1's entry is still good, and due
	Ahead      time.Duration                              // what has no more left of its life is refreshed
	Blind      bool                                       // L2 has been asked in vain: it is not asked again
	Loaderless bool                                       // there is no loader to turn to
}

// Lookup reads L1 alone.
func (t *Tiers[V]) Lookup(key string, bound time.Duration) (*l1.Entry[V], l1.Sight) {
	e, saw := t.l1.Get(key, bound)
	if saw == l1.Miss || saw == l1.Spent {
		t.counters.misses.Add(1)
	}
	return e, saw
}

// Ticket returns the ticket of a read of key that begins now.
func (t *Tiers[V]) Ticket(key string) Ticket {
	return NewTicket(t.shardOf(key).epoch.Load(), t.l1.Hash(key))
}

// grant is what a read may do with what it finds: keep it in L1 under the
// ticket, and fill L2 if it holds a lease or a claim.
type grant[V any] struct {
	Ticket
	token   string   // of the lease or claim; empty: none
	claimed l2.Reply // the value that the token claims; Data is nil for a lease
	record  l2.Record
	old     known[V] // the newest value that is known, if any
	seen    sight    // what L2 held, for tracking
	stray   bool     // L2 may hold something newer, says tracking: not to be kept
}

// Fetch reads L2, and loads what it does not hold. Whatever is wrong with
// Redis or with what it holds costs a load, never an error.
//
// It looks into L1 once more: between its caller's look and the start of its
// flight, another flight may have landed.
func (t *Tiers[V]) Fetch(ctx context.Context, q Query[V]) (Answer[V], error) {
	g := grant[V]{Ticket: q.Ticket}
	if q.Bound > 0 {
		e, saw := t.l1.Peek(q.Key, q.Bound)
		switch {
		case saw == l1.Plain, saw == l1.Hit, saw == l1.Due && !t.due(q, e):
			a := AnswerOf(e)
			k := knownOf(e, g.Hash)
			a.read, a.tags, a.older = k.Ticket, k.tags, true
			return a, nil
		case saw != l1.Miss:
			g.old = knownOf(e, g.Hash)
		}
		t.counters.relooks.Add(1)
	}
	s := t.shardOf(q.Key)
	if q.Blind || !t.readable(s, q) {
		return t.load(ctx, q, g)
	}
	return t.fetch(ctx, s, q, g)
}

// fetch asks L2 until it has a value, a lease or a claim, or no patience left.
func (t *Tiers[V]) fetch(ctx context.Context, s *shard, q Query[V], g grant[V]) (Answer[V], error) {
	patience := l1.Now().Add(t.lease)
	for try := 0; ; try++ {
		reply, ok := t.ask(ctx, s, q, &g)
		if !ok {
			return t.load(ctx, q, g)
		}
		holder := reply.Holder
		if reply.State == l2.Present || reply.State == l2.Foreign {
			a, claimant, done := t.found(ctx, s, q, &g, reply)
			if done {
				return a, nil
			}
			holder = claimant
		}
		if holder == "" {
			if again, err := t.queue(ctx, q, &g); err != nil {
				return Answer[V]{}, err
			} else if again {
				continue
			}
			return t.load(ctx, q, g)
		}
		t.offer(q, g)
		if q.Waits != nil {
			q.Waits()
		}
		if !t.await(ctx, q.Key, holder, patience, try) {
			return t.load(ctx, q, g) // the holder may still fill; what we load goes no further
		}
	}
}

// readable reports whether L2 may be asked for q: not while it is away, and not
// for a key whose change by this instance has not reached it.
func (t *Tiers[V]) readable(s *shard, q Query[V]) bool {
	return t.l2 != nil && q.TTL.L2 >= 0 && t.followed(q.Ticket.Epoch) && !s.outbox.holds(q.Key)
}

// followed reports whether Redis can be asked, in an epoch that we follow.
func (t *Tiers[V]) followed(e *l1.Epoch) bool {
	return e.ID() != "" && t.disagree.Load() == nil && !t.l2.Away()
}

// ask reads L2 once and notes in the grant what that permits. ok is false if
// nothing can be made of the answer.
func (t *Tiers[V]) ask(ctx context.Context, s *shard, q Query[V], g *grant[V]) (reply l2.Reply, ok bool) {
	g.Ticket, g.token, g.claimed = q.Ticket, "", l2.Reply{}
	token := ""
	if q.Load != nil {
		token = t.l2.Token()
	}
	t.asks(q.Key, token)
	born := l1.Now()
	reply, err := t.l2.Read(ctx, q.Key, token, t.lease)
	if err != nil {
		t.counters.redisErrors.Add(1)
		t.unanswered(g.Hash)
		// It may have been granted for all that, and nobody should wait for it to end.
		g.token, g.record = token, l2.Record{Epoch: q.Ticket.Epoch.ID()}
		t.giveBack(q.Key, g, 0)
		return reply, false
	}
	if reply.State == l2.Leased {
		g.token = token
	}
	// A server that is out of memory says so before it says that it is no master any more.
	unproven := q.Load != nil && !reply.Wrote && !q.proven()
	if unproven || !t.trusts(s, q, reply) {
		t.giveBack(q.Key, g, 0)
		return reply, false
	}
	t.sawReply(q.Key, g, reply, token, born)
	g.Born, g.record = t.born(q.Ticket, born, reply), reply.Record
	g.Stamp = max(g.Stamp, l1.StampOf(reply.Record.Seq))
	return reply, true
}

// trusts reports whether a reply comes from the life of the shard's data that
// this instance follows. A record that is missing, of another epoch, or behind
// what we have seen says that data was lost: a heartbeat finds out.
//
// The number is noted before the outbox is asked once more. A change that fails
// meanwhile is entered there before it fences, so either we find it, or its
// fence comes after our number and above our stamp.
//
// In strict mode the reply must not be what a failover has brought back either. The
// record tells of that only up to what was seen when the ticket was given; so the
// newest proof of then must be within the bound. A later proof would not do: the record
// may be behind what that one covers.
func (t *Tiers[V]) trusts(s *shard, q Query[V], reply l2.Reply) bool {
	e := q.Ticket.Epoch
	if t.cfg.Strict && l1.Now().Sub(q.Ticket.Proven) > t.cfg.MaxStaleness {
		return false
	}
	if !reply.Known || reply.Record.Epoch != e.ID() || reply.Record.Seq < q.Ticket.Stamp.Seq() {
		if !reply.Known {
			t.events.fault("record", errors.New("the shard's record in Redis is missing or cannot be read"))
		}
		t.bus.Kick()
		return false
	}
	e.See(l1.StampOf(reply.Record.Seq))
	return !s.outbox.holds(q.Key)
}

// born returns when a value that was read from Redis at read may be said to have been
// current. A demoted or isolated master answers reads too: without a write, and in
// strict mode in any case, it is as old as the newest proof.
func (t *Tiers[V]) born(ticket Ticket, read l1.Instant, reply l2.Reply) l1.Instant {
	if t.cfg.Strict || !reply.Wrote {
		return min(read, ticket.Proven)
	}
	return read
}

// found makes of a value in L2 what it is good for: an answer (done), an old value
// that somebody else refreshes (claimant is the token), or one that we have to
// replace, by a lease or claim if the grant has its token.
func (t *Tiers[V]) found(ctx context.Context, s *shard, q Query[V], g *grant[V], reply l2.Reply) (a Answer[V], claimant string, done bool) {
	h, v, err := t.open(q.Key, reply)
	if err != nil || t.overtaken(g, h) || !t.askTags(ctx, s, g, h) {
		if err != nil {
			t.events.fault("value", err)
		}
		g.token, claimant = t.drop(ctx, q, reply)
		return a, claimant, false
	}
	left := t.left(s, h)
	old := known[V]{Ticket: g.Ticket, value: v, source: FromL2, validator: h.Validator, tags: t.hashes(h.Tags), soft: h.Expired,
		has: !h.Negative, expires: l1.Now().Add(left), gone: l1.Now().Add(left + max(q.TTL.StaleIfError, 0))}
	fresh := left > 0 && !h.Expired
	if fresh && !(q.Refresh && q.Ahead >= left) {
		t.counters.l2Hits.Add(1)
		return t.adopt(q, g, h, v, left), "", true
	}
	if q.Load == nil {
		return a, "", false
	}
	g.old = old
	return t.renewable(ctx, s, q, g, reply, h)
}

// left returns what a value in L2 has left of its life.
func (t *Tiers[V]) left(s *shard, h codec.Header) time.Duration {
	return time.Duration(h.Expires*1000-s.clock()) * time.Microsecond
}

// open takes the value of key out of its envelope, or says why it cannot be believed.
func (t *Tiers[V]) open(key string, reply l2.Reply) (h codec.Header, v V, err error) {
	if reply.State == l2.Foreign {
		return h, v, errors.New("a Redis type other than string")
	}
	h, payload, err := codec.Open(reply.Data)
	if err == nil && h.Codec != t.cfg.Codec.ID() {
		err = errors.New("written with codec " + strconv.Itoa(int(h.Codec)) + ", read with " + strconv.Itoa(int(t.cfg.Codec.ID())))
	}
	if err == nil {
		payload, err = t.unseal(key, reply.Data, payload, h)
	}
	if err == nil && h.Compressed {
		payload, err = t.decompress(payload)
	}
	if err == nil && !h.Negative {
		v, err = decode(t.cfg.Codec, payload)
	}
	return h, v, err
}

// overtaken reports whether a value was born before something that took it
// away: a clear, or, when data was lost since, an invalidation that this
// instance saw and Redis forgot.
func (t *Tiers[V]) overtaken(g *grant[V], h codec.Header) bool {
	why := t.overtaking(g, h)
	if why != "" && why != byClear {
		t.counters.refusedValues.Add(1)
	}
	return why != ""
}

const byClear = "born before a Clear"

// overtaking returns what a value was overtaken by; empty: nothing.
func (t *Tiers[V]) overtaking(g *grant[V], h codec.Header) string {
	if h.Birth < g.record.Cleared {
		return byClear
	}
	if epoch, err := strconv.ParseUint(g.record.Epoch, 16, 64); err == nil && h.Epoch == epoch {
		return ""
	}
	if t.cfg.Strict {
		return "born before Redis lost data, in strict mode"
	}
	birth := l1.StampOf(h.Birth)
	p := g.Epoch.Before()
	if p != nil && (birth < p.LastFloor(g.Hash) || !p.TagsBelieve(birth, t.hashes(h.Tags))) {
		return "born before an invalidation that this instance saw and Redis forgot"
	}
	return ""
}

// drop replaces what nobody can believe by a lease, and returns its token. If somebody
// else was faster there is one to wait for, which the next look finds: claimant is a
// token that nobody holds. If Redis does not answer, there is neither.
func (t *Tiers[V]) drop(ctx context.Context, q Query[V], reply l2.Reply) (token, claimant string) {
	if q.Load != nil {
		token = t.l2.Token()
	}
	t.writesLease(q.Key, token)
	switch dropped, err := t.l2.Drop(ctx, q.Key, reply, token, t.lease); {
	case err != nil:
		return "", ""
	case !dropped:
		return "", token
	}
	return token, ""
}

// adopt keeps a value of L2 in L1 and answers it.
func (t *Tiers[V]) adopt(q Query[V], g *grant[V], h codec.Header, v V, left time.Duration) Answer[V] {
	a := Answer[V]{Value: v, Source: FromL2, read: g.Ticket, tags: t.hashes(h.Tags)}
	a.older = g.Born < q.Ticket.Born && !q.Loaderless // who has no loader takes what there is
	if h.Negative {
		a.Err = ErrNotFound
	}
	life := lives{l1: t.jittered(q.TTL.l1(h.Negative)), l2: left}
	if !g.stray {
		t.keep(q, g.Ticket, content[V]{value: v, err: a.Err, validator: h.Validator, tags: h.Tags, cost: h.Cost}, life)
		t.confirm(q.Key, g.Hash, g.seen)
	}
	if q.TTL.Idle > 0 {
		t.running.Go(func() { _ = t.l2.Touch(context.Background(), q.Key, t.slack(q.TTL.Idle)) })
	}
	return a
}
