// Package promnearcache gives a nearcache cache Prometheus metrics. A dashboard for
// Grafana and alert rules that use them are in the folder deploy.
//
// Every metric has the label cache, the name given to [New]; never a key. They are
//
//	nearcache_hits_total                    tier ("l1", "l2")
//	nearcache_misses_total                  tier ("l1")
//	nearcache_loads_total
//	nearcache_load_errors_total
//	nearcache_load_duration_seconds         result
//	nearcache_read_duration_seconds         operation, source, result
//	nearcache_change_duration_seconds       operation, result
//	nearcache_stale_served_total
//	nearcache_refreshes_total
//	nearcache_lease_waits_total
//	nearcache_refused_fills_total
//	nearcache_refused_values_total
//	nearcache_sets_total
//	nearcache_invalidations_total
//	nearcache_failed_changes_total
//	nearcache_pending_changes
//	nearcache_announcement_lag_seconds
//	nearcache_proof_age_seconds
//	nearcache_max_staleness_seconds
//	nearcache_gaps_total
//	nearcache_replays_total
//	nearcache_distrusts_total
//	nearcache_epochs_total
//	nearcache_redis_errors_total
//	nearcache_redis_away
//	nearcache_faults_total
//	nearcache_events_total                  event
//	nearcache_l1_size_bytes
//	nearcache_l1_evictions_total
//	nearcache_tracked_writes_total
//	nearcache_tracking_gaps_total
//	nearcache_mutations_total
//
// docs/observability.md says what they mean.
package promnearcache

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nearcache/nearcache"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector makes metrics of what one cache does. It is safe for concurrent use.
type Collector struct {
	name       string
	registerer prometheus.Registerer
	pulled     []pulled
	pushed     pushed

	mu     sync.Mutex
	cache  interface{ Stats() nearcache.Stats } // nil until one is observed
	proof  time.Time                            // the newest that was seen; at first, when it is observed from
	closed bool
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a collector that is registered at r, nil for
// [prometheus.DefaultRegisterer], and whose metrics have name as the label cache: that
// of the cache, usually. It is an error if the name is empty or no UTF-8, or if another
// collector has it there, as instances of one cache in one process would. Whoever calls
// New calls [Collector.Close].
func New(name string, r prometheus.Registerer) (*Collector, error) {
	if name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("promnearcache: the name %q must be UTF-8 and not empty: give that of the cache", name)
	}
	if r == nil {
		r = prometheus.DefaultRegisterer
	}
	labels := prometheus.Labels{"cache": name}
	c := &Collector{name: name, registerer: r, pulled: newPulled(labels), pushed: newPushed(labels)}
	err := r.Register(c)
	if _, taken := errors.AsType[prometheus.AlreadyRegisteredError](err); taken {
		return nil, fmt.Errorf("promnearcache: the name %q is taken: another collector is registered with it; "+
			"close that one, or give each its own name: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("promnearcache: %w", err)
	}
	return c, nil
}

// Hooks returns what goes into [nearcache.Config.Hooks]; see [nearcache.Tee] if you have
// some of your own.
func (c *Collector) Hooks() nearcache.Hooks {
	return nearcache.Hooks{End: c.pushed.end, Announced: c.pushed.announced, Event: c.pushed.event}
}

// Observe has the cache's statistics read whenever metrics are collected, so that
// counting costs a hit nothing. A collector observes one cache, and until it is closed.
func (c *Collector) Observe(cache interface{ Stats() nearcache.Stats }) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case cache == nil:
		return errors.New("promnearcache: there is no cache to observe: it is nil")
	case c.closed:
		return fmt.Errorf("promnearcache: the collector %q is closed", c.name)
	case c.cache != nil:
		return fmt.Errorf("promnearcache: the collector %q observes a cache already: make one for each", c.name)
	}
	c.cache, c.proof = cache, time.Now()
	return nil
}

// Close takes the collector out of the registry, and frees the name. It may be called
// more than once, and never fails.
func (c *Collector) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if !was {
		c.registerer.Unregister(c)
	}
	return nil
}

// Describe is for the registry.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, p := range c.pulled {
		out <- p.desc
	}
	for _, p := range c.pushed.all() {
		p.Describe(out)
	}
}

// Collect is for the registry.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for _, p := range c.pushed.all() {
		p.Collect(out)
	}
	s, ok := c.stats()
	if !ok {
		return
	}
	for _, p := range c.pulled {
		out <- prometheus.MustNewConstMetric(p.desc, p.kind, p.value(&s), p.labels...)
	}
}

// stats returns the statistics with the age of the newest proof that was seen: without
// one it is negative, which as a metric would look better than any.
func (c *Collector) stats() (nearcache.Stats, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cache == nil {
		return nearcache.Stats{}, false
	}
	s := c.cache.Stats()
	if s.ProofAge >= 0 {
		c.proof = time.Now().Add(-s.ProofAge)
	}
	s.ProofAge = time.Since(c.proof)
	return s, true
}
