package nearcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// newSentinelScene starts instances whose clients ask sentinels who is master. They are
// strict: a replica that takes over may lack the last acknowledged changes, and without
// that an instance which has not heard of them may answer what they took away.
func newSentinelScene(t *testing.T, sentinel *redistest.Sentinel) *scene {
	t.Helper()
	s := &scene{fleet: fleet{source: &source{}}}
	for range 4 {
		cache, err := nearcache.New(nearcache.Config[product]{
			Name: "products", Redis: sentinel.Client(t), Load: s.fleet.source.load, MaxStaleness: serverBound,
			RedisTimeout: 200 * time.Millisecond, Strict: true, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		s.fleet.caches = append(s.fleet.caches, cache)
	}
	s.stage = newStage(s.fleet.source, serverBound, s.fleet.players()...)
	for i := range 40 {
		s.keys = append(s.keys, fmt.Sprint("k", i))
	}
	s.commit(s.keys)
	s.warm(t)
	return s
}

// TestFaultSentinel: the master that sentinels watch dies, or falls silent, while
// thousands of reads and hundreds of changes a second are made; a replica takes over,
// and the old master comes back as one.
func TestFaultSentinel(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server, testing.TB){
		"dead": (*redistest.Server).Kill, "silent": (*redistest.Server).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			group := redistest.StartSentinel(t)
			s := newSentinelScene(t, group)
			stop := s.readers(t)
			ctx, cancel := context.WithCancel(context.Background())
			var writing sync.WaitGroup
			var acknowledged, refused int
			writing.Go(func() {
				for ctx.Err() == nil {
					err := s.change(context.Background(), rand.IntN(len(s.fleet.caches)), s.keys[rand.IntN(len(s.keys))], false)
					if err == nil {
						acknowledged++
					} else {
						refused++
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
			time.Sleep(serverBound)
			lose(group.Master, t)
			lost := time.Now()
			for _, c := range s.fleet.caches {
				eventually(t, "the master is missed", func() bool {
					st := c.Stats()
					return st.ProofAge < 0 || st.ProofAge > serverBound
				})
			}
			for i, c := range s.fleet.caches {
				key := fmt.Sprint("only", i) // nobody changes it
				s.fleet.source.put(key, 1)
				eventuallyWithin(t, 40*time.Second, "L2 serves again", func() bool {
					var info nearcache.Info
					_, err := c.Get(context.Background(), key, nearcache.SkipL1(), nearcache.WithInfo(&info))
					return err == nil && info.Source == nearcache.FromL2
				})
				t.Logf("instance %d: L2 serves %v after the loss", i, time.Since(lost).Round(time.Millisecond))
			}
			time.Sleep(serverBound)
			if name == "silent" {
				group.Master.Resume(t)
			} else {
				group.Master.Restart(t)
			}
			time.Sleep(2 * serverBound) // until the sentinels have told it that it is a replica
			cancel()
			writing.Wait()
			s.settledAgain(t)
			s.repaired(t, s.keys)
			s.changeAll(t, 1, s.keys)
			s.refilled(t, s.keys[0])
			s.warm(t)
			stop()
			s.judged(t)
			if acknowledged == 0 || refused == 0 {
				t.Fatalf("%d changes acknowledged, %d refused: want some of both", acknowledged, refused)
			}
			t.Logf("%d changes acknowledged, %d refused", acknowledged, refused)
		})
	}
}
