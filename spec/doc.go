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
// raise another's floor. Time is counted in bounds: an age is 0, 1 (the bound, still
// good) or 2 (too old). Server clocks are the worst possible: a sequence number is
// the last one plus one, also after data was lost.
//
//	go test ./spec          // small bounds, under a minute
//	make spec               // large ones
package spec
