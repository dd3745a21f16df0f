//go:build nearcache_mutants

package guard

import "sync/atomic"

var removed atomic.Int64

// Removed reports whether a test removed g.
func Removed(g Guard) bool { return g != None && Guard(removed.Load()) == g }

// Remove removes g, and puts back what was removed before.
func Remove(g Guard) { removed.Store(int64(g)) }
