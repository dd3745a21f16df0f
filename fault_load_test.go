package nearcache_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// The load under which servers that replicate are taken away.
const (
	loadInstances = 10
	loadReads     = 2000 // a second, by all instances together
	loadChanges   = 200  // likewise
)

// losses are the two ways of a master to be lost.
var losses = map[string]func(*redistest.Server, testing.TB){
	"dead": (*redistest.Server).Kill, "silent": (*redistest.Server).Pause,
}

// traffic is what came of a load.
type traffic struct {
	reads, acknowledged, refused int64
	slowest                      time.Duration // read
}

// underLoad reads all keys, and changes some, on all instances at random until the
// returned function is called. Not one read may fail. Each comes when it is due and waits
// for none before it: otherwise an outage would slow down those who are to suffer it.
func (s *scene) underLoad(t *testing.T, changing []string) (stop func() traffic) {
	ctx, cancel := context.WithCancel(context.Background())
	var pacing, underway sync.WaitGroup
	pace := func(perSecond int, do func(instance int)) {
		pacing.Go(func() {
			done := 0
			for began := time.Now(); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				for due := int(float64(perSecond) * time.Since(began).Seconds()); done < due; done++ {
					underway.Go(func() { do(rand.IntN(len(s.fleet.caches))) })
				}
			}
		})
	}
	var reads, acknowledged, refused, slowest atomic.Int64
	pace(loadReads, func(instance int) {
		began := time.Now()
		if err := s.read(context.Background(), instance, s.keys[rand.IntN(len(s.keys))], rand.IntN(20) == 0); err != nil {
			t.Errorf("a read failed: %v", err)
		}
		reads.Add(1)
		slowest.Store(max(slowest.Load(), int64(time.Since(began)))) // about
	})
	pace(loadChanges, func(instance int) {
		if s.change(context.Background(), instance, changing[rand.IntN(len(changing))], false) == nil {
			acknowledged.Add(1)
		} else {
			refused.Add(1)
		}
	})
	began := time.Now()
	return func() traffic {
		cancel()
		pacing.Wait()
		underway.Wait()
		l := traffic{reads.Load(), acknowledged.Load(), refused.Load(), time.Duration(slowest.Load())}
		t.Logf("in %v %d reads, the slowest %v; %d changes acknowledged, %d refused", time.Since(began).Round(time.Millisecond),
			l.reads, l.slowest.Round(time.Millisecond), l.acknowledged, l.refused)
		return l
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
