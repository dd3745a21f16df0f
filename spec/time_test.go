package spec

// Time is modelled by one watch. A reader is answered too late with too old a value
// if it begins at x > T+D, T being the acknowledgement of a change, and D the bound.
// A search tries every acknowledgement as T (the watch begins) and every later state
// as x. Evidence, that is a proof or the beginning of a read, is young if it is from
// after T, else old. At x old evidence is over: it is more than D ago. Before x it
// may count, or not: then it ran out. Young evidence may count throughout.
//
// That loses nothing. Evidence from t counts at y in reality if y-t <= D. If t < T,
// then y < x, and the model lets it count there too. If it does not count in reality,
// the model may choose so: L1 that is not believed and flights that are not joined
// are no steps, a read of Redis has its choice in valueSteps, and a look may depart.
//
// All other promises are kept or broken whatever time it is. They are looked at
// before the watch begins, from where every order of steps can be taken too; and
// after it began, only what it watches is.
type watch int8

const (
	before   watch = iota // T
	watching              // T < now < x
	after                 // a reader that began at x is under way: the one flight with a demand
)

type age int8

const (
	young age = iota
	old
	over
)

// ages calls f with every age in s.
func (s *state) ages(f func(*age)) {
	for i := range s.inst {
		in := &s.inst[i]
		f(&in.proof)
		f(&in.entry.age)
		f(&in.beat.age)
	}
	for i := range s.flights {
		f(&s.flights[i].age)
		f(&s.flights[i].since)
		f(&s.flights[i].proof)
	}
}

// begin begins the watch for version v, which was acknowledged just now.
func (s *state) begin(v int8) {
	s.watch, s.watched = watching, v
	s.ages(func(a *age) { *a = max(*a, old) })
}

// end is the moment x, at which a reader begins.
func (s *state) end() {
	s.watch = after
	s.ages(func(a *age) {
		if *a == old {
			*a = over
		}
	})
}

// good reports whether a reader that begins now may rely on evidence. While the
// watch is on, now is x.
func (s *state) good(a age) bool { return a == young || a == old && s.watch == before }

// watchable reports whether version v is owed a bound after its acknowledgement.
// What the server has lost is owed again from its repetition on (promise 8); in
// strict mode it never ceases to be owed.
func (s *state) watchable(v int8) bool {
	c := s.changes[v]
	return c.acked && (!c.lost || s.left.strict)
}

// acknowledged is a step that ends with the acknowledgement of version v.
func (s *state) acknowledged(v int8, mv move, step func(move, state)) {
	step(mv, *s)
	if s.watch == before && s.watchable(v) {
		n := *s
		n.begin(v)
		mv.what += ": T"
		step(mv, n)
	}
}
