// Package spec is a model of the coherence protocol, searched exhaustively by its
// tests: every order of steps that two instances, a server and its failures can take
// within stated bounds. docs/coherence.md explains the protocol; the names here are
// those of that page and of the code.
//
// The promises are invariants (promises_test.go). Each guard of the protocol can be
// taken out (mutants_test.go), and the search must then find a promise broken: a
// guard that nothing misses would be none. Those that internal/guard can take out
// of the code carry the same names here.
//
// One key stands for all: keys meet only in stripes and shards, where one can but
// raise another's floor; what other keys do to the numbers is a step of its own.
// Server clocks are the worst possible: a sequence number is the last one plus one,
// also after data was lost. Time is one interval of the bound (time_test.go).
//
// A claim is a lease that stands inside the value's envelope: here it is a token that
// data have, too. Claims end by their deadline, which a step that claims again stands
// for.
//
// Looks are flights that read Redis without a lease first (look_test.go). Only they, and
// reads of a demoted master that is out of memory, are answered by an old master at all;
// so that one is kept, as it was, for as long as an instance is left with it. That a
// flight departs with a new ticket breaks no promise and keeps none: it saves loads.
//
// Tags, clears and moving slots are not here.
//
// What makes the search feasible is that states are stripped of what cannot matter any
// more (canonical_test.go). Each rule there has its reason, and all of them together
// are compared with a search that has none (reductions_test.go).
//
//	go test ./spec          // small bounds
//	make spec               // large ones
package spec
