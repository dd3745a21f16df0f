package nearcache_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// load is what comes to servers that replicate while they are taken away. Beside all the
// other tests it is a fifth of what NEARCACHE_LONG=1 makes it (make long), which a machine
// that is busy with something else cannot carry with the race detector on.
var load = func() (l struct{ instances, reads, changes int }) { // the latter a second, by all instances together
	l.instances, l.reads, l.changes = 4, 400, 40
	if os.Getenv("NEARCACHE_LONG") == "1" {
		l.instances, l.reads, l.changes = 10, 2000, 200
	}
	return l
}()

// mostUnderway is how many reads and changes may wait for an end. More come only where
// the machine itself cannot follow: then they are too many for the test, not for the cache.
const mostUnderway = 1000

// losses are the two ways of a master to be lost.
var losses = map[string]func(*redistest.Server, testing.TB){
	"dead": (*redistest.Server).Kill, "silent": (*redistest.Server).Pause,
}

// traffic is what came of a load.
type traffic struct {
	reads, failed, acknowledged, refused atomic.Int64
	slowest, lost                        atomic.Int64 // read, in nanoseconds; and what the machine could not follow
}

// underLoad reads all keys, and changes some, on all instances at random until the
// returned function is called. Not one read may fail. Each comes when it is due and waits
// for none before it: otherwise an outage would slow down those who are to suffer it.
func (s *scene) underLoad(t *testing.T, changing []string) (stop func() *traffic) {
	ctx, cancel := context.WithCancel(context.Background())
	var l traffic
	var pacing, underway sync.WaitGroup
	places := make(chan struct{}, mostUnderway)
	pace := func(perSecond int, do func(instance int)) {
		pacing.Go(func() {
			done := 0
			for began := time.Now(); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				for due := int(float64(perSecond) * time.Since(began).Seconds()); done < due; done++ {
					select {
					case places <- struct{}{}:
						underway.Go(func() { do(rand.IntN(len(s.fleet.caches))); <-places })
					default:
						l.lost.Add(1)
					}
				}
			}
		})
	}
	pace(load.reads, func(instance int) {
		began := time.Now()
		if err := s.read(context.Background(), instance, s.keys[rand.IntN(len(s.keys))], rand.IntN(20) == 0); err != nil {
			if l.failed.Add(1) == 1 {
				t.Errorf("a read failed: %v", err)
			}
		}
		l.reads.Add(1)
		l.slowest.Store(max(l.slowest.Load(), int64(time.Since(began)))) // about
	})
	pace(load.changes, func(instance int) {
		if s.change(context.Background(), instance, changing[rand.IntN(len(changing))], false) == nil {
			l.acknowledged.Add(1)
		} else {
			l.refused.Add(1)
		}
	})
	began := time.Now()
	end := sync.OnceFunc(func() {
		cancel()
		pacing.Wait()
		underway.Wait()
		t.Logf("%d instances in %v: %d reads, %d failed, the slowest %v; %d changes acknowledged, %d refused; %d not begun in time",
			len(s.fleet.caches), time.Since(began).Round(time.Millisecond), l.reads.Load(), l.failed.Load(),
			time.Duration(l.slowest.Load()).Round(time.Millisecond), l.acknowledged.Load(), l.refused.Load(), l.lost.Load())
	})
	t.Cleanup(end) // a test that fails closes the caches next
	return func() *traffic { end(); return &l }
}

// someOfBoth fails unless some changes were acknowledged and some refused.
func (l *traffic) someOfBoth(t *testing.T) {
	t.Helper()
	if a, r := l.acknowledged.Load(), l.refused.Load(); a == 0 || r == 0 {
		t.Fatalf("%d changes acknowledged, %d refused: want some of both", a, r)
	}
}

// servesAgain waits until every instance is answered by L2 what nobody but it asks for,
// one key for each, and reports how long after the loss that was.
func (s *scene) servesAgain(t *testing.T, lost time.Time, keys []string) {
	t.Helper()
	first, last := time.Duration(0), time.Duration(0)
	for i, c := range s.fleet.caches {
		s.fleet.source.put(keys[i], 1)
		eventuallyWithin(t, 40*time.Second, "L2 serves again", func() bool {
			var info nearcache.Info
			_, err := c.Get(context.Background(), keys[i], nearcache.SkipL1(), nearcache.WithInfo(&info))
			return err == nil && info.Source == nearcache.FromL2
		})
		last = time.Since(lost)
		if i == 0 {
			first = last
		}
	}
	t.Logf("L2 serves one instance %v after the loss, and all %d after %v",
		first.Round(time.Millisecond), len(s.fleet.caches), last.Round(time.Millisecond))
}
