package nearcache

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Explanation tells where a key stands on one instance, at a moment. Numbers are the
// sequence numbers of the key's shard, which are microseconds of Redis's clock unless
// that went back.
type Explanation struct {
	Key      string
	Shard    int
	Epoch    string        // the life of the shard's data that this instance follows; empty: Redis was never reached
	Seen     uint64        // the newest number that this instance knows of
	Floor    uint64        // what is older is not believed: the newest change of the key, or of one that shares its floor
	ProofAge time.Duration // since the shard was last proven current; negative: not proven, 0 without Redis
	Unsent   bool          // a change of the key by this instance has not reached Redis
	Loading  bool          // a load of it is under way here
	L1, L2   Copy
	Next     string // what the next Get without options does, and why
}

// Copy is what one tier has of a key.
type Copy struct {
	Holds   string        // "nothing", "value", "not found", "error", "lease" or "garbage"; empty: not known
	Refused string        // the rule by which a read does not take it; empty: it does
	Due     string        // why it is loaded again although it is taken; empty: it is not
	Stale   bool          // it is past its life, or was expired, and may stand in
	Age     time.Duration // since the read of it, or its load, began; 0: not known
	Left    time.Duration // of its life, or of the lease; negative: over
	Stamp   uint64        // the newest change that it is known to reflect
	Bytes   int           // its size in Redis; 0 in L1
	Tags    []string      // that it names; L1 knows only how many
	NTags   int
}

// Explain tells where key stands and what the next Get of it does: for a command line, a
// debug page or a puzzled engineer, not for every request. It reads Redis once or twice,
// changes nothing, and counts in no statistics but those of Redis's failures. What it
// tells may be over when it returns. Errors are [ErrKey] and [ErrClosed]; what is wrong
// with Redis is in the explanation.
func (c *Cache[V]) Explain(ctx context.Context, key string) (Explanation, error) {
	c.writers.RLock() // so that Close waits
	defer c.writers.RUnlock()
	if err := c.usable(key); err != nil {
		return Explanation{}, err
	}
	t := c.tiers.Explain(ctx, key, c.cfg.MaxStaleness)
	x := Explanation{Key: key, Shard: t.Shard, Epoch: t.Epoch, Seen: t.Seen, Floor: t.Floor, ProofAge: t.ProofAge,
		Unsent: t.Unsent, Loading: c.flights.under(c.tiers.Ticket(key), key), L1: Copy(t.L1), L2: Copy(t.L2)}
	x.Next = x.next(c.cfg.loads())
	return x, nil
}

func (x Explanation) next(loads bool) string {
	switch {
	case x.L1.Refused == "" && x.L1.Due != "":
		return "L1 hit; " + x.L1.Due
	case x.L1.Refused == "":
		return "L1 hit"
	case x.Loading:
		return "waits for the load under way here: " + x.L1.Refused
	case x.L2.Refused == "":
		return "L2 hit: " + x.L1.Refused
	case !loads:
		return "miss: " + x.L2.Refused
	case x.L2.Holds == "lease":
		return "waits for another instance's load, for as long as its lease lasts"
	}
	return "load: " + x.L2.Refused
}

// String is a text of a few lines, 80 columns wide where keys and errors permit.
func (x Explanation) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s"+format+"\n", append([]any{name}, args...)...)
	}
	line("key", "%q, shard %d", x.Key, x.Shard)
	line("next Get", "%s", x.Next)
	x.L1.write(line, "L1")
	x.L2.write(line, "L2")
	proof := "none: L1 serves only what is younger than the bound"
	if x.ProofAge >= 0 {
		proof = x.ProofAge.Round(time.Microsecond).String() + " ago"
	}
	line("proof", "%s", proof)
	line("floor", "%d (%s)", x.Floor, when(x.Floor))
	line("seen", "%d (%s), epoch %s", x.Seen, when(x.Seen), x.Epoch)
	if x.Unsent {
		line("unsent", "a change of the key by this instance has not reached Redis")
	}
	if x.Loading {
		line("loading", "under way on this instance")
	}
	return b.String()
}

func (c Copy) write(line func(string, string, ...any), tier string) {
	taken := "taken"
	if c.Refused != "" {
		taken = "refused: " + c.Refused
	}
	line(tier, "%s, %s", or(c.Holds, "not known"), taken)
	if c.Holds == "lease" {
		line("", "ends in %s", c.Left.Round(time.Millisecond))
	}
	if c.Holds != "value" && c.Holds != "not found" {
		return
	}
	line("", "age %s, %s left, stamp %d", c.Age.Round(time.Millisecond), c.Left.Round(time.Millisecond), c.Stamp)
	if c.Bytes > 0 {
		line("", "%d bytes", c.Bytes)
	}
	if len(c.Tags) > 0 {
		line("", "tags %q", c.Tags)
	} else if c.NTags > 0 {
		line("", "%d tags", c.NTags)
	}
	if c.Due != "" {
		line("", "%s", c.Due)
	}
}

// when is the moment of a number that Redis minted.
func when(seq uint64) string {
	if seq < 1<<40 { // of no server's clock
		return "before Redis was reached"
	}
	return time.UnixMicro(int64(seq)).Format("15:04:05.000")
}
