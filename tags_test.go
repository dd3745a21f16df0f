package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// tagged has a loader name the tags of a key: what stands before its "/".
func tagged(o *origin) func(*nearcache.Config[int]) {
	return func(c *nearcache.Config[int]) {
		c.Load = nil
		c.LoadItem = func(ctx context.Context, key string, item *nearcache.Item[int]) (int, error) {
			if tag, _, ok := strings.Cut(key, "/"); ok {
				item.Tags = append(item.Tags, tag, "all")
			}
			return o.load(ctx, key)
		}
	}
}

// wants fails unless an instance answers a version of key.
func wants(t *testing.T, c *nearcache.Cache[int], key string, version int, opts ...nearcache.Option) nearcache.Source {
	t.Helper()
	var info nearcache.Info
	if v, err := c.Get(context.Background(), key, append(opts, nearcache.WithInfo(&info))...); err != nil || v != version {
		t.Fatalf("%s is %d, %v; want %d", key, v, err, version)
	}
	return info.Source
}

// TestTags: an invalidated tag takes its values away everywhere, and no others.
func TestTags(t *testing.T) {
	for _, shards := range []int{1, 4} {
		inBothEras(t, func(t *testing.T, e era) {
			o := &origin{version: 1}
			caches := e.numbers(t, 3, o, func(c *nearcache.Config[int]) { tagged(o)(c); c.Shards = shards })
			keys := []string{"red/1", "red/2", "blue/1", "plain"}
			for _, key := range keys {
				for _, c := range caches {
					wants(t, c, key, 1)
					eventually(t, "L1 has "+key, func() bool { return wants(t, c, key, 1) == nearcache.FromL1 })
				}
			}
			o.set(func(o *origin) { o.version = 2 })
			if err := caches[0].InvalidateTags(context.Background(), "red", "green"); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				want := 1
				if strings.HasPrefix(key, "red") {
					want = 2
				}
				wants(t, caches[0], key, want)                     // at once where it was made
				wants(t, caches[1], key, want, nearcache.SkipL1()) // at once in L2
				for _, c := range caches {
					eventually(t, "every instance has seen it", func() bool {
						v, err := c.Get(context.Background(), key)
						return err == nil && v == want
					})
				}
			}
			if n := len(o.loads("red/1")); n != 2 {
				t.Errorf("loaded %d times, want 2", n)
			}
		})
	}
}

