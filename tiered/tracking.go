package tiered

import (
	"context"
	"hash/maphash"
	"math"
	"sync"

	"github.com/nearcache/nearcache/invalidation"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// Redis tells of every write to a value, by instances too: of leases, fills, claims.
// (CLIENT TRACKING's NOLOOP is of no use, since it spares only the connection that
// wrote.) To count on one such message for each write of our own would be wrong: Redis
// tells once of a key that was written twice in one turn, of which one may be somebody
// else's. So what counts is the state. Whoever reads or writes a value notes what
// is then there. When Redis tells of the key, its head is compared with that: if it is
// the same, L1 has it, or a load that is under way will; if not, the key is fenced.
//
// A fence takes away what is in L1 and refuses the reads that are under way, as one of
// an own change does. It must be above what these read, which may be ahead of what
// this instance has seen: hence the record is read first.

// sightings are what this instance last saw at keys in L2: one for all keys of a
// stripe, whose number fits only one of them, so that a stranger's costs an entry and
// never hides a change.
type sightings struct {
	seed    maphash.Seed
	stripes [1 << 14]sighting
}

// sight is what was seen at a key, as a hash; 0 for nothing noted.
type sight uint64

// sighting is what is believed to be at a key: now, and while an own write is under
// way, what was there before.
type sighting struct {
	mu       sync.Mutex
	now, was sight
	since    l1.Instant
}

// saw notes what a read found that was sent at sent. It is in order unless something
// else was found or written since then: who knows which of the two is newer.
func (s *sighting) saw(found sight, sent l1.Instant) (changed, inOrder bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	if s.was != 0 {
		before = s.was // what is now there was only expected
	}
	if s.now != found {
		if sent < s.since {
			return false, false
		}
		s.now, s.since = found, l1.Now()
	}
	s.was = 0
	return before != found, true
}

func (s *sighting) write(next sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.was, s.since = next, s.now, l1.Now()
}

// forget returns what is forgotten.
func (s *sighting) forget() sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.now
	s.now, s.was, s.since = 0, 0, l1.Now()
	return known
}

func (s *sighting) fits(found sight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now == found || s.was == found
}

// sightOf returns what is at key: the parts of its value that tell one envelope or
// lease from another, without what waiters and claims rewrite.
func (s *sightings) sightOf(key string, head []byte) sight {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(key)
	h.WriteByte(0) // a shorter key with more behind it is another
	first, rest := l2.Identity(head)
	h.Write(first)
	h.Write(rest)
	return sight(max(h.Sum64(), 1))
}

func (s *sightings) at(hash uint64) *sighting { return &s.stripes[hash%uint64(len(s.stripes))] }

// saw notes in the grant what its read, sent at sent, found at key. An entry of L1 that
// is from something else goes.
func (t *Tiers[V]) saw(key string, g *grant[V], data []byte, sent l1.Instant) {
	if t.sightings == nil {
		return
	}
	g.seen = t.sightings.sightOf(key, data)
	changed, inOrder := t.sightings.at(g.Hash).saw(g.seen, sent)
	g.stray = !inOrder
	if changed {
		t.l1.Reclaim(key, math.MaxUint64)
	}
}

// sawReply notes what a reply tells of key, which token was to be left at.
func (t *Tiers[V]) sawReply(key string, g *grant[V], reply l2.Reply, token string, sent l1.Instant) {
	switch reply.State {
	case l2.Leased:
		t.saw(key, g, []byte("L"+token), sent)
	case l2.Held:
		t.saw(key, g, []byte("L"+reply.Holder), sent)
	default:
		t.saw(key, g, reply.Data, sent)
	}
}

// writes notes what this instance is about to leave at key, nil for nothing. L1 has it
// already, or soon.
func (t *Tiers[V]) writes(key string, data []byte) {
	if t.sightings != nil {
		t.sightings.at(t.l1.Hash(key)).write(t.sightings.sightOf(key, data))
	}
}

// asks notes the lease that a read is about to ask for: Redis may tell of it before it
// answers.
func (t *Tiers[V]) asks(key, token string) {
	if token != "" {
		t.writesLease(key, token)
	}
}

// unanswered notes that nobody knows what is at key.
func (t *Tiers[V]) unanswered(hash uint64) {
	if t.sightings != nil {
		t.sightings.at(hash).forget()
	}
}

// writesLease is writes for a lease, or for nothing if token is empty.
func (t *Tiers[V]) writesLease(key, token string) {
	if token == "" {
		t.writes(key, nil)
	} else {
		t.writes(key, []byte("L"+token))
	}
}

// confirm fences a key that was put into L1 after something else than seen was found at
// it.
func (t *Tiers[V]) confirm(key string, hash uint64, seen sight) {
	if t.sightings != nil && !t.sightings.at(hash).fits(seen) {
		t.fence(t.shardOf(key), []string{key})
	}
}

// confirmSet does the same to a key that this instance has set.
func (t *Tiers[V]) confirmSet(key string, hash uint64, w writing[V]) {
	if t.sightings == nil {
		return
	}
	left := w.packed[key].envelope
	if w.ttl.L2 < 0 {
		left = nil
	}
	t.confirm(key, hash, t.sightings.sightOf(key, left))
}

var _ invalidation.Watcher = (*Tiers[any])(nil)

// Written fences those of keys at which something else is than was noted.
func (t *Tiers[V]) Written(ctx context.Context, shard int, keys []string) error {
	record, known, heads, err := t.l2.Heads(ctx, shard, keys)
	if err != nil {
		return err
	}
	s := t.shards[shard]
	t.see(s, record, known)
	for i, key := range keys {
		at := t.sightings.at(t.l1.Hash(key))
		if heads[i] != nil && at.fits(t.sightings.sightOf(key, heads[i])) {
			continue
		}
		if at.forget() != 0 {
			t.counters.tracked.Add(1)
		}
		t.fence(s, []string{key})
	}
	return nil
}

// Missed fences all of L1. A shard whose server is away does not keep it from that: it
// is missed again once that server, or its successor, is tracked.
func (t *Tiers[V]) Missed(ctx context.Context) error {
	t.counters.untracked.Add(1)
	var errs []error
	for i, s := range t.shards {
		record, known, err := t.l2.Record(ctx, i)
		if err != nil {
			errs = append(errs, err)
		} else {
			t.see(s, record, known)
		}
		t.fenceAll(s)
	}
	if len(errs) == len(t.shards) {
		return errs[0]
	}
	return nil
}

// Lost tells that a server cannot be listened to.
func (t *Tiers[V]) Lost(server string, err error) {
	t.events.report(Event{Kind: EventTrackingLost, Shard: -1, Server: server, Err: err})
}

// see notes how far reads that have begun may have seen.
func (t *Tiers[V]) see(s *shard, record l2.Record, known bool) {
	if e := s.epoch.Load(); known && e.ID() == record.Epoch {
		e.See(l1.StampOf(record.Seq))
		return
	}
	t.bus.Kick() // of another epoch, or none: soon nothing of before is believed
}
