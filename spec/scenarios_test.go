package spec

// bounds are how often things happen in one search, in all its orders.
type bounds struct {
	changes           int8 // invalidations
	expires, sets     int8 // with the invalidations no more than maxChanges
	flights           int8
	looks             int8 // flights that begin with a look, with the others no more than maxFlights
	others            int8 // changes of another key
	lost              int8 // announcements, one by one
	cuts              int8 // subscriptions
	failures          int8 // calls of which the instance learns nothing, whether they ran or not
	trims             int8 // of the whole log
	flushes, restarts int8
	failovers         int8 // to a snapshot taken at any moment before
	isolations        int8 // of an instance that stays on the old master
	resends           int8
	strict            bool // Config.Strict
	warm              bool // Redis has a value from the beginning
	claims            bool // values may be claimed
	full              bool // a demoted master is out of memory, which it says before it says that it is none
}

// scenario is one search.
type scenario struct {
	name         string
	small, large bounds
}

// scenarios together cover every failure; all of them at once would be too many
// orders to search.
var scenarios = []scenario{
	{"loads race changes",
		bounds{changes: 2, flights: 2},
		bounds{changes: 2, flights: 2, lost: 1, cuts: 1}},
	{"announcements are lost",
		bounds{changes: 1, others: 1, flights: 1, lost: 1, cuts: 1, trims: 1},
		bounds{changes: 2, others: 1, flights: 1, lost: 2, cuts: 1, trims: 1}},
	{"calls fail",
		bounds{changes: 1, flights: 2, failures: 1, resends: 1, warm: true},
		bounds{changes: 2, flights: 2, failures: 1, resends: 1}},
	{"data are flushed",
		bounds{changes: 1, others: 1, flights: 1, flushes: 1, resends: 1, warm: true},
		bounds{changes: 1, flights: 2, flushes: 1, resends: 1}},
	{"an empty restart",
		bounds{changes: 1, others: 1, flights: 1, restarts: 1, resends: 1, warm: true},
		bounds{changes: 1, flights: 2, restarts: 1, resends: 1}},
	{"failover, lenient",
		bounds{changes: 1, flights: 1, failovers: 1, resends: 1, warm: true},
		bounds{changes: 1, flights: 2, failovers: 1, resends: 1}},
	{"failover, strict",
		bounds{changes: 1, flights: 1, failovers: 1, resends: 1, strict: true, warm: true},
		bounds{changes: 1, flights: 2, failovers: 1, resends: 1, lost: 1, strict: true}},
	{"a demoted master",
		bounds{changes: 1, looks: 1, failovers: 1, isolations: 1, strict: true, warm: true},
		bounds{changes: 2, flights: 1, failovers: 1, isolations: 1, resends: 1, strict: true}},
	{"leases outlive a failover",
		bounds{changes: 1, flights: 1, failovers: 1, resends: 1},
		bounds{changes: 2, flights: 1, failovers: 1, resends: 1}},
	{"claims race expiry",
		bounds{expires: 1, flights: 2, warm: true, claims: true},
		bounds{changes: 1, expires: 1, flights: 2, warm: true, claims: true}},
	{"claims race invalidations",
		bounds{changes: 1, flights: 2, warm: true, claims: true},
		bounds{changes: 1, flights: 3, warm: true, claims: true}},
	{"claims race sets",
		bounds{sets: 1, flights: 2, warm: true, claims: true},
		bounds{sets: 1, flights: 2, failures: 1, resends: 1, lost: 1, warm: true, claims: true}},
	{"claims outlive a failover",
		bounds{changes: 1, flights: 1, failovers: 1, resends: 1, warm: true, claims: true},
		bounds{changes: 1, flights: 2, failovers: 1, warm: true, claims: true}},
	{"looks race changes",
		bounds{changes: 1, looks: 2, others: 1, warm: true},
		bounds{changes: 2, looks: 1, flights: 1, others: 1, lost: 1, warm: true}},
	{"looks while calls fail",
		bounds{changes: 1, looks: 2, others: 1, failures: 1, resends: 1, warm: true},
		bounds{changes: 2, looks: 1, flights: 1, others: 1, failures: 1, resends: 1, warm: true}},
	{"looks race expiry",
		bounds{expires: 1, looks: 1, flights: 1, warm: true, claims: true},
		bounds{changes: 1, expires: 1, looks: 1, flights: 1, warm: true, claims: true}},
	{"looks after a failover",
		bounds{changes: 1, looks: 1, failovers: 1, resends: 1, warm: true},
		bounds{changes: 1, looks: 1, flights: 1, failovers: 1, resends: 1, warm: true}},
	{"looks after a failover, strict",
		bounds{changes: 1, looks: 1, failovers: 1, resends: 1, strict: true, warm: true},
		bounds{changes: 1, looks: 1, flights: 1, failovers: 1, resends: 1, strict: true, warm: true}},
	{"looks at a demoted master",
		bounds{changes: 1, looks: 1, failovers: 1, isolations: 1, warm: true, full: true},
		bounds{changes: 1, looks: 1, failovers: 1, isolations: 1, resends: 1, strict: true, warm: true, full: true}},
}
