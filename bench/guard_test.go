package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/bench/contender"
)

// A hit should take 0.8 of the time of a Get of a bare Ristretto with string keys
// and TTL. The guard leaves room for a machine that does much else.
const (
	goal  = 0.8
	limit = 1.6
)

// BenchmarkGuard fails if a hit has become too slow, by itself or with several
// callers, or allocates. It compares the fastest of many short turns, which other
// work on the machine disturbs least:
//
//	go test -run '^$' -bench Guard -benchtime 1x .
func BenchmarkGuard(b *testing.B) {
	a := newArena(nil)
	ours, theirs := guarded(b, a), bare(b, a)
	for _, callers := range []int{1, 4} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var ratio float64
			for b.Loop() {
				ratio = compare(b, callers, ours, theirs)
			}
			b.ReportMetric(ratio, "ratio")
			b.ReportMetric(0, "ns/op")
			if ratio > limit {
				b.Errorf("a hit takes %.2f of a bare Ristretto's Get; goal %v, limit %v", ratio, goal, limit)
			}
		})
	}
	if n := testing.AllocsPerRun(1, func() { ours(0, 10_000) }); n > 100 {
		// Ristretto allocates a batch of its read buffer for every 64 hits or so.
		b.Errorf("%v allocations in 10,000 hits", n)
	}
}

// compare returns the ratio of the fastest turns, and shows all figures.
func compare(b *testing.B, callers int, ours, theirs func(from, until int)) float64 {
	const (
		rounds = 40
		turn   = 40_000 // hits
	)
	took := make([][]float64, 2)
	for range rounds {
		for _, side := range rand.Perm(2) {
			get := []func(from, until int){ours, theirs}[side]
			began := time.Now()
			var running sync.WaitGroup
			for c := range callers {
				running.Go(func() { get(c*turn/callers, (c+1)*turn/callers) })
			}
			running.Wait()
			took[side] = append(took[side], float64(time.Since(began))/turn)
		}
	}
	fastest := [2]float64{slices.Min(took[0]), slices.Min(took[1])}
	slices.Sort(took[0])
	slices.Sort(took[1])
	b.Logf("nearcache %.1f ns (median %.1f), ristretto %.1f ns (median %.1f), ratio %.2f; goal %v, limit %v",
		fastest[0], took[0][rounds/2], fastest[1], took[1][rounds/2], fastest[0]/fastest[1], goal, limit)
	return fastest[0] / fastest[1]
}

// guarded returns hits of nearcache, after it has made sure that they are.
func guarded(b *testing.B, a *arena) func(from, until int) {
	loads := 0
	c, err := nearcache.New(nearcache.Config[contender.Product]{
		MaxBytes: capacity * 600,
		TTL:      nearcache.TTL{L1: contender.TTL, L2: contender.TTL},
		Load: func(context.Context, string) (contender.Product, error) {
			loads++
			return contender.Product{}, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	get := func(from, until int) {
		for i := from; i < until; i++ {
			p, err := c.Get(context.Background(), a.key(i))
			if err != nil || p.ID != 0 {
				panic(fmt.Sprintf("%+v, %v", p, err))
			}
		}
	}
	for loads = 1; loads > 0; time.Sleep(10 * time.Millisecond) { // they are admitted in the background
		loads = 0
		get(0, len(a.stream))
	}
	return get
}

// bare returns hits of Ristretto.
func bare(b *testing.B, a *arena) func(from, until int) {
	c, err := ristretto.NewCache(&ristretto.Config[string, contender.Product]{
		NumCounters: 10 * capacity, MaxCost: capacity, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	for _, key := range a.keys {
		c.SetWithTTL(key, contender.Product{}, 1, contender.TTL)
	}
	c.Wait()
	return func(from, until int) {
		for i := from; i < until; i++ {
			p, ok := c.Get(a.key(i))
			if !ok || p.ID != 0 {
				panic(fmt.Sprintf("%+v, %v", p, ok))
			}
		}
	}
}
