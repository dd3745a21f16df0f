package nearcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// trackers starts n instances that track writes which nobody announces. Their bound is
// so long that nothing else shows them these.
func trackers(t *testing.T, n int, client func() redis.UniversalClient, change ...func(*nearcache.Config[product])) *fleet {
	t.Helper()
	f := &fleet{source: &source{}}
	for range n {
		cfg := nearcache.Config[product]{
			Name: "products", Redis: client(), Load: f.source.load, MaxStaleness: noBound, RedisTimeout: calm,
			RefreshAhead: -1, Tracking: true, Logger: slog.New(slog.DiscardHandler),
		}
		for _, c := range change {
			c(&cfg)
		}
		cache, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		eventually(t, "it tracks", func() bool { return cache.Stats().TrackingGaps > 0 })
		f.caches = append(f.caches, cache)
	}
	return f
}

func numbered(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint("k", i))
	}
	return keys
}

// put changes keys at the source, and tells nobody.
func (f *fleet) put(keys []string, version int) {
	for _, key := range keys {
		f.source.put(key, version)
	}
}

// hits waits until keys are L1 hits everywhere.
func (f *fleet) hits(t *testing.T, keys []string, version int) {
	t.Helper()
	for i := range f.caches {
		for _, key := range keys {
			eventually(t, fmt.Sprintf("version %d of %s is an L1 hit on instance %d", version, key, i), func() bool {
				var info nearcache.Info
				p, err := f.caches[i].Get(context.Background(), key, nearcache.WithInfo(&info))
				return err == nil && p.Version == version && info.Source == nearcache.FromL1
			})
		}
	}
}

// TestTracking: whatever takes a value from Redis takes it from L1, and nothing else
// with it.
func TestTracking(t *testing.T) {
	server := redistest.StartProcess(t)
	f := trackers(t, 3, func() redis.UniversalClient { return server.Client(t) })
	admin, ctx, keys := server.Client(t), t.Context(), numbered(100)
	name := func(key string) string { return "{products}:v:" + key }
	each := func(what func(p redis.Pipeliner, name string)) {
		if _, err := admin.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				what(p, name(key))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	writes := []struct {
		name  string
		write func()
	}{
		{"DEL", func() { each(func(p redis.Pipeliner, name string) { p.Del(ctx, name) }) }},
		{"SET of garbage", func() { each(func(p redis.Pipeliner, name string) { p.Set(ctx, name, "garbage", 0) }) }},
		{"a list", func() {
			each(func(p redis.Pipeliner, name string) { p.Del(ctx, name); p.RPush(ctx, name, "x") })
		}},
		{"an expiry", func() { each(func(p redis.Pipeliner, name string) { p.PExpire(ctx, name, time.Millisecond) }) }},
		{"an eviction", func() {
			// Only values have a life, so nothing else is evicted.
			set := func(name, value string) {
				if err := admin.ConfigSet(ctx, name, value).Err(); err != nil {
					t.Fatal(err)
				}
			}
			set("maxmemory-policy", "volatile-random")
			set("maxmemory", "1")
			eventually(t, "the last value is evicted", func() bool {
				return len(admin.Keys(ctx, name("*")).Val()) == 0
			})
			set("maxmemory", "0")
		}},
		{"FLUSHALL", func() { admin.FlushAll(ctx) }},
	}
	f.put(keys, 1)
	f.hits(t, keys, 1)
	for i, w := range writes {
		f.put(keys, i+2)
		began := time.Now()
		w.write()
		for _, c := range f.caches {
			for _, key := range keys {
				eventually(t, w.name+" is seen", func() bool {
					p, err := c.Get(ctx, key)
					return err == nil && p.Version == i+2
				})
			}
		}
		t.Logf("%s: 100 keys on 3 instances after %v", w.name, time.Since(began).Round(time.Millisecond))
		f.hits(t, keys, i+2)
		if n := admin.Exists(ctx, "{products}:seq").Val(); n != 1 && w.name != "FLUSHALL" {
			t.Fatalf("%s took the record too", w.name)
		}
	}
	for i, c := range f.caches {
		if s := c.Stats(); s.TrackingGaps != 2 || s.TrackedWrites == 0 {
			t.Errorf("instance %d: %d gaps, %d tracked writes; want 2 with that of FLUSHALL, and some", i, s.TrackingGaps, s.TrackedWrites)
		}
	}
}

// TestTrackingCLI: redis-cli deletes 100 keys, and after 300 ms none of them is stale.
func TestTrackingCLI(t *testing.T) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("SKIPPED: there is no redis-cli")
	}
	server := redistest.StartProcess(t)
	f := trackers(t, 3, func() redis.UniversalClient { return server.Client(t) })
	keys := numbered(100)
	f.put(keys, 1)
	f.hits(t, keys, 1)
	f.put(keys, 2)
	args := []string{"-p", redistest.Port(server.Addr()), "DEL"}
	for _, key := range keys {
		args = append(args, "{products}:v:"+key)
	}
	if out, err := exec.Command(cli, args...).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "100" {
		t.Fatalf("redis-cli: %v, %s", err, out)
	}
	time.Sleep(300 * time.Millisecond)
	stale := 0
	for _, c := range f.caches {
		for _, key := range keys {
			if p, err := c.Get(t.Context(), key); err != nil || p.Version != 2 {
				stale++
			}
		}
	}
	if stale > 0 {
		t.Fatalf("%d of 300 reads are stale", stale)
	}
}

