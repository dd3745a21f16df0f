package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/redis/go-redis/v9"
)

// The stories of this file play in two worlds: on a real server in real time, where
// they are short, and in virtual time, where they are as long as they need and
// every pause is exact.

// era is a world and how its time runs.
type era struct {
	world
	virtual bool
}

func inBothEras(t *testing.T, story func(t *testing.T, e era)) {
	t.Run("real time", func(t *testing.T) { story(t, era{sockets(t), false}) })
	t.Run("virtual time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { story(t, era{bubble(t), true}) })
	})
}

// long returns a duration for virtual time, else a short one.
func (e era) long(virtual, real time.Duration) time.Duration {
	if e.virtual {
		return virtual
	}
	return real
}

// origin is a source that can be slow and that can fail, and that notes when it was
// asked.
type origin struct {
	mu      sync.Mutex
	takes   time.Duration
	failure error
	version int
	asked   map[string][]time.Time
	running int
	most    int // loads at once
}

func (o *origin) set(change func(*origin)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *origin) loads(key string) []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]time.Time(nil), o.asked[key]...)
}

func (o *origin) load(ctx context.Context, key string) (int, error) {
	o.mu.Lock()
	takes, failure, version := o.takes, o.failure, o.version
	if o.asked == nil {
		o.asked = make(map[string][]time.Time)
	}
	o.asked[key] = append(o.asked[key], time.Now())
	o.running++
	o.most = max(o.most, o.running)
	o.mu.Unlock()
	defer o.set(func(o *origin) { o.running-- })
	select {
	case <-time.After(takes):
		return version, failure
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

var errDown = errors.New("the database is down")

// numbers starts n instances over o.
func (e era) numbers(t *testing.T, n int, o *origin, change func(*nearcache.Config[int])) []*nearcache.Cache[int] {
	t.Helper()
	var caches []*nearcache.Cache[int]
	for range n {
		client, _ := e.join(&redis.Options{})
		t.Cleanup(func() { client.Close() })
		cfg := nearcache.Config[int]{
			Name: "products", Redis: client, Load: o.load, TTLJitter: -1, RedisTimeout: calm, RefreshAhead: -1,
			Logger: slog.New(slog.DiscardHandler),
		}
		change(&cfg)
		c, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		caches = append(caches, c)
	}
	return caches
}

// stored waits until the value of key is in Redis, and returns what it says of it.
func (e era) stored(t *testing.T, key string, holds func(codec.Header) bool) codec.Header {
	t.Helper()
	var h codec.Header
	eventually(t, "the value of "+key+" in Redis is as it should", func() bool {
		data, err := e.admin.Get(context.Background(), "{products}:v:"+key).Bytes()
		if err != nil {
			return false
		}
		h, _, err = codec.Open(data)
		return err == nil && holds(h)
	})
	return h
}

func settledDown(h codec.Header) bool { return h.Claim.Kind == codec.NoClaim }

// TestDatabaseDown: with StaleIfError no reader of a known key sees that the
// database is down, and the fleet asks for a key once in a back-off.
func TestDatabaseDown(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		const backOff = 400 * time.Millisecond
		o := &origin{version: 1}
		caches := e.numbers(t, 3, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: 100 * time.Millisecond, L2: 200 * time.Millisecond, StaleIfError: time.Hour}
			c.ErrorBackoff = backOff
		})
		ctx := context.Background()
		keys := []string{"a", "b", "c"}
		read := func() (stale int) {
			for _, c := range caches {
				for _, key := range keys {
					var info nearcache.Info
					if v, err := c.Get(ctx, key, nearcache.WithInfo(&info)); err != nil || v != 1 {
						t.Fatalf("a reader of %s was answered %d, %v", key, v, err)
					}
					if info.Stale {
						stale++
					}
				}
			}
			return stale
		}
		read()
		for _, key := range keys {
			e.stored(t, key, settledDown)
		}
		before := len(o.loads("a"))
		o.set(func(o *origin) { o.failure = errDown })
		stale := 0
		for end := time.Now().Add(e.long(30*time.Second, 2*time.Second)); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			stale += read()
		}
		if stale == 0 || caches[0].Stats().StaleServed == 0 {
			t.Error("nobody was told that what they got was stale")
		}
		for _, key := range keys {
			tries := o.loads(key)[before:]
			if len(tries) < 3 {
				t.Errorf("%s was tried %d times only", key, len(tries))
			}
			for i := 1; i < len(tries); i++ {
				if gap := tries[i].Sub(tries[i-1]); gap < backOff {
					t.Errorf("%s was tried again after %v, back-off %v", key, gap, backOff)
				}
			}
		}
		o.set(func(o *origin) { o.failure, o.version = nil, 2 })
		for _, c := range caches {
			eventually(t, "the new value once the database is back", func() bool {
				v, err := c.Get(ctx, "a")
				return err == nil && v == 2
			})
		}
	})
}

