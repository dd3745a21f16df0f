package nearcache

import (
	"time"

	"github.com/nearcache/nearcache/tiered"
)

// Stats is a snapshot of a cache's counters since New. They are read one after
// the other, so sums may be off by what happened meanwhile.
type Stats struct {
	L1Hits      uint64 // answered by L1
	L1Misses    uint64 // asked L1 in vain; reads with SkipL1 do not ask
	L2Hits      uint64 // fetched from Redis, for one caller or many
	Loads       uint64 // calls of the loader
	LoadErrors  uint64 // of these, neither value nor ErrNotFound
	Refreshes   uint64 // reads that began to replace an entry before its life was over
	StaleServed uint64 // answers whose life was over
	L1Bytes     int64  // approximate memory of L1 now
	L1Evictions uint64 // entries that gave way to others for lack of room

	Sets          uint64
	Invalidations uint64 // keys
	FailedChanges uint64 // Sets and Invalidates that returned an error
	Pending       int64  // keys whose change has not reached Redis yet; a shard's overflow counts as one

	Lag          Latency       // from the minting of other instances' and own changes to their application here
	ProofAge     time.Duration // since L1 was last proven current; negative: not proven, 0 without Redis
	MaxStaleness time.Duration // that of the Config: L1 serves what is proven within it, or younger
	Gaps         uint64        // announcements that showed that one before them is missing
	Replays      uint64        // times that the log was read to make up for it
	Distrusts    uint64        // times that the log could not, and a shard of L1 was given up

	TrackedWrites uint64 // with Config.Tracking: values that were found to be others than this instance had last seen
	TrackingGaps  uint64 // times that such may have been missed, and L1 was given up; the first is when it begins

	LeaseWaits    uint64 // times that a read waited for another instance's load
	RefusedFills  uint64 // loaded values that Redis refused, since the key changed meanwhile
	RefusedValues uint64 // values in Redis refused since Redis lost data
	Epochs        uint64 // times that Redis lost data or was replaced
	RedisErrors   uint64 // reads and fills that Redis did not answer
	RedisAway     int    // servers that are not asked now, since they did not answer
	Faults        uint64 // values, records and messages in Redis that could not be read
	Mutations     uint64 // values that somebody changed in L1, with Config.DetectMutation
}

// Latency summarizes durations; P50 and P99 are off by an eighth at most.
type Latency struct {
	Count         uint64
	P50, P99, Max time.Duration
}

// Stats returns a snapshot. It takes microseconds; do not call it per request.
func (c *Cache[V]) Stats() Stats {
	s := stats(c.tiers.Stats())
	s.Refreshes, s.StaleServed, s.MaxStaleness = c.refreshes.Load(), c.staleServed.Load(), c.cfg.MaxStaleness
	return s
}

func stats(t tiered.Stats) Stats {
	return Stats{
		L1Hits: t.L1Hits, L1Misses: t.L1Misses, L2Hits: t.L2Hits,
		Loads: t.Loads, LoadErrors: t.LoadErrors, L1Bytes: t.L1Bytes, L1Evictions: t.L1Evictions,
		Sets: t.Sets, Invalidations: t.Invalidations, FailedChanges: t.FailedChanges, Pending: t.Pending,
		Lag: Latency(t.Lag), ProofAge: t.ProofAge, Gaps: t.Gaps, Replays: t.Replays, Distrusts: t.Distrusts,
		TrackedWrites: t.TrackedWrites, TrackingGaps: t.TrackingGaps,
		LeaseWaits: t.LeaseWaits, RefusedFills: t.RefusedFills, RefusedValues: t.RefusedValues,
		Epochs: t.Epochs, RedisErrors: t.RedisErrors, RedisAway: t.Broken, Faults: t.Faults, Mutations: t.Mutations,
	}
}
