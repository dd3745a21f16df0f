package tiered

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// counters count what happens off the path of an L1 hit.
type counters struct {
	misses, relooks, l2Hits, loads, loadErrors, leaseWaits      atomic.Uint64
	sets, invalidations, failedChanges                          atomic.Uint64
	refusedFills, refusedValues, distrusts, epochs, redisErrors atomic.Uint64
	tracked, untracked                                          atomic.Uint64

	hits atomic.Uint64 // the most that were told of
}

// Stats is a snapshot of what the tiers did since they were opened.
type Stats struct {
	L1Hits, L1Misses, L2Hits, Loads, LoadErrors, LeaseWaits     uint64
	Sets, Invalidations, FailedChanges                          uint64
	RefusedFills, RefusedValues, Distrusts, Epochs, RedisErrors uint64
	Gaps, Replays, Faults, Mutations                            uint64
	TrackedWrites, TrackingGaps                                 uint64
	Pending                                                     int64
	Broken                                                      int
	L1Evictions                                                 uint64
	L1Bytes                                                     int64
	ProofAge                                                    time.Duration
	Lag                                                         LatencySnapshot
}

// Stats returns a snapshot. Its parts are read one after the other.
func (t *Tiers[V]) Stats() Stats {
	c := &t.counters
	s := Stats{
		L1Misses: c.misses.Load(), L2Hits: c.l2Hits.Load(), Loads: c.loads.Load(),
		LoadErrors: c.loadErrors.Load(), LeaseWaits: c.leaseWaits.Load(),
		Sets: c.sets.Load(), Invalidations: c.invalidations.Load(), FailedChanges: c.failedChanges.Load(),
		RefusedFills: c.refusedFills.Load(), RefusedValues: c.refusedValues.Load(),
		Distrusts: c.distrusts.Load(), Epochs: c.epochs.Load(), RedisErrors: c.redisErrors.Load(),
		TrackedWrites: c.tracked.Load(), TrackingGaps: c.untracked.Load(), Faults: t.events.faults.Load(),
		Pending: t.pending(), L1Bytes: t.l1.Bytes(), L1Evictions: t.l1.Evictions(), Lag: t.lag.Snapshot(),
	}
	if t.watch != nil {
		s.Mutations = t.watch.found.Load()
	}
	missed := s.L1Misses + c.relooks.Load()
	s.L1Hits = c.hitsAtLeast(max(t.l1.Lookups(), missed) - missed)
	if t.bus == nil {
		return s
	}
	s.Gaps, s.Replays, s.Broken = t.bus.Gaps(), t.bus.Replays(), t.l2.Broken()
	for _, shard := range t.shards {
		age := t.proofAge(shard)
		if age < 0 {
			s.ProofAge = -1 // no proof is older than any
			break
		}
		s.ProofAge = max(s.ProofAge, age)
	}
	return s
}

// hitsAtLeast keeps hits from going down. A read that misses is counted as a lookup, and
// a moment later as a miss: between the two it passes for a hit. A counter that goes down
// by one is taken for one that began again, and the rate that is made of it for millions.
func (c *counters) hitsAtLeast(hits uint64) uint64 {
	for {
		told := c.hits.Load()
		if hits <= told {
			return told
		}
		if c.hits.CompareAndSwap(told, hits) {
			return hits
		}
	}
}

// Latency counts durations in buckets, eight to each power of two, so that a
// quantile is off by an eighth at most. The zero value is ready, and safe for
// concurrent use.
type Latency struct {
	buckets [64 * 8]atomic.Uint64
	max     atomic.Int64
}

// Record counts one duration; a negative one counts as none.
func (l *Latency) Record(d time.Duration) {
	d = max(d, 0)
	l.buckets[bucket(uint64(d))].Add(1)
	for {
		old := l.max.Load()
		if int64(d) <= old || l.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// bucket keeps the highest four bits: the power of two and the eighth of it.
func bucket(n uint64) int {
	if n < 8 {
		return int(n)
	}
	shift := bits.Len64(n) - 4
	return shift*8 + int(n>>shift)
}

// LatencySnapshot summarizes durations.
type LatencySnapshot struct {
	Count         uint64
	P50, P99, Max time.Duration
}

// Snapshot returns what was recorded so far.
func (l *Latency) Snapshot() LatencySnapshot {
	var counts [64 * 8]uint64
	s := LatencySnapshot{Max: time.Duration(l.max.Load())}
	for i := range l.buckets {
		counts[i] = l.buckets[i].Load()
		s.Count += counts[i]
	}
	s.P50, s.P99 = quantile(counts[:], s.Count, 50), quantile(counts[:], s.Count, 99)
	return s
}

// quantile returns the upper end of the bucket that the percentile falls into.
func quantile(counts []uint64, n uint64, percent uint64) time.Duration {
	want, seen := (n*percent+99)/100, uint64(0)
	for i, c := range counts {
		if seen += c; seen >= want && c > 0 {
			if i < 8 {
				return time.Duration(i)
			}
			shift := i/8 - 1
			return time.Duration(uint64(i-shift*8+1)<<shift - 1)
		}
	}
	return 0
}
