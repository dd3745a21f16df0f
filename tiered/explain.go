package tiered

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// Explanation tells where a key stands, at a moment.
type Explanation struct {
	Shard    int
	Epoch    string        // that this instance follows; empty: Redis was never reached
	Seen     uint64        // newest number of the shard that this instance knows of
	Floor    uint64        // numbers below it are not believed: of the newest change that concerns the key, or shares its stripe
	ProofAge time.Duration // since the shard was last proven; negative: not proven
	Unsent   bool          // a change of the key by this instance has not reached Redis

	L1, L2 Copy
}

// Copy is what one tier has of a key.
type Copy struct {
	Holds   string        // "nothing", "value", "not found", "error", "lease", or "garbage"; empty: not known
	Refused string        // the rule by which a read does not take it; empty: it does
	Due     string        // why it is about to be loaded again though it is taken; empty: it is not
	Stale   bool          // its life is over, and it may stand in
	Age     time.Duration // since it was read or its load began; 0: not known
	Left    time.Duration // of its life, or of the lease; negative: over
	Stamp   uint64        // number of the newest change that it is known to reflect
	Bytes   int           // in Redis
	Tags    []string      // that it names; L1 knows only how many
	NTags   int
}

// Explain tells where key stands for a reader that accepts bound of staleness. It
// changes nothing, and asks Redis what it has.
func (t *Tiers[V]) Explain(ctx context.Context, key string, bound time.Duration) Explanation {
	s := t.shardOf(key)
	epoch, hash := s.epoch.Load(), t.l1.Hash(key)
	x := Explanation{
		Shard: s.index, Epoch: epoch.ID(), Seen: epoch.Seen().Seq(), Floor: epoch.Floor(hash).Seq(),
		ProofAge: t.proofAge(s), Unsent: s.outbox.holds(key),
		L1: t.explainL1(key, hash, bound),
		L2: Copy{Holds: "nothing", Refused: "there is no Redis"},
	}
	if t.l2 != nil {
		x.L2 = t.explainL2(ctx, s, key)
	}
	return x
}

// proofAge is negative without proof.
func (t *Tiers[V]) proofAge(s *shard) time.Duration {
	switch proven := s.epoch.Load().Proven(); {
	case t.bus == nil:
		return 0
	case proven == l1.Never:
		return -1
	default:
		return l1.Now().Sub(proven)
	}
}

func (t *Tiers[V]) explainL1(key string, hash uint64, bound time.Duration) Copy {
	e, held := t.l1.Find(key)
	if !held {
		return Copy{Holds: "nothing", Refused: "L1 does not hold it"}
	}
	now, life, failed := l1.Now(), e.Life(), e.Rarer().Err
	c := Copy{Holds: "value", Age: now.Sub(e.Born), Left: life.Expires.Sub(now), Stamp: e.Stamp.Seq(),
		NTags: len(e.Tags()), Stale: e.Rare != nil && e.Rare.Stale}
	switch {
	case errors.Is(failed, ErrNotFound):
		c.Holds = "not found"
	case failed != nil:
		c.Holds = "error"
	}
	c.Refused = e.Refusal(hash, now, bound)
	if c.Refused == "" && life.Attend <= now && now < life.Expires && failed == nil {
		c.Due = "the next read has it loaded again behind its back"
	}
	return c
}

func (t *Tiers[V]) explainL2(ctx context.Context, s *shard, key string) (c Copy) {
	if why := t.disagree.Load(); why != nil {
		return Copy{Refused: (*why).Error()}
	}
	ticket := t.Ticket(key)
	reply, err := t.l2.Read(ctx, key, "", 0)
	if err != nil {
		return Copy{Refused: err.Error()}
	}
	switch reply.State {
	case l2.Present, l2.Foreign:
		c = t.explainValue(ctx, s, key, ticket, reply)
	case l2.Held:
		c = Copy{Holds: "lease", Refused: "another load holds a lease, and is waited for"}
		c.Left, _ = t.l2.Left(ctx, key)
	default:
		c = Copy{Holds: "nothing", Refused: "Redis does not have it"}
	}
	switch {
	case c.Refused != "":
	case s.outbox.holds(key):
		c.Refused = "a change of the key by this instance has not reached Redis"
	case ticket.Epoch.ID() == "":
		c.Refused = "no heartbeat was answered yet"
	case !reply.Known:
		c.Refused = "the shard's record in Redis is missing or cannot be read"
	case reply.Record.Epoch != ticket.Epoch.ID(), reply.Record.Seq < ticket.Stamp.Seq():
		c.Refused = "the shard's record is of another past than this instance knows"
	}
	return c
}

// explainValue judges what is no lease.
func (t *Tiers[V]) explainValue(ctx context.Context, s *shard, key string, ticket Ticket, reply l2.Reply) Copy {
	c := Copy{Holds: "garbage", Bytes: len(reply.Data)}
	h, _, err := t.open(key, reply)
	if err != nil {
		c.Refused = "it cannot be read: " + err.Error()
		return c
	}
	left := t.left(s, h)
	c.Holds, c.Left, c.Stamp, c.Tags, c.NTags = "value", left, h.Birth, h.Tags, len(h.Tags)
	c.Age = time.Duration(s.clock()-int64(h.Birth)) * time.Microsecond
	if h.Negative {
		c.Holds = "not found"
	}
	g := grant[V]{Ticket: ticket, record: reply.Record}
	c.Refused = t.overtaking(&g, h)
	if c.Refused == "" {
		c.Refused = t.tagRefusal(ctx, s, h)
	}
	c.Stale = h.Expired || left <= 0
	switch {
	case c.Refused != "":
	case h.Expired:
		c.Refused = "it was expired, and may stand in only"
	case left <= 0:
		c.Refused = "its life is over"
	case h.Claim.Kind != codec.NoClaim && h.Claim.Until > s.clock()/1000:
		c.Due = "an instance loads it again"
	}
	return c
}

// tagRefusal returns which tag of a value was invalidated since its birth.
func (t *Tiers[V]) tagRefusal(ctx context.Context, s *shard, h codec.Header) string {
	if len(h.Tags) == 0 {
		return ""
	}
	if s.outbox.holdsTag(h.Tags) {
		return "an invalidation of a tag by this instance has not reached Redis"
	}
	seqs, err := t.l2.Markers(ctx, s.index, h.Tags)
	if err != nil {
		return "the markers of its tags cannot be read: " + err.Error()
	}
	for i, seq := range seqs {
		if h.Birth < seq {
			return fmt.Sprintf("its tag %.64q was invalidated since", h.Tags[i])
		}
	}
	return ""
}
