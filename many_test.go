package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
)

// shelf is a source that is asked for many keys at once.
type shelf struct {
	mu      sync.Mutex
	asked   [][]string
	takes   time.Duration
	failure error
	missing string // prefix of keys that it does not have
}

func (s *shelf) load(ctx context.Context, keys []string) (map[string]int, error) {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Sorted(slices.Values(keys)))
	takes, failure := s.takes, s.failure
	s.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	values := make(map[string]int)
	for _, key := range keys {
		if s.missing == "" || !strings.HasPrefix(key, s.missing) {
			values[key] = len(key)
		}
	}
	if failure != nil {
		delete(values, keys[0])
	}
	return values, failure
}

func (s *shelf) calls() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func names(prefix string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%04d", prefix, i))
	}
	return keys
}

// getAll gets keys, and fails unless all are there.
func getAll(t *testing.T, c *nearcache.Cache[int], keys []string, opts ...nearcache.Option) {
	t.Helper()
	got, err := c.GetMany(context.Background(), keys, opts...)
	if err != nil || len(got) != len(keys) {
		t.Fatalf("%d of %d keys, %v", len(got), len(keys), err)
	}
	for _, key := range keys {
		if got[key] != len(key) {
			t.Fatalf("%s is %d", key, got[key])
		}
	}
}

// TestGetMany: each tier answers what it has, and the loader is asked once, for
// the rest alone.
func TestGetMany(t *testing.T) {
	for _, shards := range []int{1, 8} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			inBothEras(t, func(t *testing.T, e era) { testGetMany(t, e, shards) })
		})
	}
}

func testGetMany(t *testing.T, e era, shards int) {
	s := &shelf{}
	caches := e.numbers(t, 2, nil, func(c *nearcache.Config[int]) { c.Load, c.LoadMany, c.Shards = nil, s.load, shards })
	first, all := names("k", 600), names("k", 1200)
	var info nearcache.Info
	getAll(t, caches[0], first, nearcache.WithInfo(&info))
	if info.Source != nearcache.FromLoader || len(s.calls()) != 1 || !slices.Equal(s.calls()[0], first) {
		t.Fatalf("%d calls of the loader, want one for all keys", len(s.calls()))
	}
	eventually(t, "all of it is in Redis", func() bool {
		getAll(t, caches[1], first, nearcache.WithInfo(&info), nearcache.SkipL1())
		return info.Source == nearcache.FromL2
	})
	eventually(t, "all of it is in L1", func() bool {
		getAll(t, caches[1], append(first, first...)[:600], nearcache.WithInfo(&info))
		return info.Source == nearcache.FromL1
	})
	before := len(s.calls())
	getAll(t, caches[1], all)
	if calls := s.calls()[before:]; len(calls) != 1 || !slices.Equal(calls[0], all[600:]) {
		t.Fatalf("%d calls of the loader for what nobody had, want 1", len(calls))
	}
	if err := caches[0].Invalidate(context.Background(), all[:10]...); err != nil {
		t.Fatal(err)
	}
	getAll(t, caches[0], all)
	if calls := s.calls(); !slices.Equal(calls[len(calls)-1], all[:10]) {
		t.Fatalf("after an invalidation of 10 keys the loader was asked for %d", len(calls[len(calls)-1]))
	}
}

// TestGetManyJoins: nobody asks for what somebody loads already, in this instance
// or in another one.
func TestGetManyJoins(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		s := &shelf{takes: 100 * time.Millisecond}
		caches := e.numbers(t, 2, nil, func(c *nearcache.Config[int]) { c.Load, c.LoadMany = nil, s.load })
		var reading sync.WaitGroup
		read := func(c *nearcache.Cache[int], from, to int) {
			reading.Go(func() { getAll(t, c, names("k", 100)[from:to]) })
			time.Sleep(20 * time.Millisecond)
		}
		read(caches[0], 0, 40)
		read(caches[0], 20, 60)
		read(caches[1], 50, 80)
		reading.Go(func() { // one key of the last batch
			if v, err := caches[1].Get(context.Background(), "k0079"); v != 5 || err != nil {
				t.Errorf("%d, %v", v, err)
			}
		})
		reading.Wait()
		loaded := make(map[string]int)
		for _, call := range s.calls() {
			for _, key := range call {
				loaded[key]++
			}
		}
		for key, n := range loaded {
			if n > 1 {
				t.Errorf("%s was loaded %d times", key, n)
			}
		}
		if len(loaded) != 80 || len(s.calls()) != 3 {
			t.Errorf("%d keys loaded in %d calls, want 80 in 3", len(loaded), len(s.calls()))
		}
	})
}

