package spec

// run is the change script on the server: mint, delete, log and publish as one.
func (s *state) run() (seq, epoch int8) {
	r := &s.server
	if !r.known {
		s.beginEpoch(0)
	}
	prev := r.seq
	r.seq++
	r.value = value{}
	s.publish(message{prev, r.seq, r.epoch})
	return r.seq, r.epoch
}

// publish appends to every subscription's queue; a full one loses it.
func (s *state) publish(m message) {
	for i := range s.inst {
		if in := &s.inst[i]; in.subscribed && !in.isolated && in.queued < queueLen {
			in.queue[in.queued] = m
			in.queued++
		}
	}
}

// beginEpoch begins one above every number known.
func (s *state) beginEpoch(above int8) {
	r := &s.server
	r.epochs++
	r.epoch, r.recordID, r.known = r.epochs, r.id, true
	r.seq = max(r.seq, above) + 1
	r.logFrom = r.seq
}

// serverSteps are what happens to the server by itself.
func serverSteps(s *state, m mutant, step func(string, state)) {
	if s.server.value.kind == lease || s.server.value.kind == tombstone {
		n := *s
		n.server.value = value{}
		step("lease expires", n)
	}
	if s.left.trims > 0 && s.server.logFrom < s.server.seq {
		n := *s
		n.left.trims--
		n.server.logFrom = n.server.seq
		step("log is trimmed", n)
	}
	if s.left.flushes > 0 {
		n := *s
		n.left.flushes--
		n.forget(value{})
		step("FLUSHALL", n)
	}
	if s.left.restarts > 0 {
		n := *s
		n.left.restarts--
		n.forget(value{})
		n.replaceServer()
		step("restart, empty", n)
	}
	failoverSteps(s, step)
}

func (s *state) forget(v value) {
	s.server.known, s.server.seq, s.server.logFrom, s.server.value = false, 0, 0, v
}

// replaceServer is a new process: its replication id is new, and every
// subscription ends.
func (s *state) replaceServer() {
	s.server.servers++
	s.server.id = s.server.servers
	for i := range s.inst {
		s.inst[i].unsubscribe()
	}
}

// failoverSteps come back with the snapshot. What it has not seen is lost.
func failoverSteps(s *state, step func(string, state)) {
	if s.left.failovers == 0 {
		return
	}
	if !s.saved {
		n := *s
		n.snapshot, n.saved = s.server, true
		step("snapshot", n)
		return
	}
	n := *s
	n.left.failovers--
	epochs, servers := s.server.epochs, s.server.servers
	n.server = s.snapshot
	n.server.epochs, n.server.servers = epochs, servers
	n.replaceServer()
	for v := range n.changes {
		c := &n.changes[v]
		c.lost = c.lost || c.seq > n.snapshot.seq
	}
	n.snapshot, n.saved = server{}, false
	step("failover", n)
	if n.left.isolations > 0 {
		n.left.isolations--
		n.inst[1].isolated = true
		step("failover, unnoticed by 1", n)
	}
}
