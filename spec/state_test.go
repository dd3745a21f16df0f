package spec

// The sizes of the model. Budgets (bounds in scenarios_test.go) say how much of
// them a search uses.
const (
	nInstances = 2
	maxFlights = 3 // begun in all; each has a slot of its own, which is its token
	maxChanges = 2
	queueLen   = 3 // what exceeds it is lost, as a slow subscriber's messages are
)

// state is everything that a step may read or write.
type state struct {
	left     bounds // budget of what may still happen
	lossy    bool   // the search has steps by which the server loses data
	watch    watch
	watched  int8 // the version that the watch is for
	source   int8 // its version; loaders read it
	changes  [maxChanges + 1]change
	server   server
	snapshot server // what a failover or restart would come back with
	demoted  past   // what an isolated instance reads
	saved    bool
	late     bool // a fill was late: see promises_test.go
	inst     [nInstances]instance
	flights  [maxFlights]flight
}

// change is the one that made a version, and the call that announces it.
type change struct {
	at    stage
	op    op
	inst  int8
	seq   int8 // that Redis gave it; before that, a set's birth
	epoch int8 // that Redis ran it in; before that, the caller's
	acked bool
	lost  bool // forgotten by the server, and not repeated yet
}

// op is what a change does to a value in Redis.
type op int8

const (
	invalidates op = iota
	expires        // leaves it as a stand-in
	sets
)

// server is Redis: its data and the life of them.
type server struct {
	id              int8 // replication id
	known           bool // there is a record
	seq, epoch      int8
	recordID        int8 // id of the server that the epoch began on
	logFrom         int8 // the log holds what came after it
	changed         int8 // newest seq in the log that concerns the key
	value           value
	epochs, servers int8 // how many there were, for new names
}

// past is what a demoted master has, which does not change any more: the record, of
// epoch 0 if there is none, and the value.
type past struct {
	seq, epoch int8
	value      value
}

// value is what Redis holds for the key.
type value struct {
	kind         kind
	token        int8 // of a lease, or of the claim on data; 0: of nobody who will use it
	expired      bool // before its time
	version      int8
	birth, epoch int8
}

type kind int8

const (
	nothing kind = iota
	lease
	data
	tombstone // only of a mutant
)

// stamp is l1.Stamp: a seq, and below it a count of own changes.
type stamp int8

const localStamps = 8

func stampOf(seq int8) stamp { return stamp(seq * localStamps) }
func (s stamp) seq() int8    { return int8(s) / localStamps }

// instance is one process with its L1.
type instance struct {
	epoch       int8
	applied     int8  // newest change up to which all were applied
	seen, floor stamp // of the key's stripe
	prior       stamp // the floor when the last epoch ended
	proof       age
	entry       entry
	subscribed  bool
	isolated    bool // connected to a demoted master, which answers reads
	queue       [queueLen]message
	queued      int8
	beat        beat
	pending     bool   // outbox: a change has not landed
	landed      bool   // outbox: a change landed in this epoch
	own         demand // by what this instance was told to be in effect here
	boarding    int8   // flight that readers join, plus one
}

// demand is the oldest version that a reader may be given: as fresh, and as a
// stand-in, of which expired versions demand nothing.
type demand struct{ fresh, standIn int8 }

// and returns the demand of a reader who was also promised version v.
func (d demand) and(v int8, o op) demand {
	d.fresh = max(d.fresh, v)
	if o != expires {
		d.standIn = max(d.standIn, v)
	}
	return d
}

func (d demand) join(e demand) demand {
	return demand{max(d.fresh, e.fresh), max(d.standIn, e.standIn)}
}

// entry is what L1 holds for the key.
type entry struct {
	there   bool
	version int8
	stamp   stamp
	epoch   int8
	age     age // since its read began
}

// message is an announcement in a subscription's queue.
type message struct {
	prev, seq, epoch int8
	other            bool // of another key
}

// beat is a heartbeat on its way.
type beat struct {
	at         stage
	age        age  // since it was sent
	epoch, seq int8 // what the instance knew, then what the server answered
}

// flight is a read beyond L1. Its readers are one demand: that of the most
// demanding of them.
type flight struct {
	at      stage
	inst    int8
	need    demand
	stamp   stamp // its ticket; negative: L1 will not believe it
	proof   age   // that there was when it got the ticket
	epoch   int8
	since   age   // of the ticket, for those who join
	age     age   // of what it has found
	bounded bool  // its readers accept the bound, so that L1 may answer
	held    bool  // and has answered
	record  int8  // seq read before the value
	trusted bool  // the record was believed
	saw     value // the value that it is to claim
	leased  bool  // may fill, if its token is still there
	claimed bool  // and that is a claim
	standIn bool  // version is of a value in Redis that is not fresh
	renews  bool  // the source said that this version is still current
	version int8
}

// stage is how far a flight, a change or a heartbeat has come.
type stage int8

const (
	idle stage = iota

	looking   // flight: has the ticket of a look
	glimpsed  // the look has read the record
	begun     // has the ticket of a load
	recorded  // has read the record
	claiming  // has read a value that is to be refreshed
	loading   // has a lease or a claim, or none, and asks the loader
	loaded    // has a version
	filling   // has answered, and puts it into Redis
	done      // flight or change
	committed // change: visible at the source, fenced
	executed  // the script ran
	failing   // it did not, or nobody knows
	sent      // heartbeat
	answered
)

func initial(b bounds) state {
	s := state{left: b, server: server{id: 1, known: true, seq: 1, epoch: 1, recordID: 1, logFrom: 1, epochs: 1, servers: 1}}
	s.lossy = b.flushes+b.restarts+b.failovers > 0
	if b.warm {
		s.server.value = value{kind: data, birth: 1, epoch: 1}
	}
	for i := range s.inst {
		s.inst[i] = instance{epoch: 1, applied: 1, seen: stampOf(1), floor: stampOf(1), subscribed: true}
	}
	return s
}
