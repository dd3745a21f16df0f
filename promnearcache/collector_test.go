package promnearcache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// observed returns a cache with a collector in the registry.
func observed(t testing.TB, registry prometheus.Registerer, name string, cfg nearcache.Config[string]) (*nearcache.Cache[string], *Collector) {
	t.Helper()
	c, err := New(name, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cfg.Hooks = c.Hooks()
	cache, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	if err := c.Observe(cache); err != nil {
		t.Fatal(err)
	}
	return cache, c
}

func value(context.Context, string) (string, error) { return "v", nil }

// series returns the values of a metric, or the counts of a histogram, by the values of
// its labels.
func series(t *testing.T, from prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for _, family := range gather(t, from) {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, pair := range m.GetLabel() {
				labels = append(labels, pair.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if family.GetType() == dto.MetricType_HISTOGRAM {
				v = float64(m.GetHistogram().GetSampleCount())
			}
			values[strings.Join(labels, ",")] = v
		}
	}
	return values
}

// TestHooksAreCounted by what they are told.
func TestHooksAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	cache, _ := observed(t, registry, "users", nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t), Load: value,
	})
	ctx := t.Context()
	for _, err := range []error{
		func() error { _, err := cache.Get(ctx, "a"); return err }(),
		func() error { _, err := cache.GetMany(ctx, []string{"b", "c"}); return err }(),
		cache.Invalidate(ctx, "a"), cache.Set(ctx, "b", "w"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]map[string]float64{
		"nearcache_read_duration_seconds":   {"users,get,ok,loader": 1, "users,get many,ok,loader": 1},
		"nearcache_load_duration_seconds":   {"users,ok": 3},
		"nearcache_change_duration_seconds": {"users,invalidate,ok": 1, "users,set,ok": 1},
		"nearcache_loads_total":             {"users": 3},
		"nearcache_sets_total":              {"users": 1},
	} {
		if got := series(t, registry, name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	// The lag is not known before the second heartbeat, so that the first may not count.
	for deadline := time.Now().Add(time.Minute); series(t, registry, "nearcache_announcement_lag_seconds")["users"] == 0; {
		if err := cache.Invalidate(ctx, "a"); err != nil || time.Now().After(deadline) {
			t.Fatalf("no change was announced here: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestKeysStayInside: no metric tells one.
func TestKeysStayInside(t *testing.T) {
	const secret = "s3cret"
	registry := prometheus.NewPedanticRegistry()
	cache, _ := observed(t, registry, "users", nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t),
		Load: func(_ context.Context, key string) (string, error) { return "", errors.New("bad luck with " + key) },
	})
	ctx := t.Context()
	if _, err := cache.GetMany(ctx, []string{secret + "a", secret + "b"}); err == nil {
		t.Fatal("no error")
	}
	for _, err := range []error{
		cache.Set(ctx, secret, "v", nearcache.WithTags(secret)), cache.Invalidate(ctx, secret), cache.Expire(ctx, secret),
		cache.InvalidateTags(ctx, secret), cache.Clear(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := fmt.Sprint(gather(t, registry))
	if strings.Contains(got, secret) || !strings.Contains(got, "invalidate tags") {
		t.Errorf("metrics: %s", got)
	}
}

// TestStatisticsAreRead when metrics are collected, of each cache its own, until the
// collector is closed.
func TestStatisticsAreRead(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	users, collector := observed(t, registry, "users", nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t), Load: value,
	})
	orders, _ := observed(t, registry, "orders", nearcache.Config[string]{Load: value})
	for _, get := range []struct {
		cache *nearcache.Cache[string]
		key   string
	}{{users, "1"}, {orders, "1"}, {orders, "2"}} {
		if _, err := get.cache.Get(t.Context(), get.key); err != nil {
			t.Fatal(err)
		}
	}
	if got := series(t, registry, "nearcache_loads_total"); got["users"] != 1 || got["orders"] != 2 {
		t.Errorf("loads %v", got)
	}
	if got := series(t, registry, "nearcache_max_staleness_seconds"); got["users"] != 2 || got["orders"] != 0 {
		t.Errorf("bound %v", got)
	}
	collector.Close()
	if got := series(t, registry, "nearcache_loads_total"); len(got) != 1 || got["orders"] != 2 {
		t.Errorf("loads after one was closed: %v", got)
	}
}

// TestProofAge: without a proof it goes on to grow.
func TestProofAge(t *testing.T) {
	c := &Collector{proof: time.Now().Add(-time.Hour)}
	age := func(told time.Duration) time.Duration {
		c.cache = fixed{ProofAge: told}
		s, _ := c.stats()
		return s.ProofAge
	}
	if got := age(-1); got < time.Hour {
		t.Errorf("never proven: %v", got)
	}
	if got := age(time.Minute); got < time.Minute || got > 30*time.Minute {
		t.Errorf("proven a minute ago: %v", got)
	}
	if got := age(-1); got < time.Minute || got > 30*time.Minute {
		t.Errorf("proven a minute ago, and not any more: %v", got)
	}
}

func TestMistakesAreTold(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	told := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	users, err := New("users", registry)
	if err != nil {
		t.Fatal(err)
	}
	_, err = New("users", registry)
	told("taken", err, `the name "users" is taken`)
	_, err = New("", registry)
	told("empty", err, `the name "" must be`)
	_, err = New("\xff", registry)
	told("no text", err, `the name "\xff" must be`)
	told("nothing", users.Observe(nil), "no cache to observe")
	if err := users.Observe(fixed{}); err != nil {
		t.Fatal(err)
	}
	told("twice", users.Observe(fixed{}), "observes a cache already")
	users.Close()
	told("closed", users.Observe(fixed{}), `"users" is closed`)

	again, err := New("users", registry) // the name is free again
	if err != nil {
		t.Fatal(err)
	}
	users.Close() // and is not the closed one's to free
	_, err = New("users", registry)
	told("taken again", err, `the name "users" is taken`)
	again.Close()
}

// TestTogether: everything at once, for the race detector.
func TestTogether(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	cache, collector := observed(t, registry, "users", nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t), Load: value,
	})
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			for n := range 200 {
				key := fmt.Sprint(n % 20)
				if _, err := cache.Get(t.Context(), key); err != nil {
					t.Errorf("Get: %v", err)
				}
				if n%10 == i {
					cache.Invalidate(t.Context(), key)
				}
				if n%50 == 0 {
					if _, err := registry.Gather(); err != nil {
						t.Errorf("Gather: %v", err)
					}
				}
			}
		})
	}
	running.Go(func() { collector.Close() })
	running.Wait()
}

// TestHitsAllocateNothing with all attached.
func TestHitsAllocateNothing(t *testing.T) {
	cache, _ := observed(t, prometheus.NewPedanticRegistry(), "users", nearcache.Config[string]{Load: value})
	ctx := context.Background()
	var info nearcache.Info
	for info.Source != nearcache.FromL1 {
		if _, err := cache.Get(ctx, "k", nearcache.WithInfo(&info)); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := cache.Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}
