package invalidation

import (
	"context"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l2"
)

// replay reads the log from where the chain stands until it has reached target,
// the newest record known. What the log cannot bridge is distrusted.
func (c *chain) replay(ctx context.Context, store *l2.Store, target l2.Record) error {
	if guard.Removed(guard.AppliedFirst) {
		return nil
	}
	for {
		at := c.position()
		if at.Epoch != target.Epoch || at.Seq >= target.Seq {
			return nil
		}
		page, err := store.Log(ctx, c.shard, at.Seq)
		if err != nil {
			return err
		}
		c.applyPage(page)
		// Pub/Sub moves the chain too: only if nobody moved it is the very next
		// entry trimmed, lost or unreadable.
		if c.position() == at {
			c.skip(target.Epoch, target.Seq)
		}
	}
}

// applyPage applies entries in order and stops at the first that does not
// follow: replay then decides about the rest.
func (c *chain) applyPage(page []string) {
	for _, payload := range page {
		m, err := Parse(payload)
		if err != nil {
			return
		}
		if v := c.announce(m); v == gap || v == strange {
			return
		}
	}
}
