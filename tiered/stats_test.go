package tiered

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache/codec"
)

// TestHitsNeverGoDown: not even where a read is between its two counts.
func TestHitsNeverGoDown(t *testing.T) {
	tiers, err := Open(Config[string]{Codec: codec.Msgpack[string](), MaxBytes: 1 << 20, MaxStaleness: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer tiers.Close()
	tiers.l1.Get("a", time.Second) // looked up, and not yet a miss
	before := tiers.Stats().L1Hits
	tiers.counters.misses.Add(1)
	if after := tiers.Stats(); after.L1Hits < before || after.L1Misses != 1 {
		t.Errorf("%d hits, and then %d, with %d misses", before, after.L1Hits, after.L1Misses)
	}
}
