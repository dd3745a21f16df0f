package tieredtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/nearcache/nearcache"
)

// invalidationIsSeenEverywhere: at once where it was made and past L1, and in
// every L1 after a network hop.
func invalidationIsSeenEverywhere(t *testing.T, s *suite) {
	f := s.launch(t, 3)
	all := keys(64)
	for _, key := range all {
		f.put(key, "old")
		f.settled(t, key, "old")
		f.put(key, "new")
	}
	must(t, f.caches[0].Invalidate(context.Background(), all...))
	for _, key := range all {
		f.expect(t, 0, key, "new")
		f.expect(t, 1, key, "new", nearcache.SkipL1())
	}
	for _, key := range all {
		f.settled(t, key, "new")
	}
	f.healthy(t)
}

// setIsSeenEverywhere, as an invalidation is; and its value is in L2.
func setIsSeenEverywhere(t *testing.T, s *suite) {
	f := s.launch(t, 3)
	for _, key := range keys(16) {
		f.put(key, "old")
		f.settled(t, key, "old")
	}
	for round := range 3 {
		value := fmt.Sprint("set ", round)
		loads := f.loads()
		for _, key := range keys(16) {
			f.put(key, value)
			must(t, f.caches[round].Set(context.Background(), key, value))
			f.expect(t, round, key, value)
			f.expect(t, (round+1)%3, key, value, nearcache.SkipL1())
			f.settled(t, key, value)
		}
		if n := f.loads() - loads; n != 0 {
			t.Fatalf("%d loads of what was set", n)
		}
	}
	f.healthy(t)
}

// lateFillIsRefused: what was loaded before a change reaches only who asked before
// it, however late it comes.
func lateFillIsRefused(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	answer, got := make(chan struct{}), make(chan string)
	f.put("k", "old")
	f.hold("k", answer)
	go func() {
		v, err := f.caches[0].Get(context.Background(), "k")
		got <- fmt.Sprint(v, err)
	}()
	eventually(t, "the load has begun", func() bool { return f.loads() == 1 })
	f.hold("k", nil)
	f.change(t, 1, "k", "new")
	f.expect(t, 1, "k", "new")
	f.expect(t, 0, "k", "new", nearcache.SkipL1()) // does not join that load
	close(answer)
	if v := <-got; v != "old<nil>" {
		t.Fatalf("who asked before the change got %s", v)
	}
	eventually(t, "the late fill is refused", func() bool { return f.caches[0].Stats().RefusedFills == 1 })
	for i := range f.caches {
		f.expect(t, i, "k", "new", nearcache.SkipL1())
		f.expect(t, i, "k", "new")
	}
	f.settled(t, "k", "new")
}

// shardsMustAgree: nobody may join a namespace with another number of shards.
func shardsMustAgree(t *testing.T, s *suite) {
	f := s.launch(t, 1)
	c, err := nearcache.New(nearcache.Config[string]{Name: f.name, Redis: s.connect(t), Shards: s.shards + 1})
	if err == nil {
		c.Close()
		t.Fatalf("an instance with %d shards joined a namespace with %d", s.shards+1, s.shards)
	}
}
