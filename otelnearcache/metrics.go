package otelnearcache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// statistic is a number of [nearcache.Stats] as a metric.
type statistic struct {
	name, unit, what string
	tier             string // attribute; empty: it has none
	value            func(*nearcache.Stats) int64
}

var counters = []statistic{
	{"nearcache.hits", "{hit}", "Reads that the tier answered; of L2, values fetched for one caller or many", "l1",
		func(s *nearcache.Stats) int64 { return int64(s.L1Hits) }},
	{"nearcache.hits", "{hit}", "Reads that the tier answered; of L2, values fetched for one caller or many", "l2",
		func(s *nearcache.Stats) int64 { return int64(s.L2Hits) }},
	{"nearcache.misses", "{miss}", "Reads that asked the tier in vain", "l1",
		func(s *nearcache.Stats) int64 { return int64(s.L1Misses) }},
	{"nearcache.loads", "{load}", "Calls of the loader", "",
		func(s *nearcache.Stats) int64 { return int64(s.Loads) }},
	{"nearcache.load.errors", "{error}", "Calls of the loader that failed", "",
		func(s *nearcache.Stats) int64 { return int64(s.LoadErrors) }},
	{"nearcache.stale_served", "{answer}", "Answers whose life was over", "",
		func(s *nearcache.Stats) int64 { return int64(s.StaleServed) }},
	{"nearcache.refreshes", "{refresh}", "Loads that began before the value's life was over", "",
		func(s *nearcache.Stats) int64 { return int64(s.Refreshes) }},
	{"nearcache.lease_waits", "{wait}", "Reads that waited for another instance's load", "",
		func(s *nearcache.Stats) int64 { return int64(s.LeaseWaits) }},
	{"nearcache.refused_fills", "{value}", "Loaded values that were not kept, since the key changed meanwhile", "",
		func(s *nearcache.Stats) int64 { return int64(s.RefusedFills) }},
	{"nearcache.refused_values", "{value}", "Values in Redis that were not believed after it had lost data", "",
		func(s *nearcache.Stats) int64 { return int64(s.RefusedValues) }},
	{"nearcache.sets", "{value}", "Values written through", "",
		func(s *nearcache.Stats) int64 { return int64(s.Sets) }},
	{"nearcache.invalidations", "{key}", "Keys invalidated or expired", "",
		func(s *nearcache.Stats) int64 { return int64(s.Invalidations) }},
	{"nearcache.failed_changes", "{change}", "Changes that returned an error", "",
		func(s *nearcache.Stats) int64 { return int64(s.FailedChanges) }},
	{"nearcache.gaps", "{gap}", "Announcements that showed that one before them is missing", "",
		func(s *nearcache.Stats) int64 { return int64(s.Gaps) }},
	{"nearcache.replays", "{replay}", "Readings of the log to make up for gaps", "",
		func(s *nearcache.Stats) int64 { return int64(s.Replays) }},
	{"nearcache.distrusts", "{shard}", "Shards of L1 given up, since the log could not make up for a gap", "",
		func(s *nearcache.Stats) int64 { return int64(s.Distrusts) }},
	{"nearcache.epochs", "{epoch}", "Shards of L1 given up, since Redis lost data or was replaced", "",
		func(s *nearcache.Stats) int64 { return int64(s.Epochs) }},
	{"nearcache.redis_errors", "{error}", "Reads and fills that Redis did not answer", "",
		func(s *nearcache.Stats) int64 { return int64(s.RedisErrors) }},
	{"nearcache.faults", "{fault}", "Values, records and messages that could not be used", "",
		func(s *nearcache.Stats) int64 { return int64(s.Faults) }},
	{"nearcache.l1.evictions", "{entry}", "Entries that gave way to others for lack of room", "",
		func(s *nearcache.Stats) int64 { return int64(s.L1Evictions) }},
	{"nearcache.tracked_writes", "{write}", "Writes in Redis that nobody announced, found by tracking", "",
		func(s *nearcache.Stats) int64 { return int64(s.TrackedWrites) }},
	{"nearcache.tracking_gaps", "{gap}", "Times that such writes may have been missed, and L1 was given up", "",
		func(s *nearcache.Stats) int64 { return int64(s.TrackingGaps) }},
	{"nearcache.mutations", "{value}", "Values that somebody changed in L1", "",
		func(s *nearcache.Stats) int64 { return int64(s.Mutations) }},
}

// levels go up and down, and add up over instances.
var levels = []statistic{
	{"nearcache.pending_changes", "{key}", "Keys whose change has not reached Redis yet", "",
		func(s *nearcache.Stats) int64 { return s.Pending }},
	{"nearcache.redis_away", "{server}", "Servers that are not asked now, since they did not answer", "",
		func(s *nearcache.Stats) int64 { return int64(s.RedisAway) }},
	{"nearcache.l1.size", "By", "Memory of L1, approximately", "",
		func(s *nearcache.Stats) int64 { return s.L1Bytes }},
}