// TestTrackingSparesOwnWrites: leases, fills, claims and sets of instances do not take
// what they brought from L1.
func TestTrackingSparesOwnWrites(t *testing.T) {
	server := redistest.StartProcess(t)
	f := trackers(t, 2, func() redis.UniversalClient { return server.Client(t) },
		func(c *nearcache.Config[product]) { c.TTL.Idle = 8 * time.Second })
	keys := numbered(200)
	f.put(keys, 1)
	ctx := t.Context()
	idle := func() { time.Sleep(100 * time.Millisecond) } // until Redis has told everything
	all := func(what string, instance, most int) {
		t.Helper()
		idle()
		before := f.caches[instance].Stats()
		for _, key := range keys {
			if _, err := f.caches[instance].Get(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
		idle()
		after := f.caches[instance].Stats()
		if n := int(after.L1Misses - before.L1Misses); n > most {
			t.Errorf("%s: %d of %d keys are not in L1 of instance %d, want %d at most", what, n, len(keys), instance, most)
		}
	}
	// Of 200 keys about one pair shares one of 16,384 stripes, and three now and then;
	// a tenth of them would be no accident.
	const few = 20
	all("cold", 0, 200)
	all("after the fills", 0, few)
	all("cold elsewhere", 1, 200)
	all("after reading and touching them", 1, few)
	for _, key := range keys {
		if err := f.caches[0].Set(ctx, key, product{ID: key, Version: 2}); err != nil {
			t.Fatal(err)
		}
	}
	all("after the sets", 0, few)
	all("set elsewhere", 1, 200)
	all("after reading these", 1, few)
	all("after all that", 0, few)
	if loads := f.source.loads.Load(); loads != 200 {
		t.Errorf("%d loads of 200 keys", loads)
	}
}

// TestTrackingGap: what is written while the connection is gone is never told. L1 is
// distrusted once instead.
func TestTrackingGap(t *testing.T) {
	server := redistest.StartProcess(t)
	f := trackers(t, 2, func() redis.UniversalClient { return server.Client(t) })
	keys := numbered(20)
	f.put(keys, 1)
	f.hits(t, keys, 1)
	f.put(keys, 2)
	admin, ctx := server.Client(t), t.Context()
	if _, err := admin.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Do(ctx, "client", "kill", "type", "pubsub")
		for _, key := range keys {
			p.Del(ctx, "{products}:v:"+key)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.hits(t, keys, 2)
	for i, c := range f.caches {
		if s := c.Stats(); s.TrackingGaps != 2 {
			t.Errorf("instance %d: %d gaps, want its beginning and one", i, s.TrackingGaps)
		}
	}
}

// TestTrackingSilence: the connection stays and nothing comes. Once it is noticed, and
// there is another one, L1 is distrusted; the bus by itself would have missed nothing.
func TestTrackingSilence(t *testing.T) {
	server := redistest.StartProcess(t)
	wire := faultnet.Start(t, server.Addr())
	f := trackers(t, 1, func() redis.UniversalClient { return wiredClient(t, wire) },
		func(c *nearcache.Config[product]) {
			c.MaxStaleness, c.RedisTimeout = 400*time.Millisecond, 100*time.Millisecond
		})
	keys, admin := numbered(20), server.Client(t)
	f.put(keys, 1)
	f.hits(t, keys, 1)
	wire.Silence()
	f.put(keys, 2)
	for _, key := range keys {
		if err := admin.Del(t.Context(), "{products}:v:"+key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	wire.Heal()
	f.hits(t, keys, 2)
	if n := f.caches[0].Stats().TrackingGaps; n != 2 {
		t.Errorf("%d gaps, want its beginning and one", n)
	}
}

// TestTrackingSentinel: the client of sentinels is tracked by way of them, before and
// after a failover.
func TestTrackingSentinel(t *testing.T) {
	group := redistest.StartSentinel(t)
	f := trackers(t, 2, func() redis.UniversalClient { return group.Client(t) },
		func(c *nearcache.Config[product]) { c.MaxStaleness = 2 * time.Second })
	keys, admin, ctx := numbered(20), group.Client(t), t.Context()
	for version := 1; version <= 3; version++ {
		if version == 3 {
			before := f.caches[0].Stats().TrackingGaps
			group.Master.Kill(t)
			for _, c := range f.caches {
				eventuallyWithin(t, 30*time.Second, "the new master is tracked", func() bool { return c.Stats().TrackingGaps > before })
			}
			f.hits(t, keys, 2)
			admin = group.Client(t)
		}
		f.put(keys, version)
		for _, key := range keys {
			if err := admin.Del(ctx, "{products}:v:"+key).Err(); err != nil {
				t.Fatal(err)
			}
		}
		f.hits(t, keys, version)
	}
}

// TestTrackingCluster: every master tells, and so does one that has just become one.
func TestTrackingCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	f := trackers(t, 2, func() redis.UniversalClient { return cluster.Client(t) },
		func(c *nearcache.Config[product]) { c.MaxStaleness = 2 * time.Second })
	// The bound proves what is announced; a DEL is not.
	keys, admin, ctx := numbered(50), cluster.Client(t), t.Context()
	name := func(key string) string { return fmt.Sprintf("%s:v:%s", shardTag(shardOf(key)), key) }
	for version := 1; version <= 3; version++ {
		if version == 3 {
			cluster.Masters[0].Kill(t)
			heir := cluster.Replicas[0].Client(t)
			eventually(t, "its replica is a master", func() bool {
				return strings.Contains(heir.Info(ctx, "replication").Val(), "role:master")
			})
			eventually(t, "every shard is proven again", func() bool {
				for _, c := range f.caches {
					if s := c.Stats(); s.ProofAge < 0 || s.ProofAge > time.Second || s.Pending > 0 {
						return false
					}
				}
				return true
			})
			for _, c := range f.caches {
				eventually(t, "the new master is tracked", func() bool { return c.Stats().TrackingGaps >= 4 })
			}
			f.hits(t, keys, 2)
			admin = cluster.Client(t) // the other one goes on to ask the dead master
		}
		f.put(keys, version)
		for _, key := range keys {
			if err := admin.Del(ctx, name(key)).Err(); err != nil {
				t.Fatal(err)
			}
		}
		f.hits(t, keys, version)
	}
}

// TestTrackingStorm: after any mixture of announced and unannounced writes, reads and
// lost connections nobody holds anything old.
func TestTrackingStorm(t *testing.T) {
	server := redistest.StartProcess(t)
	f := trackers(t, 4, func() redis.UniversalClient { return server.Client(t) },
		func(c *nearcache.Config[product]) { c.Logger = slog.New(slog.DiscardHandler) })
	f.source.delay = time.Millisecond
	keys, admin, ctx := numbered(10), server.Client(t), t.Context()
	f.put(keys, 1)
	for version := 2; version <= 30; version++ {
		reading, stop := context.WithCancel(ctx)
		var readers sync.WaitGroup
		for i, c := range f.caches {
			for range 3 {
				readers.Go(func() {
					for reading.Err() == nil {
						key, opts := keys[rand.IntN(len(keys))], []nearcache.Option(nil)
						if rand.IntN(8) == 0 {
							opts = append(opts, nearcache.SkipL1())
						}
						if _, err := c.Get(ctx, key, opts...); err != nil {
							t.Errorf("instance %d: %v", i, err)
						}
						if rand.IntN(50) == 0 {
							time.Sleep(time.Millisecond)
						}
					}
				})
			}
		}
		for _, key := range keys {
			f.source.put(key, version)
			switch rand.IntN(6) {
			case 0:
				if err := f.caches[0].Invalidate(ctx, key); err != nil {
					t.Fatal(err)
				}
			case 1:
				admin.Set(ctx, "{products}:v:"+key, "garbage", 0)
			case 2:
				admin.Do(ctx, "client", "kill", "type", "pubsub")
				fallthrough
			default:
				admin.Del(ctx, "{products}:v:"+key)
			}
		}
		time.Sleep(30 * time.Millisecond)
		stop()
		readers.Wait()
		eventually(t, "every connection tracks again", func() bool {
			return strings.Count(admin.Do(ctx, "client", "list", "type", "pubsub").String(), "id=") >= 2*len(f.caches)
		})
		time.Sleep(100 * time.Millisecond)
		for i, c := range f.caches {
			for _, key := range keys {
				if p, err := c.Get(ctx, key); err != nil || p.Version != version {
					t.Fatalf("instance %d answers version %d of %s at rest, want %d; %v", i, p.Version, key, version, err)
				}
			}
		}
	}
}

// TestTrackingIsRefused: a server or client that cannot track is told of at once.
func TestTrackingIsRefused(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": redistest.Start(t).Addr()}})
	t.Cleanup(func() { ring.Close() })
	for name, c := range map[string]struct {
		client redis.UniversalClient
		want   string
	}{
		"miniredis": {redistest.StartEmbedded(t).Client(t), "tracking is not supported: CLIENT TRACKING"},
		"a ring":    {ring, "client of type *redis.Ring"},
		"no Redis":  {nil, "nothing to track"},
	} {
		cache, err := nearcache.New(nearcache.Config[product]{Name: "products", Redis: c.client, Tracking: true})
		if err == nil {
			cache.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
