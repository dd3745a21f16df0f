package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/tiered"
)

// flights coalesces the reads of one key beyond L1: one flight, many passengers. A
// flight may begin with a look, on the goroutine of its first caller: what Redis simply
// has, as it has most of what L1 misses, is not worth a goroutine and a context. If the
// look brings nothing the flight departs, to load, with all who have boarded: they wait
// once and are woken once, since a crowd that is woken to wait for the load anew keeps
// the load from beginning. Nor does a crowd wait for the look: that so many ask at once
// says that the value went missing everywhere, and they keep the processors busy, so that
// each round trip takes until all of them have come. What the look brings then is for its
// caller alone.
//
// Each caller leaves at its own deadline, the load outlives its first caller and ends
// with its last, and nobody joins a flight that an invalidation has overtaken. That is
// more than golang.org/x/sync/singleflight does, and leaves nothing for it to do. That
// neither panic nor Goexit of a loader leaves a waiter behind is load.go's part. The
// zero value is ready.
type flights[V any] struct {
	patience time.Duration // with a load, where an old value may stand in; 0: endless
	shards   [64]flightShard[V]
	running  sync.WaitGroup // flights that have departed, also those that everybody has left
}

// crowd is how many callers a flight does not keep waiting for a look. The load asks Redis
// again, by a write command: with fewer that would be a price for each of them.
const crowd = 16

type flightShard[V any] struct {
	mu     sync.Mutex
	calls  map[string]*flight[V]
	aloft  map[*flight[V]]struct{} // those that have departed, also when they are set aside
	closed bool
}

type flight[V any] struct {
	// These are guarded by the shard's mu.
	ticket  tiered.Ticket // of the look, then of the load
	bound   time.Duration // of its first reader, for whom L1 is asked
	gone    bool          // it has departed or is over: a look that is under way is its caller's own
	waiters int
	stays   bool          // goes on without waiters
	done    chan struct{} // made by the first who waits
	cancel  context.CancelFunc

	value V // these are there once done is closed
	err   error

	// An old value that may be answered while the load goes on: to those who join
	// later if it was expired softly, to all once the load is overdue.
	standIn atomic.Pointer[offer[V]]
	overdue chan struct{} // nil if there is no patience to lose
	alarm   *time.Timer
}

type offer[V any] struct {
	value V
	soft  bool
}

// seat is what one caller asks for.
type seat struct {
	key    string
	ticket tiered.Ticket
	bound  time.Duration // of staleness that the caller accepts
	alone  bool          // join nobody
}

// call is what one caller brings along. It is apart from the seat, which the flight
// keeps: so it can stay on its caller's stack.
type call[V any] struct {
	look   func(context.Context) (v V, over bool, err error) // over: that is the outcome; or nil
	load   func() (tiered.Ticket, load[V])                   // of a flight that departs now
	leads  bool                                              // a crowd may depart with its load
	good   func(*V) bool                                     // whether a stand-in will do
	joined func()                                            // told that another's flight was joined; or nil
}

// load is what a flight does once it has departed. It is given a function that offers a
// stand-in.
type load[V any] func(context.Context, func(V, bool)) (V, error)

