package tiered

import (
	"time"

	"github.com/nearcache/nearcache/l1"
)

// Ticket says what a read may be believed to know: it began at Born, when Stamp
// was the newest change that this instance had seen. It is taken before
// anything is read. The zero Ticket is not valid.
type Ticket struct {
	Epoch  *l1.Epoch
	Hash   uint64
	Stamp  l1.Stamp
	Born   l1.Instant
	Proven l1.Instant // when the newest proof was sent, as of then
}

// NewTicket returns the ticket of a read that begins now.
func NewTicket(epoch *l1.Epoch, hash uint64) Ticket {
	// The proof first: what it covers had been seen when it was given.
	proven := epoch.Proven()
	return Ticket{Epoch: epoch, Hash: hash, Stamp: epoch.Seen(), Born: l1.Now(), Proven: proven}
}

// Again returns the ticket of a read of the same key that begins now, unless the epoch
// has ended: it is then never current.
func (t Ticket) Again() Ticket { return NewTicket(t.Epoch, t.Hash) }

// Look returns the ticket of a read that begins with a look for a reader that accepts
// bound of staleness. What a look finds is as old as the proof, and so it has to be to
// those who join: younger than the bound by its beginning alone, it might answer them
// what is older. Where no look is made for lack of a proof, the ticket stays.
func (t Ticket) Look(bound time.Duration) Ticket {
	if t.proven(bound) {
		t.Born = min(t.Born, t.Proven)
	}
	return t
}

// proven reports whether the newest proof of when the ticket was given is within bound.
func (t Ticket) proven(bound time.Duration) bool {
	return bound > 0 && l1.Now().Sub(t.Proven) <= bound
}

// Current reports whether a reader that accepts bound of staleness may join
// the read now: the key was not changed since it began, and if the shard is not
// proven the read itself is younger than the bound. It is the rule of an L1
// hit, applied to a value that is still on its way.
func (t Ticket) Current(bound time.Duration) bool {
	return t.Epoch.Current(t.Hash, t.Stamp, t.Born, bound)
}
