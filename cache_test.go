package nearcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/redis/go-redis/v9"
)

func TestHitAllocatesNothing(t *testing.T) {
	f := launch(t, 1)
	f.source.put("1", 1)
	f.settled(t, 0, "1", 1)
	ctx, c := context.Background(), f.caches[0]
	var info nearcache.Info
	tag := fmt.Sprint("tag", len(f.caches)) // not a constant
	for name, get := range map[string]func() (product, error){
		"plain": func() (product, error) { return c.Get(ctx, "1") },
		"with options": func() (product, error) {
			return c.Get(ctx, "1", nearcache.WithTTL(nearcache.TTL{L1: time.Second}),
				nearcache.WithMaxStaleness(time.Second), nearcache.WithInfo(&info), nearcache.WithTags("red", tag))
		},
	} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("a hit %s allocates %v times", name, n)
		}
	}
	if info.Source != nearcache.FromL1 {
		t.Fatalf("measured reads from %v", info.Source)
	}
}

// TestEveryMistakeIsReported: New names each field that is wrong, its value and
// its bound.
func TestEveryMistakeIsReported(t *testing.T) {
	replicas := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, RouteRandomly: true})
	t.Cleanup(func() { replicas.Close() })
	redis := launch(t, 0).server.Client(t)
	for name, c := range map[string]struct {
		cfg  nearcache.Config[int]
		want []string
	}{
		"several at once": {
			nearcache.Config[int]{MaxBytes: -1, TTL: nearcache.TTL{L1: time.Microsecond}, TTLJitter: 1, MaxStaleness: -1},
			[]string{"MaxBytes is -1, must be 65536", "TTL.L1 is 1µs, must be 1ms", "TTLJitter is 1", "MaxStaleness is -1ns"},
		},
		"L1 outlives L2": {
			nearcache.Config[int]{Redis: redis, Name: "n", TTL: nearcache.TTL{L1: 2 * time.Hour, L2: time.Hour}},
			[]string{"TTL.L1 is 2h0m0s, must not exceed TTL.L2, which is 1h0m0s"},
		},
		"no name":       {nearcache.Config[int]{Redis: redis}, []string{"Name of 0 bytes"}},
		"name of keys":  {nearcache.Config[int]{Redis: redis, Name: "a{b"}, []string{`Name "a{b" must not contain '{'`}},
		"limits":        {nearcache.Config[int]{MaxKeyBytes: 1 << 20, MaxValueBytes: -5}, []string{"MaxKeyBytes is 1048576", "MaxValueBytes is -5"}},
		"times":         {nearcache.Config[int]{LoadTimeout: -1, RedisTimeout: time.Hour}, []string{"LoadTimeout is -1ns", "RedisTimeout is 1h0m0s"}},
		"recovery":      {nearcache.Config[int]{RecoveryWindow: time.Millisecond, Shards: 5000}, []string{"RecoveryWindow is 1ms", "Shards is 5000"}},
		"other lives":   {nearcache.Config[int]{TTL: nearcache.TTL{L2: 5, Negative: 5}}, []string{"TTL.L2 is 5ns", "TTL.Negative is 5ns"}},
		"too long":      {nearcache.Config[int]{TTL: nearcache.TTL{L1: 1 << 62}}, []string{"TTL.L1 is"}},
		"replicas":      {nearcache.Config[int]{Name: "n", Redis: replicas}, []string{"reads from replicas"}},
		"not a number?": {nearcache.Config[int]{TTLJitter: 5}, []string{"TTLJitter is 5, must be below 1"}},
	} {
		cache, err := nearcache.New(c.cfg)
		if err == nil {
			cache.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}

func TestBadInput(t *testing.T) {
	f := launch(t, 1, func(c *nearcache.Config[product]) { c.MaxValueBytes = 1000 })
	ctx, c := context.Background(), f.caches[0]
	f.source.put("1", 1)
	for _, key := range []string{"", strings.Repeat("k", 1025)} {
		_, err := c.Get(ctx, key)
		for op, err := range map[string]error{"get": err, "set": c.Set(ctx, key, product{}), "invalidate": c.Invalidate(ctx, "1", key)} {
			if !errors.Is(err, nearcache.ErrKey) {
				t.Errorf("%s of a key of %d bytes: %v", op, len(key), err)
			}
		}
	}
	if err := c.Set(ctx, "1", product{ID: strings.Repeat("x", 1000)}); !errors.Is(err, nearcache.ErrValue) {
		t.Errorf("set of a large value: %v", err)
	}
	if err := c.Set(ctx, "1", product{}, nearcache.WithTTL(nearcache.TTL{L1: time.Minute, L2: time.Second})); err == nil {
		t.Error("an L1 TTL longer than L2's was taken")
	}
	// A read does not fail because of what cannot be kept.
	big := strings.Repeat("x", 1000)
	f.source.put(big, 1)
	f.settled(t, 0, big, 1)
}

func TestSharedValueOrClone(t *testing.T) {
	clone := func(c *nearcache.Config[product]) {
		c.Clone = func(p product) product { p.Tags = append([]string(nil), p.Tags...); return p }
	}
	f := launch(t, 1, clone)
	f.source.put("1", 1)
	f.settled(t, 0, "1", 1)
	p, _ := f.caches[0].Get(context.Background(), "1")
	p.Tags[0] = "scribbled"
	if q, _ := f.caches[0].Get(context.Background(), "1"); q.Tags[0] != "a" {
		t.Fatal("a caller changed the value of others")
	}
}

// TestLoadersThatFailThroughGet: nobody hangs, and everybody learns why.
func TestLoadersThatFailThroughGet(t *testing.T) {
	boom := errors.New("boom")
	loaders := map[string]func(context.Context) error{
		"error":  func(context.Context) error { return boom },
		"panic":  func(context.Context) error { panic(boom) },
		"goexit": func(context.Context) error { runtime.Goexit(); return nil },
		"slow":   func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	}
	f := launch(t, 1, func(c *nearcache.Config[product]) {
		c.LoadTimeout = 50 * time.Millisecond
		c.Load = func(ctx context.Context, key string) (product, error) { return product{}, loaders[key](ctx) }
	})
	for key, want := range map[string]error{"error": boom, "panic": boom, "goexit": nearcache.ErrGoexit, "slow": nearcache.ErrLoadTimeout} {
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if _, err := f.caches[0].Get(context.Background(), key); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", key, err, want)
				}
			})
		}
		callers.Wait()
	}
	redis := f.server.Client(t)
	eventually(t, "failed loads give their leases back", func() bool {
		return redis.Exists(context.Background(), "{products}:v:error", "{products}:v:slow").Val() == 0
	})
}

