package l1

import (
	"sync"
	"time"
	"unsafe"
)

// Entry is a decoded value with what the read needs to judge it. It is shared
// by all readers and must not change once it was handed to [Store.Put].
type Entry[V any] struct {
	// What a hit compares comes first. It is 56 bytes with the rest: 8 less than a
	// cache line, for the value to begin in it.
	Key   string
	Epoch *Epoch
	Stamp Stamp   // the newest change that the value is known to reflect
	Born  Instant // when that read began

	// until ends the time in which a hit is only to be answered. The end of the
	// entry's life is the same, unless Rare tells another. It is Never where the
	// answer may not be the value, or depends on tags: to look at Rare, which is in
	// other cache lines, costs a fifth of a hit, so only these are looked at from the
	// beginning.
	until Instant
	Rare  *Rare // nil for most entries, which saves them its memory
	Value V
}

// Rare is what most entries do without.
type Rare struct {
	Tags  []uint64 // hashes of the tags that the value names
	Stale bool     // the value's life is over at the source; it stands in for what cannot be had
	Soft  bool     // the value was expired before its time
	More  *Rarer   // nil for most of these

	terms
}

// terms is what [Entry] does not tell of its life.
type terms struct {
	expires Instant       // its end, where until is Never
	ahead   time.Duration // before its end there is more to do for a hit than to answer it
	keep    uint32
	cost    uint32
}

// Rarer is what most of those do without that have a [Rare].
type Rarer struct {
	Err       error         // what is answered instead of the value, which is zero
	Validator string        // of the value, for the source to compare
	Idle      time.Duration // ends a life in which nobody asks; 0: does not
	Cap       Instant       // end of that life however often it is asked for
}

// Life is how long an entry is of use, and for what. Entries whose Keep, Cost, and time
// from Attend to Expires are equal share the memory of these.
type Life struct {
	Expires Instant // its end
	Attend  Instant // until then a hit is only to be answered; 0: until Expires
	Keep    uint32  // milliseconds after its end in which it may stand in for a load that fails
	Cost    uint32  // microseconds that it took to get the value
}

// Gone is when the entry is of no more use.
func (l Life) Gone() Instant { return l.Expires.Add(time.Duration(l.Keep) * time.Millisecond) }

// Life returns what the entry was put with. Its Attend is not 0.
func (e *Entry[V]) Life() Life {
	if e.Rare == nil {
		return Life{Expires: e.until, Attend: e.until}
	}
	t := &e.Rare.terms
	l := Life{Expires: t.expires, Keep: t.keep, Cost: t.cost}
	if l.Expires == 0 {
		l.Expires = e.until.Add(t.ahead)
	}
	l.Attend = l.Expires.Add(-t.ahead)
	return l
}

// Rarer returns what the entry has of it.
func (e *Entry[V]) Rarer() (r Rarer) {
	if e.Rare != nil && e.Rare.More != nil {
		r = *e.Rare.More
	}
	return r
}

// Tags returns the hashes of the tags that the entry names.
func (e *Entry[V]) Tags() []uint64 {
	if e.Rare == nil {
		return nil
	}
	return e.Rare.Tags
}

// settle completes an entry before it is published. usual returns a Rare that it shares
// with others of the same terms.
func (e *Entry[V]) settle(l Life, usual func(terms) *Rare) {
	answers := e.Rare == nil || len(e.Rare.Tags) == 0 && !e.Rare.Stale && e.Rarer().Err == nil
	t := terms{keep: l.Keep, cost: l.Cost}
	if l.Attend != 0 && l.Attend < l.Expires && (answers || len(e.Tags()) > 0) { // the others are not refreshed
		t.ahead = l.Expires.Sub(l.Attend)
	}
	e.until = l.Expires.Add(-t.ahead)
	if !answers {
		e.until, t.expires = Never, l.Expires
	}
	switch {
	case e.Rare == nil || e.Rare.common():
		e.Rare = usual(t)
	case e.Rare.terms != t:
		own := *e.Rare
		own.terms = t
		e.Rare = &own
	}
}

// common reports whether r has nothing but terms, which other entries have too.
func (r *Rare) common() bool { return len(r.Tags) == 0 && !r.Stale && !r.Soft && r.More == nil }

// usual are the terms of many entries.
type usual struct {
	mu sync.Mutex
	by map[terms]*Rare
}

// mostUsual bounds them: when there are more, sharing begins anew.
const mostUsual = 4096

// of returns what all entries of these terms share; nil for those of most.
func (u *usual) of(t terms) *Rare {
	if t == (terms{}) {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.by[t]
	if r == nil {
		r = &Rare{terms: t}
		if u.by == nil || len(u.by) == mostUsual {
			u.by = make(map[terms]*Rare)
		}
		u.by[t] = r
	}
	return r
}

// extra is about what an entry costs beside its fields.
func (e *Entry[V]) extra() (n int) {
	if r := e.Rare; r != nil && !r.common() { // one that is shared costs nothing to speak of
		n = int(unsafe.Sizeof(*r)) + 8*len(r.Tags)
		if r.More != nil {
			n += int(unsafe.Sizeof(*r.More))
		}
	}
	return n
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

// sight judges an entry that a reader found who accepts bound of staleness.
func (e *Entry[V]) sight(hash uint64, bound time.Duration) Sight {
	now := Now()
	switch {
	case !e.Epoch.believes(hash, e.Stamp, e.Born, now, bound):
		return Miss
	case now < e.until:
		return Plain
	}
	return e.rareSight(now)
}

// rareSight goes on where the clock does not tell all.
func (e *Entry[V]) rareSight(now Instant) Sight {
	l := e.Life()
	switch {
	case e.Rare != nil && !e.Epoch.TagsBelieve(e.Stamp, e.Rare.Tags):
		return Miss
	case now < l.Attend:
		return Hit
	case now < l.Expires:
		return Due
	case now < l.Gone():
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
	case !epoch.TagsBelieve(e.Stamp, e.Tags()):
		return "a tag of it was invalidated since it was read"
	case now >= e.Life().Gone():
		return "its life is over"
	case now >= e.Life().Expires:
		return "its life is over, and it may stand in only"
	}
	return ""
}
