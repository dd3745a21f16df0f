package nearcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/audit"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// plot says how long a history is, and how densely things happen in it: each
// pace is the mean pause between two of a kind.
type plot struct {
	bound, length       time.Duration
	read, change, fault time.Duration
	redisTimeout        time.Duration
}

// dense is a history on real sockets, in real time.
var dense = plot{
	bound: 300 * time.Millisecond, length: 1500 * time.Millisecond,
	read: 500 * time.Microsecond, change: 4 * time.Millisecond, fault: 60 * time.Millisecond,
	redisTimeout: 50 * time.Millisecond,
}

// TestHistories: what several instances answer while connections are cut,
// silent, slow and lossy, and the server forgets, judged by the audit.
// NEARCACHE_SEEDS sets the number of seeds, NEARCACHE_SEED repeats one.
func TestHistories(t *testing.T) {
	for _, seed := range seeds(t, 6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			if r := history(t, seed, dense, sockets(t), oursOn); r.Violations() > 0 {
				t.Fatalf("NEARCACHE_SEED=%d repeats it: %v", seed, r)
			}
		})
	}
}

func seeds(t testing.TB, n uint64) (s []uint64) {
	t.Helper()
	number := func(name string, into *uint64) bool {
		v := os.Getenv(name)
		if v == "" {
			return false
		}
		var err error
		if *into, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("%s is %q, must be a number", name, v)
		}
		return true
	}
	var one uint64
	if number("NEARCACHE_SEED", &one) {
		return []uint64{one}
	}
	number("NEARCACHE_SEEDS", &n)
	for i := range n {
		s = append(s, i)
	}
	return s
}

// world is a server, and the ways to it.
type world struct {
	admin *redis.Client                                         // on a way that never breaks
	join  func(*redis.Options) (*redis.Client, *faultnet.Proxy) // another instance's way
}

// sockets is a world of a real server and real connections.
func sockets(t testing.TB) world {
	server := redistest.Start(t)
	return world{server.Client(t), func(o *redis.Options) (*redis.Client, *faultnet.Proxy) {
		wire := faultnet.Start(t, server.Addr())
		o.Addr = wire.Addr()
		return redis.NewClient(o), wire
	}}
}

// joiner makes an instance of the cache that is judged.
type joiner func(testing.TB, *redis.Client, *source, plot) player

// oursOn is an instance of this library, on a connection of its own.
func oursOn(t testing.TB, client *redis.Client, src *source, p plot) player {
	c, err := nearcache.New(nearcache.Config[product]{
		Name: "products", Redis: client, Load: src.load,
		MaxStaleness: p.bound, RedisTimeout: p.redisTimeout, LoadTimeout: time.Second,
		RecoveryWindow: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return ours{c}
}

// history plays one seed's operations and faults, and returns the verdict
// after quiet.
func history(t testing.TB, seed uint64, p plot, w world, join joiner) audit.Report {
	const instances, nKeys = 3, 100
	src := &source{delay: 2 * time.Millisecond}
	s := newStage(src, p.bound)
	s.journal = audit.NewJournal(p.bound, instances)
	var wires []*faultnet.Proxy
	for range instances {
		client, wire := w.join(&redis.Options{MaxRetries: -1, DialTimeout: 100 * time.Millisecond, DialerRetries: 1})
		t.Cleanup(func() { client.Close() })
		wires = append(wires, wire)
		s.players = append(s.players, join(t, client, src, p))
	}
	keys := make([]string, nKeys)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
		if err := s.change(context.Background(), 0, keys[i], false); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.length)
	defer cancel()
	var acting sync.WaitGroup
	act := func(id uint64, pace time.Duration, step func(rng *rand.Rand)) {
		rng := rand.New(rand.NewPCG(seed, id))
		acting.Go(func() {
			for ctx.Err() == nil {
				step(rng)
				time.Sleep(time.Duration(rng.Int64N(int64(2 * pace))))
			}
		})
	}
	for i := range instances {
		for r := range 2 {
			act(uint64(10*i+r), p.read, func(rng *rand.Rand) {
				_ = s.read(context.Background(), i, keys[rng.IntN(nKeys)], rng.IntN(10) == 0)
			})
		}
		if i == 0 {
			continue // an instance that changes nothing depends on what it hears
		}
		act(uint64(10*i+5), p.change, func(rng *rand.Rand) {
			key := keys[rng.IntN(nKeys)]
			_ = s.change(context.Background(), i, key, rng.IntN(4) == 0)
			_ = s.read(context.Background(), i, key, false)
		})
	}
	act(99, p.fault, func(rng *rand.Rand) { harm(rng, wires[rng.IntN(instances)], w.admin) })
	acting.Wait()
	for _, w := range wires {
		w.Heal()
	}
	// Quiet: longer than the bound, and than a retry of what failed takes.
	time.Sleep(p.bound + 300*time.Millisecond)
	return s.verdict(t, keys)
}

// harm does one thing that happens to connections and servers.
func harm(rng *rand.Rand, wire *faultnet.Proxy, admin *redis.Client) {
	ctx := context.Background()
	switch rng.IntN(12) {
	case 0:
		wire.Cut()
	case 1:
		wire.Silence()
	case 2:
		wire.Delay(time.Duration(rng.IntN(80)) * time.Millisecond)
	case 3:
		wire.HalfWrite()
	case 4, 5:
		wire.DropMessages(1 + rng.IntN(5))
	case 6:
		admin.Do(ctx, "client", "kill", "type", "pubsub")
	case 7:
		admin.ScriptFlush(ctx)
	case 8:
		if rng.IntN(3) == 0 {
			admin.FlushAll(ctx)
		}
	case 9:
		admin.XTrimMaxLen(ctx, "{products}:log", 0)
	default:
		wire.Heal()
	}
}
