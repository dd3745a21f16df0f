package nearcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// The fault tests inject the failures of docs/coherence.md's table, each for
// real, while readers on every instance never rest and a journal judges every
// answer. Where repair is to be shown, the bound is so long that it cannot be the
// bound that repaired.

// noBound is a bound that no test lives to see.
const noBound = time.Minute

// scene is a stage whose servers fail. On a single server each instance has a wire of
// its own to it.
type scene struct {
	*stage
	fleet fleet
	keys  []string
	wires []*faultnet.Proxy // these two on a single server only
	admin *redis.Client
}

// newScene starts n instances on server and stores version 1 of nKeys keys in
// every tier of each. change edits their configuration.
func newScene(t *testing.T, server *redistest.Server, n, nKeys int, bound time.Duration, change ...func(*nearcache.Config[product])) *scene {
	t.Helper()
	var wires []*faultnet.Proxy
	s := openScene(t, n, nKeys, bound, func() redis.UniversalClient {
		wires = append(wires, faultnet.Start(t, server.Addr()))
		return wiredClient(t, wires[len(wires)-1])
	}, change...)
	s.wires, s.fleet.server, s.admin = wires, server, server.Client(t)
	return s
}

// openScene is newScene on servers that each instance reaches by a client of its own,
// over no wire that a test may cut.
func openScene(t *testing.T, n, nKeys int, bound time.Duration, client func() redis.UniversalClient, change ...func(*nearcache.Config[product])) *scene {
	t.Helper()
	s := &scene{fleet: fleet{source: &source{}}}
	for range n {
		cfg := nearcache.Config[product]{
			Name: "products", Redis: client(), Load: s.fleet.source.load, MaxStaleness: bound,
			RedisTimeout: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		}
		for _, c := range change {
			c(&cfg)
		}
		cache, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() }) // some end with their server away
		s.fleet.caches = append(s.fleet.caches, cache)
	}
	s.stage = newStage(s.fleet.source, bound, s.fleet.players()...)
	for i := range nKeys {
		s.keys = append(s.keys, fmt.Sprint("k", i))
	}
	s.commit(s.keys)
	s.warm(t)
	return s
}

// strict is for fleets whose servers replicate: a replica that takes over may lack the
// last acknowledged changes, and without it an instance which has not heard of them may
// answer what they took away.
func strict(c *nearcache.Config[product]) { c.Strict = true }

// wiredClient returns a client with go-redis's defaults, but for retries, which
// would only hide faults from the tests.
func wiredClient(t *testing.T, wire *faultnet.Proxy) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: wire.Addr(), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { c.Close() })
	return c
}

// commit writes the next version of keys at the source, and tells nobody.
func (s *scene) commit(keys []string) {
	for _, key := range keys {
		version := s.fleet.source.version(key) + 1
		s.journal.Visible(key, int64(version), s.now())
		s.fleet.source.put(key, version)
	}
}

// warm waits until every key's newest version is an L1 hit everywhere.
func (s *scene) warm(t *testing.T) {
	t.Helper()
	for _, key := range s.keys {
		for i, c := range s.fleet.caches {
			eventually(t, fmt.Sprintf("the newest %s is an L1 hit on instance %d", key, i), func() bool {
				var info nearcache.Info
				p, err := c.Get(context.Background(), key, nearcache.WithInfo(&info))
				return err == nil && p.Version == s.fleet.source.version(key) && info.Source == nearcache.FromL1
			})
		}
	}
}

// readers read all keys on all instances at random until the returned
// function is called. Not one read may fail.
func (s *scene) readers(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	for i := range s.fleet.caches {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for ctx.Err() == nil {
				if err := s.read(context.Background(), i, s.keys[rng.IntN(len(s.keys))], rng.IntN(20) == 0); err != nil {
					t.Errorf("a read failed: %v", err)
					return
				}
				time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
			}
		})
	}
	return func() { cancel(); reading.Wait() }
}

// changeAll changes keys from an instance; all must be acknowledged.
func (s *scene) changeAll(t *testing.T, instance int, keys []string) {
	t.Helper()
	for _, key := range keys {
		if err := s.change(context.Background(), instance, key, false); err != nil {
			t.Fatalf("instance %d, invalidating %s: %v", instance, key, err)
		}
	}
}

// changeFailing changes keys from an instance that cannot reach its server.
func (s *scene) changeFailing(t *testing.T, instance int, keys []string) {
	t.Helper()
	for _, key := range keys {
		if err := s.change(context.Background(), instance, key, false); err == nil {
			t.Fatalf("instance %d, invalidating %s without a server: acknowledged", instance, key)
		}
	}
}

// repaired waits until no instance answers an old version of keys any more. It
// returns how long that took for the one that was changed last: what is missed is
// made up for in order.
func (s *scene) repaired(t *testing.T, keys []string) (after time.Duration) {
	t.Helper()
	began := s.now()
	for n := len(keys) - 1; n >= 0; n-- {
		for i, c := range s.fleet.caches {
			eventually(t, fmt.Sprintf("instance %d answers the newest version of %s", i, keys[n]), func() bool {
				p, err := c.Get(context.Background(), keys[n])
				return err == nil && p.Version == s.fleet.source.version(keys[n])
			})
		}
		if after == 0 {
			after = s.now() - began
		}
	}
	return after.Round(time.Millisecond)
}

// kept fails unless keys are still L1 hits on an instance: but for a tenth, since
// one in 131,072 keys shares the stripe of a changed one.
func (s *scene) kept(t *testing.T, instance int, keys []string) {
	t.Helper()
	lost := 0
	for _, key := range keys {
		if s.fleet.expect(t, instance, key, s.fleet.source.version(key)) != nearcache.FromL1 {
			lost++
		}
	}
	if lost > len(keys)/10 {
		t.Fatalf("%d of %d keys that nobody changed left L1 of instance %d", lost, len(keys), instance)
	}
}

// judged fails if any read of the scene broke a promise.
func (s *scene) judged(t *testing.T) {
	t.Helper()
	r := s.verdict(t, s.keys)
	if r.Violations() > 0 {
		t.Fatalf("%v", r)
	}
	t.Logf("%d reads, longest staleness %v", r.Reads, r.Longest.Round(time.Millisecond))
}

// refilled waits until a value that was loaded anew is in Redis again.
func (s *scene) refilled(t *testing.T, key string) {
	t.Helper()
	eventually(t, "L2 is filled again", func() bool {
		p, err := s.fleet.caches[0].Get(context.Background(), key, nearcache.SkipL1())
		if err != nil {
			t.Fatal(err)
		}
		var info nearcache.Info
		p, err = s.fleet.caches[1].Get(context.Background(), key, nearcache.SkipL1(), nearcache.WithInfo(&info))
		return err == nil && info.Source == nearcache.FromL2 && p.Version == s.fleet.source.version(key)
	})
}
