package l1

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// Entry is a decoded value with what the read needs to judge it. It is shared
// by all readers and must not change once it was handed to [Store.Put].
type Entry[V any] struct {
	// What a hit compares comes first, and fits into one cache line and a bit.
	Key     string
	Epoch   *Epoch
	Stamp   Stamp   // the newest change that the value is known to reflect
	Born    Instant // when that read began
	Expires Instant // end of its life
	Attend  Instant // until then a hit is only to be answered; 0: until Expires
	Keep    uint32  // milliseconds after its life in which it may stand in for a load that fails
	Cost    uint32  // microseconds that it took to get the value
	Rare    *Rare   // nil for most entries, which saves them its memory
	Value   V
}

// Rare is what most entries do without.
type Rare struct {
	Err       error         // what is answered instead of the value, which is zero
	Stale     bool          // the value's life is over at the source; it stands in for what cannot be had
	Soft      bool          // the value was expired before its time
	Validator string        // of the value, for the source to compare
	Tags      []uint64      // hashes of the tags that it names
	Idle      time.Duration // ends a life in which nobody asks; 0: does not
	Cap       Instant       // end of that life however often it is asked for

	attend Instant // the entry's own, where every hit has to look here; 0: at Expires
}

// settle completes an entry before it is published. What has no tags, and whose answer
// is its value, is judged without a look at Rare, which is in other cache lines: that
// costs a fifth of a hit. So the others are attended to from the beginning.
func (e *Entry[V]) settle() {
	if e.Attend == 0 {
		e.Attend = e.Expires
	}
	if r := e.Rare; r != nil && (r.Err != nil || r.Stale || len(r.Tags) > 0) {
		if len(r.Tags) > 0 { // the others are not refreshed
			own := *r
			own.attend = e.Attend
			e.Rare = &own
		}
		e.Attend = Never
	}
}

// DueAt is from when on there is more to do for a hit than to answer it.
func (e *Entry[V]) DueAt() Instant {
	switch {
	case e.Attend != Never || e.Rare == nil:
		return e.Attend
	case e.Rare.attend != 0:
		return e.Rare.attend
	}
	return e.Expires
}

// Gone is when the entry is of no more use.
func (e *Entry[V]) Gone() Instant {
	return e.Expires.Add(time.Duration(e.Keep) * time.Millisecond)
}

// Sight is what a look at the store has found.
type Sight uint8

const (
	Miss  Sight = iota
	Plain       // an entry whose value is the answer
	Hit         // an entry whose Rare tells what the answer is
	Due         // likewise, and to be attended to
	Spent       // an entry whose life is over, and that may stand in for a load that fails
)

// overhead is what an entry costs beside its key and its value: Ristretto's
// maps and policy (about 172 bytes, measured as heap growth per entry) and the
// fields of Entry.
const overhead = 240

// counted is the assumed size of an entry for which Ristretto's frequency
// sketch is dimensioned: ten counters each, about 3 bytes a counter. With less than
// ten the hit ratio drops, by up to 3 points at 8 (bench, Zipf 1.01).
const counted = 400

// sweepInterval bounds how long the memory of an entry outlives the entry.
const sweepInterval = 5 * time.Second

// Store is the L1 tier of one cache. It is safe for concurrent use.
type Store[V any] struct {
	cache *ristretto.Cache[uint64, *Entry[V]]
	seed  maphash.Seed
	size  func(V) int
	limit int64

	sampled   func(key string, hit bool)
	evictions atomic.Uint64

	gate    gate
	writing sync.RWMutex // read-held by writers, so that Close can wait for them
	closed  bool         // guarded by writing
	stop    chan struct{}
	swept   chan struct{}
}

// New returns a store that keeps entries of about maxBytes in total: keys,
// values as measured by size (nil estimates them, see [SizeOf]) and the
// store's own overhead. The frequency sketch adds about 8 % to that. sampled, which may
// be nil, is told of one in 1,024 lookups, about, and must take no time.
func New[V any](maxBytes int64, size func(V) int, sampled func(key string, hit bool)) (*Store[V], error) {
	if size == nil {
		size = sizer[V]()
	}
	if sampled == nil {
		sampled = func(string, bool) {}
	}
	s := &Store[V]{
		seed:    maphash.MakeSeed(),
		size:    size,
		limit:   maxBytes,
		sampled: sampled,
		stop:    make(chan struct{}),
		swept:   make(chan struct{}),
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *Entry[V]]{
		NumCounters:        max(10*maxBytes/counted, 1000),
		MaxCost:            maxBytes,
		BufferItems:        64,
		IgnoreInternalCost: true,
		OnEvict:            func(*ristretto.Item[*Entry[V]]) { s.evictions.Add(1) },
	})
	if err != nil {
		return nil, fmt.Errorf("l1: %w", err)
	}
	s.cache = cache
	go s.sweep()
	return s, nil
}

// Hash is the store's hash of a key. It is seeded per store, so it means
// nothing outside of it, and nobody can prepare keys that collide.
func (s *Store[V]) Hash(key string) uint64 { return maphash.String(s.seed, key) }

// Get returns the entry of key if it is believed by a reader that accepts
// bound of staleness. It takes no lock of ours, reads the clock once and
// allocates nothing.
func (s *Store[V]) Get(key string, bound time.Duration) (*Entry[V], Sight) {
	in, ok := s.gate.enter()
	if !ok {
		return nil, Miss
	}
	hash := s.Hash(key)
	e, ok := s.cache.Get(hash)
	if s.gate.leave(in) {
		s.sampled(key, ok && e.Key == key)
	}
	if !ok || e.Key != key {
		return nil, Miss
	}
	return e, e.sight(hash, bound)
}

