package tieredtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
)

// readsGoThroughTheTiers: the loader fills L2, L2 fills the others.
func readsGoThroughTheTiers(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	for _, key := range keys(64) {
		f.put(key, "v-"+key)
		if v, from := f.read(t, 0, key); v != "v-"+key || from != nearcache.FromLoader {
			t.Fatalf("a cold read of %s answered %q from %v", key, v, from)
		}
	}
	for _, key := range keys(64) {
		// The fill is off the reader's path: another one waits for the lease.
		if v, from := f.read(t, 1, key); v != "v-"+key || from != nearcache.FromL2 {
			t.Fatalf("another instance's read of %s answered %q from %v, want L2", key, v, from)
		}
		f.settled(t, key, "v-"+key)
	}
	if n := f.loads(); n != 64 {
		t.Fatalf("%d loads of 64 keys", n)
	}
	f.healthy(t)
}

// healthy fails if an instance has met errors, garbage or lost data.
func (f *fleet) healthy(t *testing.T) {
	t.Helper()
	for i, c := range f.caches {
		if s := c.Stats(); s.RedisErrors+s.Faults+s.Epochs+s.Distrusts+s.FailedChanges != 0 {
			t.Errorf("instance %d: %+v", i, s)
		}
	}
}

// oneLoadForTheFleet: many ask three instances for a cold key at once.
func oneLoadForTheFleet(t *testing.T, s *suite) {
	f := s.launch(t, 3)
	answer := make(chan struct{})
	f.put("k", "v")
	f.hold("k", answer)
	var callers sync.WaitGroup
	for i := range 300 {
		callers.Go(func() {
			if v, err := f.caches[i%3].Get(context.Background(), "k"); err != nil || v != "v" {
				t.Errorf("caller %d got %q, %v", i, v, err)
			}
		})
	}
	eventually(t, "the instances that do not load wait for the lease", func() bool {
		waiting := 0
		for _, c := range f.caches {
			if c.Stats().LeaseWaits > 0 {
				waiting++
			}
		}
		return waiting == 2
	})
	close(answer)
	callers.Wait()
	if n := f.loads(); n != 1 {
		t.Fatalf("%d loads, want 1", n)
	}
}

// notFoundIsRemembered in both tiers, until an invalidation.
func notFoundIsRemembered(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	missing := func(instance int) {
		t.Helper()
		if v, err := f.caches[instance].Get(context.Background(), "none"); !errors.Is(err, nearcache.ErrNotFound) {
			t.Fatalf("instance %d answered %q, %v; want ErrNotFound", instance, v, err)
		}
	}
	for range 3 {
		missing(0)
		missing(1)
	}
	if n := f.loads(); n != 1 {
		t.Fatalf("%d loads of what does not exist, want 1", n)
	}
	f.change(t, 0, "none", "some")
	f.settled(t, "none", "some")
}

// livesEnd: entries end on the servers by themselves.
func livesEnd(t *testing.T, s *suite) {
	f := s.launch(t, 2, func(c *nearcache.Config[string]) {
		c.TTL = nearcache.TTL{L1: 20 * time.Millisecond, L2: 200 * time.Millisecond}
	})
	f.put("k", "old")
	f.read(t, 0, "k")
	f.put("k", "new") // and nobody is told
	eventually(t, "the life of the old value ends in both tiers", func() bool {
		v, _ := f.read(t, 1, "k")
		return v == "new"
	})
}
