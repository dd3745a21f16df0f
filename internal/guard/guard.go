// Package guard names the guards that the promises stand on, where the code asks
// whether one of them was removed. In every ordinary build the answer is the
// constant no, and the compiler drops the question. Built with the tag
// nearcache_mutants, tests can remove one guard at a time, and must then see a
// promise broken: a guard that nothing misses would be none.
//
// The model in spec/ removes the same guards by itself.
package guard

// Guard is one of the guards.
type Guard int

// The guards, and what happens without them.
const (
	None         Guard = iota
	Lease              // l2.Store.Fill: a late fill overwrites what came after it
	StampAtRead        // l1.Store.Get: what a change overtook is served
	ProofAges          // l1.Epoch: L1 is believed for good, heard or not
	AppliedFirst       // invalidation.Bus: a heartbeat proves what was not applied yet
	Chain              // invalidation.chain: a gap between announcements is ignored
	JoinCurrent        // flights.board: readers join loads that a change overtook
	OwnFloors          // tiered.Tiers: the writer waits for its own announcement
	Outbox             // tiered.outbox: a failed change is forgotten
	Guards
)

func (g Guard) String() string {
	return [Guards]string{"none", "lease", "stamp at read", "proof ages", "applied first",
		"chain", "join current", "own floors", "outbox"}[g]
}
