package tiered

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l1"
)

// Loader gets a value from the source. It is shown the old one if there is one, and
// may answer [ErrNotModified] to that.
type Loader[V any] func(ctx context.Context, key string, old Old[V]) (Loaded[V], error)

// Old is the newest value that is known when a load begins. It may be past its
// life, and has not been invalidated.
type Old[V any] struct {
	Value     V
	Has       bool
	Validator string
}

// Loaded is what a load brought.
type Loaded[V any] struct {
	Value     V
	Validator string // of Value; empty for a value that is not modified: that of the old one
	TTL       TTL
	Tags      []string
}

// known is an old value with what is needed to judge whether it may be answered.
type known[V any] struct {
	Ticket
	value     V
	has       bool
	source    Source
	validator string
	tags      []uint64
	soft      bool // it was expired before its time
	expires   l1.Instant
	gone      l1.Instant
}

func knownOf[V any](e *l1.Entry[V], hash uint64) known[V] {
	life := e.Life()
	k := known[V]{Ticket: Ticket{Epoch: e.Epoch, Hash: hash, Stamp: e.Stamp, Born: e.Born}, value: e.Value, source: FromL1,
		tags: e.Tags(), soft: e.Rare != nil && e.Rare.Soft, expires: life.Expires, gone: life.Gone()}
	more := e.Rarer()
	k.has, k.validator = more.Err == nil, more.Validator
	return k
}

// standsIn reports whether the value may still be answered, though its life is
// over.
func (k known[V]) standsIn() bool { return k.has && l1.Now() < k.gone }

func (k known[V]) answer(failed error) Answer[V] {
	return Answer[V]{Value: k.value, Source: k.source, Stale: k.soft || l1.Now() >= k.expires,
		Failed: failed, judged: true, read: k.Ticket, tags: k.tags}
}

// offer tells the flight of a value that may stand in while the load goes on.
func (t *Tiers[V]) offer(q Query[V], g grant[V]) {
	if q.Offer != nil && g.old.standsIn() {
		q.Offer(g.old.answer(nil), g.old.soft)
	}
}

// queue takes a place among the loads in flight. If that has to be waited for, the
// lease is given back first, for an instance that has a place; again then asks for
// another look at L2.
func (t *Tiers[V]) queue(ctx context.Context, q Query[V], g *grant[V]) (again bool, err error) {
	if q.Load == nil || q.Turn == nil || q.Turn(ctx, false) == nil {
		return false, nil
	}
	t.giveBack(q.Key, g, 0)
	if err := q.Turn(ctx, true); err != nil {
		return false, err
	}
	return true, nil
}

// load asks the loader, and keeps its answer where the grant permits.
func (t *Tiers[V]) load(ctx context.Context, q Query[V], g grant[V]) (Answer[V], error) {
	if q.Load == nil {
		return Answer[V]{}, ErrMiss
	}
	t.offer(q, g)
	if q.Turn != nil {
		if err := q.Turn(ctx, true); err != nil {
			t.giveBack(q.Key, &g, 0)
			return Answer[V]{}, err
		}
	}
	t.counters.loads.Add(1)
	began := l1.Now()
	g.Born = began // the source is asked now; what Redis said of it is older
	loaded, err := q.Load(ctx, q.Key, Old[V]{g.old.value, g.old.has, g.old.validator})
	c := content[V]{value: loaded.Value, validator: loaded.Validator, tags: loaded.Tags, cost: l1.Now().Sub(began)}
	switch {
	case err == nil:
	case errors.Is(err, ErrNotModified) && g.old.has:
		c.value, c.unmodified = g.old.value, true
		if c.validator == "" {
			c.validator = g.old.validator
		}
	case errors.Is(err, ErrNotModified):
		return t.loadFailed(ctx, q, g, fmt.Errorf("%w: but the loader was shown no old value", err))
	case errors.Is(err, ErrNotFound):
		c = content[V]{err: ErrNotFound, cost: c.cost}
	default:
		return t.loadFailed(ctx, q, g, err)
	}
	q.TTL = loaded.TTL
	life := t.lives(q.TTL, c.err != nil)
	t.keep(q, g.Ticket, c, life)
	t.fill(q, g, c, life.l2)
	return Answer[V]{Value: c.value, Err: c.err, Source: FromLoader, read: g.Ticket, tags: t.hashes(c.tags)}, nil
}

