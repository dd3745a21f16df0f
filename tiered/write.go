package tiered

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// Invalidate takes the values of keys away from every tier and instance. When
// it returns an error the change has taken effect on this instance, and is sent
// again until it lands.
func (t *Tiers[V]) Invalidate(ctx context.Context, keys []string) error {
	if t.l2 == nil {
		t.counters.invalidations.Add(uint64(len(keys)))
		t.fence(t.shards[0], keys)
		return nil
	}
	return t.announce(ctx, keys, t.l2.Invalidate)
}

// Expire ends the lives of the values of keys on every instance and leaves them in
// L2, where they may stand in while one reader loads. L1 drops them: a copy there
// could only be given the change's number, and would then hide changes before it
// that are still on their way. An error is that of Invalidate, and what is sent
// again is an invalidation.
func (t *Tiers[V]) Expire(ctx context.Context, keys []string) error {
	if t.l2 == nil {
		t.counters.invalidations.Add(uint64(len(keys)))
		for _, key := range keys {
			t.soften(key)
		}
		return nil
	}
	return t.announce(ctx, keys, t.l2.Expire)
}

// soften expires a key of an L1-only cache. Loads under way are fenced off, and what
// is there stays as something that may stand in.
func (t *Tiers[V]) soften(key string) {
	e, saw := t.l1.Peek(key, t.cfg.MaxStaleness)
	t.counters.relooks.Add(1)
	epoch, hash := t.shards[0].epoch.Load(), t.l1.Hash(key)
	stamp := epoch.Fence(hash)
	if saw == l1.Miss || e.Rarer().Err != nil {
		t.l1.Reclaim(key, stamp)
		return
	}
	next, now := *e, l1.Now()
	next.Stamp, next.Rare = stamp, &l1.Rare{Soft: true, More: validated(e.Rarer().Validator)}
	t.put(&next, l1.Life{Expires: now, Keep: milliseconds(e.Life().Gone().Sub(now))}, hash)
}

// announce makes a change of keys, shard by shard.
func (t *Tiers[V]) announce(ctx context.Context, keys []string, change change) error {
	t.counters.invalidations.Add(uint64(len(keys)))
	return t.eachShard(keys, func(shard int, keys []string) error { return t.announceIn(ctx, shard, keys, change) })
}

// eachShard runs f for the keys of every shard at once.
func (t *Tiers[V]) eachShard(keys []string, f func(shard int, keys []string) error) error {
	groups := t.l2.Group(keys)
	if len(groups) == 1 {
		return f(groups[0].Shard, groups[0].Keys)
	}
	errs := make([]error, len(groups))
	var shards sync.WaitGroup
	for i, g := range groups {
		shards.Go(func() { errs[i] = f(g.Shard, g.Keys) })
	}
	shards.Wait()
	return errors.Join(errs...)
}

// change is one of the store's changes of at most [l2.MaxKeys] keys of a shard.
type change func(ctx context.Context, shard int, keys []string) (l2.Record, error)

func (t *Tiers[V]) announceIn(ctx context.Context, shard int, keys []string, change change) error {
	s := t.shards[shard]
	t.fence(s, keys)
	for len(keys) > 0 {
		part := keys[:min(len(keys), l2.MaxKeys)]
		record, err := t.send(func() (l2.Record, error) { return change(ctx, shard, part) })
		if err != nil {
			t.failed(s, keys)
			return fmt.Errorf("%d of the keys: %w", len(keys), err)
		}
		t.landed(s, part, record)
		keys = keys[len(part):]
	}
	return nil
}

// send runs a change unless this instance must not share L2.
func (t *Tiers[V]) send(change func() (l2.Record, error)) (l2.Record, error) {
	if why := t.disagree.Load(); why != nil {
		return l2.Record{}, *why
	}
	return change()
}