// TestStandInsEnd: a value stands in for as long as it was told to, and not at all
// once it was invalidated or for readers past L1.
func TestStandInsEnd(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: 50 * time.Millisecond, L2: 50 * time.Millisecond, StaleIfError: time.Second}
			c.ErrorBackoff = time.Millisecond
		})[0]
		ctx := context.Background()
		get := func(key string, opts ...nearcache.Option) error {
			_, err := c.Get(ctx, key, opts...)
			return err
		}
		for _, key := range []string{"kept", "invalidated"} {
			if err := get(key); err != nil {
				t.Fatal(err)
			}
			e.stored(t, key, settledDown)
		}
		o.set(func(o *origin) { o.failure = errDown })
		if err := c.Invalidate(ctx, "invalidated"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond) // lives are over
		if err := get("kept"); err != nil {
			t.Errorf("nothing stood in: %v", err)
		}
		if err := get("kept", nearcache.SkipL1()); !errors.Is(err, errDown) {
			t.Errorf("a read past L1 was answered %v, want the loader's error", err)
		}
		if err := get("invalidated"); !errors.Is(err, errDown) {
			t.Errorf("what was invalidated was answered %v, want the loader's error", err)
		}
		time.Sleep(1100 * time.Millisecond)
		if err := get("kept"); !errors.Is(err, errDown) {
			t.Errorf("after StaleIfError: %v, want the loader's error", err)
		}
	})
}

// TestSoftTimeout: where an old value is at hand, a slow load is waited for just so
// long; it goes on, and fills both tiers.
func TestSoftTimeout(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		takes := e.long(3*time.Second, 600*time.Millisecond)
		o := &origin{version: 1}
		caches := e.numbers(t, 2, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: time.Minute, L2: time.Minute, StaleIfError: time.Hour}
			c.LoadSoftTimeout = 100 * time.Millisecond
			c.MaxStaleness = time.Hour // nothing but the life ends what is in L1
		})
		ctx := context.Background()
		brief := nearcache.WithTTL(nearcache.TTL{L1: 50 * time.Millisecond, L2: 50 * time.Millisecond})
		if _, err := caches[0].Get(ctx, "k", brief); err != nil {
			t.Fatal(err)
		}
		e.stored(t, "k", settledDown)
		time.Sleep(60 * time.Millisecond)
		o.set(func(o *origin) { o.takes, o.version = takes, 2 })
		began := time.Now()
		for i, c := range caches { // the second one waits for the first one's claim
			var info nearcache.Info
			if v, err := c.Get(ctx, "k", nearcache.WithInfo(&info)); err != nil || v != 1 || !info.Stale {
				t.Fatalf("instance %d answered %d, %v, %+v; want the old value", i, v, err, info)
			}
		}
		if after := time.Since(began); e.virtual && after != 200*time.Millisecond {
			t.Errorf("both were answered after %v, want 100 ms each", after)
		}
		for i, c := range caches {
			eventually(t, fmt.Sprint("the new value on instance ", i), func() bool {
				v, err := c.Get(ctx, "k")
				return err == nil && v == 2
			})
		}
		if h := e.stored(t, "k", settledDown); h.Cost < takes {
			t.Errorf("Redis says that the load took %v, want at least %v", h.Cost, takes)
		}
		if n := len(o.loads("k")); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
}

