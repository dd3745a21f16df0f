package tiered

import (
	"context"
	"time"

	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// Found is what a look into L2 has found.
type Found uint8

const (
	Nothing     Found = iota // that can be answered without further ado
	Value                    // the answer
	Unavailable              // L2 cannot be asked, or did not answer
	Abandoned                // the caller's context ended
)

// Look reads L2 once, without a lease: what is not simply there and good is left to
// Fetch.
func (t *Tiers[V]) Look(ctx context.Context, q Query[V]) (a Answer[V], found Found) {
	s := t.shardOf(q.Key)
	if !t.readable(s, q) {
		return a, Unavailable
	}
	g := grant[V]{Ticket: q.Ticket}
	sent := l1.Now()
	g.Born = t.born(q.Ticket, sent)
	reply, err := t.l2.Read(ctx, q.Key, "", time.Duration(0))
	switch {
	case err != nil && ctx.Err() != nil:
		return a, Abandoned
	case err != nil:
		t.counters.redisErrors.Add(1)
		return a, Unavailable
	case !t.trusts(s, q, reply):
		return a, Unavailable
	case reply.State != l2.Present:
		return a, Nothing
	}
	g.record, g.Stamp = reply.Record, max(g.Stamp, l1.StampOf(reply.Record.Seq))
	if a, ok := t.plain(s, q, &g, reply.Data, sent); ok {
		return a, Value
	}
	return a, Nothing
}

// FetchMany looks for keys that L1 lacks in L2, in one round trip, and hands what it
// finds to found. It takes no leases and joins no flights: a second reader of a value
// costs a little, a flight for each of a thousand keys would cost more than all of
// them. What is not simply there and good is left to Fetch: rest.
func (t *Tiers[V]) FetchMany(ctx context.Context, keys []string, q Query[V], found func(key string, a Answer[V])) (rest []string) {
	if t.l2 == nil || q.TTL.L2 < 0 {
		return keys
	}
	groups := t.l2.Group(keys)
	for _, g := range groups {
		if s := t.shards[g.Shard]; !t.followed(s.epoch.Load()) {
			return keys
		}
	}
	// Taken before anything is read: what is kept under them reflects no less.
	tickets := make([]Ticket, len(groups))
	for i, g := range groups {
		tickets[i] = NewTicket(t.shards[g.Shard].epoch.Load(), 0)
	}
	if err := t.l2.ReadMany(ctx, groups); err != nil {
		t.counters.redisErrors.Add(1)
		return keys
	}
	for i := range groups {
		rest = t.foundMany(&groups[i], q, tickets[i], rest, found)
	}
	return rest
}

// foundMany hands on what a shard answered, and appends the other keys to rest.
func (t *Tiers[V]) foundMany(g *l2.Group, q Query[V], ticket Ticket, rest []string, found func(string, Answer[V])) []string {
	s := t.shards[g.Shard]
	record := l2.Reply{Record: g.Record, Known: g.Known}
	for i, key := range g.Keys {
		q.Key, q.Ticket = key, ticket
		q.Ticket.Hash = t.l1.Hash(key)
		if g.Values[i] == nil || !t.trusts(s, q, record) {
			rest = append(rest, key)
			continue
		}
		grant := grant[V]{Ticket: q.Ticket, record: g.Record}
		grant.Born = t.born(q.Ticket, q.Ticket.Born)
		grant.Stamp = max(grant.Stamp, l1.StampOf(g.Record.Seq))
		if a, ok := t.plain(s, q, &grant, g.Values[i], q.Ticket.Born); ok {
			found(key, a)
		} else {
			rest = append(rest, key)
		}
	}
	return rest
}

// plain adopts a value that is good without further ado, from a read sent at sent.
func (t *Tiers[V]) plain(s *shard, q Query[V], g *grant[V], data []byte, sent l1.Instant) (a Answer[V], ok bool) {
	if _, leased := l2.Lease(data); leased {
		return a, false
	}
	t.saw(q.Key, g, data, sent)
	h, v, err := t.open(l2.Reply{State: l2.Present, Data: data})
	left := t.left(s, h)
	good, known := t.tagsBelieve(s, g, h)
	if err != nil || h.Expired || left <= 0 || t.overtaken(g, h) || !good || !known {
		return a, false
	}
	t.counters.l2Hits.Add(1)
	return t.adopt(q, g, h, v, left), true
}
