//go:build nearcache_mutants

package nearcache_test

import (
	"testing"

	"github.com/nearcache/nearcache/internal/guard"
)

// TestTheJudgeMissesEveryGuard: with any one guard removed, the histories must
// break a promise within a stated number of seeds.
func TestTheJudgeMissesEveryGuard(t *testing.T) {
	const within = 30
	defer guard.Remove(guard.None)
	for g := guard.None + 1; g < guard.Guards; g++ {
		t.Run(g.String(), func(t *testing.T) {
			guard.Remove(g)
			for seed := range uint64(within) {
				if r := history(t, seed, dense, sockets(t), oursOn); r.Violations() > 0 {
					t.Logf("missed with seed %d: %v", seed, r)
					return
				}
			}
			t.Errorf("nothing broke within %d seeds", within)
		})
	}
}
