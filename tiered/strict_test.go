package tiered

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// strictly opens tiers in strict mode, with a value of "k" in L2.
func strictly(t *testing.T) *Tiers[string] {
	t.Helper()
	tiers, err := Open(Config[string]{
		Name: "test", Redis: redistest.Start(t).Client(t), Codec: codec.String(), Strict: true, Shards: 1,
		MaxBytes: 1 << 20, MaxValueBytes: 1 << 20, MaxStaleness: 2 * time.Second, LoadTimeout: time.Second,
		RedisTimeout: 10 * time.Second, RecoveryWindow: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tiers.Close() })
	if err := tiers.Set(context.Background(), map[string]string{"k": "v"}, TTL{L1: -1, L2: time.Minute}, nil); err != nil {
		t.Fatal(err)
	}
	return tiers
}

func lookAt(tiers *Tiers[string], ticket Ticket) (Answer[string], Found) {
	return tiers.Look(context.Background(), Query[string]{Key: "k", Bound: 2 * time.Second, Ticket: ticket, TTL: TTL{L1: time.Minute, L2: time.Minute}})
}

// TestStrictNeedsAProof: Redis is believed only if it was proven, as of the ticket, to
// have lost nothing.
func TestStrictNeedsAProof(t *testing.T) {
	tiers := strictly(t)
	ticket := tiers.Ticket("k")
	if a, found := lookAt(tiers, ticket); found != Value || a.Value != "v" {
		t.Fatalf("with a proof: %q, %v", a.Value, found)
	}
	ticket.Proven = l1.Never
	if a, found := lookAt(tiers, ticket); found == Value {
		t.Fatalf("without a proof: %q, %v", a.Value, found)
	}
	if reply, ok := tiers.ask(context.Background(), tiers.shards[0], Query[string]{Key: "k", Ticket: ticket}, new(grant[string])); ok {
		t.Fatalf("a lease was asked for without a proof, and the answer believed: %+v", reply)
	}
}

