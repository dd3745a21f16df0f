package spec

import "fmt"

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
func (in *instance) believes(epoch int8, st stamp, age int8, m mutant) bool {
	fresh := in.proof <= bound || age <= bound || m == proofAges
	return epoch == in.epoch && fresh && (st >= in.floor || m == stampAtRead)
}

func instanceSteps(s *state, i int, m mutant, step func(string, state)) {
	at := func(what string) string { return fmt.Sprintf("%d %s", i, what) }
	in := &s.inst[i]
	if in.queued > 0 {
		n := *s
		n.inst[i].deliver(m)
		step(at("hears"), n)
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
		n.inst[i].isolated = false
		step(at("finds the new master"), n)
	}
	beatSteps(s, i, m, at, step)
	if in.pending && s.left.resends > 0 && !in.isolated && in.proof <= bound {
		n := *s
		n.left.resends--
		n.resend(i)
		step(at("sends again"), n)
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
	default:
		in.apply(msg.seq)
	}
}

// apply is tiered.Tiers.Apply.
func (in *instance) apply(seq int8) {
	in.raise(stampOf(seq))
	in.applied = seq
	if in.entry.stamp < in.floor {
		in.entry = entry{}
	}
}

// beatSteps are a heartbeat: sent, answered by the server, applied.
func beatSteps(s *state, i int, m mutant, at func(string) string, step func(string, state)) {
	n := *s
	in := &n.inst[i]
	switch in.beat.at {
	case idle:
		in.beat = beat{at: sent, epoch: in.epoch, seq: in.applied}
		step(at("sends a heartbeat"), n)
	case sent:
		if in.isolated { // it is a write, which a demoted master refuses
			in.beat = beat{}
			in.proof = tooOld
			if m == proofByRead {
				in.proof = min(s.inst[i].proof, s.inst[i].beat.age)
			}
			step(at("asks a demoted master"), n)
			return
		}
		n.answer(i, m)
		step(at("is answered"), n)
	case answered:
		n.settle(i, m)
		step(at("applies the answer"), n)
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
		to := b.seq // beyond the log: distrusted
		if r := s.server; r.known && r.epoch == b.epoch && r.logFrom <= in.applied {
			to = r.seq
		}
		if m == noDistrust && to == b.seq {
			in.applied = b.seq
		} else {
			in.apply(to)
		}
	}
	in.proof = min(in.proof, b.age)
}

// renew is tiered.Tiers.Renew. The recovery window outlasts the search.
func (in *instance) renew(epoch, seq int8) {
	in.prior = max(in.prior, in.floor)
	in.epoch, in.applied = epoch, seq
	in.seen, in.floor = stampOf(seq), stampOf(seq)
	in.proof = tooOld
	in.entry = entry{}
	in.pending = in.pending || in.landed
	in.landed = false
}
