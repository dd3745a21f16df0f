package promnearcache

import (
	"context"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/prometheus/client_golang/prometheus"
)

// statistic is a number of [nearcache.Stats] as a metric.
type statistic struct {
	name, help string
	tier       string // label; empty: it has none
	value      func(*nearcache.Stats) float64
}

var counters = []statistic{
	{"nearcache_hits_total", "Reads that the tier answered; of L2, values fetched for one caller or many", "l1",
		func(s *nearcache.Stats) float64 { return float64(s.L1Hits) }},
	{"nearcache_hits_total", "Reads that the tier answered; of L2, values fetched for one caller or many", "l2",
		func(s *nearcache.Stats) float64 { return float64(s.L2Hits) }},
	{"nearcache_misses_total", "Reads that asked the tier in vain", "l1",
		func(s *nearcache.Stats) float64 { return float64(s.L1Misses) }},
	{"nearcache_loads_total", "Calls of the loader", "",
		func(s *nearcache.Stats) float64 { return float64(s.Loads) }},
	{"nearcache_load_errors_total", "Calls of the loader that failed", "",
		func(s *nearcache.Stats) float64 { return float64(s.LoadErrors) }},
	{"nearcache_stale_served_total", "Answers whose life was over", "",
		func(s *nearcache.Stats) float64 { return float64(s.StaleServed) }},
	{"nearcache_refreshes_total", "Loads that began before the value's life was over", "",
		func(s *nearcache.Stats) float64 { return float64(s.Refreshes) }},
	{"nearcache_lease_waits_total", "Reads that waited for another instance's load", "",
		func(s *nearcache.Stats) float64 { return float64(s.LeaseWaits) }},
	{"nearcache_refused_fills_total", "Loaded values that were not kept, since the key changed meanwhile", "",
		func(s *nearcache.Stats) float64 { return float64(s.RefusedFills) }},
	{"nearcache_refused_values_total", "Values in Redis that were not believed after it had lost data", "",
		func(s *nearcache.Stats) float64 { return float64(s.RefusedValues) }},
	{"nearcache_sets_total", "Values written through", "",
		func(s *nearcache.Stats) float64 { return float64(s.Sets) }},
	{"nearcache_invalidations_total", "Keys invalidated or expired", "",
		func(s *nearcache.Stats) float64 { return float64(s.Invalidations) }},
	{"nearcache_failed_changes_total", "Changes that returned an error", "",
		func(s *nearcache.Stats) float64 { return float64(s.FailedChanges) }},
	{"nearcache_gaps_total", "Announcements that showed that one before them is missing", "",
		func(s *nearcache.Stats) float64 { return float64(s.Gaps) }},
	{"nearcache_replays_total", "Readings of the log to make up for gaps", "",
		func(s *nearcache.Stats) float64 { return float64(s.Replays) }},
	{"nearcache_distrusts_total", "Shards of L1 given up, since the log could not make up for a gap", "",
		func(s *nearcache.Stats) float64 { return float64(s.Distrusts) }},
	{"nearcache_epochs_total", "Shards of L1 given up, since Redis lost data or was replaced", "",
		func(s *nearcache.Stats) float64 { return float64(s.Epochs) }},
	{"nearcache_redis_errors_total", "Reads and fills that Redis did not answer", "",
		func(s *nearcache.Stats) float64 { return float64(s.RedisErrors) }},
	{"nearcache_faults_total", "Values, records and messages that could not be used", "",
		func(s *nearcache.Stats) float64 { return float64(s.Faults) }},
	{"nearcache_l1_evictions_total", "Entries that gave way to others for lack of room", "",
		func(s *nearcache.Stats) float64 { return float64(s.L1Evictions) }},
	{"nearcache_tracked_writes_total", "Writes in Redis that nobody announced, found by tracking", "",
		func(s *nearcache.Stats) float64 { return float64(s.TrackedWrites) }},
	{"nearcache_tracking_gaps_total", "Times that such writes may have been missed, and L1 was given up", "",
		func(s *nearcache.Stats) float64 { return float64(s.TrackingGaps) }},
	{"nearcache_mutations_total", "Values that somebody changed in L1", "",
		func(s *nearcache.Stats) float64 { return float64(s.Mutations) }},
}

