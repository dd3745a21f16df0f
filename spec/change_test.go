package spec

import "fmt"

// changeSteps are Invalidate, from the commit at the source to its return.
func changeSteps(s *state, m mutant, step func(string, state)) {
	if s.left.changes > 0 {
		for i := range s.inst {
			n := *s
			n.left.changes--
			n.source++
			n.changes[n.source] = change{at: committed, inst: int8(i), acked: never}
			if m != ownFloors {
				n.inst[i].fence()
			}
			step(fmt.Sprintf("%d commits version %d and fences", i, n.source), n)
		}
	}
	for v := range s.changes {
		c := s.changes[v]
		at := func(what string) string { return fmt.Sprintf("version %d: %s", v, what) }
		switch c.at {
		case committed:
			callSteps(s, v, m, at, step)
		case begun: // of the split mutant: announced, not deleted yet
			n := *s
			n.server.value = value{}
			n.changes[v].at = executed
			step(at("the value is deleted"), n)
		case executed:
			n := *s
			n.acknowledge(v, m)
			step(at("acknowledged"), n)
		case failing:
			n := *s
			n.changes[v].at = done
			in := &n.inst[c.inst]
			in.fence() // again: reads may have found the old value since
			in.own = max(in.own, int8(v))
			step(at("fails"), n)
		}
	}
}

// callSteps are the script's call: it runs, or fails, or runs and seems to fail.
func callSteps(s *state, v int, m mutant, at func(string) string, step func(string, state)) {
	isolated := s.inst[s.changes[v].inst].isolated
	if !isolated {
		n := *s
		before := n.server.value
		c := &n.changes[v]
		c.seq, c.epoch = n.run()
		c.at = executed
		switch m {
		case split:
			n.server.value = before
			c.at = begun
		case tombstoneOnly:
			n.server.value = value{kind: tombstone}
		}
		step(at("the script runs"), n)
		if s.left.failures > 0 {
			n.left.failures--
			n.fail(v, m)
			step(at("the script runs, its reply is lost"), n)
		}
	}
	if s.left.failures > 0 || isolated {
		n := *s
		if !isolated {
			n.left.failures--
		}
		n.fail(v, m)
		step(at("the script does not run"), n)
	}
}

// fail enters the outbox; the second fence is a step of its own.
func (s *state) fail(v int, m mutant) {
	c := &s.changes[v]
	c.at = failing
	s.inst[c.inst].pending = m != outbox
}

// acknowledge is tiered.Tiers.landed, and the return to the caller.
func (s *state) acknowledge(v int, m mutant) {
	c := &s.changes[v]
	in := &s.inst[c.inst]
	if m != ownFloors {
		in.raise(stampOf(c.seq))
	}
	if c.epoch == in.epoch {
		in.landed = true
	} else {
		in.pending = m != outbox
	}
	c.at, c.acked = done, 0
	in.own = max(in.own, int8(v))
}

// resend is tiered.Tiers.resendSome: what landed and what failed alike.
func (s *state) resend(i int) {
	in := &s.inst[i]
	seq, epoch := s.run()
	if epoch != in.epoch {
		return // the next heartbeat tells more
	}
	in.raise(stampOf(seq))
	in.pending, in.landed = false, true
	for v := range s.changes {
		if c := &s.changes[v]; int(c.inst) == i && c.lost {
			c.lost, c.seq = false, seq
			if c.acked != never {
				c.acked = 0
			}
		}
	}
}
