package debugpage

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/tiered"
)

const (
	sampleEvery = time.Second
	maxSamples  = 300
	decayEvery  = 60 // samples: half of what was counted of a key is forgotten each minute
)

// watched is one cache, and what was seen of it.
type watched struct {
	name            string
	hooked          atomic.Bool
	l2, loader, lag recent
	keys            *topKeys // nil: not to be shown

	mu      sync.Mutex
	cache   Cache // nil: none yet, or none any more
	given   int   // how many caches there were before
	stats   nearcache.Stats
	looked  time.Time // when stats were taken
	samples []sample  // oldest first
	taken   int
	marks   marks // of the events since the last sample
	events  []event
	away    map[string]time.Time // servers that do not answer, and since when
	deaf    time.Time            // since when there is no subscription; zero: there is
	refuses bool                 // Redis is not used, since instances disagree
}

// sample is what happened in about a second. What is not known is NaN.
type sample struct {
	at                             time.Time
	marks                          marks
	reads, loads, failed           float64 // a second
	l1, l2                         float64 // shares of what they were asked
	proof                          float64 // seconds; not known: not proven
	bound                          float64 // seconds; 0: none
	lagP50, lagMax                 float64 // seconds, as all that follows
	l2P50, l2P99, loadP50, loadP99 float64
}

func newWatched(name string, keys bool) *watched {
	w := &watched{name: name, away: make(map[string]time.Time)}
	if keys {
		w.keys = new(topKeys)
	}
	return w
}

func (w *watched) hooks() nearcache.Hooks {
	w.hooked.Store(true)
	h := nearcache.Hooks{End: w.ended, Announced: w.announced, Event: w.happened}
	if w.keys != nil {
		h.Sampled = w.keys.add
	}
	return h
}

func (w *watched) watch(c Cache) {
	var s nearcache.Stats
	if c != nil {
		s = c.Stats()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cache, w.stats, w.looked, w.samples = c, s, time.Now(), nil
	w.given++
}

func (w *watched) ended(_ context.Context, op *nearcache.Operation) {
	switch {
	case op.Kind == "load":
		w.loader.record(op.Took)
	case op.Source == nearcache.FromL2:
		w.l2.record(op.Took)
	}
}

func (w *watched) announced(a nearcache.Announcement) {
	if a.Lag >= 0 {
		w.lag.record(a.Lag)
	}
}

// sample looks at the cache: without the lock, which hooks wait for that may hold others
// that Stats waits for.
func (w *watched) sample(now time.Time) {
	w.mu.Lock()
	c, given := w.cache, w.given
	w.mu.Unlock()
	if c == nil {
		return
	}
	s := c.Stats()
	w.mu.Lock()
	defer w.mu.Unlock()
	if given != w.given { // another one was given meanwhile
		return
	}
	since := math.NaN()
	if n := len(w.samples); n > 0 {
		since = now.Sub(w.samples[n-1].at).Seconds()
	}
	if len(w.samples) == maxSamples {
		copy(w.samples, w.samples[1:])
		w.samples = w.samples[:maxSamples-1]
	}
	w.samples = append(w.samples, w.compare(w.stats, s, now, since))
	w.stats, w.looked, w.marks = s, now, 0
	if w.taken++; w.taken%decayEvery == 0 && w.keys != nil {
		w.keys.halve()
	}
}

// compare makes a sample of two snapshots. Of the first there is no rate.
func (w *watched) compare(old, s nearcache.Stats, now time.Time, seconds float64) sample {
	hits, misses := grown(old.L1Hits, s.L1Hits), grown(old.L1Misses, s.L1Misses)
	found, loads := grown(old.L2Hits, s.L2Hits), grown(old.Loads, s.Loads)
	x := sample{
		at: now, marks: w.marks,
		reads: (hits + misses) / seconds, loads: loads / seconds,
		failed: (grown(old.LoadErrors, s.LoadErrors) + grown(old.RedisErrors, s.RedisErrors)) / seconds,
		l1:     hits / (hits + misses), l2: found / (found + loads), // NaN where nobody asked
		proof: s.ProofAge.Seconds(), bound: s.MaxStaleness.Seconds(),
	}
	if s.ProofAge < 0 || s.MaxStaleness == 0 {
		x.proof = math.NaN()
	}
	x.lagP50, _, x.lagMax = w.lag.take()
	x.l2P50, x.l2P99, _ = w.l2.take()
	x.loadP50, x.loadP99, _ = w.loader.take()
	return x
}

// grown is by how much a counter grew. One that is made of others may go back a little.
func grown(old, now uint64) float64 { return float64(max(now, old) - old) }

// recent counts latencies since they were last taken. Who records while they are taken
// may count for neither second, which a plot does not show.
type recent struct {
	counts atomic.Pointer[tiered.Latency]
}

func (r *recent) record(d time.Duration) {
	counts := r.counts.Load()
	for counts == nil {
		r.counts.CompareAndSwap(nil, new(tiered.Latency))
		counts = r.counts.Load()
	}
	counts.Record(d)
}

// take returns seconds, or not known if nothing was recorded.
func (r *recent) take() (p50, p99, longest float64) {
	counts := r.counts.Swap(nil)
	if counts == nil {
		return math.NaN(), math.NaN(), math.NaN()
	}
	s := counts.Snapshot()
	return s.P50.Seconds(), s.P99.Seconds(), s.Max.Seconds()
}