// TestRefreshAhead: no reader of a hot key waits for the loader, life after life,
// and one instance loads for all.
func TestRefreshAhead(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		life := e.long(5*time.Second, time.Second)
		lives := e.long(10, 3)
		o := &origin{version: 1, takes: 20 * time.Millisecond}
		caches := e.numbers(t, 2, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: life, L2: life}
			c.RefreshAhead = 1
		})
		ctx := context.Background()
		if _, err := caches[0].Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		e.stored(t, "k", settledDown)
		reads, waits := 0, 0
		for end := time.Now().Add(lives * life); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
			for _, c := range caches {
				var info nearcache.Info
				if _, err := c.Get(ctx, "k", nearcache.WithInfo(&info)); err != nil {
					t.Fatal(err)
				}
				if reads++; info.Source == nearcache.FromLoader {
					waits++
				}
			}
		}
		n := len(o.loads("k")) - 1
		t.Logf("%d reads in %d lives, %d loads", reads, lives, n)
		if waits > 0 {
			t.Errorf("%d reads waited for the loader", waits)
		}
		if n < int(lives)-1 || n > int(lives)+2 {
			t.Errorf("%d loads in %d lives", n, lives)
		}
	})
}

// TestFailedRefreshExtendsNothing: a value whose refresh fails dies when it would
// have died.
func TestFailedRefreshExtendsNothing(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		const life = time.Second
		o := &origin{version: 1, takes: 30 * time.Millisecond}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: life, L2: life}
			c.RefreshAhead, c.ErrorBackoff = 1, 5*time.Millisecond
		})[0]
		ctx := context.Background()
		if _, err := c.Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		filled := time.Now()
		o.set(func(o *origin) { o.failure = errDown })
		var err error
		for err == nil {
			if time.Since(filled) > 3*life {
				t.Fatal("the value is still answered")
			}
			time.Sleep(100 * time.Microsecond)
			_, err = c.Get(ctx, "k")
		}
		if !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		if c.Stats().Refreshes == 0 {
			t.Error("nobody tried to refresh it")
		}
		if after := time.Since(filled); e.virtual && (after < life || after > life+31*time.Millisecond) {
			t.Errorf("the first error came after %v, life %v", after, life)
		}
	})
}

// TestExpire: the old value stands in while one reader loads, or if it fails.
func TestExpire(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1}
		caches := e.numbers(t, 2, o, func(c *nearcache.Config[int]) { c.ErrorBackoff = time.Millisecond })
		testExpire(t, o, caches[0], caches[1], func() { e.stored(t, "k", settledDown) })
	})
	t.Run("L1 only", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := &origin{version: 1}
			c, err := nearcache.New(nearcache.Config[int]{Load: o.load, ErrorBackoff: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			testExpire(t, o, c, c, func() { time.Sleep(time.Millisecond) })
		})
	})
}

func testExpire(t *testing.T, o *origin, one, other *nearcache.Cache[int], stored func()) {
	ctx := context.Background()
	get := func(c *nearcache.Cache[int]) (int, bool, error) {
		var info nearcache.Info
		v, err := c.Get(ctx, "k", nearcache.WithInfo(&info))
		return v, info.Stale, err
	}
	expire := func() {
		t.Helper()
		stored()
		if err := one.Expire(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := get(one); err != nil {
		t.Fatal(err)
	}
	expire()
	o.set(func(o *origin) { o.version, o.takes = 2, 200*time.Millisecond })
	var loader sync.WaitGroup
	loader.Go(func() {
		if v, stale, err := get(one); v != 2 || stale || err != nil {
			t.Errorf("who loads was answered %d, %v, %v; want the new value", v, stale, err)
		}
	})
	for len(o.loads("k")) < 2 {
		time.Sleep(time.Millisecond)
	}
	if v, stale, err := get(other); v != 1 || !stale || err != nil {
		t.Errorf("another reader meanwhile was answered %d, %v, %v; want the old value", v, stale, err)
	}
	loader.Wait()
	if v, stale, err := get(one); v != 2 || stale || err != nil {
		t.Errorf("afterwards: %d, %v, %v", v, stale, err)
	}
	expire()
	o.set(func(o *origin) { o.failure, o.takes = errDown, 0 })
	if v, stale, err := get(one); v != 2 || !stale || err != nil {
		t.Errorf("the load failed: %d, %v, %v; want the old value", v, stale, err)
	}
	if err := one.Invalidate(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(one); !errors.Is(err, errDown) {
		t.Errorf("invalidated, and the load failed: %v, want its error", err)
	}
}

// TestErrorBackOff: a key whose load fails is left alone for a while; its readers
// get the same error.
func TestErrorBackOff(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		const backOff = 200 * time.Millisecond
		o := &origin{failure: errDown}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) { c.ErrorBackoff = backOff })[0]
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := c.Get(context.Background(), "k"); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		tries := o.loads("k")
		for i := 1; i < len(tries); i++ {
			if gap := tries[i].Sub(tries[i-1]); gap < backOff {
				t.Errorf("tried again after %v, back-off %v", gap, backOff)
			}
		}
		if err := c.Invalidate(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(context.Background(), "k"); !errors.Is(err, errDown) || len(o.loads("k")) != len(tries)+1 {
			t.Errorf("an invalidation does not end the back-off: %v", err)
		}
	})
}

