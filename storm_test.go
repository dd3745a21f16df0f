package nearcache_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestStorm: one instance invalidates 10,000 keys a second for ten seconds, a
// hundred in a call; two others follow.
func TestStorm(t *testing.T) {
	const (
		bound    = 2 * time.Second
		perCall  = 100
		pace     = 10 * time.Millisecond
		distinct = 20_000
	)
	length := 10 * time.Second
	if testing.Short() {
		length = 2 * time.Second
	}
	s := newScene(t, redistest.Start(t), 3, 50, bound, func(c *nearcache.Config[product]) { c.RedisTimeout = calm })
	heard := s.listen(t)
	stop := s.readers(t)
	keys := make([]string, distinct)
	for i := range keys {
		keys[i] = fmt.Sprint("storm", i)
	}
	before := heap()
	var calls, oldest atomic.Int64
	watching := watch(func() {
		for _, c := range s.fleet.caches[1:] {
			oldest.Store(max(oldest.Load(), int64(c.Stats().ProofAge)))
		}
	})
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var calling sync.WaitGroup
	for began := time.Now(); time.Since(began) < length; <-tick.C {
		at := int(calls.Add(1)-1) * perCall % distinct
		calling.Go(func() {
			if err := s.fleet.caches[0].Invalidate(context.Background(), keys[at:at+perCall]...); err != nil {
				t.Error(err)
			}
		})
	}
	calling.Wait()
	watching()
	s.changeAll(t, 0, s.keys)
	t.Logf("in step %v after the last of %d invalidations", s.repaired(t, s.keys), calls.Load()*perCall)
	stop()
	s.judged(t)
	s.stormed(t, calls.Load(), heard(), time.Duration(oldest.Load()), bound, heap()-before)
}

// stormed checks what a storm must not do.
func (s *scene) stormed(t *testing.T, calls, messages int64, oldest, bound time.Duration, grown int64) {
	t.Helper()
	logged := s.admin.XLen(context.Background(), "{products}:log").Val()
	lag := s.fleet.caches[1].Stats().Lag
	t.Logf("%d calls, %d messages, %d log entries, lag p50 %v p99 %v max %v, oldest proof %v, heap grown by %d kB",
		calls, messages, logged, lag.P50, lag.P99, lag.Max, oldest.Round(time.Millisecond), grown>>10)
	if own := 2*int64(len(s.keys)) + calls; messages > own {
		t.Errorf("%d messages for %d calls: keys of one call must share one", messages, own)
	}
	if oldest > bound {
		t.Errorf("a follower's proof was %v old, bound %v", oldest, bound)
	}
	if logged > 12_000 {
		t.Errorf("the log has %d entries", logged)
	}
	if grown > 32<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	for i, c := range s.fleet.caches {
		if st := c.Stats(); st.Distrusts+st.Epochs != 0 {
			t.Errorf("instance %d: %d distrusts, %d epochs", i, st.Distrusts, st.Epochs)
		}
	}
}

// listen counts the messages on the channel until the returned function is
// called.
func (s *scene) listen(t *testing.T) (count func() int64) {
	t.Helper()
	sub := s.admin.Subscribe(context.Background(), "{products}:ch")
	if _, err := sub.Receive(context.Background()); err != nil {
		t.Fatal(err)
	}
	messages := sub.Channel()
	var n atomic.Int64
	var listening sync.WaitGroup
	listening.Go(func() {
		for range messages {
			n.Add(1)
		}
	})
	return func() int64 {
		time.Sleep(100 * time.Millisecond) // those under way
		sub.Close()
		listening.Wait()
		return n.Load()
	}
}

// watch calls look every few milliseconds until the returned function is.
func watch(look func()) (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				look()
			}
		}
	})
	return func() { close(done); watching.Wait() }
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFillsAreSilent: what is loaded is published to nobody, unless somebody
// waits for it.
func TestFillsAreSilent(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 0, noBound)
	heard := s.listen(t)
	for i := range 100 {
		key := fmt.Sprint("cold", i)
		s.fleet.source.put(key, 1)
		s.fleet.settled(t, 0, key, 1)
		s.fleet.filled(t, key) // or the next one waits for it
		s.fleet.settled(t, 1, key, 1)
	}
	if n := heard(); n != 0 {
		t.Fatalf("%d messages for 100 fills that nobody waited for", n)
	}

	heard = s.listen(t)
	answer := make(chan struct{})
	s.fleet.source.put("k", 1)
	s.fleet.source.hold("k", answer)
	var reading sync.WaitGroup
	for _, c := range s.fleet.caches {
		reading.Go(func() {
			if p, err := c.Get(context.Background(), "k", nearcache.SkipL1()); err != nil || p.Version != 1 {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	eventually(t, "one waits for the other's load", func() bool {
		return s.fleet.caches[0].Stats().LeaseWaits+s.fleet.caches[1].Stats().LeaseWaits > 0 &&
			strings.HasPrefix(s.admin.Get(context.Background(), "{products}:v:k").Val(), "W")
	})
	close(answer)
	reading.Wait()
	if n := heard(); n != 1 {
		t.Fatalf("%d messages for a fill that was waited for, want 1", n)
	}
	if n := s.fleet.source.loads.Load(); n != 101 {
		t.Fatalf("%d loads of 101 keys", n)
	}
}