// do returns what look or load return, from a flight that is under way if the ticket it
// began with is still current for a reader that accepts bound of staleness, else from a
// new one that begins with at.ticket; or a stand-in. All its callers share what v points
// to. It also tells whether another caller's flight was joined.
func (f *flights[V]) do(ctx context.Context, at seat, c call[V]) (v *V, joined bool, err error) {
	if f.loading(ctx, at.key) {
		return nil, false, ErrReentrant
	}
	s := f.shard(at.ticket)
	fl, done, joined, crowded := f.board(s, at)
	switch {
	case fl == nil:
		return nil, false, ErrClosed
	case !joined:
		if v, over, err := f.look(ctx, s, at.key, fl, c); over {
			return v, false, err
		}
		done = f.depart(ctx, s, at.key, fl, c)
	case c.joined != nil:
		c.joined()
	case crowded && c.leads:
		f.depart(ctx, s, at.key, fl, c)
	}
	if o := fl.standIn.Load(); joined && o != nil && o.soft && c.good(&o.value) {
		s.leave(at.key, fl, true)
		return &o.value, true, nil
	}
	overdue := fl.overdue
	for {
		select {
		case <-done:
			return &fl.value, joined, fl.err
		case <-overdue:
			if o := fl.standIn.Load(); c.good(&o.value) {
				s.leave(at.key, fl, true)
				return &o.value, joined, nil
			}
			overdue = nil
		case <-ctx.Done():
			s.leave(at.key, fl, false)
			return nil, joined, context.Cause(ctx)
		}
	}
}

// start begins a flight that nobody waits for, unless there is one.
func (f *flights[V]) start(ctx context.Context, at seat, c call[V]) (started bool) {
	s := f.shard(at.ticket)
	fl, _, joined, _ := f.board(s, at)
	if fl == nil {
		return false
	}
	s.leave(at.key, fl, true)
	if !joined {
		f.depart(ctx, s, at.key, fl, c)
	}
	return !joined
}

func (f *flights[V]) shard(t tiered.Ticket) *flightShard[V] {
	return &f.shards[t.Hash%uint64(len(f.shards))]
}

// board joins the key's flight, which is over when done is closed, or enters one that
// the caller has to begin. One that is not current is set aside: who joined it before
// gets its value, nobody joins it any more. One whose first reader accepts more
// staleness may answer from L1 what is too old here; for the same reason a crowd departs
// on the terms of its first reader.
func (f *flights[V]) board(s *flightShard[V], at seat) (fl *flight[V], done <-chan struct{}, joined, crowded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, false, false
	}
	fl = s.calls[at.key]
	if fl != nil && !at.alone && (fl.bound <= at.bound && fl.ticket.Current(at.bound) || guard.Removed(guard.JoinCurrent)) {
		fl.waiters++
		return fl, fl.wait(), true, fl.waiters >= crowd && !fl.gone && fl.bound == at.bound
	}
	fl = &flight[V]{ticket: at.ticket, bound: at.bound, waiters: 1}
	if f.patience > 0 {
		fl.overdue = make(chan struct{})
	}
	if s.calls == nil {
		s.calls = make(map[string]*flight[V])
		s.aloft = make(map[*flight[V]]struct{})
	}
	s.calls[at.key] = fl
	return fl, nil, false, false
}

// wait returns what is closed when the flight is over.
func (fl *flight[V]) wait() <-chan struct{} {
	if fl.done == nil {
		fl.done = make(chan struct{})
	}
	return fl.done
}

// look looks, if that is wanted, and reports whether nothing is left to do.
func (f *flights[V]) look(ctx context.Context, s *flightShard[V], key string, fl *flight[V], c call[V]) (found *V, over bool, err error) {
	if c.look == nil {
		return nil, false, nil
	}
	var v V
	over, err = true, ErrGoexit // stays if look does not return
	defer func() {
		if over {
			found = s.looked(key, fl, &v, err)
		}
	}()
	v, over, err = c.look(ctx)
	return nil, over, err
}

// looked ends a flight with what its look has brought, or takes its first caller off one
// that has departed: there may be passengers who joined by the ticket of the load.
func (s *flightShard[V]) looked(key string, fl *flight[V], v *V, err error) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl.gone {
		s.drop(key, fl)
		own := *v
		return &own
	}
	fl.value = *v
	s.over(key, fl, err)
	return &fl.value
}

