package nearcache_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestExplain: in every state the explanation names the rule, and the next Get does what
// it says.
func TestExplain(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		change func(t *testing.T, f *fleet, key string) // by the other instance, unless it says otherwise
		next   string                                   // begins so
		says   []string
		source nearcache.Source
	}{
		"cold": {func(*testing.T, *fleet, string) {}, "load: Redis does not have it", []string{"L1 does not hold it", "nothing, refused"}, nearcache.FromLoader},
		"filled by another": {func(t *testing.T, f *fleet, key string) { f.reads(t, 1, key) },
			"L2 hit: L1 does not hold it", []string{"L2       value, taken", "bytes", "proof"}, nearcache.FromL2},
		"in both": {func(t *testing.T, f *fleet, key string) { f.reads(t, 0, key) },
			"L1 hit", []string{"L1       value, taken", "L2       value, taken"}, nearcache.FromL1},
		"invalidated": {func(t *testing.T, f *fleet, key string) {
			f.reads(t, 0, key)
			f.changed(t, key, f.caches[1].Invalidate(ctx, key))
		}, "load: Redis does not have it", nil, nearcache.FromLoader},
		"expired softly": {func(t *testing.T, f *fleet, key string) {
			f.reads(t, 0, key)
			f.changed(t, key, f.caches[1].Expire(ctx, key))
		}, "load: it was expired", nil, nearcache.FromLoader},
		"tag invalidated": {func(t *testing.T, f *fleet, key string) {
			f.reads(t, 0, key, nearcache.WithTags("red"))
			f.changed(t, key, f.caches[1].InvalidateTags(ctx, "red"))
		}, `load: its tag "red" was invalidated since`, []string{`tags ["red"]`}, nearcache.FromLoader},
		"cleared": {func(t *testing.T, f *fleet, key string) {
			f.reads(t, 0, key)
			f.changed(t, key, f.caches[1].Clear(ctx))
		}, "load: born before a Clear", nil, nearcache.FromLoader},
		"garbage": {func(t *testing.T, f *fleet, key string) {
			if err := f.server.Client(t).Set(ctx, "{products}:v:"+key, "\x00\x01 nonsense", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}, "load: it cannot be read", []string{"garbage"}, nearcache.FromLoader},
	} {
		t.Run(name, func(t *testing.T) {
			f := launch(t, 2)
			key := "k"
			f.source.put(key, 1)
			c.change(t, f, key)
			x, err := f.caches[0].Explain(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(x.Next, c.next) {
				t.Errorf("the next Get: %q, want %q", x.Next, c.next)
			}
			for _, part := range c.says {
				if !strings.Contains(x.String(), part) {
					t.Errorf("it does not say %q:\n%s", part, x)
				}
			}
			var info nearcache.Info
			if _, err := f.caches[0].Get(ctx, key, nearcache.WithInfo(&info)); err != nil || info.Source != c.source {
				t.Errorf("the Get after it: %v from %v, want from %v\n%s", err, info.Source, c.source, x)
			}
			for line := range strings.Lines(x.String()) {
				if len(line) > 81 {
					t.Errorf("a line of %d columns: %s", len(line), line)
				}
			}
		})
	}
}

// reads has an instance read key, until it is an L1 hit there and L2 holds it.
func (f *fleet) reads(t *testing.T, instance int, key string, opts ...nearcache.Option) {
	t.Helper()
	eventually(t, "an L1 hit", func() bool {
		var info nearcache.Info
		_, err := f.caches[instance].Get(context.Background(), key, append(opts, nearcache.WithInfo(&info))...)
		return err == nil && info.Source == nearcache.FromL1
	})
	f.filled(t, key)
}

// filled waits until L2 holds the value of key: it is filled behind the reader's back.
func (f *fleet) filled(t *testing.T, key string) {
	t.Helper()
	eventually(t, "L2 holds "+key, func() bool {
		x, err := f.caches[0].Explain(context.Background(), key)
		return err == nil && x.L2.Holds == "value"
	})
}

// changed waits until a change by another instance has been applied on the first.
func (f *fleet) changed(t *testing.T, key string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is applied", func() bool {
		x, err := f.caches[0].Explain(context.Background(), key)
		return err == nil && x.L1.Refused != ""
	})
}

// TestExplainLoadUnderWay: here, and on another instance.
func TestExplainLoadUnderWay(t *testing.T) {
	f, release := launch(t, 2), make(chan struct{})
	f.source.put("k", 1)
	f.source.hold("k", release)
	loading := make(chan struct{})
	go func() { defer close(loading); f.caches[1].Get(context.Background(), "k") }()
	eventually(t, "the load begins", func() bool { return f.source.loads.Load() == 1 })
	for i, want := range []string{"waits for another instance's load", "waits for the load under way here"} {
		x, err := f.caches[i].Explain(context.Background(), "k")
		if err != nil || !strings.HasPrefix(x.Next, want) || x.L2.Holds != "lease" || x.L2.Left <= 0 {
			t.Errorf("instance %d: %v, want %q\n%s", i, err, want, x)
		}
	}
	close(release)
	<-loading
}

// TestExplainWithoutRedis: one that is away, and none at all.
func TestExplainWithoutRedis(t *testing.T) {
	server := redistest.StartProcess(t)
	cache, err := nearcache.New(nearcache.Config[string]{Name: "n", Redis: server.Client(t), MaxStaleness: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	server.Kill(t)
	eventually(t, "the breaker opens", func() bool { cache.Get(context.Background(), "k"); return cache.Stats().RedisAway > 0 })
	x, err := cache.Explain(context.Background(), "k")
	if err != nil || x.L2.Holds != "" || x.L2.Refused == "" || !strings.HasPrefix(x.Next, "miss: ") {
		t.Errorf("%v\n%s", err, x)
	}
	alone, err := nearcache.New(nearcache.Config[string]{})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if x, err := alone.Explain(context.Background(), "k"); err != nil || x.Next != "miss: there is no Redis" {
		t.Errorf("%v\n%s", err, x)
	}
	if _, err := alone.Explain(context.Background(), ""); err == nil {
		t.Error("an empty key was explained")
	}
}
