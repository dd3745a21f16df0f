package spec

import "fmt"

// demand is what a reader on i that accepts the bound may demand now: nothing
// older than what was acknowledged longer ago than the bound (promise 1), and on
// the writer's instance nothing older than its own (promise 3).
//
// What the server has lost is owed again from its repetition on (promise 8);
// in strict mode it never ceases to be owed.
func (s *state) demand(i int) int8 {
	need := s.inst[i].own
	for v, c := range s.changes {
		if c.overdue() && (!c.lost || s.left.strict) {
			need = max(need, int8(v))
		}
	}
	return need
}

// bypass is what a reader that skips L1 may demand now (promise 2): what a lost
// change took away it may meet within the bound.
func (s *state) bypass() int8 {
	need := int8(0)
	for v, c := range s.changes {
		if c.promised() || c.overdue() && s.left.strict {
			need = max(need, int8(v))
		}
	}
	return need
}

// broken names the promise that a state breaks, if it does.
func broken(s *state, m mutant) string {
	for i := range s.inst {
		in := &s.inst[i]
		e := in.entry
		if e.there && in.believes(e.epoch, e.stamp, e.age, m) && e.version < s.demand(i) {
			if e.version < in.own {
				return fmt.Sprintf("own writes: L1 of %d answers version %d, made %d itself", i, e.version, in.own)
			}
			return fmt.Sprintf("bounded staleness: L1 of %d answers version %d, owes %d", i, e.version, s.demand(i))
		}
	}
	for f := range s.flights {
		if fl := &s.flights[f]; fl.at == loaded && fl.version < fl.need {
			if fl.fromData {
				return fmt.Sprintf("past L1: flight %d found version %d, owes %d", f, fl.version, fl.need)
			}
			return fmt.Sprintf("joined: flight %d loaded version %d, owes %d", f, fl.version, fl.need)
		}
	}
	return staleFill(s)
}

// staleFill is promise 4 for Redis: what it holds in this epoch is no older than
// what was acknowledged.
func staleFill(s *state) string {
	r := &s.server
	if r.value.kind != data || !r.known || r.recordID != r.id || r.value.epoch != r.epoch {
		return "" // overtaken judges values of earlier epochs
	}
	for v, c := range s.changes {
		if c.promised() && r.value.version < int8(v) {
			return fmt.Sprintf("stale fill: Redis holds version %d after %d was acknowledged", r.value.version, v)
		}
	}
	return ""
}
