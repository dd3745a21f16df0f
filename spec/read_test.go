package spec

// readSteps are reads beyond L1. Hits are no steps: promises_test.go looks at
// what L1 would answer in every state.
func readSteps(s *state, m mutant, step func(move, state)) {
	for i := range s.inst {
		joinStep(s, i, m, step)
		boardSteps(s, i, step)
		boardLookSteps(s, i, m, step)
	}
	for f := range s.flights {
		flightSteps(s, f, m, func(what string, n state) { step(move{"flight", int8(f), what}, n) })
	}
}

// boardSteps begin a flight for a reader that skips L1: it demands most. It is
// registered before anything is read, and sets aside the one before.
//
// After x none begins: what it could find, the flight that began at x can find too,
// and by what it does to Redis it can only stand in that one's way.
func boardSteps(s *state, i int, step func(move, state)) {
	if s.left.flights == 0 || s.watch == after {
		return
	}
	f := s.slot()
	at := func(what string) move { return move{"instance", int8(i), what} }
	n := *s
	n.left.flights--
	in := &n.inst[i]
	in.boarding = f + 1
	n.flights[f] = flight{at: begun, inst: int8(i), stamp: in.seen, epoch: in.epoch, proof: in.proof}
	if s.watch == before {
		n.flights[f].need = in.own.join(s.bypass())
	}
	step(at("begins a flight"), n)
	if s.watch == watching && s.changes[s.watched].lost { // else bypass demands it
		n.flights[f].need = s.demands(i)
		n.end()
		step(at("begins a flight: x"), n)
	}
}

// joinable reports whether a reader with the whole bound may join now. Before there is
// an answer, flights.board asks whether the ticket is current. An answer that is older
// than its ticket is asked, too (tiered.Answer.Shared): what the code asks of all who
// joined, is asked here of those who join when it is there.
func (s *state) joinable(in *instance, m mutant) bool {
	fl := &s.flights[in.boarding-1]
	since := fl.since
	if fl.at == loaded && m != joinOlder {
		since = max(since, fl.age)
	}
	return m == joinCurrent || s.believes(in, fl.epoch, fl.stamp, since, m.but(stampAtRead))
}

// joinStep adds to a flight's demand. Who joins a flight that has its version is
// judged where the promises are; who joins one that will ask the loader gets what
// is newest then.
func joinStep(s *state, i int, m mutant, step func(move, state)) {
	in := &s.inst[i]
	f := in.boarding - 1
	if s.watch == after || f < 0 {
		return
	}
	fl := &s.flights[f]
	if fl.at == loaded || fl.at == loading && !fl.standIn || !s.joinable(in, m) {
		return
	}
	need := fl.need.join(s.demands(i))
	if need == fl.need {
		return
	}
	n := *s
	n.flights[f].need = need
	what := "is joined"
	if s.watch == watching {
		n.end()
		what = "is joined: x"
	}
	step(move{"flight", f, what}, n)
}

func flightSteps(s *state, f int, m mutant, step func(string, state)) {
	fl := s.flights[f]
	n := *s
	nf := &n.flights[f]
	switch fl.at {
	case looking, glimpsed:
		lookSteps(s, f, m, step)
	case begun:
		n.readRecord(nf)
		step("reads the record", n)
		boundedSteps(s, f, m, step)
		if s.left.failures > 0 {
			n := *s
			n.left.failures--
			n.flights[f].at = loading
			step("cannot read Redis", n)
		}
	case recorded:
		valueSteps(s, f, m, step)
	case claiming:
		claimSteps(s, f, step)
	case loading:
		loadSteps(s, f, m, step)
	case loaded:
		n.keep(f, m)
		step("answers, and is kept in L1", n)
	case filling:
		n.fill(f, m)
		step("fills", n)
	}
}

// readRecord is the first half of l2.Store.Read, with the half of
// tiered.Tiers.trusts that concerns the record.
func (s *state) readRecord(f *flight) {
	in, r := &s.inst[f.inst], &s.server
	if in.isolated || in.pending {
		f.at = loading // a demoted master grants no leases
		return
	}
	f.at, f.age, f.record = recorded, young, r.seq
	f.trusted = r.known && r.epoch == f.epoch && r.seq >= f.stamp.seq()
}

// valueSteps are the second half: the value, or a lease in its place.
func valueSteps(s *state, f int, m mutant, step func(string, state)) {
	n := *s
	fl, in, v := &n.flights[f], &n.inst[n.flights[f].inst], &n.server.value
	if in.isolated || v.kind == tombstone {
		fl.at, fl.trusted = loading, false
		step("is refused a lease", n)
		return
	}
	if fl.trusted && (!s.left.strict || fl.proven(in, m)) {
		in.hears(fl)
		if !in.pending {
			trustedSteps(n, f, m, step)
		}
		n = *s // what is proven may have run out instead
	}
	fl.trusted, fl.at = false, loading
	if v.kind == nothing { // it is given back, or ends by itself
		*v = value{kind: lease}
	}
	step("does not believe Redis", n)
}

// proven is the half of tiered.Tiers.trusts that concerns the server: strict mode must
// notice what it lost since the newest proof. The proof must be one of when the ticket
// was given: a record that is not behind what was seen then is not behind what that
// proof covers, but may be behind what a newer one does.
func (fl *flight) proven(in *instance, m mutant) bool {
	switch m {
	case readUnproven:
		return true
	case provenLater:
		return in.proof != over
	}
	return fl.proof != over
}

