package tiered

import (
	"context"
	"sync"

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
//
// A lease is a write, which a demoted or isolated master refuses; a look is a read, and
// such a master answers it with what it has. So a look is worth no more than a hit of
// L1: the shard must be proven within the bound, as of the ticket, and what is found is
// as old as that proof. A reader that accepts no staleness gets nothing from a look,
// unless there is no loader that it could turn to.
func (t *Tiers[V]) Look(ctx context.Context, q Query[V]) (a Answer[V], found Found) {
	s := t.shardOf(q.Key)
	switch {
	case !t.readable(s, q):
		return a, Unavailable
	case !q.proven():
		return a, Nothing
	}
	g := grant[V]{Ticket: q.Ticket}
	sent := l1.Now()
	g.Born = q.lookedAt(sent)
	reply, err := t.l2.Read(ctx, q.Key, "", 0)
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

// proven reports whether what was read without a lease may be answered.
func (q *Query[V]) proven() bool { return q.Loaderless || q.Ticket.proven(q.Bound) }

// lookedAt returns when something that a look found at now was current for certain.
func (q *Query[V]) lookedAt(now l1.Instant) l1.Instant { return min(now, q.Ticket.Proven) }

// FetchMany looks for keys that L1 lacks in L2, in one round trip, and hands what it
// finds to found, from several goroutines. It takes no leases and joins no flights: a
// second reader of a value costs a little, a flight for each of a thousand keys would
// cost more than all of them. What is not simply there and good is left to Fetch: rest.
func (t *Tiers[V]) FetchMany(ctx context.Context, keys []string, q Query[V], found func(key string, a Answer[V])) (rest []string) {
	if t.l2 == nil || q.TTL.L2 < 0 {
		return keys
	}
	var all together
	for len(keys) > 0 {
		n := len(keys)
		if n > readTogether*3/2 { // a small remnant goes with the last part
			n = readTogether
		}
		part := keys[:n]
		keys = keys[n:]
		all.do(len(keys) > 0, func() []string { return t.fetchPart(ctx, part, q, found) })
	}
	return all.wait()
}

// readTogether is how many keys are read at once: while the values of one part are
// decoded those of the next are under way. In smaller parts the round trips cost more
// than is gained.
const readTogether = l2.MaxKeys

// fetchPart is FetchMany of a part of the keys.
func (t *Tiers[V]) fetchPart(ctx context.Context, keys []string, q Query[V], found func(key string, a Answer[V])) (rest []string) {
	groups := t.l2.Group(keys)
	// Taken before anything is read: what is kept under them reflects no less.
	tickets := make([]Ticket, len(groups))
	for i, g := range groups {
		q.Ticket = NewTicket(t.shards[g.Shard].epoch.Load(), 0)
		if tickets[i] = q.Ticket; !t.followed(q.Ticket.Epoch) || !q.proven() {
			return keys
		}
	}
	if err := t.l2.ReadMany(ctx, groups); err != nil {
		t.counters.redisErrors.Add(1)
		return keys
	}
	var all together
	for i, g := range groups {
		for from := 0; from < len(g.Keys); from += decodedTogether {
			part := g
			to := min(from+decodedTogether, len(g.Keys))
			part.Keys, part.Values = g.Keys[from:to], g.Values[from:to]
			all.do(len(keys) > decodedTogether, func() []string { return t.foundMany(&part, q, tickets[i], found) })
		}
	}
	return all.wait()
}

// together gathers the keys that several goroutines have left over.
type together struct {
	running sync.WaitGroup
	mu      sync.Mutex
	rest    []string
}

// do runs work, on a goroutine of its own if that is wanted.
func (t *together) do(apart bool, work func() []string) {
	gather := func() {
		rest := work()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.rest = append(t.rest, rest...)
	}
	if apart {
		t.running.Go(gather)
	} else {
		gather()
	}
}

func (t *together) wait() []string {
	t.running.Wait()
	return t.rest
}

// decodedTogether is how many values one goroutine decodes: most of what many values
// cost is that.
const decodedTogether = 128

// foundMany hands on what a shard answered, and returns the other keys.
func (t *Tiers[V]) foundMany(g *l2.Group, q Query[V], ticket Ticket, found func(string, Answer[V])) (rest []string) {
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
		grant.Born = q.lookedAt(q.Ticket.Born)
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
	h, v, err := t.open(q.Key, l2.Reply{State: l2.Present, Data: data})
	left := t.left(s, h)
	good, known := t.tagsBelieve(s, g, h)
	if err != nil || h.Expired || left <= 0 || t.overtaken(g, h) || !good || !known {
		return a, false
	}
	t.counters.l2Hits.Add(1)
	return t.adopt(q, g, h, v, left), true
}
