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
	"github.com/redis/go-redis/v9"
)

var trackedTTL = TTL{L1: time.Minute, L2: time.Minute}

// tracked opens tiers that track and have heard the last of the bus and of Redis, so
// that the test tells them what it wants; with the value "old" of "k" in L2.
func tracked(t *testing.T) (*Tiers[string], *redis.Client) {
	t.Helper()
	server := redistest.StartProcess(t)
	tiers, err := Open(Config[string]{
		Name: "test", Redis: server.Client(t), Codec: codec.String(), Tracking: true, Shards: 1,
		MaxBytes: 1 << 20, MaxValueBytes: 1 << 20, MaxStaleness: time.Minute, LoadTimeout: time.Second,
		RedisTimeout: 10 * time.Second, RecoveryWindow: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tiers.Close() })
	tiers.tracking.Close()
	tiers.bus.Close()
	if err := tiers.Set(context.Background(), map[string]string{"k": "old"}, TTL{L1: -1, L2: time.Minute}, nil); err != nil {
		t.Fatal(err)
	}
	return tiers, server.Client(t)
}

// reading is a read of "k" that has its reply and has not looked at it.
type reading struct {
	q     Query[string]
	reply l2.Reply
	sent  l1.Instant
}

func (t *Tiers[V]) begin(test *testing.T) reading {
	test.Helper()
	r := reading{q: Query[string]{Key: "k", Bound: time.Minute, Ticket: t.Ticket("k"), TTL: trackedTTL}, sent: l1.Now()}
	var err error
	if r.reply, err = t.l2.Read(context.Background(), "k", "", 0); err != nil || r.reply.State != l2.Present {
		test.Fatalf("read: %+v, %v", r.reply, err)
	}
	return r
}

// finish is what Look does with a reply.
func finish(tiers *Tiers[string], r reading) (Answer[string], bool) {
	g := grant[string]{Ticket: r.q.Ticket, record: r.reply.Record}
	g.Stamp = max(g.Stamp, l1.StampOf(r.reply.Record.Seq))
	return tiers.plain(tiers.shards[0], r.q, &g, r.reply.Data, r.sent)
}

// inL1 returns the value of "k" that a hit would answer, when Ristretto has settled.
func inL1(tiers *Tiers[string]) string {
	time.Sleep(20 * time.Millisecond)
	if e, saw := tiers.l1.Get("k", time.Minute); saw != l1.Miss {
		return e.Value
	}
	return ""
}

// TestTrackedWriteIsAboveEveryRead: a read that knows more of the log than its instance
// is refused all the same, if its value was deleted while it was under way.
func TestTrackedWriteIsAboveEveryRead(t *testing.T) {
	tiers, admin := tracked(t)
	other := l2.Open(l2.Config{Client: admin, Name: "test", Shards: 1, Timeout: time.Second, LogLen: 100})
	defer other.Close()
	if _, err := other.Invalidate(t.Context(), 0, []string{"another"}); err != nil {
		t.Fatal(err)
	}
	r := tiers.begin(t)
	if l1.StampOf(r.reply.Record.Seq) <= tiers.shards[0].epoch.Load().Seen() {
		t.Fatal("the read knows no more than its instance")
	}
	admin.Del(t.Context(), "{test}:v:k")
	if err := tiers.Written(t.Context(), 0, []string{"k"}); err != nil {
		t.Fatal(err)
	}
	if a, ok := finish(tiers, r); !ok || a.Value != "old" {
		t.Fatalf("the read answers %q, %v", a.Value, ok)
	}
	if v := inL1(tiers); v != "" {
		t.Fatalf("L1 kept %q", v)
	}
}

// TestMissedWritesAreAboveEveryRead: the same after a gap.
func TestMissedWritesAreAboveEveryRead(t *testing.T) {
	tiers, admin := tracked(t)
	other := l2.Open(l2.Config{Client: admin, Name: "test", Shards: 1, Timeout: time.Second, LogLen: 100})
	defer other.Close()
	if _, err := other.Invalidate(t.Context(), 0, []string{"another"}); err != nil {
		t.Fatal(err)
	}
	r := tiers.begin(t)
	admin.Del(t.Context(), "{test}:v:k")
	if err := tiers.Missed(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish(tiers, r)
	if v := inL1(tiers); v != "" {
		t.Fatalf("L1 kept %q", v)
	}
}

// TestStrayRead: a read that is overtaken by the deletion of its value and by another
// read of this instance, which loads it anew, is not kept.
func TestStrayRead(t *testing.T) {
	tiers, admin := tracked(t)
	r := tiers.begin(t)
	admin.Del(t.Context(), "{test}:v:k")
	q := Query[string]{Key: "k", Bound: time.Minute, Ticket: tiers.Ticket("k"), TTL: trackedTTL,
		Load: func(context.Context, string, Old[string]) (Loaded[string], error) {
			return Loaded[string]{Value: "new", TTL: trackedTTL}, nil
		}}
	if a, err := tiers.Fetch(t.Context(), q); err != nil || a.Value != "new" {
		t.Fatalf("loaded %q, %v", a.Value, err)
	}
	for deadline := time.Now().Add(10 * time.Second); admin.StrLen(t.Context(), "{test}:v:k").Val() < codec.HeaderSize; {
		if time.Now().After(deadline) {
			t.Fatal("never filled")
		}
	}
	if err := tiers.Written(t.Context(), 0, []string{"k"}); err != nil {
		t.Fatal(err)
	}
	if v := inL1(tiers); v != "new" {
		t.Fatalf("L1 has %q: an own load was taken for somebody else's", v)
	}
	finish(tiers, r)
	if v := inL1(tiers); v != "new" {
		t.Fatalf("L1 has %q after the stray read, want new", v)
	}
}

// TestReadOvertakenBeforeItsPut: between what a read notes and what it puts into L1
// something else was found at the key.
func TestReadOvertakenBeforeItsPut(t *testing.T) {
	tiers, _ := tracked(t)
	r := tiers.begin(t)
	h, v, err := tiers.open("k", r.reply)
	if err != nil {
		t.Fatal(err)
	}
	g := grant[string]{Ticket: r.q.Ticket, record: r.reply.Record}
	tiers.saw("k", &g, r.reply.Data, r.sent)
	tiers.writes("k", []byte("Lffffffffffffffff"))
	tiers.writes("k", []byte("something else"))
	tiers.adopt(r.q, &g, h, v, time.Minute)
	if v := inL1(tiers); v != "" {
		t.Fatalf("L1 kept %q", v)
	}
}
