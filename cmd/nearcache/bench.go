package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/spf13/cobra"
)

func benchCommand(o *options, t *terminal) *cobra.Command {
	var turn time.Duration
	c := &cobra.Command{
		Use: "bench", Short: "Measure reads, writes and invalidations on your Redis", Args: cobra.NoArgs,
		Long: `Measures on your Redis, over your network, in a scratch cache that is removed at the
end: a hit in L1, a hit in Redis beside a bare GET, Set, Invalidate, and how long an
invalidation takes from one instance to another. Values have 100 bytes; one caller
asks at a time, but where it says otherwise. Both instances are in this process, so
their clock is one.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(o.unnamed("bench"), within("for", turn, 50*time.Millisecond, time.Minute)); err != nil {
				return err
			}
			return bench(c.Context(), o, t, turn)
		},
	}
	c.Flags().DurationVar(&turn, "for", time.Second, "time for each measurement, 50ms to 1m")
	return c
}

const (
	benchKeys  = 500
	benchBytes = 100
	crowd      = 16 // callers at once
	hits       = 1000
)

// rig is two instances that are measured.
type rig struct {
	ns   *namespace
	keys []string
	a, b *nearcache.Cache[[]byte]
	turn time.Duration

	mu      sync.Mutex
	heard   map[string]chan struct{} // by key: when b has applied its change
	results []result
}

// result is one measurement.
type result struct {
	What string  `json:"what"`
	N    int     `json:"n"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	Max  float64 `json:"max_us"`
	Rate float64 `json:"per_second"`
}

func bench(ctx context.Context, o *options, t *terminal, turn time.Duration) error {
	d, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer d.client.Close()
	r := &rig{ns: d.scratch("bench", o.shards), keys: keysOf(benchKeys), turn: turn, heard: map[string]chan struct{}{}}
	defer r.ns.store.Close()
	err = errors.Join(r.run(ctx, t), r.close())
	t.done()
	if err != nil {
		return err
	}
	if t.json {
		return t.object(struct {
			Place   string   `json:"redis"`
			Shards  int      `json:"shards"`
			Bytes   int      `json:"value_bytes"`
			Results []result `json:"results"`
		}{d.place(), r.ns.shards, benchBytes, r.results})
	}
	return t.print(r.String())
}

func (r *rig) open() (err error) {
	cfg := nearcache.Config[[]byte]{Name: r.ns.name, Redis: r.ns.client, Shards: r.ns.shards, RedisTimeout: patience,
		Codec: codec.Bytes(), MaxBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	if r.a, err = nearcache.New(cfg); err != nil {
		return err
	}
	cfg.Hooks.Announced = func(a nearcache.Announcement) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, key := range a.Keys {
			if heard := r.heard[key]; heard != nil {
				heard <- struct{}{}
				delete(r.heard, key)
			}
		}
	}
	r.b, err = nearcache.New(cfg)
	return err
}

func (r *rig) close() error {
	for _, c := range []*nearcache.Cache[[]byte]{r.a, r.b} {
		if c != nil {
			_ = c.Close()
		}
	}
	return r.ns.sweep(r.keys)
}

// run measures one thing after the other.
func (r *rig) run(ctx context.Context, t *terminal) error {
	if err := r.open(); err != nil {
		return err
	}
	value := make([]byte, benchBytes)
	set := func(i int) error { return r.a.Set(ctx, r.keys[i%benchKeys], value) }
	for i := range r.keys {
		if err := set(i); err != nil {
			return err
		}
	}
	raw := r.ns.tags()[r.ns.store.Shard("k0")] + ":v:k0"
	skip := []nearcache.Option{nearcache.SkipL1()}
	l2 := func(i int) error { _, err := r.a.Get(ctx, r.keys[i%benchKeys], skip...); return err }
	for _, m := range []struct {
		what    string
		callers int
		do      func(i int) error
	}{
		{"bare GET", 1, func(int) error { return r.ns.client.Get(ctx, raw).Err() }},
		{"hit in Redis", 1, l2},
		{fmt.Sprintf("hit in Redis, %d callers", crowd), crowd, l2},
		{"Set", 1, set},
		{"Invalidate", 1, func(i int) error { return r.a.Invalidate(ctx, r.keys[i%benchKeys]) }},
	} {
		t.progress("measuring: %s", m.what)
		if err := r.measure(ctx, m.what, m.callers, m.do); err != nil {
			return fmt.Errorf("%s: %w%s", m.what, err, advice(r.ns.deployment, err))
		}
	}
	t.progress("measuring: hit in L1")
	if err := r.measureHits(ctx, set); err != nil {
		return err
	}
	t.progress("measuring: propagation")
	return r.measure(ctx, "propagation", 1, func(i int) error { return r.propagate(ctx, r.keys[i%benchKeys]) })
}

// measure calls do for a turn, by callers at once.
func (r *rig) measure(ctx context.Context, what string, callers int, do func(i int) error) error {
	took := make([][]time.Duration, callers)
	errs := make([]error, callers)
	var calling sync.WaitGroup
	began := time.Now()
	for c := range callers {
		calling.Go(func() {
			for i := c; time.Since(began) < r.turn; i += callers {
				at := time.Now()
				if errs[c] = errors.Join(do(i), ctx.Err()); errs[c] != nil {
					return
				}
				took[c] = append(took[c], time.Since(at))
			}
		})
	}
	calling.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.results = append(r.results, resultOf(what, slices.Concat(took...), time.Since(began), 1))
	return nil
}

// measureHits times many hits together: a clock is slower than one of them.
func (r *rig) measureHits(ctx context.Context, set func(int) error) error {
	if err := set(0); err != nil {
		return err
	}
	var took []time.Duration
	began, fromL1 := time.Now(), false
	for time.Since(began) < r.turn {
		at := time.Now()
		for range hits {
			if _, err := r.a.Get(ctx, r.keys[0]); err != nil {
				return err
			}
		}
		took = append(took, time.Since(at)/hits)
		var info nearcache.Info
		_, err := r.a.Get(ctx, r.keys[0], nearcache.WithInfo(&info))
		if fromL1 = err == nil && info.Source == nearcache.FromL1; !fromL1 {
			took = nil // not there yet: an entry takes a moment
		}
	}
	if !fromL1 {
		return errors.New("no hit in L1: is Redis so slow that nothing is proven current?")
	}
	r.results = append(r.results, resultOf("hit in L1", took, time.Since(began), hits))
	return nil
}

// propagate waits until the change of a makes it to b.
func (r *rig) propagate(ctx context.Context, key string) error {
	heard := make(chan struct{}, 1)
	r.mu.Lock()
	r.heard[key] = heard
	r.mu.Unlock()
	if err := r.a.Invalidate(ctx, key); err != nil {
		return err
	}
	select {
	case <-heard:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return errors.New("an announcement did not arrive within 5 s: does a proxy swallow Pub/Sub?")
	}
}

func resultOf(what string, took []time.Duration, all time.Duration, each int) result {
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	n := len(took)
	if n == 0 {
		return result{What: what}
	}
	return result{What: what, N: n * each, P50: us(took[n/2]), P99: us(took[n*99/100]), Max: us(took[n-1]), Rate: float64(n*each) / all.Seconds()}
}

// String is a table, 80 columns wide.
func (r *rig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "On %s, %s, values of %d bytes\n\n", r.ns.place(), count(r.ns.shards, "shard"), benchBytes)
	fmt.Fprintf(&b, "%-26s  %10s  %10s  %10s  %12s\n", "", "P50", "P99", "MAX", "PER SECOND")
	d := func(us float64) string { return short(time.Duration(us * 1e3)) }
	for _, m := range r.results {
		fmt.Fprintf(&b, "%-26s  %10s  %10s  %10s  %12.0f\n", m.What, d(m.P50), d(m.P99), d(m.Max), m.Rate)
	}
	b.WriteString("\nPropagation: from the call of Invalidate on one instance to its application on\n" +
		"the other. Hits in L1 are timed a thousand at a time.\n")
	return b.String()
}