// trustedSteps believe what Redis holds, if there is something.
func trustedSteps(n state, f int, m mutant, step func(string, state)) {
	fl, in, v := &n.flights[f], &n.inst[n.flights[f].inst], &n.server.value
	waits := n
	fl.stamp = max(fl.stamp, stampOf(fl.record))
	switch {
	case v.kind == nothing || v.kind == data && n.overtaken(in, *v, n.server.epoch):
		*v = value{kind: lease, token: int8(f) + 1}
		fl.leased, fl.at = true, loading
		step("takes the lease", n)
	case v.kind == lease:
		fl.at = loading
		step("waits in vain", n)
		waits.inst, waits.flights[f].at = n.inst, begun
		step("waits and looks again", waits)
	default:
		fl.version = v.version
		if n.left.strict && m != readProves {
			// Redis is no source: what it holds is current as of the newest proof that
			// it had lost nothing.
			fl.age = max(fl.age, fl.proof)
		}
		if n.left.claims {
			claims := n
			c := &claims.flights[f]
			c.at, c.standIn, c.saw = claiming, true, v.identity()
			step("finds a value to refresh", claims)
		}
		if !v.expired || m == expiredIsFresh {
			fl.at = loaded
			step("finds a value", n)
		}
	}
}

// hears notes the record's number in the ticket's epoch.
func (in *instance) hears(fl *flight) {
	if fl.epoch == in.epoch {
		in.see(stampOf(fl.record))
	}
}

// overtaken is tiered.Tiers.overtaken.
func (s *state) overtaken(in *instance, v value, epoch int8) bool {
	if v.epoch == epoch {
		return false
	}
	return s.left.strict || stampOf(v.birth) < in.prior
}

// identity is what a claim compares: all that is not rewritten in place.
func (v value) identity() value {
	v.token, v.expired = 0, false
	return v
}

// claimSteps are l2.Store.Claim: of a value that is expired, past its life, or soon.
// A claim that is in the way may have expired by now; and a claim may always be
// refused, since another's may be in the way that no step shows.
func claimSteps(s *state, f int, step func(string, state)) {
	n := *s
	fl, v := &n.flights[f], &n.server.value
	fl.at = loading
	if v.kind == data && v.identity() == fl.saw && !n.inst[fl.inst].isolated {
		v.token = int8(f) + 1
		fl.leased, fl.claimed, fl.saw = true, true, value{}
		step("claims the value", n)
	}
	n = *s
	fl.at, fl.saw = loading, value{}
	step("is refused the claim", n)
}

// loadSteps are the loader's answers. Where a value stands in for a load that fails,
// the claim on it is given back: its flight will not use the token any more.
func loadSteps(s *state, f int, m mutant, step func(string, state)) {
	n := *s
	fl := &n.flights[f]
	fl.version, fl.at, fl.standIn, fl.age = s.newest(), loaded, false, young
	fl.leased = fl.leased || m == lease0
	step("loads", n)
	if !s.flights[f].standIn {
		return
	}
	if s.flights[f].claimed && s.current(s.flights[f].version) {
		fl.version, fl.renews = s.flights[f].version, true
		step("is told that its value is current", n)
	}
	n = *s
	fl.at, fl.leased, fl.claimed = loaded, false, false
	step("cannot load, and a value stands in", n)
}

// keep answers the readers, closes the flight to others, and is the end of
// Ristretto's asynchronous put. Answering any earlier would only let fewer join.
func (s *state) keep(f int, m mutant) {
	fl := &s.flights[f]
	in := &s.inst[fl.inst]
	if in.boarding == int8(f)+1 {
		in.boarding = 0
	}
	if m == stampAtRead && fl.stamp < in.floor {
		fl.stamp = -1 // checked when it is put, as others do: not kept
	}
	if m == stampAtKeep {
		fl.stamp, fl.epoch = in.seen, in.epoch
	}
	if fl.stamp >= 0 && !fl.held && (!fl.standIn || m == standInIsKept) {
		in.entry = entry{true, fl.version, fl.stamp, fl.epoch, fl.age}
	}
	fl.at = filling
	if !fl.leased {
		*fl = flight{at: done}
	}
}

// fill is the fill script. A flight that dies is one that does not come to this.
func (s *state) fill(f int, m mutant) {
	fl, r := s.flights[f], &s.server
	s.flights[f] = flight{at: done}
	mine := (r.value.kind == lease || r.value.kind == data) && r.value.token == int8(f)+1
	here := r.known && r.epoch == fl.epoch && r.recordID == r.id
	switch m {
	case lease0:
		mine, here = true, true
	case fillIfAbsent:
		mine = mine || r.value.kind == nothing
	case tombstoneOnly:
		mine = r.value.kind != tombstone
	case leaseOfAnyEpoch:
		here = here || !fl.claimed
	case claimOfAnyEpoch:
		here = here || fl.claimed
	case fillUnclaimed:
		mine = mine || fl.claimed && !fl.renews
	case renewUnclaimed:
		mine = mine || fl.renews && r.value.kind == data
	}
	version := fl.version
	if fl.renews {
		version = r.value.version // only the header is rewritten
	}
	switch {
	case mine && here:
		s.late = s.overtook(version)
		r.value = value{kind: data, version: version, birth: fl.record, epoch: fl.epoch}
	case mine:
		r.value = value{}
	}
}
