package nearcache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// TestFaultSentinel: the master that sentinels watch dies, or falls silent, under load; a
// replica takes over, and the old master comes back as one.
func TestFaultSentinel(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			group := redistest.StartSentinel(t)
			s := openScene(t, load.instances, 40, serverBound, func() redis.UniversalClient { return group.Client(t) }, strict)
			stop := s.underLoad(t, s.keys)
			time.Sleep(serverBound)
			lose(group.Master, t)
			lost := time.Now()
			for _, c := range s.fleet.caches {
				eventually(t, "the master is missed", func() bool {
					st := c.Stats()
					return st.ProofAge < 0 || st.ProofAge > serverBound
				})
			}
			var keys []string
			for i := range s.fleet.caches {
				keys = append(keys, fmt.Sprint("only", i))
			}
			s.servesAgain(t, lost, keys)
			time.Sleep(serverBound)
			if name == "silent" {
				group.Master.Resume(t)
			} else {
				group.Master.Restart(t)
			}
			time.Sleep(2 * serverBound) // until the sentinels have told it that it is a replica
			stop().someOfBoth(t)
			stopReading := s.readers(t)
			s.settledAgain(t)
			s.repaired(t, s.keys)
			s.changeAll(t, 1, s.keys)
			s.refilled(t, s.keys[0])
			s.warm(t)
			stopReading()
			s.judged(t)
		})
	}
}
