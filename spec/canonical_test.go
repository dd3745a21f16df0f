package spec

import (
	"cmp"
	"slices"
)

// canonical clears what no step to come can make matter, so that states which differ
// in nothing else are searched once. Each rule says why it loses no broken promise.
//
// A rule may also let a state stand for one that can do less: every way on from the
// latter is one from the former.
func (s *state) canonical(m mutant) {
	if s.watch != before {
		s.tellStaleFromFresh()
	}
	for i := range s.inst {
		s.quiet(i, m)
	}
	for f := range s.flights {
		s.settled(int8(f), m)
	}
	s.disown(&s.server.value)
	s.disown(&s.snapshot.value)
	s.unlooked()
	s.forgive()
	for i := range s.inst {
		s.unread(i, m)
	}
	s.sortFlights()
}

// tellStaleFromFresh: once a version is watched, versions are older or not.
func (s *state) tellStaleFromFresh() {
	s.versions(func(v *int8) {
		if *v >= s.watched {
			*v = s.watched
		} else {
			*v = 0
		}
	})
}

// versions calls f with the version of everything that somebody may be answered
// or that may be kept.
func (s *state) versions(f func(*int8)) {
	for i := range s.inst {
		if e := &s.inst[i].entry; e.there {
			f(&e.version)
		}
	}
	for i := range s.flights {
		switch fl := &s.flights[i]; {
		case fl.at == loaded, fl.at == filling, fl.standIn:
			f(&fl.version)
		}
		if saw := &s.flights[i].saw; saw.kind == data {
			f(&saw.version)
		}
	}
	for _, v := range []*value{&s.server.value, &s.snapshot.value, &s.demoted.value} {
		if v.kind == data {
			f(&v.version)
		}
	}
}

// newest is what a loader reads.
func (s *state) newest() int8 {
	if s.watch != before {
		return s.watched
	}
	return s.source
}

// current reports whether the source may say that it still has version v.
func (s *state) current(v int8) bool { return v >= s.newest() }

// commits is how many changes may still begin.
func (s *state) commits() int8 { return s.left.changes + s.left.expires + s.left.sets }

// harmless reports whether version v can never be too old for anybody.
func (s *state) harmless(v int8) bool {
	return v >= s.newest() && (s.watch != before || s.commits() == 0)
}

// quiet drops what an instance will ignore.
func (s *state) quiet(i int, m mutant) {
	in := &s.inst[i]
	// A message that is first in the queue and will be ignored is heard at once: that
	// changes nothing but the queue. Epochs and what was applied in them only grow.
	for in.queued > 0 {
		msg := in.queue[0]
		if msg.epoch == in.epoch && msg.seq <= in.applied || msg.epoch < in.epoch && m != anyServer {
			in.pop()
			continue
		}
		break
	}
	// An answer that proves no more than is proven is of use for what it has in the
	// log; if that stays there, a heartbeat that is sent and answered later is, too.
	if b := in.beat; b.at == answered && in.proof <= b.age {
		safe := !s.lossy && s.left.trims == 0 && s.server.logFrom == 1
		if safe || b.epoch == in.epoch && b.seq <= in.applied {
			in.beat = beat{}
		}
	}
	// Floors only rise and epochs do not come back: such an entry is never a hit. One
	// that can never be too old breaks no promise, and is no obstacle to anything.
	e := in.entry
	dead := m.stamps() && (e.stamp < in.floor || e.epoch != in.epoch && m != anyServer)
	if e.there && (dead || s.harmless(e.version)) || s.watch == after {
		in.entry = entry{}
	}
}