// Peek is Get for who has looked just before: a miss does not count as another request
// for the key. Ristretto would take a key that is asked for once for one that is asked
// for twice, and hold on to it.
func (s *Store[V]) Peek(key string, bound time.Duration) (*Entry[V], Sight) {
	in, ok := s.gate.enter()
	if !ok {
		return nil, Miss
	}
	hash := s.Hash(key)
	e, ok := s.peek(hash)
	s.gate.leave(in)
	if !ok || e.Key != key {
		return nil, Miss
	}
	return e, e.sight(hash, bound)
}

func (s *Store[V]) peek(hash uint64) (*Entry[V], bool) {
	if _, held := s.cache.GetTTL(hash); !held { // the one look that is not counted
		return nil, false
	}
	return s.cache.Get(hash)
}

// Find returns the entry of key that the store holds, believed or not. It does not count
// as a lookup.
func (s *Store[V]) Find(key string) (*Entry[V], bool) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.closed {
		return nil, false
	}
	e, ok := s.peek(s.Hash(key))
	return e, ok && e.Key == key
}

// sight judges an entry that a reader found who accepts bound of staleness.
func (e *Entry[V]) sight(hash uint64, bound time.Duration) Sight {
	now := Now()
	switch {
	case !e.Epoch.believes(hash, e.Stamp, e.Born, now, bound):
		return Miss
	case now < e.Attend:
		return Plain
	}
	if e.Rare != nil && !e.Epoch.TagsBelieve(e.Stamp, e.Rare.Tags) {
		return Miss
	}
	switch {
	case now < e.DueAt():
		return Hit
	case now < e.Expires:
		return Due
	case now < e.Gone():
		return Spent
	}
	return Miss
}

// Refusal names the rule by which the entry is not answered at now to a reader that
// accepts bound of staleness; empty: it is. It says of a look what [Store.Get] does.
func (e *Entry[V]) Refusal(hash uint64, now Instant, bound time.Duration) string {
	epoch := e.Epoch
	switch {
	case bound <= 0:
		return "the read accepts no staleness"
	case epoch.Ended():
		return "Redis has lost data, or was replaced, since it was read"
	case now.Sub(max(epoch.Proven(), e.Born)) > bound:
		return "neither it nor the newest proof is younger than the bound"
	case uint64(e.Stamp) < epoch.floor.Load():
		return "all of its shard was taken away since it was read"
	case e.Stamp < epoch.Floor(hash):
		return "its key, or one that shares its stripe, was changed since it was read"
	case e.Rare != nil && !epoch.TagsBelieve(e.Stamp, e.Rare.Tags):
		return "a tag of it was invalidated since it was read"
	case now >= e.Gone():
		return "its life is over"
	case now >= e.Expires:
		return "its life is over, and it may stand in only"
	}
	return ""
}

// Put offers e to the store, which may refuse it: what is rarely asked for
// gives way to what is asked for often, and an entry larger than the whole
// store is never kept. Nothing may rely on Put to replace an entry; floors do.
func (s *Store[V]) Put(e *Entry[V]) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.closed {
		return
	}
	e.settle()
	s.cache.Set(s.Hash(e.Key), e, int64(overhead+len(e.Key)+s.size(e.Value)))
}

// Reclaim frees the memory of key's entry if it is stamped below floor. That it
// is not believed any more is the floors' doing.
func (s *Store[V]) Reclaim(key string, floor Stamp) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.closed {
		return
	}
	// Ristretto queues a delete also for a key that it does not hold, and blocks
	// when the queue is full; and an entry loaded since the change is worth keeping.
	hash := s.Hash(key)
	if e, held := s.peek(hash); held && e.Stamp < floor {
		s.cache.Del(hash)
	}
}

// Lookups returns how often Get was called.
func (s *Store[V]) Lookups() uint64 { return s.gate.entered() }

// Evictions returns how many entries gave way to others.
func (s *Store[V]) Evictions() uint64 { return s.evictions.Load() }

// Bytes returns the approximate size of what the store holds now.
func (s *Store[V]) Bytes() int64 {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.closed {
		return 0
	}
	return s.limit - s.cache.RemainingCost()
}

// Close frees the store and waits for everything that it started. It may run
// beside any other method and more than once; afterwards every Get is a miss.
// Ristretto's own Close panics beside a Get or Set: hence the gate.
func (s *Store[V]) Close() {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.stop)
	<-s.swept
	s.gate.shut()
	s.cache.Close()
}

// sweep frees what has expired or lies below its floor. Ristretto's own expiry
// would do it too, but charges every hit a second clock read.
func (s *Store[V]) sweep() {
	defer close(s.swept)
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			for _, hash := range s.dead(Now()) {
				select {
				case <-s.stop:
					return
				default:
					s.cache.Del(hash)
				}
			}
		}
	}
}

// dead lists what will never be believed again. The callback runs under the
// lock of one of Ristretto's 256 shards, so it only compares and collects.
func (s *Store[V]) dead(now Instant) []uint64 {
	var hashes []uint64
	s.cache.IterValues(func(e *Entry[V]) (stop bool) {
		hash := s.Hash(e.Key)
		if now >= e.Gone() || e.Stamp < e.Epoch.Floor(hash) || e.Rare != nil && !e.Epoch.TagsBelieve(e.Stamp, e.Rare.Tags) {
			hashes = append(hashes, hash)
		}
		return false
	})
	return hashes
}
