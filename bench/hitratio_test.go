package main

import (
	"testing"

	"github.com/nearcache/nearcache/bench/access"
)

func quiet(int, int, string) {}

// TestHitRatios: with room for half of the keys of a loop, no cache hits much more
// often than that, and where there are as many accesses as keys, none hits at all.
func TestHitRatios(t *testing.T) {
	const keys = 2 * smallest
	got, err := hitRatios([]access.Trace{access.Loop("loop", keys, 20*keys), access.Loop("once", keys, keys)}, 1, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2*len(sized) {
		t.Fatalf("%d results, want the one size that is large enough for each cache and trace", len(got))
	}
	for _, h := range got {
		switch {
		case h.Size != keys/2 || h.Distinct != keys:
			t.Errorf("%+v", h)
		case h.Trace == "once" && h.Ratio.Median != 0:
			t.Errorf("%s: hits %v of keys that come once", h.Cache, h.Ratio.Median)
		case h.Trace == "loop" && (h.Ratio.Median > 0.6 || h.Ratio.Median < 0):
			t.Errorf("%s: hits %v with room for half", h.Cache, h.Ratio.Median)
		}
	}
}

// TestSizes: every cache keeps as many entries as it was given room for, about.
func TestSizes(t *testing.T) {
	const room = 1000
	trace := access.Loop("loop", room*9/10, 40*room)
	keys := make([]string, trace.Distinct)
	for i := range keys {
		keys[i] = traceKey(i)
	}
	for _, cache := range sized {
		hits, err := hitRatio(cache.open, room, trace, keys)
		if err != nil {
			t.Fatal(err)
		}
		if hits < 0.8 {
			t.Errorf("%s: hits %.1f %% although all keys fit", cache.name, 100*hits)
		}
	}
	if charge, err := chargeOf(traceKey(0)); err != nil || charge < 200 || charge > 600 {
		t.Errorf("nearcache charges %d for a value of 200 bytes, %v", charge, err)
	}
}
