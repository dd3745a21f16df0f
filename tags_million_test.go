package nearcache_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// TestTagOfMany: a tag that very many values name is invalidated while each of three
// instances has some of them in L1 and one in flight, and one of them does not get the
// message. Beyond the bound nobody reads what was before. NEARCACHE_LONG=1 makes it a
// million values.
func TestTagOfMany(t *testing.T) {
	values := 20_000
	if os.Getenv("NEARCACHE_LONG") == "1" {
		values = 1_000_000
	}
	const bound, hot = 500 * time.Millisecond, 200
	ctx, o, e := context.Background(), &origin{version: 1}, era{sockets(t), false}
	var caches []*nearcache.Cache[int]
	var wires []interface{ DropMessages(int) }
	for range 3 {
		client, wire := e.join(&redis.Options{})
		t.Cleanup(func() { client.Close() })
		cfg := nearcache.Config[int]{Name: "products", Redis: client, MaxStaleness: bound, RedisTimeout: calm, RefreshAhead: -1}
		tagged(o)(&cfg)
		c, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		caches, wires = append(caches, c), append(wires, wire)
	}
	fill(t, caches[0], values)
	for _, c := range caches {
		for i := range hot {
			key := fmt.Sprint("red/", i)
			eventually(t, "L1 has "+key, func() bool { return wants(t, c, key, 1) == nearcache.FromL1 })
		}
	}

	o.set(func(o *origin) { o.takes = 300 * time.Millisecond })
	var early sync.WaitGroup
	for i, c := range caches {
		key := fmt.Sprint("red/flying/", i)
		early.Go(func() { _, _ = c.Get(ctx, key) })
		eventually(t, key+" is loaded", func() bool { return len(o.loads(key)) > 0 })
	}
	wires[1].DropMessages(1)
	o.set(func(o *origin) { o.version, o.takes = 2, 0 })
	before := account(t, e.admin)
	if err := caches[0].InvalidateTags(ctx, "red"); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d values: %v µs of the server", values, account(t, e.admin).scripts-before.scripts)
	time.Sleep(bound)
	early.Wait()
	for _, c := range caches {
		for i := range hot {
			wants(t, c, fmt.Sprint("red/", i), 2)
		}
		for i := range caches {
			wants(t, c, fmt.Sprint("red/flying/", i), 2)
		}
		for i := hot; i < values; i += values / 1000 {
			wants(t, c, fmt.Sprint("red/", i), 2)
		}
	}
}

// fill stores many values of version 1 in Redis that name the tag red.
func fill(t *testing.T, c *nearcache.Cache[int], values int) {
	t.Helper()
	const step = 10_000
	for i := 0; i < values; i += step {
		batch := make(map[string]int, step)
		for n := range step {
			batch[fmt.Sprint("red/", i+n)] = 1
		}
		err := c.SetMany(context.Background(), batch, nearcache.WithTags("red"), nearcache.WithTTL(nearcache.TTL{L1: -1}))
		if err != nil {
			t.Fatal(err)
		}
	}
}
