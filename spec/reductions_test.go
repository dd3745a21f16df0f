package spec

import (
	"strings"
	"testing"
)

// TestReductions: what a search without any reduction finds broken, whichever guard is
// removed, the reduced one finds too. Where the former can be carried to its end, the
// latter does not find more either.
func TestReductions(t *testing.T) {
	limit := 10_000
	if large() {
		limit = 400_000
	}
	for _, b := range []bounds{
		{changes: 1, flights: 1},
		{changes: 1, flights: 1, lost: 1, trims: 1},
		{changes: 1, flights: 1, failures: 1, resends: 1, warm: true},
		{changes: 1, flights: 1, flushes: 1, others: 1, warm: true},
		{changes: 1, flights: 1, failovers: 1, strict: true, warm: true},
		{expires: 1, flights: 1, warm: true, claims: true},
		{sets: 1, flights: 1, warm: true, claims: true},
		{changes: 1, looks: 2, warm: true},
		{changes: 1, looks: 1, others: 1, failures: 1, warm: true},
		{expires: 1, looks: 1, warm: true},
		{changes: 1, looks: 1, failovers: 1, strict: true, warm: true},
		{changes: 1, looks: 1, failovers: 1, isolations: 1, warm: true, full: true},
	} {
		compared := 0
		for m := intact; m < mutants; m++ {
			if m.looks() && b.looks == 0 {
				continue // that is the intact protocol
			}
			all := search(b, m, unreduced, func(states, _ int) bool { return states < limit })
			if all.promise == "" && all.cut {
				continue
			}
			compared++
			few := search(b, m, reduced, progressOf(t))
			if all.promise != "" && few.promise == "" || few.promise != "" && all.promise == "" {
				t.Errorf("%s, %+v:\nunreduced: %q\n%s\nreduced: %q\n%s", removed[m].what, b,
					all.promise, strings.Join(all.trace, "\n"), few.promise, strings.Join(few.trace, "\n"))
			}
			if all.promise == "" {
				t.Logf("%s: %d states, of which %d matter", removed[m].what, all.states, few.states)
			}
		}
		t.Logf("compared %d of %d protocols within %+v", compared, mutants, b)
	}
}
