//go:build nearcache_mutants

package main

import (
	"os"

	"github.com/nearcache/nearcache/internal/guard"
)

// A build for tests takes a guard of the protocol out, so that chaos has something to
// find.
func init() {
	for g := guard.None; g < guard.Guards; g++ {
		if g.String() == os.Getenv("NEARCACHE_MUTANT") {
			guard.Remove(g)
		}
	}
}