// depart lets the flight go on without its first caller, unless that has left and was
// the only one. The ticket is new: a change that overtook the look came before the load.
func (f *flights[V]) depart(ctx context.Context, s *flightShard[V], key string, fl *flight[V], c call[V]) (done <-chan struct{}) {
	ticket, load := c.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	done = fl.wait()
	if fl.gone {
		return done
	}
	fl.gone = true
	if s.closed {
		s.over(key, fl, ErrClosed)
		return done
	}
	if fl.waiters == 1 && !fl.stays && ctx.Err() != nil {
		s.closeTo(key, fl)
		return done
	}
	fl.ticket = ticket
	ctx, fl.cancel = context.WithCancel(
		context.WithValue(context.WithoutCancel(ctx), loadingKey{}, &loading{flights: f, key: key, caller: ctx}))
	s.aloft[fl] = struct{}{}
	f.running.Add(1)
	go f.fly(ctx, s, key, fl, load)
	return done
}

func (f *flights[V]) fly(ctx context.Context, s *flightShard[V], key string, fl *flight[V], load load[V]) {
	defer f.running.Done()
	err := ErrGoexit // stays if load does not return
	defer func() { s.land(key, fl, err) }()
	fl.value, err = load(ctx, func(v V, soft bool) { f.offer(s, fl, v, soft) })
}

// offer tells all passengers of a value that may stand in for the one that is being
// loaded.
func (f *flights[V]) offer(s *flightShard[V], fl *flight[V], v V, soft bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl.standIn.Store(&offer[V]{v, soft})
	if f.patience > 0 && fl.alarm == nil {
		fl.alarm = time.AfterFunc(f.patience, func() { close(fl.overdue) })
	}
}

// under reports whether a flight of key is under way.
func (f *flights[V]) under(t tiered.Ticket, key string) bool {
	s := f.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[key] != nil
}

// close cancels all flights, lets none begin any more, and waits.
func (f *flights[V]) close() {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		s.closed = true
		for fl := range s.aloft {
			fl.cancel()
		}
		s.mu.Unlock()
	}
	f.running.Wait()
}

// land hands out the outcome, whose value is in the flight.
func (s *flightShard[V]) land(key string, fl *flight[V], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over(key, fl, err)
}

// over closes the flight to others before its outcome is handed out: who comes later
// must not be given a value from before its ticket.
func (s *flightShard[V]) over(key string, fl *flight[V], err error) {
	s.closeTo(key, fl)
	fl.gone = true
	delete(s.aloft, fl)
	if fl.cancel != nil {
		fl.cancel()
	}
	if fl.alarm != nil {
		fl.alarm.Stop()
	}
	fl.err = err
	if fl.done != nil {
		close(fl.done)
	}
}

// leave takes one caller off. A flight that nobody waits for is cancelled, unless
// one of those who left wants it to go on; and closed first, so that no later
// caller joins a load that is being cancelled.
func (s *flightShard[V]) leave(key string, fl *flight[V], stays bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl.stays = fl.stays || stays
	s.drop(key, fl)
}

func (s *flightShard[V]) drop(key string, fl *flight[V]) {
	if fl.waiters--; fl.waiters == 0 && !fl.stays {
		s.closeTo(key, fl)
		if fl.cancel != nil {
			fl.cancel()
		}
	}
}

func (s *flightShard[V]) closeTo(key string, fl *flight[V]) {
	if s.calls[key] == fl {
		delete(s.calls, key)
	}
}

// loading marks a loader's context with the key that it loads, or the keys.
type loading struct {
	flights any
	key     string
	keys    map[string]struct{}
	caller  context.Context
}

func (l *loading) loads(key string) bool {
	_, ok := l.keys[key]
	return ok || l.key == key
}

type loadingKey struct{}

// loading reports whether ctx descends from a load of key in these flights.
func (f *flights[V]) loading(ctx context.Context, key string) bool {
	for {
		l, ok := ctx.Value(loadingKey{}).(*loading)
		if !ok {
			return false
		}
		if l.flights == any(f) && l.loads(key) {
			return true
		}
		ctx = l.caller
	}
}
