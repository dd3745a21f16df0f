package l1

import (
	"math"
	"sync/atomic"
	"time"
)

// Stamp orders what an instance knows of a shard: the sequence number that
// Redis minted, followed by a count of the instance's own changes since, which
// have no number yet. Own changes therefore come after every number seen before
// them and below the next one that Redis mints: were they counted in whole
// numbers, another instance's change could be given the very number that this
// one made up, and be taken for known.
type Stamp uint64

// localBits leaves room for 1024 own changes between two numbers. More spill
// into the next number, which is harmless: numbers advance with Redis's clock by
// one a microsecond, and no instance makes a thousand changes in one.
const localBits = 10

// StampOf returns the stamp of a sequence number that Redis minted.
func StampOf(seq uint64) Stamp { return Stamp(seq << localBits) }

// Seq returns the newest sequence number at or below the stamp.
func (s Stamp) Seq() uint64 { return uint64(s >> localBits) }

// Epoch is one life of a shard's data, as this instance knows it: the floors
// below which its entries are not believed, and the instant as of which it is
// proven that every change was applied. An epoch that has ended has a floor
// that no stamp reaches, so one comparison covers both.
//
// All methods are safe for concurrent use. Floors only ever rise.
type Epoch struct {
	id string

	proven  atomic.Int64
	floor   atomic.Uint64
	last    atomic.Uint64 // the floor when the epoch ended
	stripes []atomic.Uint64
	tags    []atomic.Uint64 // floors of tags, by the hashes of their names

	before      atomic.Pointer[Epoch] // the epoch that this one succeeded
	beforeUntil Instant               // when that is of no more use

	_    [64]byte // the fields above are read by every hit, seen is written by every miss
	seen atomic.Uint64
}

// ended is the floor of an epoch that is over.
const ended = math.MaxUint64

// tagStripes is fewer than stripes: an invalidated tag takes the entries of one tag in
// 4,096 with it by accident, but many more entries name a tag than share a stripe.
const tagStripes = 4096

// NewEpoch returns an epoch whose entries are believed from the stamp floor
// on. stripes is rounded up to a power of two: the more, the fewer entries share the
// fate of an invalidated key, at 8 bytes each. Nothing is proven yet.
func NewEpoch(id string, floor Stamp, stripes int) *Epoch {
	n := ceilPow2(int64(stripes))
	e := &Epoch{id: id, stripes: make([]atomic.Uint64, n), tags: make([]atomic.Uint64, min(n, tagStripes))}
	e.floor.Store(uint64(floor))
	e.seen.Store(uint64(floor))
	e.proven.Store(int64(Never))
	return e
}

// ID names the epoch as Redis does; the local epoch before Redis was first
// reached has the empty name.
func (e *Epoch) ID() string { return e.id }

// Prove records that every change up to the instant t has been applied.
// It must be called after the floors of those changes were raised.
func (e *Epoch) Prove(t Instant) { raise(&e.proven, int64(t)) }

// Disprove withdraws the proof: from now on only entries that are younger
// than the bound by themselves are believed.
func (e *Epoch) Disprove() { e.proven.Store(int64(Never)) }

// Proven returns the instant as of which every change has been applied.
func (e *Epoch) Proven() Instant { return Instant(e.proven.Load()) }

// See notes that a stamp exists: everything that this instance was ever told
// of this epoch is at or below [Epoch.Seen].
func (e *Epoch) See(stamp Stamp) { raise(&e.seen, uint64(stamp)) }

// Seen returns the highest stamp noted so far.
func (e *Epoch) Seen() Stamp { return Stamp(e.seen.Load()) }

// Raise lifts the floor of the stripe that hash belongs to.
func (e *Epoch) Raise(hash uint64, floor Stamp) {
	e.See(floor)
	raise(e.stripe(hash), uint64(floor))
}

// RaiseAll lifts the floor of every stripe in O(1): all entries stamped below
// it are distrusted, and reclaimed lazily.
func (e *Epoch) RaiseAll(floor Stamp) {
	e.See(floor)
	raise(&e.floor, uint64(floor))
}

// RaiseTag lifts the floor of a tag: entries that name it are believed from there on.
func (e *Epoch) RaiseTag(hash uint64, floor Stamp) {
	e.See(floor)
	raise(e.tag(hash), uint64(floor))
}

// Fence lifts the floor of a stripe above everything known so far, for a change
// of this instance that Redis has not numbered, and returns the new floor.
func (e *Epoch) Fence(hash uint64) Stamp { return e.fence(e.stripe(hash)) }

