package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/audit"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

// plan is what a run of chaos is asked to do.
type plan struct {
	instances int
	duration  time.Duration
	staleness time.Duration
}

func chaosCommand(o *options, t *terminal) *cobra.Command {
	p := plan{}
	c := &cobra.Command{
		Use: "chaos", Short: "Break connections to your Redis, and judge every answer", Args: cobra.NoArgs,
		Long: `Runs instances in this process on your Redis, in a scratch cache that is removed at the
end, while readers never rest and the connections of one instance after the other are
cut, silenced, delayed, torn inside of a message, or lose messages; sometimes those of
all. Every answer is judged against the history of the source. It prints the longest
staleness seen, and exits with 1 if any answer broke the promise.

Only connections of this process are harmed: your servers see clients that come and
go. Kill or fail over servers yourself while it runs, to see what happens then.

It makes some hundred changes and thousands of reads a second, mostly of L1.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(o.unnamed("chaos"), within("instances", p.instances, 2, 64),
				within("for", p.duration, time.Second, 24*time.Hour), within("staleness", p.staleness, 20*time.Millisecond, time.Hour)); err != nil {
				return err
			}
			return chaos(c.Context(), o, t, p)
		},
	}
	c.Flags().IntVar(&p.instances, "instances", 3, "instances, 2 to 64")
	c.Flags().DurationVar(&p.duration, "for", 30*time.Second, "how long")
	c.Flags().DurationVar(&p.staleness, "staleness", 2*time.Second, "bound to hold: MaxStaleness of the instances")
	return c
}

const (
	chaosKeys     = 200
	chaosReaders  = 2 // of each instance
	chaosInterval = 15 * time.Millisecond
)

// arena is a run: instances, their wires, the source and the judge.
type arena struct {
	plan
	ns      *namespace
	keys    []string
	caches  []*nearcache.Cache[int64]
	wires   []*wires
	clients []redis.UniversalClient
	journal *audit.Journal
	began   time.Time

	versions []atomic.Int64 // the source: version of each key
	commits  []sync.Mutex   // held while a version is made, so that they come in order

	reads           [nearcache.FromLoader + 1]atomic.Int64
	failedReads     atomic.Int64
	changes, failed atomic.Int64
	firstError      atomic.Pointer[error]
	faults          map[string]int
	unsent          bool // changes have not landed at the end
}

func chaos(ctx context.Context, o *options, t *terminal, p plan) error {
	d, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer d.client.Close()
	a := &arena{plan: p, ns: d.scratch("chaos", o.shards), keys: keysOf(chaosKeys), faults: map[string]int{},
		journal: audit.NewJournal(p.staleness, p.instances), began: time.Now(),
		versions: make([]atomic.Int64, chaosKeys), commits: make([]sync.Mutex, chaosKeys)}
	defer a.ns.store.Close()
	for i, key := range a.keys {
		a.journal.Visible(key, 1, a.now())
		a.versions[i].Store(1)
	}
	// Instances bear with a Redis that refuses everything; here it would prove nothing.
	if _, err = a.ns.store.Clear(ctx, 0); err != nil {
		return fmt.Errorf("%s refuses a change: %w%s", d.place(), err, advice(d, err))
	}
	if err = a.open(); err == nil {
		a.fight(ctx, t)
		a.settle(t)
		t.done()
	}
	verdict := a.verdict()
	a.close()
	if err := errors.Join(err, a.ns.sweep(a.keys)); err != nil {
		return err
	}
	if t.json {
		err = t.object(verdict)
	} else {
		err = t.print(verdict.String())
	}
	if err == nil && !verdict.Kept {
		err = errFound
	}
	return err
}

func (a *arena) now() time.Duration { return time.Since(a.began) }

// open starts the instances, each on wires of its own.
func (a *arena) open() error {
	for range a.instances {
		w := newWires(a.ns.direct)
		client := a.ns.open(w.dial, 500*time.Millisecond)
		a.wires, a.clients = append(a.wires, w), append(a.clients, client)
		cache, err := nearcache.New(nearcache.Config[int64]{
			Name: a.ns.name, Redis: client, Shards: a.ns.shards, MaxStaleness: a.staleness, MaxBytes: 1 << 20,
			RedisTimeout: min(200*time.Millisecond, a.staleness), Load: a.load, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		a.caches = append(a.caches, cache)
	}
	return nil
}

func (a *arena) close() {
	for _, c := range a.caches {
		_ = c.Close() // changes that did not land are in the verdict
	}
	for i, client := range a.clients {
		client.Close()
		a.wires[i].close()
	}
}

// load reads the source.
func (a *arena) load(_ context.Context, key string) (int64, error) {
	i, err := strconv.Atoi(strings.TrimPrefix(key, "k")) // see keysOf
	if err != nil || i >= len(a.versions) {
		return 0, nearcache.ErrNotFound
	}
	return a.versions[i].Load(), nil
}

// fight reads, changes and breaks until the time is over.
func (a *arena) fight(ctx context.Context, t *terminal) {
	ctx, cancel := context.WithTimeout(ctx, a.duration)
	defer cancel()
	var running sync.WaitGroup
	for i := range a.instances {
		for range chaosReaders {
			running.Go(func() { a.readers(ctx, i) })
		}
		running.Go(func() { a.writer(ctx, i) })
	}
	running.Go(func() { a.show(ctx, t) })
	a.harm(ctx)
	running.Wait()
}

func (a *arena) readers(ctx context.Context, instance int) {
	for ctx.Err() == nil {
		a.read(instance, rand.IntN(len(a.keys)), rand.IntN(20) == 0)
		time.Sleep(rand.N(time.Millisecond))
	}
}

// read has the judge judge a read.
func (a *arena) read(instance, key int, bypass bool) (version int64) {
	var info nearcache.Info
	opts := []nearcache.Option{nearcache.WithInfo(&info), nearcache.SkipL1()}
	if !bypass {
		opts = opts[:1]
	}
	began := a.now()
	version, err := a.caches[instance].Get(context.Background(), a.keys[key], opts...)
	ended := a.now()
	if err != nil {
		a.failedReads.Add(1)
		a.firstError.CompareAndSwap(nil, &err)
		return 0
	}
	a.journal.Read(a.keys[key], version, instance, began, ended, bypass)
	a.reads[info.Source].Add(1)
	return version
}

func (a *arena) writer(ctx context.Context, instance int) {
	tick := time.NewTicker(chaosInterval)
	defer tick.Stop()
	var changing sync.WaitGroup
	defer changing.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			changing.Go(func() { a.change(instance, rand.IntN(len(a.keys))) })
		}
	}
}

// change makes the next version of a key, and tells the fleet.
func (a *arena) change(instance, key int) {
	a.commits[key].Lock()
	version := a.versions[key].Load() + 1
	a.journal.Visible(a.keys[key], version, a.now())
	a.versions[key].Store(version)
	a.commits[key].Unlock()
	if err := a.caches[instance].Invalidate(context.Background(), a.keys[key]); err != nil {
		a.failed.Add(1)
		return
	}
	a.journal.Acked(a.keys[key], version, instance, a.now())
	a.changes.Add(1)
	a.read(instance, key, false) // its own write, before anybody can have announced it
}

// harms are the faults, with how long each lasts, in bounds.
var harms = []struct {
	name  string
	lasts float64
	all   bool // it hits every instance
	fault func(*faultnet.Proxy, time.Duration)
}{
	{"lost messages", 0.5, false, func(p *faultnet.Proxy, _ time.Duration) { p.DropMessages(1 + rand.IntN(5)) }},
	{"cut", 0.5, false, func(p *faultnet.Proxy, _ time.Duration) { p.Cut() }},
	{"silence", 1.5, false, func(p *faultnet.Proxy, _ time.Duration) { p.Silence() }},
	{"torn message", 0.5, false, func(p *faultnet.Proxy, _ time.Duration) { p.HalfWrite() }},
	{"delay", 1, false, func(p *faultnet.Proxy, bound time.Duration) { p.Delay(bound/20 + rand.N(bound/3)) }},
	{"outage", 1.5, true, func(p *faultnet.Proxy, _ time.Duration) { p.Cut() }},
}

// harm injects one fault after the other, and heals each.
func (a *arena) harm(ctx context.Context) {
	bounds := func(n float64) { pause(ctx, time.Duration(n*float64(a.staleness))) }
	for i := 0; ; i++ {
		bounds(0.5)
		if ctx.Err() != nil {
			return
		}
		h := harms[i%len(harms)]
		victims := a.wires
		if !h.all {
			victim := rand.IntN(len(a.wires))
			victims = a.wires[victim : victim+1]
		}
		for _, w := range victims {
			w.inject(func(p *faultnet.Proxy) { h.fault(p, a.staleness) })
		}
		a.faults[h.name]++
		bounds(h.lasts)
		for _, w := range victims {
			w.heal()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// settle waits until all is quiet, and compares every copy with the source.
func (a *arena) settle(t *terminal) {
	t.progress("settling")
	for deadline := time.Now().Add(10*time.Second + 5*a.staleness); a.pending() > 0; time.Sleep(10 * time.Millisecond) {
		if a.unsent = time.Now().After(deadline); a.unsent {
			break
		}
	}
	time.Sleep(a.staleness + 100*time.Millisecond)
	for key := range a.keys {
		copies := make([]int64, a.instances)
		for i := range copies {
			copies[i] = a.read(i, key, false)
		}
		a.journal.Converged(a.keys[key], a.versions[key].Load(), copies)
	}
}

func (a *arena) pending() (n int64) {
	for _, c := range a.caches {
		n += c.Stats().Pending
	}
	return n
}

func (a *arena) show(ctx context.Context, t *terminal) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r := a.journal.Report()
			t.progress("%4.0f s of %.0f s  %d reads  %d changes  stale %s at most, of %s  %d violations", a.now().Seconds(),
				a.duration.Seconds(), r.Reads, a.changes.Load(), short(r.Longest), short(a.staleness), r.Violations())
		}
	}
}

// verdict is the outcome of a run.
type verdict struct {
	Kept       bool             `json:"kept"`
	Place      string           `json:"redis"`
	Instances  int              `json:"instances"`
	Keys       int              `json:"keys"`
	Seconds    float64          `json:"seconds"`
	Bound      float64          `json:"bound_ms"`
	Longest    float64          `json:"longest_staleness_ms"`
	Reads      map[string]int64 `json:"reads"`
	Failed     int64            `json:"failed_reads"`
	Changes    int64            `json:"acknowledged_changes"`
	Repeated   int64            `json:"failed_changes"`
	Unsent     bool             `json:"unsent"` // changes that had not landed at the end
	Faults     map[string]int   `json:"faults"`
	Gaps       uint64           `json:"gaps"`
	Replays    uint64           `json:"replays"`
	Distrusts  uint64           `json:"distrusts"`
	Epochs     uint64           `json:"epochs"`
	Violations map[string]int64 `json:"violations"`
	Examples   []string         `json:"examples"`
}

func (a *arena) verdict() *verdict {
	r := a.journal.Report()
	v := &verdict{Place: a.ns.place(), Instances: a.instances, Keys: len(a.keys), Seconds: a.now().Seconds(), Bound: ms(a.staleness),
		Longest: ms(r.Longest), Reads: map[string]int64{}, Failed: a.failedReads.Load(), Changes: a.changes.Load(),
		Repeated: a.failed.Load(), Unsent: a.unsent, Faults: a.faults, Violations: map[string]int64{}, Examples: []string{}}
	for source := nearcache.FromL1; source <= nearcache.FromLoader; source++ {
		v.Reads[source.String()] = a.reads[source].Load()
	}
	for _, c := range a.caches {
		s := c.Stats()
		v.Gaps, v.Replays, v.Distrusts, v.Epochs = v.Gaps+s.Gaps, v.Replays+s.Replays, v.Distrusts+s.Distrusts, v.Epochs+s.Epochs
	}
	for kind, n := range r.Broken {
		v.Violations[kind.String()] = n
	}
	for _, e := range r.Examples {
		v.Examples = append(v.Examples, e.String())
	}
	if err := a.firstError.Load(); err != nil {
		v.Examples = append(v.Examples, "a read failed: "+(*err).Error())
	}
	v.Kept = r.Violations() == 0 && v.Failed == 0 && !v.Unsent
	return v
}

// String is the verdict, 80 columns wide.
func (v *verdict) String() string {
	var b strings.Builder
	all := v.Reads["L1"] + v.Reads["L2"] + v.Reads["loader"]
	row := func(name, format string, args ...any) {
		text := wrapped(fmt.Sprintf(format, args...), strings.Repeat(" ", 21), 79)
		fmt.Fprintf(&b, "  %-19s%s", name, text[21:])
	}
	share := func(source string) float64 { return 100 * float64(v.Reads[source]) / float64(max(all, 1)) }
	b.WriteString(wrapped(fmt.Sprintf("%d instances on %s, %d keys, %.0f s, bound %s", v.Instances, v.Place, v.Keys, v.Seconds,
		short(time.Duration(v.Bound*1e6))), "", 79) + "\n")
	row("reads", "%d: L1 %.1f %%, L2 %.1f %%, loader %.1f %%; %d failed", all, share("L1"), share("L2"), share("loader"), v.Failed)
	row("changes", "%d acknowledged, %d failed and were sent again", v.Changes, v.Repeated)
	var faults []string
	for _, h := range harms {
		if n := v.Faults[h.name]; n > 0 {
			faults = append(faults, fmt.Sprintf("%s %d", h.name, n))
		}
	}
	row("faults", "%s", or(strings.Join(faults, ", "), "none, the run was too short"))
	row("repairs", "%s, %s of the log, %s, %s", count(v.Gaps, "gap"), count(v.Replays, "replay"), count(v.Distrusts, "distrust"), count(v.Epochs, "new epoch"))
	row("longest staleness", "%s, of %s allowed", short(time.Duration(v.Longest*1e6)), short(time.Duration(v.Bound*1e6)))
	b.WriteString("\n")
	if v.Kept {
		fmt.Fprintf(&b, "All %d reads kept the promise.\n", all)
		return b.String()
	}
	fmt.Fprintf(&b, "PROMISE BROKEN: %v\n", v.Violations)
	if v.Unsent {
		b.WriteString("  changes had not reached Redis at the end\n")
	}
	for _, e := range v.Examples {
		b.WriteString(wrapped(e, "  ", 79))
	}
	return b.String()
}
