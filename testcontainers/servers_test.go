package testcontainers_test

import (
	"context"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/testcontainers"
)

var kinds = map[string]func(context.Context, testing.TB) *testcontainers.Servers{
	"Redis": testcontainers.Redis, "Valkey": testcontainers.Valkey,
	"Cluster": testcontainers.Cluster, "Sentinel": testcontainers.Sentinel,
}

// TestCaches: two instances of a cache on each kind of servers. One fills L2 and
// the other reads it; a change by one takes the value from L1 of the other.
func TestCaches(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) { testCaches(t, start(t.Context(), t)) })
	}
}

func testCaches(t *testing.T, servers *testcontainers.Servers) {
	ctx := context.Background()
	row := make(chan string, 1) // the source
	row <- "old"
	var caches []*nearcache.Cache[string]
	for range 2 {
		c, err := nearcache.New(nearcache.Config[string]{
			Name: "test", Redis: servers.Client(t), MaxStaleness: time.Minute, // no bound repairs anything here
			Load: func(context.Context, string) (string, error) { v := <-row; row <- v; return v, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		caches = append(caches, c)
	}
	found := func(c *nearcache.Cache[string], value string, in nearcache.Source) {
		t.Helper()
		var info nearcache.Info
		var got string
		for deadline := time.Now().Add(10 * time.Second); got != value || info.Source != in; time.Sleep(time.Millisecond) {
			var err error
			if got, err = c.Get(ctx, "k", nearcache.WithInfo(&info)); err != nil {
				t.Fatal(err)
			}
			if time.Now().After(deadline) {
				t.Fatalf("found %q in %v, want %q in %v", got, info.Source, value, in)
			}
		}
	}
	found(caches[0], "old", nearcache.FromLoader)
	found(caches[0], "old", nearcache.FromL1)
	found(caches[1], "old", nearcache.FromL2)
	found(caches[1], "old", nearcache.FromL1)
	<-row
	row <- "new"
	if err := caches[0].Invalidate(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	found(caches[1], "new", nearcache.FromLoader)
	found(caches[1], "new", nearcache.FromL1)
	if n := caches[1].Stats().Lag.Count; n != 1 {
		t.Fatalf("%d changes applied, want 1", n)
	}
}
