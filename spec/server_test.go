package spec

// run is the change script on the server: mint, delete or mark or write, log and
// publish as one. It tells what it did: a set that is late only invalidates.
func (s *state) run(o op, v int8, m mutant) (seq, epoch int8, did op) {
	r := &s.server
	if !r.known || r.recordID != r.id && m != anyServer {
		s.beginEpoch(0)
	}
	c, held := s.changes[v], r.value
	if o == sets && r.epoch != c.epoch {
		o = invalidates
	}
	switch {
	case o == sets:
		r.value = value{kind: data, version: v, birth: c.seq, epoch: c.epoch}
		if m == setKeepsClaim && held.kind == data {
			r.value.token = held.token
		}
	case o == expires && held.kind == data:
		r.value.expired = true
		if m != expireKeepsClaim {
			r.value.token = 0
		}
	default:
		r.value = value{}
	}
	s.announce(false)
	return r.seq, r.epoch, o
}

// announce mints a number, logs and publishes.
func (s *state) announce(other bool) {
	r := &s.server
	prev := r.seq
	r.seq++
	if !other {
		r.changed = r.seq
	}
	s.publish(message{prev, r.seq, r.epoch, other})
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
	r.logFrom, r.changed = r.seq, 0
}

// serverSteps are what happens to the server by itself.
func serverSteps(s *state, step func(move, state)) {
	at := func(what string) move { return move{"", 0, what} }
	if s.server.value.kind == lease || s.server.value.kind == tombstone {
		n := *s
		n.server.value = value{}
		step(at("lease expires"), n)
	}
	if s.left.others > 0 && s.server.known {
		n := *s
		n.left.others--
		n.announce(true)
		step(at("another key changes"), n)
	}
	if s.left.trims > 0 && s.server.logFrom < s.server.seq {
		n := *s
		n.left.trims--
		n.server.logFrom = n.server.seq
		step(at("log is trimmed"), n)
	}
	if s.left.flushes > 0 {
		n := *s
		n.left.flushes--
		n.forget()
		step(at("FLUSHALL"), n)
	}
	if s.left.restarts > 0 {
		n := *s
		n.left.restarts--
		n.forget()
		n.replaceServer()
		step(at("restart, empty"), n)
	}
	failoverSteps(s, step)
}

// readable is what a read finds.
func (r *server) readable() past {
	if !r.known {
		return past{value: r.value}
	}
	return past{r.seq, r.epoch, r.value}
}

func (s *state) forget() {
	r := &s.server
	r.known, r.seq, r.logFrom, r.changed, r.value = false, 0, 0, 0, value{}
}

// replaceServer is a new process: its replication id is new, every subscription
// ends, and so does the connection on which record and value are read as one.
func (s *state) replaceServer() {
	s.server.servers++
	s.server.id = s.server.servers
	for i := range s.inst {
		s.inst[i].unsubscribe()
	}
	for f := range s.flights {
		if fl := &s.flights[f]; fl.at == recorded {
			fl.at, fl.trusted = loading, false
		}
	}
	for i := range s.inst {
		s.breakLooks(i)
	}
}

// failoverSteps come back with the snapshot. What it has not seen is lost.
func failoverSteps(s *state, step func(move, state)) {
	if s.left.failovers == 0 {
		return
	}
	if !s.saved {
		n := *s
		n.snapshot, n.saved = s.server, true
		step(move{"", 0, "snapshot"}, n)
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
		c.lost = c.lost || c.ran() && c.seq > n.snapshot.seq
	}
	n.snapshot, n.saved = server{}, false
	if n.watch != before && !n.watchable(n.watched) {
		return // nothing is left to watch
	}
	n.excuse()
	step(move{"", 0, "failover"}, n)
	if n.left.isolations > 0 {
		n.left.isolations--
		n.inst[1].isolated = true
		n.demoted = s.server.readable()
		step(move{"", 0, "failover, unnoticed by 1"}, n)
	}
}

// excuse: what a lost change took away, readers who are under way may meet.
func (s *state) excuse() {
	if s.watch != before {
		return
	}
	for f := range s.flights {
		fl := &s.flights[f]
		owed := s.inst[fl.inst].own.join(s.bypass())
		fl.need = demand{min(fl.need.fresh, owed.fresh), min(fl.need.standIn, owed.standIn)}
	}
}

// ran reports whether the change has a number of Redis.
func (c change) ran() bool { return c.at != idle && c.at != committed }
