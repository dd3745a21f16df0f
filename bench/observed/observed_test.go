// Package observed compares a hit in L1 that everything is attached to with one that
// nothing is. It is a module of its own, so that bench compares caches with the versions
// of dependencies that they ask for.
package observed

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/otelnearcache"
	"github.com/nearcache/nearcache/promnearcache"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
)

// most is what a hit may take with everything attached, of one with nothing.
const most = 1.05

// observers are OpenTelemetry and Prometheus, with everything of theirs.
type observers struct {
	otel     *otelnearcache.Observer
	reader   *metric.ManualReader
	prom     *promnearcache.Collector
	registry *prometheus.Registry
}

func newObservers(b *testing.B) *observers {
	o := &observers{reader: metric.NewManualReader(), registry: prometheus.NewRegistry()}
	var err error
	if o.otel, err = otelnearcache.New("bench", otelnearcache.Config{
		MeterProvider: metric.NewMeterProvider(metric.WithReader(o.reader)), TracerProvider: trace.NewTracerProvider(),
	}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { o.otel.Close() })
	if o.prom, err = promnearcache.New("bench", o.registry); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { o.prom.Close() })
	return o
}

// observe collects ten times a second until the benchmark ends, as nobody does.
func (o *observers) observe(b *testing.B, cache interface{ Stats() nearcache.Stats }) {
	if err := o.otel.Observe(cache); err != nil {
		b.Fatal(err)
	}
	if err := o.prom.Observe(cache); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			if err := o.collect(); err != nil {
				b.Error(err)
			}
		}
	})
}

func (o *observers) collect() error {
	var all metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &all); err != nil {
		return err
	}
	families, err := o.registry.Gather()
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(io.Discard, family); err != nil {
			return err
		}
	}
	return err
}

// hits returns reads of n keys that L1 has, and their cache.
func hits(b *testing.B, hooks nearcache.Hooks) (get func(n int), c *nearcache.Cache[int]) {
	var loads atomic.Int64
	c, err := nearcache.New(nearcache.Config[int]{
		TTL:   nearcache.TTL{L1: 24 * time.Hour},
		Hooks: hooks,
		Load:  func(context.Context, string) (int, error) { loads.Add(1); return 1, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	keys := make([]string, 1<<10)
	for i := range keys {
		keys[i] = fmt.Sprintf("product:%d", i)
	}
	get = func(n int) {
		for i := range n {
			if v, err := c.Get(context.Background(), keys[i%len(keys)]); v != 1 || err != nil {
				panic(fmt.Sprintf("%d, %v", v, err))
			}
		}
	}
	for before := int64(-1); before != loads.Load(); time.Sleep(10 * time.Millisecond) { // they are admitted in the background
		before = loads.Load()
		get(len(keys))
	}
	return get, c
}

// BenchmarkGuard fails if hooks, OpenTelemetry and Prometheus together cost a hit more
// than a twentieth, or an allocation. It compares many short turns side by side, and takes
// the median of their ratios: the fastest turns may have had the machine for themselves on
// one side only.
//
//	go test -run '^$' -bench Guard -benchtime 1x .
func BenchmarkGuard(b *testing.B) {
	o := newObservers(b)
	nothing, _ := hits(b, nearcache.Hooks{})
	hooks := nearcache.Hooks{
		Start: func(ctx context.Context, _ *nearcache.Operation) context.Context { return ctx },
		End:   func(context.Context, *nearcache.Operation) {},
		Event: func(nearcache.Event) {}, Announced: func(nearcache.Announcement) {}, Sampled: func(string, bool) {},
	}
	everything, cache := hits(b, nearcache.Tee(o.otel.Hooks(), o.prom.Hooks(), hooks))
	if n := testing.AllocsPerRun(1, func() { everything(10_000) }); n > 100 {
		// Ristretto allocates a batch of its read buffer for every 64 hits or so.
		b.Errorf("%v allocations in 10,000 hits", n)
	}
	o.observe(b, cache)
	for _, callers := range []int{1, 4} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var ratio float64
			for b.Loop() {
				ratio = compare(b, callers, everything, nothing)
				if ratio > most { // once may be the machine's doing
					ratio = min(ratio, compare(b, callers, everything, nothing))
				}
			}
			b.ReportMetric(ratio, "ratio")
			b.ReportMetric(0, "ns/op")
			if ratio > most {
				b.Errorf("a hit with everything attached takes %.3f of one with nothing, limit %v", ratio, most)
			}
		})
	}
}

// compare returns the median of the ratios of all rounds, and shows how they spread.
func compare(b *testing.B, callers int, everything, nothing func(n int)) float64 {
	const (
		rounds = 400
		turn   = 20_000 // hits
	)
	var took [2][]float64
	for range rounds {
		for _, side := range rand.Perm(2) {
			get := []func(int){everything, nothing}[side]
			began := time.Now()
			var running sync.WaitGroup
			for range callers {
				running.Go(func() { get(turn / callers) })
			}
			running.Wait()
			took[side] = append(took[side], float64(time.Since(began))/turn)
		}
	}
	ratios := make([]float64, rounds)
	for i := range ratios {
		ratios[i] = took[0][i] / took[1][i]
	}
	slices.Sort(ratios)
	b.Logf("everything %.1f ns, nothing %.1f ns at the fastest; ratio of a round: median %.3f, quartiles %.3f and %.3f; limit %v",
		slices.Min(took[0]), slices.Min(took[1]), ratios[rounds/2], ratios[rounds/4], ratios[rounds*3/4], most)
	return ratios[rounds/2]
}