// Set writes values through to every tier; other instances drop theirs. As with
// Invalidate, an error means that the old values are gone here, and will be
// everywhere.
func (t *Tiers[V]) Set(ctx context.Context, values map[string]V, ttl TTL, tags []string) error {
	t.counters.sets.Add(uint64(len(values)))
	if t.l2 == nil {
		for key, v := range values {
			ticket := t.Ticket(key)
			ticket.Stamp = ticket.Epoch.Fence(ticket.Hash)
			t.keep(Query[V]{Key: key, TTL: ttl}, ticket, content[V]{value: v, tags: tags}, t.lives(ttl, false))
		}
		return nil
	}
	w := writing[V]{values: values, ttl: ttl, tags: tags, packed: make(map[string]packed, len(values))}
	keys := make([]string, 0, len(values))
	for key, v := range values {
		// The header is written when its epoch is known.
		h := codec.Header{Tags: tags}
		envelope, err := t.pack(key, content[V]{value: v, tags: tags}, &h)
		if err != nil {
			return err // nothing has happened
		}
		w.packed[key] = packed{envelope, h}
		keys = append(keys, key)
	}
	return t.eachShard(keys, func(shard int, keys []string) error { return t.setIn(ctx, shard, keys, w) })
}

// writing is what one Set writes.
type writing[V any] struct {
	values map[string]V
	packed map[string]packed
	ttl    TTL
	tags   []string
}

// packed is an envelope but for its header, of which only the flags are known.
type packed struct {
	envelope []byte
	flags    codec.Header
}

// setBytes bounds the values of one script: Redis serves nobody else meanwhile.
const setBytes = 1 << 20

func (t *Tiers[V]) setIn(ctx context.Context, shard int, keys []string, w writing[V]) error {
	s := t.shards[shard]
	tickets := make([]Ticket, len(keys)) // from before the fence, and so before the others' changes
	for i, key := range keys {
		tickets[i] = t.Ticket(key)
	}
	t.fence(s, keys)
	for len(keys) > 0 {
		n, size := 0, 0
		for n < min(len(keys), l2.MaxKeys) && (n == 0 || size+len(w.packed[keys[n]].envelope) <= setBytes) {
			size += len(w.packed[keys[n]].envelope)
			n++
		}
		if err := t.setPart(ctx, shard, keys[:n], tickets[:n], w); err != nil {
			t.failed(s, keys)
			return err
		}
		keys, tickets = keys[n:], tickets[n:]
	}
	return nil
}

func (t *Tiers[V]) setPart(ctx context.Context, shard int, keys []string, tickets []Ticket, w writing[V]) error {
	lives := make([]lives, len(keys))
	for i := range keys {
		lives[i] = t.lives(w.ttl, false)
	}
	record, err := t.send(func() (l2.Record, error) { return t.writeThrough(ctx, shard, keys, tickets[0], w, lives) })
	if err != nil {
		return err
	}
	t.landed(t.shards[shard], keys, record)
	for i, key := range keys {
		if record.Epoch == tickets[i].Epoch.ID() {
			tickets[i].Stamp = l1.StampOf(record.Seq) // its own announcement will not evict it
			t.keep(Query[V]{Key: key, TTL: w.ttl}, tickets[i], content[V]{value: w.values[key], tags: w.tags}, lives[i])
			t.confirmSet(key, tickets[i].Hash, w)
		}
	}
	return nil
}

// errLate: the set reached Redis after its time, or in an epoch that has begun
// since. Others may have written meanwhile, so it took the value away instead.
var errLate = errors.New("the set reached Redis late or in a new epoch, and took the value away instead: set it again")

// writeThrough writes packed values to L2 with the knowledge that ticket stands
// for. It must not take effect after its caller was told of a failure: hence the
// deadline.
func (t *Tiers[V]) writeThrough(ctx context.Context, shard int, keys []string, ticket Ticket, w writing[V], lives []lives) (l2.Record, error) {
	if w.ttl.L2 < 0 {
		for _, key := range keys {
			t.writes(key, nil)
		}
		return t.l2.Invalidate(ctx, shard, keys)
	}
	s, epoch, birth := t.shards[shard], ticket.Epoch.ID(), ticket.Stamp.Seq()
	if epoch == "" {
		return l2.Record{}, l2.ErrUnavailable // never reached so far
	}
	if len(w.tags) > 0 {
		// A marker between the two numbers may be too short-lived for these values, but
		// belongs to an invalidation that races with this call.
		since, err := t.prolong(ctx, s, w.ttl.L2+max(w.ttl.StaleIfError, 0))
		if err != nil {
			return l2.Record{}, err
		}
		birth = max(birth, since)
	}
	out := make([]l2.Value, len(keys))
	for i, key := range keys {
		h, err := t.header(key, content[V]{tags: w.tags}, epoch, birth, lives[i].l2)
		if err != nil {
			return l2.Record{}, err
		}
		p := w.packed[key]
		h.Compressed, h.Sealed = p.flags.Compressed, p.flags.Sealed
		codec.Rewrite(p.envelope, h) // pack has summed the payload up
		t.writes(key, p.envelope)
		out[i] = l2.Value{Envelope: p.envelope, Life: t.expiry(lives[i].l2, w.ttl, false)}
	}
	deadline := s.clock() + t.cfg.RedisTimeout.Microseconds()
	record, kept, err := t.l2.Set(ctx, shard, keys, out, epoch, deadline)
	if err == nil && !kept {
		err = errLate
	}
	return record, err
}

