package invalidation

import (
	"sync"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l2"
)

// Handler applies what the bus learns to L1. Calls for one shard come one at a
// time, in the order of their numbers.
type Handler interface {
	// Apply raises the floors of m's keys to m.Seq (of the whole shard for a
	// clear) and frees their entries.
	Apply(shard int, m Message)
	// Distrust raises the floor of the whole shard to seq.
	Distrust(shard int, seq uint64)
	// Renew replaces the shard's epoch; nothing of an earlier one is believed.
	Renew(shard int, r l2.Record)
	// Wake tells that the leases of keys have ended.
	Wake(keys []string)
	// Prove tells that every change up to sent has been applied. clock is the
	// server's, in microseconds, read at some moment since.
	Prove(shard int, sent time.Time, clock int64)
	// Disprove tells that the shard's server serves no writes: what it proved
	// before ends.
	Disprove(shard int)
	// Garbage tells of a message that could not be read.
	Garbage(err error)
	// Missing tells that a message of the shard has not come: the log is read.
	Missing(shard int)
	// Deaf tells that the subscription was lost, and Listens that there is another.
	Deaf(err error)
	Listens()
}

// chain follows the numbered changes of one shard. applied is the newest seq
// up to which every change was handed to the handler; it moves along unbroken
// (prev, seq) links only.
type chain struct {
	shard   int
	handler Handler

	mu      sync.Mutex
	epoch   string
	applied uint64
}

// verdict is what a message means to a chain.
type verdict int

const (
	applied verdict = iota // it was next in line
	known                  // applied before: messages may come any number of times
	gap                    // something before it is missing: read the log
	strange                // of another epoch, or of another past: ask for a heartbeat
)

// announce applies m if it is next in line.
func (c *chain) announce(m Message) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Epoch != c.epoch:
		return strange
	case m.Seq <= c.applied:
		return known
	case m.Prev > c.applied && !guard.Removed(guard.Chain):
		return gap
	case m.Prev < c.applied:
		// A change whose predecessor we have passed: Redis has lost what we
		// applied since, and goes on from an older state.
		return strange
	}
	c.handler.Apply(c.shard, m)
	c.applied = m.Seq
	return applied
}

// adopt follows r's epoch if it is a new one. Only heartbeats adopt: they come
// one at a time, whereas a read's record may be overtaken by a newer epoch on
// its way here.
func (c *chain) adopt(r l2.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Epoch == c.epoch {
		return
	}
	c.epoch, c.applied = r.Epoch, r.Seq
	c.handler.Renew(c.shard, r)
}

// skip gives up on changes that the log does not hold any more: all that the
// shard holds from before seq is distrusted instead, in O(1).
func (c *chain) skip(epoch string, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch || seq <= c.applied {
		return
	}
	c.handler.Distrust(c.shard, seq)
	c.applied = seq
}

// position returns what the chain follows, and how far it has come.
func (c *chain) position() l2.Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l2.Known{Epoch: c.epoch, Seq: c.applied}
}