// TestStrictReadsProveNothing: what is read from Redis is as old as the proof.
func TestStrictReadsProveNothing(t *testing.T) {
	tiers := strictly(t)
	ticket := tiers.Ticket("k")
	ticket.Proven = ticket.Born.Add(-time.Second)
	if _, found := lookAt(tiers, ticket); found != Value {
		t.Fatalf("found %v", found)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if e, saw := tiers.l1.Get("k", time.Hour); saw == l1.Plain {
			if e.Born > ticket.Proven {
				t.Fatalf("born %v after the proof", e.Born.Sub(ticket.Proven))
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never kept")
		}
	}
}

// TestReadsWithoutALeaseProveNothing: a demoted master answers them, so what they bring
// is as old as the proof; a lease is taken by a master that serves only.
func TestReadsWithoutALeaseProveNothing(t *testing.T) {
	tiers := strictly(t)
	tiers.cfg.Strict = false
	ticket := tiers.Ticket("k")
	ticket.Proven = ticket.Born.Add(-time.Second)
	load := func(context.Context, string, Old[string]) (Loaded[string], error) {
		return Loaded[string]{}, ErrNotFound
	}
	for name, q := range map[string]Query[string]{
		"read":  {Key: "k", Ticket: ticket},
		"lease": {Key: "k", Ticket: ticket, Load: load},
	} {
		var g grant[string]
		reply, ok := tiers.ask(context.Background(), tiers.shards[0], q, &g)
		if !ok || reply.State != l2.Present {
			t.Fatalf("%s: %+v", name, reply)
		}
		if proves := g.Born > ticket.Proven; proves != (q.Load != nil) {
			t.Errorf("%s: born %v after the proof", name, g.Born.Sub(ticket.Proven))
		}
	}
}

// TestAnswersOlderThanTheirFlight are judged once more for those who joined it by its
// ticket; others are not, since who joined before a change may get what came before it.
func TestAnswersOlderThanTheirFlight(t *testing.T) {
	ctx, hour := context.Background(), TTL{L1: time.Hour, L2: time.Hour}
	load := func(context.Context, string, Old[string]) (Loaded[string], error) {
		return Loaded[string]{}, ErrNotFound
	}
	look := func(tiers *Tiers[string], ticket Ticket) Answer[string] {
		a, _ := lookAt(tiers, ticket)
		return a
	}
	fetch := func(q Query[string]) func(*Tiers[string], Ticket) Answer[string] {
		return func(tiers *Tiers[string], ticket Ticket) Answer[string] {
			q.Key, q.Ticket, q.TTL = "k", ticket, hour
			a, _ := tiers.Fetch(ctx, q)
			return a
		}
	}
	for name, c := range map[string]struct {
		strict, held bool
		read         func(*Tiers[string], Ticket) Answer[string]
		source       Source
		older        bool
	}{
		"look": {read: look, source: FromL2},
		"no loader": {read: func(tiers *Tiers[string], ticket Ticket) Answer[string] { // nor a proof: it takes what there is
			ticket.Proven = l1.Never
			a, _ := tiers.Look(ctx, Query[string]{Key: "k", Ticket: ticket, TTL: hour, Loaderless: true})
			return a
		}, source: FromL2},
		"lease":           {read: fetch(Query[string]{Load: load}), source: FromL2},
		"no lease":        {read: fetch(Query[string]{}), source: FromL2, older: true},
		"lease, strictly": {strict: true, read: fetch(Query[string]{Load: load}), source: FromL2, older: true},
		"L1":              {held: true, read: fetch(Query[string]{Bound: time.Hour, Load: load}), source: FromL1, older: true},
	} {
		t.Run(name, func(t *testing.T) {
			tiers := strictly(t)
			tiers.cfg.Strict = c.strict
			if c.held {
				lookAt(tiers, tiers.Ticket("k"))
				for saw := l1.Miss; saw == l1.Miss; _, saw = tiers.l1.Peek("k", time.Hour) {
					time.Sleep(time.Millisecond)
				}
			}
			ticket := tiers.Ticket("k")
			if name == "look" {
				ticket = ticket.Look(time.Hour)
			}
			a := c.read(tiers, ticket)
			if a.Value != "v" || a.Source != c.source || !a.Shared(time.Hour) {
				t.Fatalf("%q from %v, shared: %v", a.Value, a.Source, a.Shared(time.Hour))
			}
			ticket.Epoch.Fence(ticket.Hash)
			if a.Shared(time.Hour) == c.older {
				t.Fatalf("shared with who joined, though overtaken: %v", !c.older)
			}
		})
	}
}

// TestLooksAreAsOldAsTheirProof to those who join, if there is one to look by.
func TestLooksAreAsOldAsTheirProof(t *testing.T) {
	born := l1.Now()
	k := Ticket{Born: born, Proven: born.Add(-time.Second)}
	if got := k.Look(time.Minute).Born; got != k.Proven {
		t.Errorf("a look is born %v after its proof", got.Sub(k.Proven))
	}
	for _, bound := range []time.Duration{time.Second, 0} {
		if got := k.Look(bound).Born; got != born {
			t.Errorf("bound %v: what begins without a look is born %v before its ticket", bound, born.Sub(got))
		}
	}
}

// TestTicketsTakeTheProofFirst: a proof that comes while a ticket is given may cover
// more than the ticket has seen.
func TestTicketsTakeTheProofFirst(t *testing.T) {
	done := make(chan struct{})
	epoch := l1.NewEpoch("e", 1, 64)
	go func() {
		defer close(done)
		for n := l1.Instant(2); n < 200_000; n++ { // as Apply and Prove do it
			epoch.See(l1.Stamp(n))
			epoch.Prove(n)
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		if k := NewTicket(epoch, 7); k.Proven > l1.Instant(k.Stamp) {
			t.Fatalf("a ticket of stamp %d has the proof of %d", k.Stamp, k.Proven)
		}
	}
}

// TestLandedElsewhereIsFenced: the number of a change that landed in another epoch says nothing
// here, so what it concerns is fenced again.
func TestLandedElsewhereIsFenced(t *testing.T) {
	tiers := strictly(t)
	s := tiers.shards[0]
	before := s.epoch.Load().Seen()
	tiers.landed(s, []string{"k"}, l2.Record{Seq: 1, Epoch: "feedfeedfeedfeed"})
	if floor := s.epoch.Load().Floor(tiers.l1.Hash("k")); floor <= before {
		t.Fatalf("floor %d, seen %d before", floor, before)
	}
}
