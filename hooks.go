package nearcache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nearcache/nearcache/invalidation"
	"github.com/nearcache/nearcache/l2"
	"github.com/nearcache/nearcache/tiered"
)

// Hooks are functions that a cache calls when something happens, for metrics, traces
// and logs. Any may be nil, which costs a branch. They are called from many goroutines
// at a time, hold up what they are told of, and must not call the cache; a panic in one
// is not caught. An L1 hit calls none but Sampled, once in 1,024 times. See [Tee] for
// more than one set.
type Hooks struct {
	// Start is told that an operation begins, and returns the context for the rest of
	// it: a loader's descends from that of its Get, or for a load that several share
	// from that of the first. End is told of the same operation, with its outcome.
	Start func(ctx context.Context, op *Operation) context.Context
	End   func(ctx context.Context, op *Operation)

	// Announced is told of each change of the namespace that was applied here, this
	// instance's own too.
	Announced func(Announcement)

	// Event is told what operators should know.
	Event func(Event)

	// Sampled is told of one in 1,024 lookups in L1, about: which keys are hot.
	Sampled func(key string, hit bool)
}

// Operation is a piece of work that takes time. It belongs to the hooks until End
// returns; they must not change it or Keys.
type Operation struct {
	// Kind is "get" for a Get that L1 did not answer, "get many" for the keys of a
	// GetMany that it did not, "load" for a call of a loader, and "set", "invalidate",
	// "expire", "invalidate tags" and "clear" for changes.
	Kind string
	Keys []string // or tags; of a SetMany none, but their number
	N    int      // how many they are

	// At the end:
	Source Source        // of what a read answers, the farthest one; 0: none
	Stale  bool          // of what it answers, some was stale
	Err    error         // as the call returns it
	Took   time.Duration // from start to end

	// Result is the outcome in a word, for metrics: "ok", "stale" for a read that was
	// answered something stale, "not found" and "not modified" as a loader said, "miss"
	// without one, "timeout" of a load, "canceled" if the context ended, else "error".
	Result string
}

const (
	opGet        = "get"
	opGetMany    = "get many"
	opLoad       = "load"
	opSet        = "set"
	opInvalidate = "invalidate"
	opExpire     = "expire"
	opTags       = "invalidate tags"
	opClear      = "clear"
)

// Announcement is a change that an instance of the namespace made.
type Announcement struct {
	Kind  string        // that of the Operation that made it
	Keys  []string      // or tags; not to be changed
	Shard int           // that they belong to; tags and clears are announced in each
	Lag   time.Duration // from its making to its application here; negative: not known yet
}

// Event is something that an operator should know.
type Event struct {
	// Kind is one of
	//   - "gap": an announcement is missing, and is looked for in the log
	//   - "distrust": the log does not reach back to it: a shard of L1 is given up
	//   - "epoch": Redis lost data or was replaced: a shard of L1 is given up
	//   - "subscription lost", and "subscribed" when there is another
	//   - "breaker open", "breaker closed": a server does not answer, or does again
	//   - "fault": something in Redis, or said by a loader, could not be used
	//   - "disagreement": another instance has another number of shards: Redis is not
	//     used any more
	//   - "tracking lost": see [Config.Tracking]
	Kind   string
	Shard  int    // -1: none in particular
	Server string // address, where one is concerned and its address is known
	Err    error  // the cause, if there is one
}

// Tee returns hooks that call those of all sets, each in turn; at the end of an
// operation in the opposite order, so that spans nest.
func Tee(sets ...Hooks) Hooks {
	var tee Hooks
	for _, next := range sets {
		tee = tee.and(next)
	}
	return tee
}

func (h Hooks) and(next Hooks) Hooks {
	start, end := h.Start, h.End
	if h.Start == nil {
		h.Start = next.Start
	} else if next.Start != nil {
		h.Start = func(ctx context.Context, op *Operation) context.Context { return next.Start(start(ctx, op), op) }
	}
	if h.End == nil {
		h.End = next.End
	} else if next.End != nil {
		h.End = func(ctx context.Context, op *Operation) { next.End(ctx, op); end(ctx, op) }
	}
	h.Announced = both(h.Announced, next.Announced)
	h.Event = both(h.Event, next.Event)
	if sampled := h.Sampled; sampled == nil {
		h.Sampled = next.Sampled
	} else if next.Sampled != nil {
		h.Sampled = func(key string, hit bool) { sampled(key, hit); next.Sampled(key, hit) }
	}
	return h
}

func both[T any](f, g func(T)) func(T) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(v T) { f(v); g(v) }
}

// running is an operation under way; the zero value is one that nobody watches.
type running struct {
	hooks *Hooks
	ctx   context.Context
	op    *Operation
	began time.Time
}

// begin tells the hooks of an operation on keys, or on one key.
func (h *Hooks) begin(ctx context.Context, kind, key string, keys []string, n int) (context.Context, running) {
	if h.Start == nil && h.End == nil {
		return ctx, running{}
	}
	if key != "" {
		keys, n = []string{key}, 1
	}
	op := &Operation{Kind: kind, Keys: keys, N: n}
	r := running{hooks: h, op: op, began: time.Now()}
	if h.Start != nil {
		ctx = h.Start(ctx, op)
	}
	r.ctx = ctx
	return ctx, r
}

// end tells the hooks of the outcome.
func (r running) end(info Info, err error) {
	if r.op == nil || r.hooks.End == nil {
		return
	}
	r.op.Source, r.op.Stale, r.op.Err, r.op.Took = info.Source, info.Stale, err, time.Since(r.began)
	r.op.Result = r.result(info.Stale, err)
	r.hooks.End(r.ctx, r.op)
}

// result asks the context what is a loader's own deadline, and what its callers'.
func (r running) result(stale bool, err error) string {
	switch {
	case err == nil && stale:
		return "stale"
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNotFound):
		return "not found"
	case errors.Is(err, ErrNotModified):
		return "not modified"
	case errors.Is(err, ErrMiss):
		return "miss"
	case errors.Is(err, ErrLoadTimeout):
		return "timeout"
	case errors.Is(err, context.Cause(r.ctx)):
		return "canceled"
	}
	return "error"
}

var announcedKinds = map[string]string{l2.OpInvalidate: opInvalidate, l2.OpSet: opSet, l2.OpExpire: opExpire,
	l2.OpTags: opTags, l2.OpClear: opClear}

// announced passes on what the bus has applied.
func (h *Hooks) announced() func(int, invalidation.Message, time.Duration) {
	if h.Announced == nil {
		return nil
	}
	return func(shard int, m invalidation.Message, lag time.Duration) {
		if kind := announcedKinds[m.Op]; kind != "" { // the begin of an epoch is an event
			h.Announced(Announcement{Kind: kind, Keys: m.Keys, Shard: shard, Lag: lag})
		}
	}
}

func (h *Hooks) event() func(tiered.Event) {
	if h.Event == nil {
		return nil
	}
	return func(e tiered.Event) { h.Event(Event(e)) }
}

// sampled also logs what is sampled where debugging is on. The level of a logger may
// change at any time.
func (h *Hooks) sampled(name string, log *slog.Logger) func(string, bool) {
	return func(key string, hit bool) {
		if h.Sampled != nil {
			h.Sampled(key, hit)
		}
		if ctx := context.Background(); log.Enabled(ctx, slog.LevelDebug) {
			log.LogAttrs(ctx, slog.LevelDebug, "nearcache: one of 1,024 lookups",
				slog.String("cache", name), slog.String("key", key), slog.Bool("hit", hit))
		}
	}
}
