package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
)

// product is a value with a version, as a row of a database has.
type product struct {
	ID      string
	Version int
	Tags    []string
}

// source is the database behind the caches of a test.
type source struct {
	mu       sync.Mutex
	versions map[string]int
	held     map[string]<-chan struct{}
	loads    atomic.Int64
	delay    time.Duration
}

func (s *source) put(id string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.versions = make(map[string]int)
	}
	s.versions[id] = version
}

func (s *source) version(id string) int {
	version, _ := s.query(id)
	return version
}

// hold has later loads of id read the version that there is, and answer when
// until is closed; nil ends that.
func (s *source) hold(id string, until <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[string]<-chan struct{})
	}
	s.held[id] = until
}

// query returns what is there, and what to wait for before telling.
func (s *source) query(id string) (version int, until <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[id], s.held[id]
}

func (s *source) load(ctx context.Context, id string) (product, error) {
	v, until := s.query(id)
	s.loads.Add(1) // from now on it has been read
	if until == nil {
		pause := make(chan struct{})
		time.AfterFunc(s.delay, func() { close(pause) })
		until = pause
	}
	select {
	case <-until:
	case <-ctx.Done():
		return product{}, ctx.Err()
	}
	if v == 0 {
		return product{}, fmt.Errorf("product %s: %w", id, nearcache.ErrNotFound)
	}
	return product{ID: id, Version: v, Tags: []string{"a", "b"}}, nil
}

// fleet is some instances of one cache over one source.
type fleet struct {
	server *redistest.Server
	source *source
	caches []*nearcache.Cache[product]
}

// launch starts n instances, each with a connection pool of its own. change
// edits their configuration.
func launch(t testing.TB, n int, change ...func(*nearcache.Config[product])) *fleet {
	t.Helper()
	f := &fleet{server: redistest.Start(t), source: &source{}}
	for range n {
		cfg := nearcache.Config[product]{Name: "products", Redis: f.server.Client(t), Load: f.source.load, RedisTimeout: calm}
		for _, c := range change {
			c(&cfg)
		}
		cache, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cache.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		f.caches = append(f.caches, cache)
	}
	return f
}

// players returns the instances for a stage.
func (f *fleet) players() (p []player) {
	for _, c := range f.caches {
		p = append(p, ours{c})
	}
	return p
}

// expect reads key on an instance, and fails unless the version is as wanted.
// It returns where it was found.
func (f *fleet) expect(t testing.TB, instance int, key string, version int, opts ...nearcache.Option) nearcache.Source {
	t.Helper()
	var info nearcache.Info
	p, err := f.caches[instance].Get(context.Background(), key, append(opts, nearcache.WithInfo(&info))...)
	if err != nil || p.Version != version || p.ID != key {
		t.Fatalf("instance %d answered %+v, %v; want version %d of %s", instance, p, err, version, key)
	}
	return info.Source
}

// eventually polls until what holds, or fails the test.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	eventuallyWithin(t, 10*time.Second, what, holds)
}

func eventuallyWithin(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// settled waits until key is an L1 hit on the instance.
func (f *fleet) settled(t testing.TB, instance int, key string, version int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is an L1 hit on instance %d", key, instance), func() bool {
		return f.expect(t, instance, key, version) == nearcache.FromL1
	})
}

func TestReadsGoThroughTheTiers(t *testing.T) {
	f := launch(t, 2)
	f.source.put("1", 7)
	if from := f.expect(t, 0, "1", 7); from != nearcache.FromLoader {
		t.Fatalf("a cold read came from %v", from)
	}
	f.settled(t, 0, "1", 7)
	if from := f.expect(t, 1, "1", 7); from != nearcache.FromL2 {
		t.Fatalf("the first read of another instance came from %v", from)
	}
	f.settled(t, 1, "1", 7)
	if n := f.source.loads.Load(); n != 1 {
		t.Fatalf("%d loads, want 1", n)
	}
	s := f.caches[1].Stats()
	if s.L2Hits < 1 || s.L1Hits < 1 || s.Loads != 0 || s.Faults != 0 || s.RedisErrors != 0 {
		t.Fatalf("stats of the second instance: %+v", s)
	}
}

// TestOneLoadForTheFleet: a thousand callers on three instances, one load.
func TestOneLoadForTheFleet(t *testing.T) {
	f := launch(t, 3)
	f.source.delay = 100 * time.Millisecond
	f.source.put("1", 1)
	var callers sync.WaitGroup
	for i := range 1000 {
		callers.Go(func() { f.expect(t, i%3, "1", 1) })
	}
	callers.Wait()
	if n := f.source.loads.Load(); n != 1 {
		t.Fatalf("%d loads, want 1", n)
	}
}