// settled clears what does not matter at the stage that flight f has reached.
func (s *state) settled(f int8, m mutant) {
	fl := &s.flights[f]
	token := f + 1
	if fl.leased && m.asks() && s.server.value.token != token && s.snapshot.value.token != token {
		fl.leased = false // a token that is nowhere does not come back
	}
	if s.watch == after {
		s.settledAfter(fl)
	}
	if fl.at == loaded && s.unkept(fl, m) {
		fl.at = filling // nothing is to come but the fill
	}
	read := fl.at == recorded || fl.at == glimpsed
	if read && !fl.trusted || !s.left.strict && !s.looks(fl) {
		fl.proof = young // nobody asks for it
	}
	if fl.at != begun {
		fl.bounded = false
	}
	switch fl.at {
	case looking, glimpsed, begun:
		fl.age = young // it has found nothing yet
	case claiming:
		fl.decided(m)
	case loading:
		fl.decided(m)
		if s.unkept(fl, m) {
			fl.stamp, fl.age = -1, young
			if !fl.leased && m.asks() && fl.need.standIn <= fl.version {
				*fl = flight{at: done} // and nobody will learn what it loads
			}
		}
	case loaded:
		fl.decided(m)
		fl.need = demand{} // met
	case filling:
		if !fl.leased {
			*fl = flight{at: done}
		}
		*fl = flight{at: fl.at, epoch: fl.epoch, record: fl.record, leased: fl.leased,
			claimed: fl.claimed, renews: fl.renews, version: fl.version}
	}
	if fl.at == done || fl.at == filling || fl.at == loading && fl.stamp < 0 {
		for i := range s.inst { // nobody joins it, or to no effect
			if s.inst[i].boarding == token {
				s.inst[i].boarding = 0
			}
		}
	}
	if s.inst[fl.inst].boarding != token {
		fl.since = young // nobody asks for it
	}
}

// looks reports whether a flight may answer what Redis has without a lease.
func (s *state) looks(fl *flight) bool {
	return fl.at == looking || fl.at == glimpsed && fl.trusted || fl.at == begun && s.left.full
}

// unlooked drops what no look will find on a demoted master.
func (s *state) unlooked() {
	looks := s.watch != after && (s.left.looks > 0 || s.left.full && s.left.flights > 0)
	for f := range s.flights {
		fl := &s.flights[f]
		looks = looks || s.inst[fl.inst].isolated && s.looks(fl)
	}
	if !looks {
		s.demoted = past{}
	}
	if v := &s.demoted.value; v.kind == data {
		v.token = 0
	} else {
		*v = value{}
	}
}

// decided clears what mattered until Redis had been read, or the loader asked.
func (fl *flight) decided(m mutant) {
	fl.trusted, fl.proof = false, young
	if fl.at != claiming && !fl.leased && m.asks() {
		fl.claimed, fl.renews, fl.record = false, false, 0
	}
	if fl.standIn {
		fl.need.fresh = 0 // it loads, or answers what is not fresh
		if fl.need.standIn <= fl.version {
			fl.need.standIn = 0
		}
	} else if fl.at == loading {
		fl.need, fl.version, fl.age = demand{}, 0, young // what it will load is new enough
	}
}

// unkept reports whether what a flight has loaded, or will load, does no harm in L1,
// and none to those who join: it is never believed, or never too old.
func (s *state) unkept(fl *flight, m mutant) bool {
	in := &s.inst[fl.inst]
	if m.stamps() && (fl.stamp < in.floor || fl.epoch != in.epoch && m != anyServer) {
		return true
	}
	if fl.at == loading {
		return !fl.standIn && s.harmless(s.newest())
	}
	return s.harmless(fl.version)
}

// settledAfter leaves of flights, when one that began at x is under way, that one and
// those that can still put an old version where it finds it. Others can only put a
// newer one in its way.
func (s *state) settledAfter(fl *flight) {
	asks := fl.need != demand{} && fl.at < loaded
	stale := fl.leased && (fl.at == loaded || fl.at == filling) && fl.version < s.watched
	switch {
	case asks:
	case stale:
		fl.at = filling
	case fl.at != idle:
		*fl = flight{at: done}
	}
}

// disown forgets tokens that nobody will use: claims may be refused anyway, and a
// lease is in the way whosoever it is.
func (s *state) disown(v *value) {
	if v.token != 0 && !s.flights[v.token-1].leased {
		v.token = 0
	}
}

// oldest is the oldest version anywhere. What was promised at or below it is kept
// for good, since versions do not come back.
func (s *state) oldest() int8 {
	least := s.newest()
	s.versions(func(v *int8) { least = min(least, *v) })
	return least
}