// TestTagsOfLoadsInFlight: a value that was loaded before its tag was invalidated goes
// only to those who asked before, and no tier keeps it.
func TestTagsOfLoadsInFlight(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1, takes: 300 * time.Millisecond}
		caches := e.numbers(t, 2, o, tagged(o))
		var early sync.WaitGroup
		early.Go(func() { wants(t, caches[0], "red/1", 1) })
		for len(o.loads("red/1")) == 0 {
			time.Sleep(time.Millisecond)
		}
		o.set(func(o *origin) { o.version, o.takes = 2, 0 })
		if err := caches[0].InvalidateTags(context.Background(), "red"); err != nil {
			t.Fatal(err)
		}
		// They join the flight, or wait for its lease: neither knows its tags yet.
		for _, c := range caches {
			early.Go(func() { wants(t, c, "red/1", 2) })
		}
		early.Wait()
		for range 20 {
			for _, c := range caches {
				wants(t, c, "red/1", 2)
				wants(t, c, "red/1", 2, nearcache.SkipL1())
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// TestTagsSurviveLostMessages: the announcement of an invalidated tag does not arrive.
func TestTagsSurviveLostMessages(t *testing.T) {
	e := era{sockets(t), false}
	o := &origin{version: 1}
	var caches []*nearcache.Cache[int]
	var wires []interface{ DropMessages(int) }
	for range 3 {
		client, wire := e.join(&redis.Options{})
		t.Cleanup(func() { client.Close() })
		cfg := nearcache.Config[int]{Name: "products", Redis: client, MaxStaleness: 400 * time.Millisecond, RedisTimeout: calm}
		tagged(o)(&cfg)
		c, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		caches, wires = append(caches, c), append(wires, wire)
	}
	for version := 1; version < 6; version++ {
		for _, c := range caches {
			wants(t, c, "red/1", version)
			eventually(t, "L1 has it", func() bool { return wants(t, c, "red/1", version) == nearcache.FromL1 })
		}
		wires[1].DropMessages(1)
		o.set(func(o *origin) { o.version = version + 1 })
		if err := caches[0].InvalidateTags(context.Background(), "red"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		eventually(t, "the deaf instance finds out", func() bool {
			v, err := caches[1].Get(context.Background(), "red/1")
			return err == nil && v == version+1
		})
		t.Logf("repaired after %v", time.Since(began).Round(time.Millisecond))
	}
}

// TestUnknownTagsAreLookedUpOnce: a value whose tag was invalidated long ago costs one
// look at its marker, and its tag is followed from then on.
func TestUnknownTagsAreLookedUpOnce(t *testing.T) {
	e := era{sockets(t), false}
	o := &origin{version: 1}
	c := e.numbers(t, 1, o, tagged(o))[0]
	ctx := context.Background()
	for i := range 50 {
		wants(t, c, fmt.Sprint("red/", i), 1)
		e.stored(t, fmt.Sprint("red/", i), settledDown)
	}
	looks := func() int {
		_, after, _ := strings.Cut(e.admin.Info(ctx, "commandstats").Val(), "cmdstat_mget:calls=")
		var n int
		_, _ = fmt.Sscan(strings.Split(after, ",")[0], &n) // none so far
		return n
	}
	read := func() {
		t.Helper()
		for i := range 50 {
			wants(t, c, fmt.Sprint("red/", i), 1, nearcache.SkipL1())
		}
	}
	read()
	if n := looks(); n != 0 {
		t.Fatalf("%d looks at markers where no tag was ever invalidated", n)
	}
	if err := c.InvalidateTags(ctx, "blue"); err != nil {
		t.Fatal(err)
	}
	read()
	first := looks()
	read()
	if n := looks(); first == 0 || first > 5 || n != first {
		t.Fatalf("%d looks at first, %d in the end; want few and then none", first, n)
	}
	o.set(func(o *origin) { o.version = 2 })
	if err := c.InvalidateTags(ctx, "red"); err != nil {
		t.Fatal(err)
	}
	wants(t, c, "red/1", 2, nearcache.SkipL1())
}

// TestMarkersOutliveValues: a value that would live longer than markers do is not kept
// in Redis before they live as long.
func TestMarkersOutliveValues(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		const life = 30 * 24 * time.Hour
		o := &origin{version: 1}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) { tagged(o)(c); c.TTL.L2 = life })[0]
		ctx := context.Background()
		for _, key := range []string{"red/1", "red/2"} {
			wants(t, c, key, 1)
			if key == "red/1" {
				eventually(t, "the lease of what is not kept is given back", func() bool { return e.admin.Exists(ctx, "{products}:v:red/1").Val() == 0 })
			}
		}
		e.stored(t, "red/2", settledDown)
		if err := c.Set(ctx, "red/3", 1, nearcache.WithTags("red"), nearcache.WithTTL(nearcache.TTL{L2: 4 * life})); err != nil {
			t.Fatal(err)
		}
		e.stored(t, "red/3", settledDown)
		if err := c.InvalidateTags(ctx, "red"); err != nil {
			t.Fatal(err)
		}
		marker, value := e.admin.PTTL(ctx, "{products}:t:red").Val(), e.admin.PTTL(ctx, "{products}:v:red/3").Val()
		if marker < value || value < 3*life {
			t.Fatalf("the marker lives %v, a value %v", marker, value)
		}
	})
}