// loadFailed answers an old value if one may stand in, and sees to it that the
// source is left alone for a while.
func (t *Tiers[V]) loadFailed(ctx context.Context, q Query[V], g grant[V], err error) (Answer[V], error) {
	t.counters.loadErrors.Add(1)
	backOff := t.cfg.ErrorBackoff
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		backOff = 0 // it is not the source that failed: nobody waits any more
	}
	t.giveBack(q.Key, &g, backOff)
	switch {
	case g.old.standsIn() && l1.Now() < g.old.expires && !g.old.soft:
		t.postpone(q, backOff)
		return g.old.answer(err), nil
	case g.old.standsIn():
		t.standIn(q, g.old, backOff)
		return g.old.answer(err), nil
	case backOff > 0:
		t.put(&l1.Entry[V]{Key: q.Key, Epoch: g.Epoch, Stamp: g.Stamp, Born: g.Born,
			Rare: &l1.Rare{More: &l1.Rarer{Err: err}}}, l1.Life{Expires: l1.Now().Add(backOff)}, g.Hash)
	}
	return Answer[V]{}, err
}

// standIn keeps an old value in L1 for a while, as what it is.
func (t *Tiers[V]) standIn(q Query[V], old known[V], while time.Duration) {
	now := l1.Now()
	expires := min(now.Add(while), old.gone)
	if q.TTL.L1 < 0 || expires <= now {
		return
	}
	t.put(&l1.Entry[V]{Key: q.Key, Value: old.value, Epoch: old.Epoch, Stamp: old.Stamp, Born: old.Born,
		Rare: &l1.Rare{Stale: true, Soft: old.soft, Tags: old.tags, More: validated(old.validator)}},
		l1.Life{Expires: expires, Keep: milliseconds(old.gone.Sub(expires))}, old.Hash)
}

// content is what one load or read brought.
type content[V any] struct {
	value      V
	err        error // nil or ErrNotFound
	validator  string
	tags       []string
	cost       time.Duration
	unmodified bool // the value is the old one
}

// notFound begins what all entries keep that remember just that.
var notFound = &l1.Rare{More: &l1.Rarer{Err: ErrNotFound}}

// keep puts a value into L1. It asks for no proof that the value is still
// current: the stamp says what it reflects, and floors judge that at read.
func (t *Tiers[V]) keep(q Query[V], ticket Ticket, c content[V], life lives) {
	now, left := l1.Now(), life.inL1()
	if left <= 0 {
		return
	}
	e := &l1.Entry[V]{
		Key: q.Key, Value: c.value, Epoch: ticket.Epoch, Stamp: ticket.Stamp, Born: ticket.Born,
	}
	l := l1.Life{Expires: now.Add(left), Cost: coarse(c.cost)}
	switch {
	case c.err != nil:
		e.Rare = notFound
	case q.TTL.Idle > 0:
		e.Rare = &l1.Rare{Tags: t.hashes(c.tags), More: &l1.Rarer{Validator: c.validator, Idle: q.TTL.Idle, Cap: l.Expires}}
		l.Expires = min(l.Expires, now.Add(t.slack(q.TTL.Idle)))
	case c.validator != "" || len(c.tags) > 0:
		e.Rare = &l1.Rare{Tags: t.hashes(c.tags), More: validated(c.validator)}
	}
	if c.err == nil {
		l.Keep = milliseconds(q.TTL.StaleIfError)
	}
	l.Attend = t.attend(l, q.TTL.Idle, now)
	t.put(e, l, ticket.Hash)
}

// validated returns what an entry keeps of a validator.
func validated(validator string) *l1.Rarer {
	if validator == "" {
		return nil
	}
	return &l1.Rarer{Validator: validator}
}

// hashes returns what an entry keeps of its tags.
func (t *Tiers[V]) hashes(tags []string) []uint64 {
	if len(tags) == 0 {
		return nil
	}
	hashes := make([]uint64, len(tags))
	for i, tag := range tags {
		hashes[i] = t.l1.Hash(tag)
	}
	return hashes
}

func (t *Tiers[V]) put(e *l1.Entry[V], life l1.Life, hash uint64) {
	if guard.Removed(guard.StampAtRead) {
		if e.Stamp < e.Epoch.Floor(hash) {
			return // checked when it is put, as others do
		}
		e.Stamp = math.MaxUint64 - 1
	}
	if t.watch != nil {
		t.watch.note(e)
	}
	t.l1.Put(e, life)
}

// milliseconds and microseconds fit durations into an entry, the longest that fit
// in place of longer ones.
func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
}
func microseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32))
}

// coarse is a cost in microseconds, less up to an eighth: entries of equal costs share
// memory, and a cost is an estimate of the next one anyway.
func coarse(d time.Duration) uint32 {
	n := microseconds(d)
	if spare := bits.Len32(n) - 4; spare > 0 {
		n = n >> spare << spare
	}
	return n
}
