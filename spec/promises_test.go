package spec

import "fmt"

// demands is what a reader on i that accepts the bound may demand now: nothing
// older than what was acknowledged longer ago than the bound (promise 1), and on
// the writer's instance nothing older than its own (promise 3).
func (s *state) demands(i int) demand {
	if s.watch == before {
		return s.inst[i].own
	}
	return demand{}.and(s.watched, s.changes[s.watched].op)
}

// bypass is what a reader that skips L1 may demand (promise 2).
func (s *state) bypass() (d demand) {
	for v, c := range s.changes {
		if c.acked && !c.lost {
			d = d.and(int8(v), c.op)
		}
	}
	return d
}

// breaks reports whether the version that a flight has found is too old for d.
func (f *flight) breaks(d demand) bool {
	if f.standIn {
		return f.version < d.standIn
	}
	return f.version < d.fresh
}

// broken names the promise that a state breaks, if it does.
func broken(s *state, m mutant) string {
	for f := range s.flights {
		if fl := &s.flights[f]; fl.at == loaded && fl.breaks(fl.need) {
			return fmt.Sprintf("past L1, or joined: flight %d answers version %d, owes %d", f, fl.version, fl.need)
		}
	}
	if s.watch == after {
		return ""
	}
	promise := "bounded staleness"
	if s.watch == before {
		promise = "own writes"
	}
	for i := range s.inst {
		in, d := &s.inst[i], s.demands(i)
		if e := in.entry; e.there && e.version < d.fresh && s.believes(in, e.epoch, e.stamp, e.age, m) {
			return fmt.Sprintf("%s: L1 of %d answers version %d, owes %d", promise, i, e.version, d.fresh)
		}
		if f := in.boarding - 1; f >= 0 && s.flights[f].at == loaded && s.flights[f].breaks(d) && s.joinable(in, m) {
			return fmt.Sprintf("%s: who joins flight %d gets version %d, is owed %d", promise, f, s.flights[f].version, d)
		}
	}
	if s.watch == before {
		return staleFill(s)
	}
	return ""
}

// overtook reports whether a version is older than what was acknowledged, though the
// server may have lost that since.
func (s *state) overtook(version int8) bool {
	for v, c := range s.changes {
		if c.acked && version < int8(v) {
			return true
		}
	}
	return false
}

// staleFill is promise 4 for Redis: no fill writes what is older than what was
// acknowledged, and what Redis holds in this epoch is no older either.
func staleFill(s *state) string {
	r := &s.server
	if s.late {
		return fmt.Sprintf("stale fill: version %d comes late", r.value.version)
	}
	if r.value.kind != data || !r.known || r.recordID != r.id || r.value.epoch != r.epoch {
		return "" // overtaken judges values of earlier epochs
	}
	d := s.bypass()
	if r.value.version < d.standIn || r.value.version < d.fresh && !r.value.expired {
		return fmt.Sprintf("stale fill: Redis holds version %d, owes %d", r.value.version, d)
	}
	return ""
}