// forgive forgets promises that can no longer be broken.
func (s *state) forgive() {
	oldest := s.oldest()
	for v := range s.changes {
		c := &s.changes[v]
		if c.at != done {
			continue
		}
		if !s.lossy {
			c.inst, c.lost = 0, false
		}
		if s.left.failovers == 0 {
			c.seq = 0 // only a failover compares it
		}
		c.epoch = 0
		watched := s.watch != before && int8(v) == s.watched
		if !watched && (s.watch != before || int8(v) <= oldest || !s.lossy && s.implied(v)) {
			*c = change{at: done}
		}
	}
	ease := func(d *demand) {
		if d.fresh <= oldest {
			d.fresh = 0
		}
		if d.standIn <= oldest {
			d.standIn = 0
		}
	}
	for i := range s.inst {
		if s.watch != before {
			s.inst[i].own = demand{}
		}
		ease(&s.inst[i].own)
	}
	for f := range s.flights {
		if s.watch == watching {
			s.flights[f].need = demand{}
		}
		ease(&s.flights[f].need)
	}
}

// implied reports whether the promise of version v follows from that of a newer one,
// or whether there is none.
func (s *state) implied(v int) bool {
	c := s.changes[v]
	for _, n := range s.changes[v+1:] {
		if n.acked && (n.op != expires || c.op == expires) {
			return true
		}
	}
	return !c.acked
}

// unread clears what only reads look at, of an instance on which none is to come.
func (s *state) unread(i int, m mutant) {
	in := &s.inst[i]
	more := s.left.flights+s.left.looks > 0 && s.watch != after
	fences := s.commits() > 0
	reads, departs := more || in.entry.there || s.left.sets > 0, false
	for v := range s.changes {
		c := &s.changes[v]
		if int(c.inst) == i && c.at != idle && c.at != done {
			fences = true
			reads = reads || c.op == sets
		}
	}
	for f := range s.flights {
		fl := &s.flights[f]
		reads = reads || int(fl.inst) == i && fl.at >= looking && fl.at <= loaded
		departs = departs || int(fl.inst) == i && (fl.at == looking || fl.at == glimpsed)
	}
	if s.watch == after {
		in.boarding = 0
	}
	if !more && !departs && !fences && m.stamps() {
		in.seen = 0 // tickets and fences ask for it
	}
	if reads {
		return
	}
	in.seen, in.floor, in.prior, in.own, in.boarding = 0, 0, 0, demand{}, 0
	if !s.lossy { // nor will its heartbeats change anything
		in.applied, in.beat, in.proof = 0, beat{}, young
		in.subscribed, in.queue, in.queued = true, [queueLen]message{}, 0
		in.landed = false
	}
}

// sortFlights gives flights their slots in an order of their own: which slot, and so
// which token, a flight has makes no difference.
func (s *state) sortFlights() {
	used := s.flights[:s.slot()]
	if slices.IsSortedFunc(used, flightOrder) {
		return
	}
	var order [maxFlights]int8
	for f := range order {
		order[f] = int8(f)
	}
	was := s.flights
	slices.SortStableFunc(order[:len(used)], func(a, b int8) int { return flightOrder(was[a], was[b]) })
	var at [maxFlights + 1]int8 // new token by old
	for f, w := range order {
		s.flights[f] = was[w]
		at[w+1] = int8(f) + 1
	}
	s.server.value.token = at[s.server.value.token]
	s.snapshot.value.token = at[s.snapshot.value.token]
	for i := range s.inst {
		s.inst[i].boarding = at[s.inst[i].boarding]
	}
}

func flightOrder(a, b flight) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.version, b.version), cmp.Compare(a.stamp, b.stamp),
		cmp.Compare(a.record, b.record), cmp.Compare(a.inst, b.inst))
}

// swapped is s with its instances exchanged, which are alike.
func (s *state) swapped() state {
	n := *s
	n.inst[0], n.inst[1] = s.inst[1], s.inst[0]
	for v := range n.changes {
		c := &n.changes[v]
		forgotten := c.at == idle || c.at == done && (!s.lossy || *c == change{at: done})
		if !forgotten {
			c.inst = 1 - c.inst
		}
	}
	for f := range n.flights {
		if fl := &n.flights[f]; fl.at >= looking && fl.at <= loaded {
			fl.inst = 1 - fl.inst
		}
	}
	n.sortFlights()
	return n
}

// finished reports whether no promise can be broken any more.
func (s *state) finished() bool {
	switch s.watch {
	case before:
		return s.commits() == 0 && s.oldest() == s.source
	case watching:
		return s.oldest() == s.watched
	}
	for f := range s.flights {
		if s.flights[f].need != (demand{}) {
			return s.oldest() == s.watched
		}
	}
	return true
}