// TestIdle: a life is prolonged by reading, whichever tier answers, and up to its
// cap.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, limit = 10 * time.Second, 5 * time.Minute
		e := era{bubble(t), true}
		o := &origin{version: 1}
		caches := e.numbers(t, 2, o, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: time.Minute, L2: limit, Idle: idle}
		})
		get := func(i int) {
			if _, err := caches[i].Get(context.Background(), "k"); err != nil {
				t.Fatal(err)
			}
		}
		get(0)
		began := time.Now()
		for time.Since(began) < limit-5*time.Second {
			time.Sleep(3 * time.Second)
			get(0)
		}
		if n := len(o.loads("k")); n != 1 {
			t.Fatalf("%d loads of a value that was read all the time", n)
		}
		get(1)
		time.Sleep(10 * time.Second) // past the cap
		get(0)
		if n := len(o.loads("k")); n != 2 {
			t.Fatalf("%d loads, want one more after the cap", n)
		}
		time.Sleep(idle + idle/8 + time.Second)
		get(0)
		get(1)
		if n := len(o.loads("k")); n != 3 {
			t.Fatalf("%d loads, want one more after nobody asked", n)
		}
	})
}

// TestConditionalRefresh: the loader is shown the old value, and one that is still
// current lives on without being moved.
func TestConditionalRefresh(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		var asked []nearcache.Item[int]
		var mu sync.Mutex
		current := "v1"
		caches := e.numbers(t, 2, nil, func(c *nearcache.Config[int]) {
			c.TTL = nearcache.TTL{L1: 100 * time.Millisecond, L2: 100 * time.Millisecond, StaleIfError: time.Hour}
			c.Load = nil
			c.LoadItem = func(_ context.Context, _ string, item *nearcache.Item[int]) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, *item)
				if item.HasOld && item.Validator == current {
					return 0, nearcache.ErrNotModified
				}
				item.Validator = current
				return len(asked), nil
			}
		})
		ctx := context.Background()
		want := func(i, version int) {
			t.Helper()
			if v, err := caches[i].Get(ctx, "k"); err != nil || v != version {
				t.Fatalf("instance %d answered %d, %v; want %d", i, v, err, version)
			}
		}
		want(0, 1)
		first := e.stored(t, "k", settledDown)
		time.Sleep(110 * time.Millisecond)
		want(0, 1)
		renewed := e.stored(t, "k", func(h codec.Header) bool { return h.Expires > first.Expires })
		if renewed.Validator != "v1" {
			t.Errorf("the renewed value has the validator %q", renewed.Validator)
		}
		want(1, 1)
		mu.Lock()
		if len(asked) != 2 || asked[0].HasOld || !asked[1].HasOld || asked[1].Old != 1 || asked[1].Validator != "v1" {
			t.Errorf("the loader was told %+v", asked)
		}
		current = "v2"
		mu.Unlock()
		time.Sleep(110 * time.Millisecond)
		want(1, 3)
		e.stored(t, "k", func(h codec.Header) bool { return h.Validator == "v2" })
	})
}

