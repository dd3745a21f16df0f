package spec

import "fmt"

// readSteps are reads beyond L1. Hits are no steps: promises_test.go looks at
// what L1 would answer in every state.
func readSteps(s *state, m mutant, step func(string, state)) {
	for i := range s.inst {
		joinStep(s, i, m, step)
		if s.left.flights > 0 {
			n := *s
			n.board(i)
			step(fmt.Sprintf("%d begins a flight", i), n)
		}
	}
	for f := range s.flights {
		flightSteps(s, f, m, func(what string, n state) { step(fmt.Sprintf("flight %d %s", f, what), n) })
	}
}

// board begins a flight for a reader that skips L1: it demands most. It is
// registered before anything is read, and sets aside the one before.
func (s *state) board(i int) {
	f := maxFlights - int(s.left.flights)
	s.left.flights--
	in := &s.inst[i]
	s.flights[f] = flight{at: begun, inst: int8(i), stamp: in.seen, epoch: in.epoch, need: max(in.own, s.bypass())}
	in.boarding = int8(f) + 1
}

// joinStep is flights.board: a reader with the whole bound joins what is current.
func joinStep(s *state, i int, m mutant, step func(string, state)) {
	in := &s.inst[i]
	if in.boarding == 0 {
		return
	}
	f := in.boarding - 1
	fl := &s.flights[f]
	if !in.believes(fl.epoch, fl.stamp, fl.age, m.but(stampAtRead)) && m != joinCurrent {
		return
	}
	if need := s.demand(i); need > fl.need {
		n := *s
		n.flights[f].need = need
		step(fmt.Sprintf("a reader joins flight %d", f), n)
	}
}

func flightSteps(s *state, f int, m mutant, step func(string, state)) {
	fl := s.flights[f]
	n := *s
	nf := &n.flights[f]
	switch fl.at {
	case begun:
		n.readRecord(nf)
		step("reads the record", n)
		if s.left.failures > 0 {
			n := *s
			n.left.failures--
			n.flights[f].at = loading
			step("cannot read Redis", n)
		}
	case recorded:
		valueSteps(s, f, m, step)
	case loading:
		nf.version, nf.at = s.source, loaded
		step("loads", n)
	case loaded:
		nf.at = keeping
		n.land(f, m)
		step("answers", n)
	case keeping:
		n.keep(f, m)
		step("is kept in L1", n)
	case filling:
		n.fill(f, m)
		step("fills", n)
		n = *s
		n.flights[f] = flight{at: done}
		step("dies", n)
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
	f.at, f.age, f.record = recorded, 0, r.seq
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
	if fl.trusted = fl.trusted && n.proven(in, m); fl.trusted {
		in.see(stampOf(fl.record))
		fl.trusted = !in.pending
	}
	if fl.trusted {
		fl.stamp = max(fl.stamp, stampOf(fl.record))
	}
	switch {
	case v.kind == nothing:
		*v = value{kind: lease, token: int8(f) + 1}
		fl.leased = fl.trusted // else it is given back, or ends by itself
		fl.at = loading
		step("takes the lease", n)
	case !fl.trusted:
		fl.at = loading
		step("does not believe Redis", n)
	case v.kind == lease:
		fl.at = loading
		step("waits in vain", n)
		n.flights[f] = s.flights[f]
		n.flights[f].at = begun
		step("waits and looks again", n)
	case n.overtaken(in, *v):
		*v = value{kind: lease, token: int8(f) + 1}
		fl.leased, fl.at = true, loading
		step("drops the value", n)
	default:
		fl.version, fl.fromData, fl.at = v.version, true, loaded
		step("finds a value", n)
	}
}

// proven is the half of tiered.Tiers.trusts that concerns the server.
func (s *state) proven(in *instance, m mutant) bool { return in.proof <= bound || m == readUnproven }

// overtaken is tiered.Tiers.overtaken.
func (s *state) overtaken(in *instance, v value) bool {
	if v.epoch == s.server.epoch {
		return false
	}
	return s.left.strict || stampOf(v.birth) < in.prior
}

// land answers the readers and closes the flight to others.
func (s *state) land(f int, m mutant) {
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
}

// keep is the end of Ristretto's asynchronous put.
func (s *state) keep(f int, m mutant) {
	fl := &s.flights[f]
	if fl.stamp >= 0 {
		s.inst[fl.inst].entry = entry{true, fl.version, fl.stamp, fl.epoch, fl.age}
	}
	if fl.leased || m == lease0 && !fl.fromData {
		fl.at = filling
	} else {
		*fl = flight{at: done}
	}
}

// fill is the fill script.
func (s *state) fill(f int, m mutant) {
	fl, r := s.flights[f], &s.server
	s.flights[f] = flight{at: done}
	mine := r.value.kind == lease && r.value.token == int8(f)+1
	here := r.known && r.epoch == fl.epoch && r.recordID == r.id
	switch m {
	case lease0:
		mine, here = true, true
	case fillIfAbsent:
		mine = mine || r.value.kind == nothing
	case tombstoneOnly:
		mine = r.value.kind != tombstone
	case leaseOfAnyEpoch:
		here = true
	}
	switch {
	case mine && here:
		r.value = value{kind: data, version: fl.version, birth: fl.record, epoch: fl.epoch}
	case mine:
		r.value = value{}
	}
}