// FenceTag does the same to the floor of a tag, and FenceAll to that of all entries.
func (e *Epoch) FenceTag(hash uint64) Stamp { return e.fence(e.tag(hash)) }
func (e *Epoch) FenceAll() Stamp            { return e.fence(&e.floor) }

func (e *Epoch) fence(floor *atomic.Uint64) Stamp {
	for {
		old := floor.Load()
		if old == ended {
			return Stamp(old)
		}
		if to := max(old, e.seen.Load()) + 1; floor.CompareAndSwap(old, to) {
			e.See(Stamp(to))
			return Stamp(to)
		}
	}
}

// End makes every entry of the epoch a miss, for good.
func (e *Epoch) End() {
	if last := e.floor.Swap(ended); last != ended {
		e.last.Store(last)
	}
}

// Ended reports whether the epoch is over.
func (e *Epoch) Ended() bool { return e.floor.Load() == ended }

// Floor returns the lowest stamp that is believed for hash.
func (e *Epoch) Floor(hash uint64) Stamp {
	return Stamp(max(e.floor.Load(), e.stripe(hash).Load()))
}

// LastFloor returns the floor that hash had when the epoch ended.
func (e *Epoch) LastFloor(hash uint64) Stamp {
	return Stamp(max(e.last.Load(), e.stripe(hash).Load()))
}

// TagFloor returns the lowest stamp that is believed for entries that name the tag. It
// stays what it was when the epoch ends.
func (e *Epoch) TagFloor(hash uint64) Stamp { return Stamp(e.tag(hash).Load()) }

// TagsBelieve reports whether no tag of an entry was invalidated after its stamp.
func (e *Epoch) TagsBelieve(stamp Stamp, tags []uint64) bool {
	for _, hash := range tags {
		if uint64(stamp) < e.tag(hash).Load() {
			return false
		}
	}
	return true
}

// Succeed makes e, which nobody else knows yet, the successor of another epoch. That one
// ends; its last floors, and those of the ones before it that are still of use, can be
// asked for until then. They hang on the new epoch, since a reader that has a ticket of
// it may meet values of the old one at once.
func (e *Epoch) Succeed(old *Epoch, until Instant) {
	old.End()
	if older := old.Before(); older != nil {
		old.inherit(older)
	}
	old.before.Store(nil) // or all epochs there ever were would stay in memory
	e.before.Store(old)
	e.beforeUntil = until
}

// Before returns the epoch that e succeeded, or nil if it is of no more use.
func (e *Epoch) Before() *Epoch {
	if before := e.before.Load(); before != nil && Now() < e.beforeUntil {
		return before
	}
	return nil
}

// inherit raises the floors of an ended epoch to those of the one before it, which must
// have as many stripes.
func (e *Epoch) inherit(before *Epoch) {
	raise(&e.last, before.last.Load())
	for i := range e.stripes {
		raise(&e.stripes[i], before.stripes[i].Load())
	}
	for i := range e.tags {
		raise(&e.tags[i], before.tags[i].Load())
	}
}

// believes is the rule of the read: what carries this stamp and was read at
// born may be served at now by a reader that accepts bound of staleness.
//
// The proof is loaded before the floors, and that order carries the promise. A
// proof says that the floors of all changes up to then had been raised before
// it was stored. Loaded the other way round, a reader that is suspended
// between the loads would pair floors of before its suspension with a proof
// of after it.
func (e *Epoch) believes(hash uint64, stamp Stamp, born, now Instant, bound time.Duration) bool {
	proof := max(Instant(e.proven.Load()), born)
	return now.Sub(proof) <= bound && uint64(stamp) >= e.floor.Load() && uint64(stamp) >= e.stripe(hash).Load()
}

// Current reports whether what began at born, when stamp was the newest seen,
// may still be joined by a reader that accepts bound of staleness.
func (e *Epoch) Current(hash uint64, stamp Stamp, born Instant, bound time.Duration) bool {
	return e.believes(hash, stamp, born, Now(), bound)
}

func (e *Epoch) stripe(hash uint64) *atomic.Uint64 {
	return &e.stripes[hash&uint64(len(e.stripes)-1)]
}

func (e *Epoch) tag(hash uint64) *atomic.Uint64 {
	return &e.tags[hash&uint64(len(e.tags)-1)]
}

func raise[T int64 | uint64](v interface {
	Load() T
	CompareAndSwap(old, new T) bool
}, to T) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}