var gauges = []statistic{
	{"nearcache_pending_changes", "Keys whose change has not reached Redis yet", "",
		func(s *nearcache.Stats) float64 { return float64(s.Pending) }},
	{"nearcache_redis_away", "Servers that are not asked now, since they did not answer", "",
		func(s *nearcache.Stats) float64 { return float64(s.RedisAway) }},
	{"nearcache_l1_size_bytes", "Memory of L1, approximately", "",
		func(s *nearcache.Stats) float64 { return float64(s.L1Bytes) }},
	{"nearcache_proof_age_seconds", "Time since L1 was last known to be proven current", "",
		func(s *nearcache.Stats) float64 { return s.ProofAge.Seconds() }},
	{"nearcache_max_staleness_seconds", "The bound: beyond it, L1 is not believed without a proof", "",
		func(s *nearcache.Stats) float64 { return s.MaxStaleness.Seconds() }},
}

// pulled is a metric that is made when metrics are collected.
type pulled struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string
	value  func(*nearcache.Stats) float64
}

func newPulled(labels prometheus.Labels) (list []pulled) {
	add := func(kind prometheus.ValueType, s statistic) {
		p := pulled{kind: kind, value: s.value}
		var names []string
		if s.tier != "" {
			names, p.labels = []string{"tier"}, []string{s.tier}
		}
		p.desc = prometheus.NewDesc(s.name, s.help, names, labels)
		list = append(list, p)
	}
	for _, s := range counters {
		add(prometheus.CounterValue, s)
	}
	for _, s := range gauges {
		add(prometheus.GaugeValue, s)
	}
	return list
}

// pushed are the metrics that hooks record to.
type pushed struct {
	read, load, change, lag *prometheus.HistogramVec
	events                  *prometheus.CounterVec
}

// buckets in seconds: from a look into L1 again to a load's timeout.
var buckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// events are the kinds that are known, so that the first of each makes a rate.
var events = []string{"gap", "distrust", "epoch", "subscription lost", "subscribed", "breaker open", "breaker closed",
	"fault", "disagreement", "tracking lost"}

func newPushed(labels prometheus.Labels) pushed {
	histogram := func(name, help string, names ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: labels, Buckets: buckets,
			// Scraped by a Prometheus that knows native histograms; the text has the buckets.
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, names)
	}
	p := pushed{
		read: histogram("nearcache_read_duration_seconds", "Reads that L1 did not answer at once",
			"operation", "source", "result"),
		load: histogram("nearcache_load_duration_seconds", "Calls of the loader", "result"),
		change: histogram("nearcache_change_duration_seconds", "Changes, until they are acknowledged or have failed",
			"operation", "result"),
		lag: histogram("nearcache_announcement_lag_seconds", "From the making of a change to its application here"),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcache_events_total", Help: "What operators should know, by what it is", ConstLabels: labels,
		}, []string{"event"}),
	}
	for _, kind := range events {
		p.events.WithLabelValues(kind)
	}
	p.lag.WithLabelValues()
	return p
}

func (p *pushed) all() []prometheus.Collector {
	return []prometheus.Collector{p.read, p.load, p.change, p.lag, p.events}
}

func (p *pushed) end(_ context.Context, op *nearcache.Operation) {
	took := op.Took.Seconds()
	switch op.Kind {
	case "load":
		p.load.WithLabelValues(op.Result).Observe(took)
	case "get", "get many":
		p.read.WithLabelValues(op.Kind, source(op), op.Result).Observe(took)
	default:
		p.change.WithLabelValues(op.Kind, op.Result).Observe(took)
	}
}

// source is written as tiers are.
func source(op *nearcache.Operation) string {
	if op.Source == 0 {
		return "none"
	}
	return strings.ToLower(op.Source.String())
}

func (p *pushed) announced(a nearcache.Announcement) {
	if a.Lag >= 0 {
		p.lag.WithLabelValues().Observe(a.Lag.Seconds())
	}
}

func (p *pushed) event(e nearcache.Event) { p.events.WithLabelValues(e.Kind).Inc() }
