package spec

// The sizes of the model. Budgets (bounds in scenarios_test.go) say how much of
// them a search uses.
const (
	nInstances = 2
	maxFlights = 3 // begun in all; each has a slot of its own, which is its lease's token
	maxChanges = 2
	queueLen   = 3 // what exceeds it is lost, as a slow subscriber's messages are
	bound      = 1 // an age up to it is within MaxStaleness
	tooOld     = bound + 1
	never      = -1 // the age of what has not happened
)

// state is everything that a step may read or write.
type state struct {
	left     bounds // budget of what may still happen
	source   int8   // its version; loaders read it
	changes  [maxChanges + 1]change
	server   server
	snapshot server // what a failover or restart would come back with
	saved    bool
	inst     [nInstances]instance
	flights  [maxFlights]flight
}

// change is the one that made a version, and the call that announces it.
type change struct {
	at    stage
	inst  int8
	seq   int8 // that Redis gave it
	epoch int8
	acked int8 // age of the acknowledgement, or never
	lost  bool // forgotten by the server, and not repeated yet
}

// server is Redis: its data and the life of them.
type server struct {
	id              int8 // replication id
	known           bool // there is a record
	seq, epoch      int8
	recordID        int8 // id of the server that the epoch began on
	logFrom         int8 // the log holds what came after it
	value           value
	epochs, servers int8 // how many there were, for new names
}

// value is what Redis holds for the key.
type value struct {
	kind         kind
	token        int8 // of a lease
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

func stampOf(seq int8) stamp    { return stamp(seq * localStamps) }
func (s stamp) seq() int8       { return int8(s) / localStamps }
func older(age int8) int8       { return min(age+1, tooOld) }
func (c change) overdue() bool  { return c.acked == tooOld }
func (c change) promised() bool { return c.acked != never && !c.lost }

// instance is one process with its L1.
type instance struct {
	epoch       int8
	applied     int8  // newest change up to which all were applied
	seen, floor stamp // of the key's stripe
	prior       stamp // the floor when the last epoch ended
	proof       int8  // age of the proof; tooOld if there is none
	entry       entry
	subscribed  bool
	isolated    bool // connected to a demoted master, which answers reads
	queue       [queueLen]message
	queued      int8
	beat        beat
	pending     bool // outbox: a change has not landed
	landed      bool // outbox: a change landed in this epoch
	own         int8 // newest version that this instance was told to be in effect here
	boarding    int8 // flight that readers join, plus one
}

// entry is what L1 holds for the key.
type entry struct {
	there   bool
	version int8
	stamp   stamp
	epoch   int8
	age     int8 // since its read began
}

// message is an announcement in a subscription's queue.
type message struct{ prev, seq, epoch int8 }

// beat is a heartbeat on its way.
type beat struct {
	at         stage
	age        int8 // since it was sent
	epoch, seq int8 // what the instance knew, then what the server answered
}

// flight is a read beyond L1. Its readers are one number: the oldest version
// that the most demanding of them may be given.
type flight struct {
	at       stage
	inst     int8
	need     int8
	stamp    stamp // its ticket
	epoch    int8
	age      int8
	record   int8 // seq read before the value
	trusted  bool // the record was believed
	leased   bool
	version  int8
	fromData bool // version came from Redis
}

// stage is how far a flight, a change or a heartbeat has come.
type stage int8

const (
	idle stage = iota

	begun     // flight: has its ticket
	recorded  // has read the record
	loading   // has a lease, or none, and asks the loader
	loaded    // has a version
	keeping   // has answered, and puts it into L1
	filling   // puts it into Redis
	done      // flight or change
	committed // change: visible at the source, fenced
	executed  // the script ran
	failing   // it did not, or nobody knows
	sent      // heartbeat
	answered
)

func initial(b bounds) state {
	s := state{left: b, server: server{id: 1, known: true, seq: 1, epoch: 1, recordID: 1, logFrom: 1, epochs: 1, servers: 1}}
	for i := range s.inst {
		s.inst[i] = instance{epoch: 1, applied: 1, seen: stampOf(1), floor: stampOf(1), subscribed: true}
	}
	for v := range s.changes {
		s.changes[v].acked = never
	}
	return s
}
