package spec

import (
	"fmt"
	"hash/maphash"
	"os"
	"strings"
	"testing"

	"github.com/nearcache/nearcache/internal/guard"
)

// successors calls step with every state that can follow s.
func successors(s *state, m mutant, step func(string, state)) {
	serverSteps(s, m, step)
	for i := range s.inst {
		instanceSteps(s, i, m, step)
	}
	changeSteps(s, m, step)
	readSteps(s, m, step)
	tick(s, step)
}

// tick lets a bound pass.
func tick(s *state, step func(string, state)) {
	n := *s
	for i := range n.inst {
		in := &n.inst[i]
		in.proof = older(in.proof)
		if in.entry.there {
			in.entry.age = older(in.entry.age)
		}
		if in.beat.at != idle {
			in.beat.age = older(in.beat.age)
		}
	}
	for f := range n.flights {
		if fl := &n.flights[f]; fl.at != idle && fl.at != done {
			fl.age = older(fl.age)
		}
	}
	for v := range n.changes {
		if c := &n.changes[v]; c.acked != never {
			c.acked = older(c.acked)
		}
	}
	step("time passes", n)
}

// search visits every state within b, breadth first, so that what it finds is as
// short as can be. It returns the number of states, and the broken promise with
// the steps that lead to it.
//
// States are remembered by 128 bits of hash (hash compaction, Wolper and Leroy,
// 1993): with 10^8 of them two collide with a chance below 10^-22.
func search(b bounds, m mutant, progress func(states, depth int)) (states int, promise string, trace []string) {
	type visit struct {
		parent int32
		step   string
	}
	one, two := maphash.MakeSeed(), maphash.MakeSeed()
	seen := make(map[[2]uint64]struct{})
	var visits []visit
	type waiting struct {
		state
		index int32
	}
	var frontier, next []waiting
	enter := func(parent int32, step string, s state) {
		key := [2]uint64{maphash.Comparable(one, s), maphash.Comparable(two, s)}
		if _, ok := seen[key]; ok || promise != "" {
			return
		}
		seen[key] = struct{}{}
		visits = append(visits, visit{parent, step})
		at := int32(len(visits) - 1)
		if promise = broken(&s, m); promise != "" {
			for ; at > 0; at = visits[at].parent {
				trace = append([]string{visits[at].step}, trace...)
			}
			return
		}
		next = append(next, waiting{s, at})
	}
	enter(0, "", initial(b))
	for depth := 0; len(next) > 0 && promise == ""; depth++ {
		progress(len(visits), depth)
		frontier, next = next, frontier[:0]
		for i := range frontier {
			successors(&frontier[i].state, m, func(step string, n state) { enter(frontier[i].index, step, n) })
		}
	}
	return len(visits), promise, trace
}

// large reports whether the large bounds are asked for (make spec).
func large() bool { return os.Getenv("NEARCACHE_SPEC") == "large" }

// TestPromises: no order of steps within the bounds breaks a promise.
func TestPromises(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			b := sc.small
			if large() {
				b = sc.large
			}
			states, promise, trace := search(b, intact, progressOf(t))
			if promise != "" {
				t.Fatalf("%s\n%s", promise, strings.Join(trace, "\n"))
			}
			t.Logf("%d states", states)
		})
	}
}

// progressOf tells of long searches as they go.
func progressOf(t *testing.T) func(states, depth int) {
	told := 0
	return func(states, depth int) {
		if states-told >= 1_000_000 {
			told = states
			fmt.Printf("%s: %d million states, %d steps deep\n", t.Name(), states/1_000_000, depth)
		}
	}
}

// TestEveryGuardIsMissed: with any one guard removed, some scenario breaks a
// promise within the small bounds.
func TestEveryGuardIsMissed(t *testing.T) {
	for m := intact + 1; m < mutants; m++ {
		t.Run(removed[m].what, func(t *testing.T) {
			for _, sc := range scenarios {
				if states, promise, trace := search(sc.small, m, progressOf(t)); promise != "" {
					t.Logf("%s (%d states, %s):\n%s", promise, states, sc.name, strings.Join(trace, "\n"))
					return
				}
			}
			t.Error("nothing broke")
		})
	}
}

// TestGuardsOfTheCode: what tests can take out of the code, the model can too.
func TestGuardsOfTheCode(t *testing.T) {
	for g := guard.None + 1; g < guard.Guards; g++ {
		found := false
		for _, r := range removed {
			found = found || r.guard == g
		}
		if !found {
			t.Errorf("guard %q of the code is no mutant of the model", g)
		}
	}
}
