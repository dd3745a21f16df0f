package nearcache_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestStatsTellTheBound: who watches ProofAge needs to know what it must not exceed.
func TestStatsTellTheBound(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	for _, c := range []struct {
		cfg  nearcache.Config[int]
		want time.Duration
	}{
		{nearcache.Config[int]{MaxStaleness: time.Minute}, 0}, // nothing to be proven
		{nearcache.Config[int]{Name: "bound-default", Redis: rdb}, 2 * time.Second},
		{nearcache.Config[int]{Name: "bound-given", Redis: rdb, MaxStaleness: 300 * time.Millisecond}, 300 * time.Millisecond},
	} {
		cache, err := nearcache.New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := cache.Stats().MaxStaleness; got != c.want {
			t.Errorf("%q: %v, want %v", c.cfg.Name, got, c.want)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	}
}