// TestGetManyInPart: what can be had is answered, what does not exist is missing,
// what failed is named.
func TestGetManyInPart(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		s := &shelf{failure: errDown, missing: "no"}
		c := e.numbers(t, 1, nil, func(c *nearcache.Config[int]) { c.Load, c.LoadMany = nil, s.load })[0]
		got, err := c.GetMany(context.Background(), []string{"a"})
		if len(got) != 0 || !errors.Is(err, errDown) || !strings.Contains(err.Error(), `"a"`) {
			t.Fatalf("%v, %v", got, err)
		}
		s.mu.Lock()
		s.failure = nil
		s.mu.Unlock()
		got, err = c.GetMany(context.Background(), []string{"b", "none", "b"})
		if err != nil || !maps.Equal(got, map[string]int{"b": 1}) {
			t.Fatalf("%v, %v", got, err)
		}
		if _, err := c.Get(context.Background(), "none"); !errors.Is(err, nearcache.ErrNotFound) {
			t.Errorf("what the loader did not have: %v", err)
		}
		if _, err := c.GetMany(context.Background(), []string{"b", ""}); !errors.Is(err, nearcache.ErrKey) {
			t.Errorf("an empty key: %v", err)
		}
	})
}

// TestGetManyLeaves: a caller whose time is over leaves, and its load ends unless
// somebody else waits for a key of it.
func TestGetManyLeaves(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		s := &shelf{takes: 300 * time.Millisecond}
		c := e.numbers(t, 1, nil, func(c *nearcache.Config[int]) { c.Load, c.LoadMany = nil, s.load })[0]
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		var other sync.WaitGroup
		other.Go(func() {
			time.Sleep(20 * time.Millisecond)
			if v, err := c.Get(context.Background(), "k0001"); v != 5 || err != nil {
				t.Errorf("who waited for one of the keys got %d, %v", v, err)
			}
		})
		if got, err := c.GetMany(ctx, names("k", 3)); len(got) != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", got, err)
		}
		other.Wait()
		if n := len(s.calls()); n != 1 {
			t.Errorf("%d calls of the loader, want 1", n)
		}
	})
}

// TestBulkLoaderThatAsksForItsKeys gets an error, not a deadlock.
func TestBulkLoaderThatAsksForItsKeys(t *testing.T) {
	var c *nearcache.Cache[int]
	c, err := nearcache.New(nearcache.Config[int]{
		LoadMany: func(ctx context.Context, keys []string) (map[string]int, error) { return c.GetMany(ctx, keys[1:]) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.GetMany(context.Background(), names("k", 3)); !errors.Is(err, nearcache.ErrReentrant) {
		t.Fatalf("%v, want ErrReentrant", err)
	}
}

// TestGetManyWithoutABulkLoader loads each key by itself.
func TestGetManyWithoutABulkLoader(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 5}
		c := e.numbers(t, 1, o, func(c *nearcache.Config[int]) {})[0]
		getAll(t, c, names("k", 50))
		getAll(t, c, names("k", 50))
		if n := len(o.asked); n != 50 || len(o.loads("k0000")) != 1 {
			t.Fatalf("%d keys asked for", n)
		}
	})
}

// TestSetMany: many values in few messages, seen everywhere.
func TestSetMany(t *testing.T) {
	for _, shards := range []int{1, 4} {
		inBothEras(t, func(t *testing.T, e era) {
			caches := e.numbers(t, 2, nil, func(c *nearcache.Config[int]) { c.Load, c.Shards = nil, shards })
			ctx := context.Background()
			values := make(map[string]int)
			for version := range 3 {
				for _, key := range names("k", 1000) {
					values[key] = version
				}
				if err := caches[version%2].SetMany(ctx, values); err != nil {
					t.Fatal(err)
				}
				for i, c := range caches {
					got, err := c.GetMany(ctx, names("k", 1000), nearcache.SkipL1())
					if err != nil || !maps.Equal(got, values) {
						t.Fatalf("instance %d has %d values, %v", i, len(got), err)
					}
					eventually(t, "L1 has seen it", func() bool {
						got, err := c.GetMany(ctx, names("k", 1000))
						return err == nil && maps.Equal(got, values)
					})
				}
			}
			logged := 0
			for _, key := range e.admin.Keys(ctx, "{products*}:log").Val() {
				logged += int(e.admin.XLen(ctx, key).Val())
			}
			// An epoch a shard, and 3 times 1000 keys, 512 at most in each.
			if most := shards + 3*2*shards; logged > most {
				t.Errorf("%d changes logged, want %d at most", logged, most)
			}
		})
	}
}