// TestClear: nothing from before is answered any more.
func TestClear(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1}
		caches := e.numbers(t, 2, o, func(c *nearcache.Config[int]) { c.Shards = 3 })
		for i := range 20 {
			for _, c := range caches {
				wants(t, c, fmt.Sprint(i), 1)
			}
		}
		o.set(func(o *origin) { o.version = 2 })
		if err := caches[0].Clear(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			wants(t, caches[0], fmt.Sprint(i), 2)
			wants(t, caches[1], fmt.Sprint(i), 2, nearcache.SkipL1())
			eventually(t, "the other instance has seen it", func() bool {
				v, err := caches[1].Get(context.Background(), fmt.Sprint(i))
				return err == nil && v == 2
			})
		}
	})
}

func TestTagsAndClearInL1Only(t *testing.T) {
	o := &origin{version: 1}
	cfg := nearcache.Config[int]{}
	tagged(o)(&cfg)
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for version, change := range []func() error{
		func() error { return nil },
		func() error { return c.InvalidateTags(context.Background(), "red") },
		func() error { return c.Clear(context.Background()) },
	} {
		o.set(func(o *origin) { o.version = version })
		if err := change(); err != nil {
			t.Fatal(err)
		}
		wants(t, c, "red/1", version)
		eventually(t, "L1 has it", func() bool { return wants(t, c, "red/1", version) == nearcache.FromL1 })
	}
}

// TestTagsOutliveRedis: invalidated while the server is away, or by a server that
// forgets: it takes effect here at once, and everywhere in the end.
func TestTagsOutliveRedis(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		before func(t *testing.T, v *redistest.Server, admin *redis.Client)
		after  func(t *testing.T, v *redistest.Server)
		fails  bool
	}{
		"away": {
			func(t *testing.T, s *redistest.Server, _ *redis.Client) { s.Pause(t) },
			func(t *testing.T, s *redistest.Server) { s.Resume(t) }, true,
		},
		"old snapshot": {
			func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
				if err := admin.Save(ctx).Err(); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, s *redistest.Server) { s.Kill(t); s.Restart(t) }, false,
		},
	} {
		for op, invalidate := range map[string]func(*nearcache.Cache[int]) error{
			"tag":   func(c *nearcache.Cache[int]) error { return c.InvalidateTags(ctx, "red") },
			"clear": func(c *nearcache.Cache[int]) error { return c.Clear(ctx) },
		} {
			t.Run(name+", "+op, func(t *testing.T) {
				server := redistest.StartProcess(t)
				o := &origin{version: 1}
				var caches []*nearcache.Cache[int]
				for range 2 {
					cfg := nearcache.Config[int]{Name: "products", Redis: server.Client(t), MaxStaleness: 400 * time.Millisecond}
					tagged(o)(&cfg)
					cache, err := nearcache.New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = cache.Close() })
					caches = append(caches, cache)
				}
				admin := server.Client(t)
				e := era{world: world{admin: admin}}
				for _, cache := range caches {
					wants(t, cache, "red/1", 1)
				}
				e.stored(t, "red/1", settledDown)
				c.before(t, server, admin)
				o.set(func(o *origin) { o.version = 2 })
				err := invalidate(caches[0])
				if tier, ok := errors.AsType[*nearcache.TierError](err); ok != c.fails {
					t.Fatalf("%v, %v", tier, err)
				}
				wants(t, caches[0], "red/1", 2)
				c.after(t, server)
				eventually(t, "nothing is left to send", func() bool {
					st := caches[0].Stats()
					return st.Pending == 0 && st.ProofAge >= 0 && st.ProofAge < 400*time.Millisecond
				})
				for range 5 {
					for _, cache := range caches {
						wants(t, cache, "red/1", 2, nearcache.SkipL1())
					}
				}
			})
		}
	}
}