func TestChangesAreSeenEverywhere(t *testing.T) {
	f := launch(t, 3)
	ctx := context.Background()
	for version := 1; version <= 20; version++ {
		f.source.put("1", version)
		var err error
		if version%2 == 0 {
			err = f.caches[version%3].Set(ctx, "1", product{ID: "1", Version: version})
		} else {
			err = f.caches[version%3].Invalidate(ctx, "1", "2", "3")
		}
		if err != nil {
			t.Fatal(err)
		}
		f.expect(t, version%3, "1", version) // at once where it was made
		for i := range f.caches {
			f.expect(t, i, "1", version, nearcache.SkipL1()) // at once in L2
			eventually(t, "the change on every instance", func() bool {
				p, err := f.caches[i].Get(ctx, "1")
				return err == nil && p.Version == version
			})
		}
	}
	if s := f.caches[0].Stats(); s.Lag.Count == 0 || s.Distrusts != 0 || s.Epochs != 0 {
		t.Fatalf("stats: %+v", s)
	}
}

func TestNotFoundIsRemembered(t *testing.T) {
	f := launch(t, 2)
	ctx := context.Background()
	for i := range 5 {
		for _, c := range f.caches {
			if _, err := c.Get(ctx, "none"); !errors.Is(err, nearcache.ErrNotFound) {
				t.Fatalf("read %d: %v", i, err)
			}
		}
	}
	if n := f.source.loads.Load(); n > 2 { // the fill of the first may still be on its way
		t.Fatalf("%d loads of what does not exist", n)
	}
	f.source.put("none", 1)
	if err := f.caches[0].Invalidate(ctx, "none"); err != nil {
		t.Fatal(err)
	}
	f.expect(t, 0, "none", 1)
	eventually(t, "the other instance finds it", func() bool {
		_, err := f.caches[1].Get(ctx, "none")
		return err == nil
	})
}

func TestL1Only(t *testing.T) {
	src := &source{}
	src.put("1", 1)
	c, err := nearcache.New(nearcache.Config[product]{Load: src.load})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := &fleet{source: src, caches: []*nearcache.Cache[product]{c}}
	f.settled(t, 0, "1", 1)
	src.put("1", 2)
	if err := c.Invalidate(context.Background(), "1"); err != nil {
		t.Fatal(err)
	}
	f.expect(t, 0, "1", 2)
	src.put("1", 3)
	if err := c.Set(context.Background(), "1", product{ID: "1", Version: 3}); err != nil {
		t.Fatal(err)
	}
	f.expect(t, 0, "1", 3)
	src.put("1", 4)
	f.expect(t, 0, "1", 4, nearcache.SkipL1())
}

// TestLives: each tier's entries live as long as they were told to.
func TestLives(t *testing.T) {
	brief := nearcache.TTL{L1: 40 * time.Millisecond, L2: 150 * time.Millisecond}
	f := launch(t, 1, func(c *nearcache.Config[product]) { c.TTL, c.TTLJitter = brief, -1 })
	f.source.put("1", 1)
	f.expect(t, 0, "1", 1)
	redis := f.server.Client(t)
	eventually(t, "the fill", func() bool { return len(redis.Get(context.Background(), "{products}:v:1").Val()) > codec.HeaderSize })
	if life := redis.PTTL(context.Background(), "{products}:v:1").Val(); life > 150*time.Millisecond {
		t.Fatalf("lives %v in Redis, want 150 ms at most", life)
	}
	eventually(t, "L1's life is over before L2's", func() bool { return f.expect(t, 0, "1", 1) == nearcache.FromL2 })
	eventually(t, "L2's life is over", func() bool { return f.expect(t, 0, "1", 1) == nearcache.FromLoader })

	f.source.put("2", 1)
	off := nearcache.WithTTL(nearcache.TTL{L1: -1})
	for range 3 {
		if from := f.expect(t, 0, "2", 1, off); from == nearcache.FromL1 {
			t.Fatal("an entry that must not enter L1 was found there")
		}
	}
}

// TestShards: a namespace spread over several sequences is one cache all the
// same, and nobody may join it with another number.
func TestShards(t *testing.T) {
	f := launch(t, 2, func(c *nearcache.Config[product]) { c.Shards = 8 })
	ctx := context.Background()
	keys := make([]string, 64)
	for i := range keys {
		keys[i] = fmt.Sprint("p", i)
		f.source.put(keys[i], 1)
		f.settled(t, 0, keys[i], 1)
		f.settled(t, 1, keys[i], 1)
		f.source.put(keys[i], 2)
	}
	if err := f.caches[0].Invalidate(ctx, keys...); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		f.expect(t, 0, key, 2)
		eventually(t, "the change of "+key, func() bool {
			p, err := f.caches[1].Get(ctx, key)
			return err == nil && p.Version == 2
		})
	}
	client := f.server.Client(t)
	if n := len(client.Keys(ctx, "{products:*}:seq").Val()); n != 8 {
		t.Fatalf("%d sequences in Redis, want 8", n)
	}
	_, err := nearcache.New(nearcache.Config[product]{Name: "products", Redis: client, Shards: 4, Load: f.source.load})
	if err == nil || !strings.Contains(err.Error(), `configured 4, "8" recorded`) {
		t.Fatalf("joining with 4 shards: %v", err)
	}
}
