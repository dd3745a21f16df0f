package tiered

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// InvalidateTags takes away all values that name one of the tags, at a cost that does
// not depend on how many they are: each shard gets a marker of each tag, and values
// born before it are not believed. Errors are those of [Tiers.Invalidate].
func (t *Tiers[V]) InvalidateTags(ctx context.Context, tags []string) error {
	return t.everyShard(func(i int, s *shard) error {
		t.fenceTags(s, tags)
		for rest := tags; t.l2 != nil && len(rest) > 0; {
			part := rest[:min(len(rest), l2.MaxKeys)]
			record, err := t.send(func() (l2.Record, error) { return t.l2.InvalidateTags(ctx, i, part) })
			if err != nil {
				t.counters.failedChanges.Add(1)
				s.outbox.fail(items(tagItem, rest))
				t.fenceTags(s, rest) // after they were entered, as with keys
				return err
			}
			t.landedTags(s, part, record)
			rest = rest[len(part):]
		}
		return nil
	})
}

func (t *Tiers[V]) fenceTags(s *shard, tags []string) {
	for _, tag := range tags {
		hash := t.l1.Hash(tag)
		s.lift(func(e *l1.Epoch) { e.FenceTag(hash) })
	}
}

func (t *Tiers[V]) landedTags(s *shard, tags []string, record l2.Record) {
	for _, tag := range tags {
		hash := t.l1.Hash(tag)
		s.lift(func(e *l1.Epoch) { e.RaiseTag(hash, l1.StampOf(record.Seq)) })
	}
	if !t.noteLanded(s, items(tagItem, tags), record) {
		t.fenceTags(s, tags)
	}
}

// Clear takes all values away. Errors are those of [Tiers.Invalidate].
func (t *Tiers[V]) Clear(ctx context.Context) error {
	return t.everyShard(func(i int, s *shard) error {
		t.fenceAll(s)
		if t.l2 == nil {
			return nil
		}
		record, err := t.send(func() (l2.Record, error) { return t.l2.Clear(ctx, i) })
		if err != nil {
			t.counters.failedChanges.Add(1)
			s.outbox.fail([]string{everything})
			t.fenceAll(s)
			return err
		}
		t.cleared(s, record)
		return nil
	})
}

func (t *Tiers[V]) fenceAll(s *shard) { s.lift(func(e *l1.Epoch) { e.FenceAll() }) }

func (t *Tiers[V]) cleared(s *shard, record l2.Record) {
	s.lift(func(e *l1.Epoch) { e.RaiseAll(l1.StampOf(record.Seq)) })
	if !t.noteLanded(s, []string{everything}, record) {
		t.fenceAll(s)
	}
}

// everyShard runs f for all shards at once.
func (t *Tiers[V]) everyShard(f func(i int, s *shard) error) error {
	errs := make([]error, len(t.shards))
	var shards sync.WaitGroup
	for i, s := range t.shards {
		shards.Go(func() {
			if err := f(i, s); err != nil {
				errs[i] = fmt.Errorf("shard %d of %d: %w", i, len(t.shards), err)
			}
		})
	}
	shards.Wait()
	return errors.Join(errs...)
}

// tagsBelieve reports whether no tag of a value in L2 was invalidated after its birth,
// as far as changes up to the record reach. known is false if that takes a look into
// Redis.
func (t *Tiers[V]) tagsBelieve(s *shard, g *grant[V], h codec.Header) (good, known bool) {
	switch {
	case len(h.Tags) == 0:
		return true, true
	case s.outbox.holdsTag(h.Tags):
		return false, true
	case g.record.Tagged <= h.Birth:
		return true, true
	}
	newest, known := s.markers.newest(h.Tags, g.record.Tagged)
	return h.Birth >= newest, known
}

// askTags is tagsBelieve with that look into Redis.
func (t *Tiers[V]) askTags(ctx context.Context, s *shard, g *grant[V], h codec.Header) bool {
	good, known := t.tagsBelieve(s, g, h)
	if known {
		return good
	}
	newest, ok := t.lookUp(ctx, s, h.Tags)
	return ok && h.Birth >= newest
}

// lookUp asks Redis for the markers of tags, which are followed from then on.
func (t *Tiers[V]) lookUp(ctx context.Context, s *shard, tags []string) (newest uint64, ok bool) {
	learning := s.markers.learn(tags)
	seqs, err := t.l2.Markers(ctx, s.index, tags)
	if err != nil {
		t.counters.redisErrors.Add(1)
		return 0, false
	}
	for i, seq := range seqs {
		if seq == l2.Unreadable {
			t.events.fault("marker", fmt.Errorf("that of tag %.64q is no sequence number: invalidate the tag to mend it", tags[i]))
		}
		newest = max(newest, seq)
	}
	s.markers.learnt(learning, tags, seqs)
	return newest, true
}

// markers are the newest invalidations of tags, as far as anybody asked for them. A
// tag is looked up once in Redis and then followed through announcements.
type markers struct {
	limit int // of tags; beyond it all are forgotten, which costs look-ups

	mu      sync.Mutex
	known   map[string]marker
	applied uint64 // newest invalidation of any tag that was announced
	life    uint64 // of this knowledge: look-ups that span two do not count
}

// marker is of a tag that is being looked up until it is settled. It is entered before
// Redis is asked, so that an announcement that arrives in between is not missed.
type marker struct {
	seq     uint64
	settled bool
}

// newest returns the newest invalidation of any of the tags. ok is false if one of
// them is unknown, or if announcements up to tagged have not all been applied.
func (m *markers) newest(tags []string, tagged uint64) (seq uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied < tagged {
		return 0, false
	}
	for _, tag := range tags {
		k := m.known[tag]
		if !k.settled {
			return 0, false
		}
		seq = max(seq, k.seq)
	}
	return seq, true
}

func (m *markers) learn(tags []string) (life uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known)+len(tags) > m.limit {
		m.known = make(map[string]marker)
		m.life++
	}
	for _, tag := range tags {
		if _, ok := m.known[tag]; !ok {
			m.known[tag] = marker{}
		}
	}
	return m.life
}

func (m *markers) learnt(life uint64, tags []string, seqs []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if life != m.life {
		return
	}
	for i, tag := range tags {
		m.known[tag] = marker{max(m.known[tag].seq, seqs[i]), true}
	}
}

// announced notes that tags were invalidated by the change seq, and that none was
// between it and the one before.
func (m *markers) announced(tags []string, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tag := range tags {
		if k, ok := m.known[tag]; ok {
			m.known[tag] = marker{max(k.seq, seq), k.settled}
		}
	}
	m.applied = max(m.applied, seq)
}

// forget begins anew after announcements up to seq were missed.
func (m *markers) forget(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.applied = nil, seq
	m.life++
}

// prolong makes sure that markers live as long as a value of this life that names
// tags, and returns the number from which on they do.
func (t *Tiers[V]) prolong(ctx context.Context, s *shard, life time.Duration) (since uint64, err error) {
	if time.Duration(s.life.Load()) >= life {
		return 0, nil // since before anything that is done from now on
	}
	r, err := t.l2.Prolong(ctx, s.index, life)
	if err != nil {
		return 0, err
	}
	s.life.Store(int64(r.Life))
	if s.epoch.Load().ID() != r.Epoch {
		s.life.Store(0) // Renew has been here
	}
	return r.Seq, nil
}
