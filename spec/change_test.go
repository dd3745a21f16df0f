package spec

// changeSteps are Invalidate, Expire and Set, from the commit at the source to
// their return.
func changeSteps(s *state, m mutant, step func(move, state)) {
	commitSteps(s, m, step)
	for v := range s.changes {
		c := s.changes[v]
		at := func(what string) move { return move{"version", int8(v), what} }
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
			n.acknowledged(int8(v), at("acknowledged"), step)
		case failing:
			n := *s
			n.changes[v].at = done
			in := &n.inst[c.inst]
			in.fence() // again: reads may have found the old value since
			in.own = in.own.and(int8(v), c.op)
			step(at("fails"), n)
		}
	}
}

func commitSteps(s *state, m mutant, step func(move, state)) {
	commit := func(o op, what string, budget func(*bounds) *int8) {
		if *budget(&s.left) == 0 {
			return
		}
		for i := range s.inst {
			n := *s
			*budget(&n.left)--
			n.source++
			in := &n.inst[i]
			if m != ownFloors {
				in.fence()
			}
			n.changes[n.source] = change{at: committed, op: o, inst: int8(i), seq: in.seen.seq(), epoch: in.epoch}
			step(move{"instance", int8(i), what}, n)
		}
	}
	commit(invalidates, "commits a version, fences, and is to invalidate", func(b *bounds) *int8 { return &b.changes })
	commit(expires, "commits a version, fences, and is to expire", func(b *bounds) *int8 { return &b.expires })
	commit(sets, "commits a version, fences, and is to set", func(b *bounds) *int8 { return &b.sets })
}

// callSteps are the script's call: it runs, or fails, or runs and seems to fail.
func callSteps(s *state, v int, m mutant, at func(string) move, step func(move, state)) {
	isolated := s.inst[s.changes[v].inst].isolated
	if !isolated {
		n := *s
		before := n.server.value
		c := &n.changes[v]
		var did op
		c.seq, c.epoch, did = n.run(c.op, int8(v), m)
		c.at = executed
		switch {
		case c.op == sets && did != sets:
			n.fail(v, m) // the caller is told so
		case m == split:
			n.server.value = before
			c.at = begun
		case m == tombstoneOnly:
			n.server.value = value{kind: tombstone}
		}
		step(at("the script runs"), n)
		if s.left.failures > 0 && c.at != failing {
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
		n.changes[v].seq = 0
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
		if c.op == sets {
			in.entry = entry{true, int8(v), stampOf(c.seq), c.epoch, young}
		}
	} else {
		// Its number says nothing in the epoch that this instance follows.
		in.pending = m != outbox
		if m != landedElsewhere {
			in.fence()
		}
	}
	c.at, c.acked = done, true
	in.own = in.own.and(int8(v), c.op)
}

// resend is tiered.Tiers.resendSome: what landed and what failed alike. It returns
// the newest version that is owed again.
func (s *state) resend(i int, m mutant) (again int8) {
	in := &s.inst[i]
	seq, epoch, _ := s.run(invalidates, 0, m)
	if epoch != in.epoch {
		return 0 // the next heartbeat tells more
	}
	in.raise(stampOf(seq))
	in.pending, in.landed = false, true
	for v := range s.changes {
		if c := &s.changes[v]; int(c.inst) == i && c.lost {
			c.lost, c.seq = false, seq
			if c.acked {
				again = int8(v)
			}
		}
	}
	return again
}