// TestLoaderDecides: what a loader says of a value's life holds.
func TestLoaderDecides(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		var loads atomic.Int64
		c := e.numbers(t, 1, nil, func(c *nearcache.Config[int]) {
			c.Load = nil
			c.LoadItem = func(_ context.Context, key string, item *nearcache.Item[int]) (int, error) {
				switch key {
				case "keep nowhere":
					item.TTL = nearcache.TTL{L1: -1, L2: -1}
				case "impossible":
					item.TTL = nearcache.TTL{L1: time.Hour, L2: time.Minute}
				case "unmodified":
					return 0, nearcache.ErrNotModified
				}
				return int(loads.Add(1)), nil
			}
		})[0]
		ctx := context.Background()
		for range 3 {
			if _, err := c.Get(ctx, "keep nowhere"); err != nil {
				t.Fatal(err)
			}
		}
		if loads.Load() != 3 || e.admin.Exists(ctx, "{products}:v:keep nowhere").Val() != 0 {
			eventually(t, "the lease is given back", func() bool { return e.admin.Exists(ctx, "{products}:v:keep nowhere").Val() == 0 })
			if loads.Load() != 3 {
				t.Errorf("%d loads of a value that is kept nowhere, want 3", loads.Load())
			}
		}
		for _, key := range []string{"impossible", "unmodified"} {
			if v, err := c.Get(ctx, key); err == nil {
				t.Errorf("%s: %d, want an error", key, v)
			}
		}
	})
}

// TestMaxConcurrentLoads: no more loads run than may; who waits leaves at its own
// deadline.
func TestMaxConcurrentLoads(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1, takes: 50 * time.Millisecond}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) { c.MaxConcurrentLoads = 3 })[0]
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				if _, err := c.Get(context.Background(), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Get(ctx, "late"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller in the queue whose time was over got %v", err)
		}
		callers.Wait()
		if o.most != 3 {
			t.Errorf("%d loads at once, want 3", o.most)
		}
	})
}

// BenchmarkFeatures compares a hit with every feature on to one with all of them off,
// in turns: the ratio of the fastest of many turns each is reported.
//
//	go test -run '^$' -bench Features -benchtime 1x .
func BenchmarkFeatures(b *testing.B) {
	open := func(change func(*nearcache.Config[[200]byte])) *nearcache.Cache[[200]byte] {
		cfg := nearcache.Config[[200]byte]{RefreshAhead: -1, ErrorBackoff: -1}
		change(&cfg)
		c, err := nearcache.New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		return c
	}
	off := open(func(c *nearcache.Config[[200]byte]) {
		c.Load = func(context.Context, string) (v [200]byte, err error) { return v, nil }
	})
	on := open(func(c *nearcache.Config[[200]byte]) {
		c.RefreshAhead, c.ErrorBackoff, c.MaxConcurrentLoads = 1, 0, 10
		c.LoadSoftTimeout = time.Second
		c.TTL = nearcache.TTL{L1: time.Hour, StaleIfError: time.Hour, Idle: time.Hour}
		c.LoadItem = func(_ context.Context, _ string, item *nearcache.Item[[200]byte]) (v [200]byte, err error) {
			item.Validator = "v1"
			return v, nil
		}
	})
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("product:%08d", i)
	}
	turn := func(c *nearcache.Cache[[200]byte]) time.Duration {
		began := time.Now()
		for n := range 50_000 {
			if _, err := c.Get(context.Background(), keys[n*7919%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began) / 50_000
	}
	for b.Loop() {
		fastest := [2]time.Duration{time.Hour, time.Hour}
		for range 60 {
			for i, c := range []*nearcache.Cache[[200]byte]{off, on} {
				fastest[i] = min(fastest[i], turn(c))
			}
		}
		b.ReportMetric(float64(fastest[0]), "ns-off")
		b.ReportMetric(float64(fastest[1]), "ns-on")
		b.ReportMetric(float64(fastest[1])/float64(fastest[0]), "ratio")
	}
	b.ReportMetric(0, "ns/op")
}
