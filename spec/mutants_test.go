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
	landedElsewhere
	readProves
	provenLater
	fillUnclaimed
	renewUnclaimed
	expireKeepsClaim
	setKeepsClaim
	claimOfAnyEpoch
	expiredIsFresh
	standInIsKept
	joinOlder
	leaseless
	lookUnproven // from here on those of looks
	lookProves
	joinLookByBirth
	bypassLooks
	lookRecordLast
	lookAnyEpoch
	lookBehind
	lookOvertaken
	lookPending
	lookPendingLate
	lookExpired
	mutants
)

// but is m, unless it is the one that does not matter here.
func (m mutant) but(other mutant) mutant {
	if m == other {
		return intact
	}
	return m
}

// looks reports whether the guard is one of looks.
func (m mutant) looks() bool { return m >= lookUnproven }

// asks reports whether a fill needs its token: without it, who holds none may
// still fill.
func (m mutant) asks() bool {
	switch m {
	case lease0, fillIfAbsent, tombstoneOnly, fillUnclaimed, renewUnclaimed:
		return false
	}
	return true
}

// stamps reports whether what carries a stamp below its floor is of no use.
func (m mutant) stamps() bool { return m != stampAtKeep && m != stampAtRead && m != joinCurrent }

// removed says what each mutant lacks, which guard of the code that is, and which
// scenario misses it.
var removed = [mutants]struct {
	what     string
	guard    guard.Guard
	scenario string
}{
	intact:           {"nothing", guard.None, ""},
	lease0:           {"no lease: a fill overwrites what is there", guard.Lease, "loads race changes"},
	fillIfAbsent:     {"a fill needs no lease if nothing is there", guard.None, "loads race changes"},
	tombstoneOnly:    {"a fill needs no lease but the absence of a tombstone", guard.None, "loads race changes"},
	leaseOfAnyEpoch:  {"a lease is good in any epoch, on any server", guard.None, "leases outlive a failover"},
	joinCurrent:      {"readers join a flight that a change overtook", guard.JoinCurrent, "loads race changes"},
	chain:            {"a gap between announcements is ignored", guard.Chain, "announcements are lost"},
	noDistrust:       {"what the log does not hold any more is passed over", guard.None, "announcements are lost"},
	split:            {"announced first, deleted afterwards", guard.None, "loads race changes"},
	stampAtKeep:      {"stamped when it is kept, not when its read began", guard.None, "loads race changes"},
	stampAtRead:      {"stamps are checked when an entry is put, not when it is read", guard.StampAtRead, "loads race changes"},
	proofByRead:      {"a heartbeat is a read, which a demoted master answers", guard.None, "a demoted master"},
	proofAges:        {"a proof is good for ever", guard.ProofAges, "loads race changes"},
	appliedFirst:     {"a heartbeat proves what was not applied: another connection's proof", guard.AppliedFirst, "loads race changes"},
	anyServer:        {"an epoch goes on when the replication id changes", guard.None, "failover, strict"},
	readUnproven:     {"strict: Redis is read though no heartbeat was answered within the bound", guard.None, "failover, strict"},
	ownFloors:        {"the writer waits for its own announcement", guard.OwnFloors, "loads race changes"},
	outbox:           {"a change that failed is forgotten", guard.Outbox, "calls fail"},
	landedElsewhere:  {"a change that landed in an epoch not followed yet is not fenced again", guard.None, "an empty restart"},
	readProves:       {"strict: a read of Redis proves what it found", guard.None, "failover, strict"},
	provenLater:      {"strict: a read of Redis goes by a proof that came after its ticket", guard.None, "failover, strict"},
	fillUnclaimed:    {"a fill under a claim overwrites what is there", guard.None, "claims race invalidations"},
	renewUnclaimed:   {"a header is renewed whoever holds the claim", guard.None, "claims race expiry"},
	expireKeepsClaim: {"expire leaves the claim where it is", guard.None, "claims race expiry"},
	setKeepsClaim:    {"set leaves the claim where it is", guard.None, "claims race sets"},
	expiredIsFresh:   {"what is marked expired is answered as fresh", guard.None, "claims race expiry"},
	standInIsKept:    {"L1 keeps what stood in", guard.None, "claims race expiry"},
	claimOfAnyEpoch:  {"a claim is good in any epoch, on any server", guard.None, "claims outlive a failover"},
	lookUnproven:     {"a look is made though no heartbeat was answered within the bound", guard.None, "looks at a demoted master"},
	lookProves:       {"what a look finds is as old as the read", guard.None, "looks at a demoted master"},
	joinLookByBirth:  {"readers join a look that is young, whatever its proof", guard.None, "looks at a demoted master"},
	bypassLooks:      {"a reader that accepts no staleness looks", guard.None, "looks at a demoted master"},
	leaseless:        {"what is read for want of a lease needs no proof", guard.None, "looks at a demoted master"},
	joinOlder:        {"readers join what is older than its flight", guard.None, "looks race changes"},
	lookRecordLast:   {"a look reads the record after the value", guard.None, "looks race changes"},
	lookAnyEpoch:     {"a look believes a record of another epoch", guard.None, "looks after a failover"},
	lookBehind:       {"a look believes a record that is behind its ticket", guard.None, "looks after a failover"},
	lookOvertaken:    {"strict: a look finds what is from before data were lost", guard.None, "looks after a failover, strict"},
	lookPending:      {"a look is made while an own change has not landed", guard.None, "looks while calls fail"},
	lookPendingLate:  {"that is asked before the look only", guard.None, "looks while calls fail"},
	lookExpired:      {"a look finds what is marked expired", guard.None, "looks race expiry"},
}