// fence takes effect here before Redis is asked: what is in L1 or on its way
// into it is not believed any more.
func (t *Tiers[V]) fence(s *shard, keys []string) {
	if guard.Removed(guard.OwnFloors) {
		return
	}
	for _, key := range keys {
		hash := t.l1.Hash(key)
		s.lift(func(e *l1.Epoch) { t.l1.Reclaim(key, e.Fence(hash)) })
	}
}

// landed raises the floors to the number that Redis gave the change.
func (t *Tiers[V]) landed(s *shard, keys []string, record l2.Record) {
	stamp := l1.StampOf(record.Seq)
	for _, key := range keys {
		if guard.Removed(guard.OwnFloors) {
			break
		}
		hash := t.l1.Hash(key)
		s.lift(func(e *l1.Epoch) { e.Raise(hash, stamp) })
	}
	if !t.noteLanded(s, items(keyItem, keys), record) {
		t.fence(s, keys)
	}
}

// noteLanded remembers what a failover may still lose. It reports false if the change
// landed in an epoch that this instance does not follow: its number then says nothing
// here, and what it concerns is to be fenced once more.
func (t *Tiers[V]) noteLanded(s *shard, items []string, record l2.Record) bool {
	if s.outbox.land(items, record.Epoch) {
		return true
	}
	t.bus.Kick()
	return false
}

// failed enters the keys in the outbox, and fences them again: reads that
// found the old values in L2 since the first fence had a newer stamp.
func (t *Tiers[V]) failed(s *shard, keys []string) {
	t.counters.failedChanges.Add(1)
	s.outbox.fail(items(keyItem, keys))
	t.fence(s, keys)
}

// resendFailed sends failed changes again whenever a heartbeat was answered.
func (t *Tiers[V]) resendFailed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.resend:
			t.resendOnce(ctx)
		}
	}
}

func (t *Tiers[V]) resendOnce(ctx context.Context) {
	for i, s := range t.shards {
		for s.outbox.pending.Load() > 0 && t.resendSome(ctx, i) {
		}
	}
}

// resendSome sends one batch of a shard, and reports whether it landed.
func (t *Tiers[V]) resendSome(ctx context.Context, shard int) bool {
	s := t.shards[shard]
	op, names, upTo := s.outbox.due()
	record, err := t.send(func() (l2.Record, error) {
		switch op {
		case l2.OpClear:
			return t.l2.Clear(ctx, shard)
		case l2.OpTags:
			return t.l2.InvalidateTags(ctx, shard, names)
		}
		return t.l2.Invalidate(ctx, shard, names)
	})
	if err != nil || record.Epoch != s.epoch.Load().ID() {
		return false // the next heartbeat tells more
	}
	// Noted before it is struck out: between the two an item is in the outbox twice,
	// never not at all.
	switch op {
	case l2.OpClear:
		t.cleared(s, record)
		s.outbox.sent([]string{everything}, upTo)
	case l2.OpTags:
		t.landedTags(s, names, record)
		s.outbox.sent(items(tagItem, names), upTo)
	default:
		t.landed(s, names, record)
		s.outbox.sent(items(keyItem, names), upTo)
	}
	return true
}

// pending counts the changes that have not reached Redis.
func (t *Tiers[V]) pending() (n int64) {
	for _, s := range t.shards {
		n += s.outbox.pending.Load()
	}
	return n
}