// TestUnusableTags: each gets an error before anything happens.
func TestUnusableTags(t *testing.T) {
	o := &origin{version: 1}
	cfg := nearcache.Config[int]{}
	tagged(o)(&cfg)
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	for name, tags := range map[string][]string{
		"empty": {""}, "long": {strings.Repeat("x", 513)}, "many": strings.Split(strings.Repeat("x", 65), ""),
	} {
		if err := c.InvalidateTags(ctx, tags...); !errors.Is(err, nearcache.ErrKey) {
			t.Errorf("%s: InvalidateTags: %v", name, err)
		}
		if err := c.Set(ctx, "k", 1, nearcache.WithTags(tags...)); !errors.Is(err, nearcache.ErrKey) {
			t.Errorf("%s: Set: %v", name, err)
		}
		if _, err := c.Get(ctx, "k", nearcache.WithTags(tags...)); !errors.Is(err, nearcache.ErrKey) {
			t.Errorf("%s: Get: %v", name, err)
		}
	}
}

// BenchmarkInvalidateTags measures the server's time for the invalidation of a tag that
// a million values name.
//
//	go test -run '^$' -bench InvalidateTags -benchtime 100x .
func BenchmarkInvalidateTags(b *testing.B) {
	server := redistest.Start(b)
	client := server.Client(b)
	c, err := nearcache.New(nearcache.Config[int]{Name: "products", Redis: server.Client(b), RedisTimeout: calm})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	const values, step = 1_000_000, 10_000
	for i := 0; i < values; i += step {
		batch := make(map[string]int, step)
		for n := range step {
			batch[fmt.Sprint(i+n)] = n
		}
		if err := c.SetMany(ctx, batch, nearcache.WithTags("red"), nearcache.WithTTL(nearcache.TTL{L1: -1})); err != nil {
			b.Fatal(err)
		}
	}
	if n := client.DBSize(ctx).Val(); n < values {
		b.Fatalf("%d keys in Redis", n)
	}
	before := account(b, client)
	for b.Loop() {
		if err := c.InvalidateTags(ctx, "red"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((account(b, client).scripts-before.scripts)/float64(b.N), "µs-server")
}

// TestTagsCostOneLoad: when many instances find that a value was taken away, one of them
// loads, as for a key that is cold.
func TestTagsCostOneLoad(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1}
		caches, ctx := e.numbers(t, 4, o, tagged(o)), context.Background()
		wants(t, caches[0], "red/1", 1)
		e.stored(t, "red/1", settledDown)
		changes := map[int]func() error{
			2: func() error { return caches[0].InvalidateTags(ctx, "red") },
			3: func() error { return caches[0].Clear(ctx) },
		}
		for version := 2; version <= 3; version++ {
			o.set(func(o *origin) { o.version, o.takes = version, 300*time.Millisecond })
			if err := changes[version](); err != nil {
				t.Fatal(err)
			}
			var readers sync.WaitGroup
			for _, c := range caches {
				eventually(t, "every instance knows", func() bool { return c.Stats().Lag.Count == uint64(version-1) })
			}
			for _, c := range caches {
				readers.Go(func() { wants(t, c, "red/1", version) })
			}
			readers.Wait()
			if n := len(o.loads("red/1")); n != version {
				t.Fatalf("loaded %d times, want %d", n, version)
			}
			e.stored(t, "red/1", settledDown)
		}
	})
}

// TestRefreshesKeepTags: what is loaded ahead of time names the tags of the read that
// caused it.
func TestRefreshesKeepTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, o := context.Background(), &origin{version: 1, takes: time.Second}
		c, err := nearcache.New(nearcache.Config[int]{TTLJitter: -1, RefreshAhead: 10, TTL: nearcache.TTL{L1: 10 * time.Second},
			Load: o.load})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for c.Stats().Refreshes == 0 {
			if _, err := c.Get(ctx, "k", nearcache.WithTags("red")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		o.set(func(o *origin) { o.version = 2 })
		if err := c.InvalidateTags(ctx, "red"); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, "k", nearcache.WithTags("red")); err != nil || v != 2 {
			t.Fatalf("%d, %v", v, err)
		}
	})
}