// pulled are the instruments that are observed when metrics are collected.
type pulled struct {
	ints            []observable
	proofAge, bound metric.Float64Observable
	attrs           metric.MeasurementOption
	proof           proof
}

type observable struct {
	instrument metric.Int64Observable
	attrs      metric.MeasurementOption
	value      func(*nearcache.Stats) int64
}

func newPulled(m metric.Meter, cache attribute.KeyValue) (p *pulled, err error) {
	p = &pulled{attrs: metric.WithAttributeSet(attribute.NewSet(cache))}
	var errs []error
	add := func(s statistic, instrument metric.Int64Observable, err error) {
		attrs := p.attrs
		if s.tier != "" {
			attrs = metric.WithAttributeSet(attribute.NewSet(cache, attribute.String("tier", s.tier)))
		}
		p.ints = append(p.ints, observable{instrument, attrs, s.value})
		errs = append(errs, err)
	}
	for _, s := range counters { // of one name twice, the SDK makes one
		i, err := m.Int64ObservableCounter(s.name, metric.WithUnit(s.unit), metric.WithDescription(s.what))
		add(s, i, err)
	}
	for _, s := range levels {
		i, err := m.Int64ObservableUpDownCounter(s.name, metric.WithUnit(s.unit), metric.WithDescription(s.what))
		add(s, i, err)
	}
	gauge := func(name, what string) metric.Float64Observable {
		i, err := m.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(what))
		errs = append(errs, err)
		return i
	}
	p.proofAge = gauge("nearcache.proof.age", "Time since L1 was last known to be proven current")
	p.bound = gauge("nearcache.max_staleness", "The bound: beyond it, L1 is not believed without a proof")
	return p, errors.Join(errs...)
}

func (p *pulled) instruments() []metric.Observable {
	list := []metric.Observable{p.proofAge, p.bound}
	for _, o := range p.ints {
		list = append(list, o.instrument)
	}
	return list
}

func (p *pulled) observe(s nearcache.Stats, out metric.Observer) {
	for _, o := range p.ints {
		out.ObserveInt64(o.instrument, o.value(&s), o.attrs)
	}
	out.ObserveFloat64(p.proofAge, p.proof.age(s.ProofAge).Seconds(), p.attrs)
	out.ObserveFloat64(p.bound, s.MaxStaleness.Seconds(), p.attrs)
}

// proof remembers the newest proof that was seen: without one the age is negative, which
// as a metric would look better than any.
type proof struct {
	mu   sync.Mutex
	last time.Time // at first, when it is observed from
}

func (p *proof) age(age time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age >= 0 {
		p.last = time.Now().Add(-age)
	}
	return time.Since(p.last)
}

// pushed are the instruments that hooks record to.
type pushed struct {
	read, load, change, lag metric.Float64Histogram
	events                  metric.Int64Counter
}

// bounds of the histograms, in seconds: from a look into L1 again to a load's timeout.
var bounds = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newPushed(m metric.Meter) (p pushed, err error) {
	var errs []error
	histogram := func(name, what string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what),
			metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	p.read = histogram("nearcache.read.duration", "Reads that L1 did not answer at once")
	p.load = histogram("nearcache.load.duration", "Calls of the loader")
	p.change = histogram("nearcache.change.duration", "Changes, until they are acknowledged or have failed")
	p.lag = histogram("nearcache.announcement.lag", "From the making of a change to its application here")
	p.events, err = m.Int64Counter("nearcache.events", metric.WithUnit("{event}"),
		metric.WithDescription("What operators should know, by what it is"))
	return p, errors.Join(append(errs, err)...)
}

// record measures an operation that has ended.
func (o *Observer) record(ctx context.Context, op *nearcache.Operation) {
	kind, result, took := attribute.String("operation", op.Kind), attribute.String("result", op.Result), op.Took.Seconds()
	switch op.Kind {
	case "load":
		o.pushed.load.Record(ctx, took, metric.WithAttributes(o.cache, result))
	case "get", "get many":
		o.pushed.read.Record(ctx, took, metric.WithAttributes(o.cache, kind, attribute.String("source", source(op)), result))
	default:
		o.pushed.change.Record(ctx, took, metric.WithAttributes(o.cache, kind, result))
	}
}

// source is written as tiers are.
func source(op *nearcache.Operation) string {
	if op.Source == 0 {
		return "none"
	}
	return strings.ToLower(op.Source.String())
}

func (o *Observer) announced(a nearcache.Announcement) {
	if a.Lag >= 0 {
		o.pushed.lag.Record(context.Background(), a.Lag.Seconds(), metric.WithAttributes(o.cache))
	}
}

func (o *Observer) event(e nearcache.Event) {
	o.pushed.events.Add(context.Background(), 1, metric.WithAttributes(o.cache, attribute.String("event", e.Kind)))
}