func TestCloseUnderUse(t *testing.T) {
	for range 5 {
		f := launch(t, 1)
		c := f.caches[0]
		var users sync.WaitGroup
		for i := range 8 {
			users.Go(func() {
				for n := 0; ; n++ {
					key := fmt.Sprint(n % 20)
					f.source.put(key, 1)
					_, err := c.Get(context.Background(), key)
					if i == 0 {
						err = errors.Join(err, c.Invalidate(context.Background(), key))
					}
					if errors.Is(err, nearcache.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("beside Close: %v", err)
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		users.Go(func() { c.Close() })
		users.Go(func() { c.Close() })
		users.Wait()
		if err := c.Set(context.Background(), "k", product{}); !errors.Is(err, nearcache.ErrClosed) {
			t.Fatalf("set after Close: %v", err)
		}
		if _, err := c.Get(context.Background(), "0"); !errors.Is(err, nearcache.ErrClosed) {
			t.Fatalf("get after Close: %v", err)
		}
	}
}

func TestNoLoader(t *testing.T) {
	f := launch(t, 2, func(c *nearcache.Config[product]) { c.Load = nil })
	ctx := context.Background()
	if _, err := f.caches[0].Get(ctx, "1"); !errors.Is(err, nearcache.ErrMiss) {
		t.Fatalf("got %v", err)
	}
	if err := f.caches[0].Set(ctx, "1", product{ID: "1", Version: 3}); err != nil {
		t.Fatal(err)
	}
	for i := range f.caches {
		f.expect(t, i, "1", 3)
	}
}

// logbook is a log of a test.
type logbook struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logbook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.String()), "\n")
}

// TestGarbageInRedis: whatever somebody writes into the namespace, reads go on,
// it is counted, and it is logged now and then.
func TestGarbageInRedis(t *testing.T) {
	log := &logbook{}
	f := launch(t, 1, func(c *nearcache.Config[product]) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.MaxStaleness = 200 * time.Millisecond
	})
	ctx, client, c := context.Background(), f.server.Client(t), f.caches[0]
	f.source.put("1", 1)
	// At once: a heartbeat or a fill in between would find nothing, and put its own.
	instead := func(key string, put func(redis.Pipeliner)) error {
		_, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Del(ctx, key)
			put(p)
			return nil
		})
		return err
	}
	for name, spoil := range map[string]func() error{
		"value of a client": func() error { return client.Set(ctx, "{products}:v:1", "junk from redis-cli", 0).Err() },
		"value of no bytes": func() error { return client.Set(ctx, "{products}:v:1", "", 0).Err() },
		"value like a hash": func() error {
			return instead("{products}:v:1", func(p redis.Pipeliner) { p.HSet(ctx, "{products}:v:1", "f", "v") })
		},
		"value cut short": func() error {
			c.Set(ctx, "1", product{ID: "1", Version: 1})
			return client.SetRange(ctx, "{products}:v:1", 45, "\xff\xff").Err()
		},
		"message": func() error { return client.Publish(ctx, "{products}:ch", "junk").Err() },
		"record":  func() error { return client.Set(ctx, "{products}:seq", "junk", 0).Err() },
		"record of a set": func() error {
			return instead("{products}:seq", func(p redis.Pipeliner) { p.SAdd(ctx, "{products}:seq", "x") })
		},
		"log": func() error { return client.Set(ctx, "{products}:log", "junk", 0).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, "what was done before is repaired", func() bool {
				return c.Stats().Pending == 0 && f.expect(t, 0, "1", 1, nearcache.SkipL1()) == nearcache.FromL2
			})
			before := c.Stats()
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				f.expect(t, 0, "1", 1, nearcache.SkipL1())
			}
			eventually(t, "it is counted, or repaired", func() bool {
				s := c.Stats()
				return name == "log" || s.Faults > before.Faults || s.Epochs > before.Epochs
			})
			if err := c.Invalidate(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			f.expect(t, 0, "1", 1)
		})
	}
	if n := len(log.lines()); n > 12 {
		t.Fatalf("%d lines logged:\n%s", n, strings.Join(log.lines(), "\n"))
	}
}

// rude is a codec of a user that panics.
type rude struct{ codec.Codec[product] }

func (rude) ID() byte                               { return 99 }
func (rude) Append([]byte, product) ([]byte, error) { panic("rude") }

func TestCodecThatPanics(t *testing.T) {
	f := launch(t, 1, func(c *nearcache.Config[product]) {
		c.Codec = rude{codec.JSON[product]()}
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	})
	f.source.put("1", 1)
	f.settled(t, 0, "1", 1)
	if err := f.caches[0].Set(context.Background(), "1", product{}); err == nil || !strings.Contains(err.Error(), "rude") {
		t.Fatalf("set: %v", err)
	}
	eventually(t, "the value that cannot be encoded is counted", func() bool { return f.caches[0].Stats().Faults > 0 })
}
