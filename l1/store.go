package l1

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// overhead is what an entry costs beside its key and its value: Ristretto's
// maps and policy (about 104 bytes where they fill up, 200 where entries have come and
// gone in maps that have just grown, measured as heap growth) and the fields of Entry.
const overhead = 204 + 56

// counted is the assumed size of an entry for which Ristretto's frequency
// sketch is dimensioned: ten counters each. With less than ten the hit ratio drops,
// by up to 3 points at 8 (bench, Zipf 1.01).
const counted = 400

func counters(maxBytes int64) int64 { return max(10*maxBytes/counted, 1000) }

// Room returns what a store of maxBytes has for its entries. The rest is Ristretto's
// sketch: four rows of half a byte a counter, and a Bloom filter of 9.6 bits a counter,
// both rounded up to powers of two.
func Room(maxBytes int64) int64 {
	n := counters(maxBytes)
	return maxBytes - 2*ceilPow2(n) - ceilPow2(n*96/10)/8
}

func ceilPow2(n int64) int64 { return 1 << bits.Len64(uint64(n-1)) }

// sweepInterval bounds how long the memory of an entry outlives the entry.
const sweepInterval = 5 * time.Second

// Store is the L1 tier of one cache. It is safe for concurrent use.
type Store[V any] struct {
	cache *ristretto.Cache[uint64, *Entry[V]]
	seed  maphash.Seed
	size  func(V) int
	limit int64 // of the entries together

	sampled   func(key string, hit bool)
	evictions atomic.Uint64
	usual     usual

	gate    gate
	writing sync.RWMutex // read-held by writers, so that Close can wait for them
	closed  bool         // guarded by writing
	stop    chan struct{}
	swept   chan struct{}
}

// New returns a store of about maxBytes in total: keys, values as measured by size
// (nil estimates them, see [SizeOf]), the store's own overhead, and the frequency
// sketch; see [Room]. Fixed buffers of about 300 KiB come on top. sampled, which may
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
		limit:   Room(maxBytes),
		sampled: sampled,
		stop:    make(chan struct{}),
		swept:   make(chan struct{}),
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *Entry[V]]{
		NumCounters:        counters(maxBytes),
		MaxCost:            s.limit,
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

// Put offers e to the store for a life, which may refuse it: what is rarely asked for
// gives way to what is asked for often, and an entry larger than the whole
// store is never kept. Nothing may rely on Put to replace an entry; floors do.
func (s *Store[V]) Put(e *Entry[V], life Life) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.closed {
		return
	}
	e.settle(life, s.usual.of)
	s.cache.Set(s.Hash(e.Key), e, int64(overhead+e.extra()+len(e.Key)+s.size(e.Value)))
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
		if now >= e.Life().Gone() || e.Stamp < e.Epoch.Floor(hash) || !e.Epoch.TagsBelieve(e.Stamp, e.Tags()) {
			hashes = append(hashes, hash)
		}
		return false
	})
	return hashes
}
