package spec

import (
	"fmt"
	"hash/maphash"
	"os"
	"strings"
	"testing"

	"github.com/nearcache/nearcache/internal/guard"
)

// move names a step: who, and what.
type move struct {
	who   string // the server, if empty
	index int8
	what  string
}

func (mv move) String() string {
	if mv.who == "" {
		return mv.what
	}
	return fmt.Sprintf("%s %d: %s", mv.who, mv.index, mv.what)
}

// successors calls step with every state that can follow s.
func successors(s *state, m mutant, step func(move, state)) {
	serverSteps(s, step)
	for i := range s.inst {
		instanceSteps(s, i, m, step)
	}
	changeSteps(s, m, step)
	readSteps(s, m, step)
}

// visit remembers how a state was first reached: by which of the steps from which.
type visit struct {
	parent  int32
	ordinal uint8
}

// found is the outcome of a search.
type found struct {
	states  int
	cut     bool     // there was more to search
	promise string   // that is broken, if one is
	trace   []string // the steps that lead there
}

// reductions are what canonical_test.go knows. TestReductions does without.
type reductions bool

const (
	reduced   reductions = true
	unreduced reductions = false
)

// search visits every state within b, breadth first, so that what it finds is as
// short as can be, for as long as more says so.
//
// States are remembered by 128 bits of hash (hash compaction, Wolper and Leroy,
// 1993): with 10^8 of them two collide with a chance below 10^-22.
func search(b bounds, m mutant, r reductions, more func(states, depth int) bool) found {
	type waiting struct {
		state
		index int32
	}
	seen := seenStates{reductions: r, one: maphash.MakeSeed(), two: maphash.MakeSeed(), keys: make(map[[2]uint64]struct{})}
	first := initial(b)
	seen.add(&first)
	visits := []visit{{}}
	var frontier []waiting
	next := []waiting{{first, 0}}
	promise := ""
	for depth := 0; len(next) > 0 && more(len(visits), depth); depth++ {
		frontier, next = next, frontier[:0]
		for i := range frontier {
			ordinal := 0
			successors(&frontier[i].state, m, func(_ move, n state) {
				ordinal++
				if promise != "" {
					return
				}
				promise = broken(&n, m)
				if r {
					n.canonical(m)
				}
				if promise == "" && !seen.add(&n) {
					return
				}
				visits = append(visits, visit{frontier[i].index, uint8(ordinal)})
				if r == unreduced || !n.finished() {
					next = append(next, waiting{n, int32(len(visits) - 1)})
				}
			})
			if promise != "" {
				return found{states: len(visits), promise: promise, trace: retrace(b, m, r, visits)}
			}
		}
	}
	return found{states: len(visits), cut: len(next) > 0}
}

// seenStates is a set of states.
type seenStates struct {
	reductions
	one, two maphash.Seed
	keys     map[[2]uint64]struct{}
}

// add reports whether s is new, and so is the state that differs from it by the names
// of the instances. Only a step that leaves one of them on an old master tells them
// apart.
func (seen *seenStates) add(s *state) bool {
	key := maphash.Comparable(seen.one, *s)
	which := s
	if seen.reductions && s.left.isolations == 0 {
		swapped := s.swapped()
		if k := maphash.Comparable(seen.one, swapped); k < key {
			key, which = k, &swapped
		}
	}
	both := [2]uint64{key, maphash.Comparable(seen.two, *which)}
	if _, ok := seen.keys[both]; ok {
		return false
	}
	seen.keys[both] = struct{}{}
	return true
}

// retrace names the steps to the newest visit.
func retrace(b bounds, m mutant, r reductions, visits []visit) (trace []string) {
	var ordinals []uint8
	for at := int32(len(visits) - 1); at > 0; at = visits[at].parent {
		ordinals = append(ordinals, visits[at].ordinal)
	}
	s := initial(b)
	for i := len(ordinals) - 1; i >= 0; i-- {
		from, ordinal := s, uint8(0)
		successors(&from, m, func(mv move, n state) {
			if ordinal++; ordinal == ordinals[i] {
				trace, s = append(trace, mv.String()), n
			}
		})
		if r {
			s.canonical(m)
		}
	}
	return trace
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
			f := search(b, intact, reduced, progressOf(t))
			if f.promise != "" {
				t.Fatalf("%s\n%s", f.promise, strings.Join(f.trace, "\n"))
			}
			t.Logf("%d states", f.states)
		})
	}
}

// progressOf tells of long searches as they go.
func progressOf(t *testing.T) func(states, depth int) bool {
	told := 0
	return func(states, depth int) bool {
		if states-told >= 1_000_000 {
			told = states
			fmt.Printf("%s: %d million states, %d steps deep\n", t.Name(), states/1_000_000, depth)
		}
		return true
	}
}

// TestEveryGuardIsMissed: with any one guard removed, a scenario breaks a promise
// within the small bounds.
func TestEveryGuardIsMissed(t *testing.T) {
	for m := intact + 1; m < mutants; m++ {
		t.Run(removed[m].what, func(t *testing.T) {
			for _, sc := range scenarios {
				if sc.name != removed[m].scenario {
					continue
				}
				f := search(sc.small, m, reduced, progressOf(t))
				if f.promise == "" {
					t.Fatalf("nothing broke in %d states of %q", f.states, sc.name)
				}
				t.Logf("%s (%d states, %s):\n%s", f.promise, f.states, sc.name, strings.Join(f.trace, "\n"))
				return
			}
			t.Fatalf("no scenario %q", removed[m].scenario)
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
