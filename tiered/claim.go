package tiered

import (
	"context"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l2"
)

// renewable goes on from a value in L2 that is due to be loaded again and is g.old: it
// is ours to load if the claim is, or if nobody can claim it; else somebody does it.
func (t *Tiers[V]) renewable(ctx context.Context, s *shard, q Query[V], g *grant[V], reply l2.Reply, h codec.Header) (a Answer[V], claimant string, done bool) {
	if h.Claim.Kind != codec.NoClaim && h.Claim.Until > s.clock()/1000 {
		return t.claimed(s, q, g, h)
	}
	token := t.l2.Token()
	switch ok, err := t.l2.Claim(ctx, q.Key, reply, token, t.lease); {
	case err != nil:
		return a, "", false
	case ok:
		g.token, g.claimed = token, reply
		return a, "", false
	}
	// Somebody was faster. Nobody holds our token, so there is nothing to wait for, and
	// the next look tells more.
	h.Claim = codec.Claim{Kind: codec.Loading, Token: token}
	return t.claimed(s, q, g, h)
}

// claimed goes on from a value that somebody else has claimed: it is answered if that
// may be, or else waited for.
func (t *Tiers[V]) claimed(s *shard, q Query[V], g *grant[V], h codec.Header) (a Answer[V], claimant string, done bool) {
	backsOff := h.Claim.Kind == codec.BackOff
	switch left := t.left(s, h); {
	case left > 0 && !h.Expired: // it is refreshed before its time
		a = t.adopt(q, g, h, g.old.value, left)
		t.postpone(q, max(h.Cost/2, minPostponed))
		return a, "", true
	case q.Bound > 0 && g.old.standsIn() && (h.Expired || backsOff):
		t.counters.l2Hits.Add(1)
		if backsOff {
			t.standIn(q, g.old, time.Duration(h.Claim.Until*1000-s.clock())*time.Microsecond)
		}
		return Answer[V]{Value: g.old.value, Source: FromL2, Stale: true}, "", true
	case backsOff: // and nothing to stand in
		return a, "", false
	}
	return a, h.Claim.Token, false
}
