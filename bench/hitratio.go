package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/bench/access"
	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
	"github.com/nearcache/nearcache/l1"
)

// HitRatio is how many accesses of a trace a cache of a size answered itself.
type HitRatio struct {
	Trace    string          `json:"trace"`
	Accesses int             `json:"accesses"`
	Distinct int             `json:"distinct_keys"`
	Size     int             `json:"size"` // entries
	Cache    string          `json:"cache"`
	Ratio    measure.Summary `json:"ratio"` // 0 to 1
}

// synthetic are the traces that need no file.
func synthetic(length int) []access.Trace {
	return []access.Trace{
		access.Zipf("Zipf 1.01", 1.01, 100_000, length),
		access.Zipf("Zipf 1.2", 1.2, 100_000, length),
		access.Loop("loop", 10_000, length),
		access.Shifting("shifting hot set", zipfExponent, 10_000, length/6, length),
	}
}

// shares of a trace's distinct keys that the caches have room for, in percent.
var shares = []int{1, 2, 5, 10, 25, 50}

// smallest is the least number of entries that a nearcache can be limited to.
const smallest = 200

// loadTime is what a miss costs: nothing is as fast, and without a pause reads
// outrun the goroutine that admits what they loaded.
const loadTime = 5 * time.Microsecond

// opener opens a cache with room for so many entries. Its Get loads on a miss.
type opener func(entries int, load contender.Load) (get func(key string) error, closeCache func(), err error)

// sized are the caches whose hit ratios are compared.
var sized = []struct {
	name string
	open opener
}{
	{contender.NearcacheL1, sizedNearcache},
	{contender.Ristretto, sizedRistretto},
	{contender.Otter, sizedOtter},
}

func sizedRistretto(entries int, load contender.Load) (func(string) error, func(), error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, contender.Product]{
		NumCounters: int64(10 * entries), MaxCost: int64(entries), BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, nil, err
	}
	return func(key string) error {
		if _, ok := c.Get(key); ok {
			return nil
		}
		p, err := load(context.Background(), key)
		c.Set(key, p, 1)
		return err
	}, c.Close, nil
}

// sizedOtter evicts on its caller's goroutine: on one of its own it may come late,
// and then keeps more than it has room for.
func sizedOtter(entries int, load contender.Load) (func(string) error, func(), error) {
	c, err := otter.New(&otter.Options[string, contender.Product]{
		MaximumSize: entries, Executor: func(evict func()) { evict() },
	})
	if err != nil {
		return nil, nil, err
	}
	loader := otter.LoaderFunc[string, contender.Product](load)
	return func(key string) error {
		_, err := c.Get(context.Background(), key, loader)
		return err
	}, func() { c.StopAllGoroutines() }, nil
}

// sizedNearcache limits bytes, which is all that nearcache can limit, so that it has
// room for as many entries.
func sizedNearcache(entries int, load contender.Load) (func(string) error, func(), error) {
	maxBytes, err := bytesFor(entries)
	if err != nil {
		return nil, nil, err
	}
	c, err := nearcache.New(nearcache.Config[contender.Product]{Load: load, MaxBytes: maxBytes})
	if err != nil {
		return nil, nil, err
	}
	return func(key string) error { _, err := c.Get(context.Background(), key); return err }, func() { c.Close() }, nil
}

// bytesFor returns the limit at which nearcache has room for so many entries.
func bytesFor(entries int) (int64, error) {
	charge, err := chargeOf(traceKey(0))
	if err != nil {
		return 0, err
	}
	room := charge * int64(entries)
	maxBytes := room
	for l1.Room(maxBytes) < room {
		maxBytes += room - l1.Room(maxBytes)
	}
	return maxBytes, nil
}

// chargeOf returns what nearcache charges for the entry of one key.
func chargeOf(key string) (int64, error) {
	c, err := nearcache.New(nearcache.Config[contender.Product]{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Set(context.Background(), key, contender.Product{}); err != nil {
		return 0, err
	}
	for range 1000 {
		if charge := c.Stats().L1Bytes; charge > 0 {
			return charge, nil
		}
		time.Sleep(time.Millisecond) // it is admitted in the background
	}
	return 0, fmt.Errorf("nearcache does not keep the key %q", key)
}

// traceKey has the same length for all.
func traceKey(n int) string { return fmt.Sprintf("%08d", n) }

// hitRatios lets every cache of every size follow every trace.
func hitRatios(traces []access.Trace, repeats int, progress func(done, all int, on string)) ([]HitRatio, error) {
	var out []HitRatio
	all, done := len(traces)*len(shares)*len(sized)*repeats, 0
	for _, trace := range traces {
		keys := make([]string, trace.Distinct)
		for i := range keys {
			keys[i] = traceKey(i)
		}
		for _, share := range shares {
			size := trace.Distinct * share / 100
			if size < smallest {
				done += len(sized) * repeats
				continue
			}
			for _, cache := range sized {
				one := HitRatio{Trace: trace.Name, Accesses: len(trace.Accesses), Distinct: trace.Distinct, Size: size, Cache: cache.name}
				var ratios []float64
				for range repeats {
					progress(done, all, fmt.Sprintf("%s, %s", trace.Name, cache.name))
					done++
					ratio, err := hitRatio(cache.open, size, trace, keys)
					if err != nil {
						return nil, fmt.Errorf("%s of %d entries: %w", cache.name, size, err)
					}
					ratios = append(ratios, ratio)
				}
				one.Ratio = measure.Summarize(ratios)
				out = append(out, one)
			}
		}
	}
	return out, nil
}

// hitRatio has one cache follow a trace.
func hitRatio(open opener, size int, trace access.Trace, keys []string) (float64, error) {
	misses := 0
	get, closeCache, err := open(size, func(context.Context, string) (contender.Product, error) {
		misses++
		pause(loadTime)
		return contender.Product{}, nil
	})
	if err != nil {
		return 0, err
	}
	defer closeCache()
	for _, n := range trace.Accesses {
		if err := get(keys[n]); err != nil {
			return 0, err
		}
	}
	return 1 - float64(misses)/float64(len(trace.Accesses)), nil
}

// pause waits too briefly for a timer, and leaves the processor to others.
func pause(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
		runtime.Gosched()
	}
}
