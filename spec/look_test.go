package spec

// A look is a read of record and value without a lease, by which the flight of a reader
// that accepts the bound begins. FetchMany is one that nobody joins and that never
// departs: the model has nothing else of it.
//
// What a look does not bring is loaded by the same flight, which departs with a new
// ticket, and with those who have joined it. Its first reader may leave at any time, and
// a crowd does not wait for it, so it may always depart. A first reader who goes on to
// look then is another flight, which nobody joins.

// slot is that of the next flight.
func (s *state) slot() int8 { return maxFlights - s.left.flights - s.left.looks }

// boardLookSteps begin a flight for a reader that accepts the bound. It looks if the shard
// is proven; else it departs at once. Once it looks the proof may run out, and the answer
// come whenever.
func boardLookSteps(s *state, i int, m mutant, step func(move, state)) {
	if s.left.looks == 0 || s.watch == after {
		return
	}
	n := *s
	n.left.looks--
	in := &n.inst[i]
	f := s.slot()
	in.boarding = f + 1
	fl := &n.flights[f]
	*fl = flight{at: looking, inst: int8(i), stamp: in.seen, epoch: in.epoch, proof: in.proof, since: in.proof}
	if m == joinLookByBirth {
		fl.since = young
	}
	if s.watch == before {
		fl.need = in.own
		if m == bypassLooks {
			fl.need = fl.need.join(s.bypass())
		}
	}
	begin := func(n state, when string) {
		what := "begins a flight with a look"
		if n.flights[f].proof == over && m != lookUnproven {
			n.depart(f)
			what = "begins a flight without a look"
		}
		step(move{"instance", int8(i), what + when}, n)
	}
	begin(n, "")
	if s.watch == watching {
		fl.need = s.demands(i)
		n.end()
		begin(n, ": x")
	}
}

// reads is what the server has that instance i reads from.
func (s *state) reads(i int8) past {
	if s.inst[i].isolated {
		return s.demoted
	}
	return s.server.readable()
}

// breakLooks fails the looks of an instance that have read the record.
func (s *state) breakLooks(i int) {
	for f := range s.flights {
		if fl := &s.flights[f]; int(fl.inst) == i && fl.at == glimpsed {
			fl.trusted = false
		}
	}
}

// lookSteps are tiered.Tiers.Look, and the departure. That the outbox is asked before the
// look saves a round trip, no more: it is asked again when the record is there.
func lookSteps(s *state, f int, m mutant, step func(string, state)) {
	fl := s.flights[f]
	if fl.at == looking {
		if !s.inst[fl.inst].pending || m == lookPending {
			n := *s
			n.glimpse(&n.flights[f], m)
			step("looks at the record", n)
		}
		n := *s
		n.depart(int8(f))
		step("departs", n)
		return
	}
	n := *s
	nf := &n.flights[f]
	if nf.trusted && (!s.left.strict || fl.proof != over || m == lookUnproven) {
		n.inst[fl.inst].hears(nf)
		if n.lookedFound(nf, m) {
			if m == lookProves {
				nf.age = young
			}
			step("looks, and finds a value", n)
		}
	}
	n = *s
	n.depart(int8(f))
	step("looks in vain, and departs", n)
}

// glimpse reads the record, before the value.
func (s *state) glimpse(f *flight, m mutant) {
	r := s.reads(f.inst)
	f.at, f.record = glimpsed, r.seq
	if m == lookRecordLast && r.value.kind == data {
		f.saw = r.value
	}
	f.trusted = r.epoch != 0 && (r.epoch == f.epoch || m == lookAnyEpoch) && (r.seq >= f.stamp.seq() || m == lookBehind)
}

// lookedFound takes the value if it is good without further ado.
func (s *state) lookedFound(f *flight, m mutant) bool {
	in, r := &s.inst[f.inst], s.reads(f.inst)
	v := r.value
	if m == lookRecordLast {
		v, f.saw, f.record = f.saw, value{}, r.seq
	}
	switch {
	case in.pending && m != lookPending && m != lookPendingLate:
		return false
	case v.kind != data, v.expired && m != lookExpired, s.overtaken(in, v, r.epoch) && m != lookOvertaken:
		return false
	}
	f.at, f.version, f.stamp = loaded, v.version, max(f.stamp, stampOf(f.record))
	f.age = f.proof // a demoted master answers, too
	return true
}

// depart goes on to load, with a new ticket.
func (s *state) depart(f int8) {
	fl := &s.flights[f]
	in := &s.inst[fl.inst]
	*fl = flight{at: begun, inst: fl.inst, need: fl.need, stamp: in.seen, epoch: in.epoch, proof: in.proof, bounded: true}
}

// boundedSteps are what only a flight may answer whose readers accept the bound: what
// L1 has got meanwhile, and what a demoted master has that is out of memory. That one
// is asked for a lease, and then read without.
//
// After x L1 is not asked: what it answered then, it could have answered a reader at x.
func boundedSteps(s *state, f int, m mutant, step func(string, state)) {
	n := *s
	fl := &n.flights[f]
	in := &n.inst[fl.inst]
	e := in.entry
	if fl.bounded && s.watch != after && e.there && e.epoch == in.epoch && e.stamp >= in.floor && min(in.proof, e.age) != over {
		fl.at, fl.held, fl.version, fl.age = loaded, true, e.version, e.age
		if m != joinOlder {
			fl.stamp, fl.epoch = e.stamp, e.epoch
		}
		step("finds a value in L1", n)
	}
	n = *s
	if s.left.full && in.isolated && !in.pending && (fl.bounded && fl.proof != over || m == leaseless) {
		n.glimpse(fl, m)
		if fl.trusted && n.lookedFound(fl, m) {
			step("gets no lease for lack of memory, and finds a value", n)
		}
	}
}
