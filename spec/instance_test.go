package spec

func (in *instance) unsubscribe() {
	in.subscribed, in.queue, in.queued = false, [queueLen]message{}, 0
}

func (in *instance) see(st stamp) { in.seen = max(in.seen, st) }

func (in *instance) raise(st stamp) {
	in.see(st)
	in.floor = max(in.floor, st)
}

// fence is l1.Epoch.Fence.
func (in *instance) fence() { in.raise(max(in.floor, in.seen) + 1) }

// believes is l1.Epoch.believes: the rule of a hit, and of joining a flight.
func (s *state) believes(in *instance, epoch int8, st stamp, a age, m mutant) bool {
	fresh := s.good(in.proof) || s.good(a) || m == proofAges
	return epoch == in.epoch && fresh && (st >= in.floor || m == stampAtRead)
}

func instanceSteps(s *state, i int, m mutant, step func(move, state)) {
	at := func(what string) move { return move{"instance", int8(i), what} }
	in := &s.inst[i]
	if in.queued > 0 {
		n := *s
		n.inst[i].deliver(m)
		step(at("hears"), n)
		if s.lossy && in.beat.at == idle && n.inst[i].applied != in.applied {
			n.inst[i].beat = beat{at: sent, epoch: in.epoch, seq: in.applied}
			step(at("sends a heartbeat, then hears"), n)
		}
		if s.left.lost > 0 {
			n := *s
			n.left.lost--
			n.inst[i].pop()
			step(at("misses a message"), n)
		}
	}
	if in.subscribed && s.left.cuts > 0 {
		n := *s
		n.left.cuts--
		n.inst[i].unsubscribe()
		step(at("loses its subscription"), n)
	}
	if !in.subscribed && !in.isolated {
		n := *s
		n.inst[i].subscribed = true
		step(at("subscribes"), n)
	}
	if in.isolated {
		n := *s
		n.inst[i].isolated, n.demoted = false, past{}
		n.breakLooks(i) // record and value are read on one connection
		step(at("finds the new master"), n)
	}
	beatSteps(s, i, m, at, step)
	if in.pending && s.left.resends > 0 && !in.isolated && in.proof != over {
		n := *s
		n.left.resends--
		again := n.resend(i, m)
		n.acknowledged(again, at("sends again"), step)
	}
}

func (in *instance) pop() message {
	head := in.queue[0]
	copy(in.queue[:], in.queue[1:])
	in.queued--
	in.queue[in.queued] = message{}
	return head
}

// deliver is invalidation.chain.announce. Gaps and strange messages ask for a
// heartbeat, which may come at any time anyway.
func (in *instance) deliver(m mutant) {
	msg := in.pop()
	switch {
	case msg.epoch != in.epoch || msg.seq <= in.applied:
	case msg.prev > in.applied && m != chain && m != noDistrust:
	case msg.prev < in.applied:
	case msg.other:
		in.apply(msg.seq, in.applied)
	default:
		in.apply(msg.seq, msg.seq)
	}
}

// apply is tiered.Tiers.Apply for all up to seq, where the newest that concerns the
// key is changed, or not above what was applied already.
func (in *instance) apply(seq, changed int8) {
	if changed > in.applied {
		in.raise(stampOf(changed))
	}
	in.applied = seq
	if in.entry.stamp < in.floor {
		in.entry = entry{}
	}
}

// beatSteps are a heartbeat: sent, answered by the server, applied.
//
// A heartbeat that carries what the instance knows now is not told from one that is
// not sent yet: it can be sent the moment before it is answered, with the same
// effect and a younger age, and a younger proof allows whatever an older one does.
// What it carries matters only to a server that lost data; instanceSteps send one
// ahead of what the instance learns then.
func beatSteps(s *state, i int, m mutant, at func(string) move, step func(move, state)) {
	n := *s
	in := &n.inst[i]
	if in.beat.at == idle {
		in.beat = beat{at: sent, epoch: in.epoch, seq: in.applied}
	}
	if in.beat.at == answered {
		n.settle(i, m)
		step(at("applies the answer to its heartbeat"), n)
		return
	}
	if in.isolated { // it is a write, which a demoted master refuses
		was := in.beat.age
		in.beat = beat{}
		in.proof = over
		if m == proofByRead {
			in.proof = min(s.inst[i].proof, was)
		}
		step(at("asks a demoted master"), n)
		return
	}
	n.answer(i, m)
	step(at("is answered"), n)
	if !s.lossy {
		n.settle(i, m) // at once; canonical tells why the step above may be lost
		step(at("is answered and applies it"), n)
	}
}

// answer is the heartbeat script.
func (s *state) answer(i int, m mutant) {
	b, r := &s.inst[i].beat, &s.server
	back := r.epoch == b.epoch && r.seq < b.seq
	if !r.known || r.recordID != r.id && m != anyServer || back {
		s.beginEpoch(b.seq)
	}
	b.at, b.epoch, b.seq = answered, r.epoch, r.seq
}

// settle is invalidation.Bus.beat: adopt, replay, prove.
func (s *state) settle(i int, m mutant) {
	in := &s.inst[i]
	b := in.beat
	in.beat = beat{}
	if b.epoch != in.epoch {
		in.renew(b.epoch, b.seq)
	}
	if in.applied < b.seq && m != appliedFirst {
		if in.isolated {
			return // the log cannot be read: nothing is proven
		}
		r := s.server
		replayed := r.known && r.epoch == b.epoch && r.logFrom <= in.applied && r.seq >= b.seq
		switch {
		case replayed:
			in.apply(r.seq, r.changed)
		case m == noDistrust:
			in.applied = b.seq
		default:
			in.apply(b.seq, b.seq)
		}
	}
	in.proof = min(in.proof, b.age)
}

// renew is tiered.Tiers.Renew. The recovery window outlasts the search.
func (in *instance) renew(epoch, seq int8) {
	in.prior = max(in.prior, in.floor)
	in.epoch, in.applied = epoch, seq
	in.seen, in.floor = stampOf(seq), stampOf(seq)
	in.proof = over
	in.entry = entry{}
	in.pending = in.pending || in.landed
	in.landed = false
}
