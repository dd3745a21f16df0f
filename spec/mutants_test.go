package spec

import "github.com/nearcache/nearcache/internal/guard"

// mutant is the protocol without one of its guards.
type mutant int8

const (
	intact mutant = iota
	lease0
	fillIfAbsent
	tombstoneOnly
	leaseOfAnyEpoch
	joinCurrent
	chain
	noDistrust
	split
	stampAtKeep
	stampAtRead
	proofByRead
	proofAges
	appliedFirst
	anyServer
	readUnproven
	ownFloors
	outbox
	mutants
)

// but is m, unless it is the one that does not matter here.
func (m mutant) but(other mutant) mutant {
	if m == other {
		return intact
	}
	return m
}

// removed says what each mutant lacks, and which guard of the code that is.
var removed = [mutants]struct {
	what  string
	guard guard.Guard
}{
	intact:          {"nothing", guard.None},
	lease0:          {"no lease: a fill overwrites what is there", guard.Lease},
	fillIfAbsent:    {"a fill needs no lease if nothing is there", guard.None},
	tombstoneOnly:   {"a fill needs no lease but the absence of a tombstone", guard.None},
	leaseOfAnyEpoch: {"a lease is good in any epoch, on any server", guard.None},
	joinCurrent:     {"readers join a flight that a change overtook", guard.JoinCurrent},
	chain:           {"a gap between announcements is ignored", guard.Chain},
	noDistrust:      {"what the log does not hold any more is passed over", guard.None},
	split:           {"announced first, deleted afterwards", guard.None},
	stampAtKeep:     {"stamped when it is kept, not when its read began", guard.None},
	stampAtRead:     {"stamps are checked when an entry is put, not when it is read", guard.StampAtRead},
	proofByRead:     {"a heartbeat is a read, which a demoted master answers", guard.None},
	proofAges:       {"a proof is good for ever", guard.ProofAges},
	appliedFirst:    {"a heartbeat proves what was not applied: another connection's proof", guard.AppliedFirst},
	anyServer:       {"an epoch goes on when the replication id changes", guard.None},
	readUnproven:    {"Redis is read though no heartbeat was answered within the bound", guard.None},
	ownFloors:       {"the writer waits for its own announcement", guard.OwnFloors},
	outbox:          {"a change that failed is forgotten", guard.Outbox},
}
