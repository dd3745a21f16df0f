// Package otelnearcache gives a nearcache cache OpenTelemetry metrics and traces. It
// needs the OpenTelemetry API only; the SDK and its exporters are the application's.
//
// Every metric has the attribute cache, the name given to [New]; never a key. They are
//
//	nearcache.hits                    tier ("l1", "l2")
//	nearcache.misses                  tier ("l1")
//	nearcache.loads
//	nearcache.load.errors
//	nearcache.load.duration           result
//	nearcache.read.duration           operation, source, result
//	nearcache.change.duration         operation, result
//	nearcache.stale_served
//	nearcache.refreshes
//	nearcache.lease_waits
//	nearcache.refused_fills
//	nearcache.refused_values
//	nearcache.sets
//	nearcache.invalidations
//	nearcache.failed_changes
//	nearcache.pending_changes
//	nearcache.announcement.lag
//	nearcache.proof.age
//	nearcache.max_staleness
//	nearcache.gaps
//	nearcache.replays
//	nearcache.distrusts
//	nearcache.epochs
//	nearcache.redis_errors
//	nearcache.redis_away
//	nearcache.faults
//	nearcache.events                  event
//	nearcache.l1.size
//	nearcache.l1.evictions
//	nearcache.tracked_writes
//	nearcache.tracking_gaps
//	nearcache.mutations
//
// docs/observability.md says what they mean, with their units, and has the names that
// they have in Prometheus.
//
// Each [nearcache.Operation] is a span, "nearcache get" or "nearcache load", below that
// of the context that it was called with; a loader's own spans are below that of its
// load. A hit in L1 is none.
package otelnearcache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nearcache/nearcache"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/nearcache/nearcache/otelnearcache"

// Config says where metrics and spans go.
type Config struct {
	// MeterProvider receives the metrics. Default otel.GetMeterProvider(); that of
	// go.opentelemetry.io/otel/metric/noop switches them off.
	MeterProvider metric.MeterProvider

	// TracerProvider receives the spans. Default otel.GetTracerProvider(); that of
	// go.opentelemetry.io/otel/trace/noop switches them off.
	TracerProvider trace.TracerProvider

	// Keys has spans tell the keys or tags that they are about, up to 100. Default
	// false: nothing of the cache's own tells keys. What a loader puts into its errors
	// is recorded as it is.
	Keys bool
}

// Observer makes metrics and spans of what one cache does. It is safe for concurrent
// use.
type Observer struct {
	name     string
	keys     bool
	provider metric.MeterProvider
	meter    metric.Meter
	tracer   trace.Tracer
	cache    attribute.KeyValue
	pushed   pushed

	mu           sync.Mutex
	registration metric.Registration // nil until a cache is observed
	closed       bool
}

// New returns an observer whose metrics have name as the attribute cache: that of the
// cache, usually. It is an error if the name is empty or no UTF-8, or if another
// observer of the process has it at the same provider, as instances of one cache in one
// process would. Whoever calls New calls [Observer.Close].
func New(name string, cfg Config) (*Observer, error) {
	if name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("otelnearcache: the name %q must be UTF-8 and not empty: give that of the cache", name)
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	o := &Observer{
		name: name, keys: cfg.Keys, provider: cfg.MeterProvider, cache: attribute.String("cache", name),
		meter: cfg.MeterProvider.Meter(scope), tracer: cfg.TracerProvider.Tracer(scope),
	}
	var err error
	if o.pushed, err = newPushed(o.meter); err != nil {
		return nil, fmt.Errorf("otelnearcache: %w", err)
	}
	if !take(o.provider, name) {
		return nil, fmt.Errorf("otelnearcache: the name %q is taken: another observer of this process has it, and "+
			"their metrics would add up; close that one, or give each its own name", name)
	}
	return o, nil
}

// Hooks returns what goes into [nearcache.Config.Hooks]; see [nearcache.Tee] if you have
// some of your own.
func (o *Observer) Hooks() nearcache.Hooks {
	return nearcache.Hooks{Start: o.start, End: o.end, Announced: o.announced, Event: o.event}
}

// Observe has the cache's statistics read whenever metrics are collected, so that
// counting costs a hit nothing. An observer observes one cache, and until it is closed.
func (o *Observer) Observe(cache interface{ Stats() nearcache.Stats }) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case cache == nil:
		return errors.New("otelnearcache: there is no cache to observe: it is nil")
	case o.closed:
		return fmt.Errorf("otelnearcache: the observer %q is closed", o.name)
	case o.registration != nil:
		return fmt.Errorf("otelnearcache: the observer %q observes a cache already: make one for each", o.name)
	}
	p, err := newPulled(o.meter, o.cache)
	if err != nil {
		return fmt.Errorf("otelnearcache: %w", err)
	}
	p.proof.last = time.Now()
	o.registration, err = o.meter.RegisterCallback(func(_ context.Context, out metric.Observer) error {
		p.observe(cache.Stats(), out)
		return nil
	}, p.instruments()...)
	if err != nil {
		return fmt.Errorf("otelnearcache: %w", err)
	}
	return nil
}

// Close ends the collection of statistics and frees the name. Close the cache first:
// hooks that are still called go on to record. It may be called more than once.
func (o *Observer) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	release(o.provider, o.name)
	if o.registration == nil {
		return nil
	}
	return o.registration.Unregister()
}

// taken are the names in use: an SDK adds up what two callbacks observe for one set of
// attributes, and says nothing.
var taken sync.Map

type takenName struct {
	provider metric.MeterProvider
	name     string
}

func take(p metric.MeterProvider, name string) bool {
	if !reflect.ValueOf(p).Comparable() { // of somebody's own make
		return true
	}
	_, found := taken.LoadOrStore(takenName{p, name}, true)
	return !found
}

func release(p metric.MeterProvider, name string) {
	if reflect.ValueOf(p).Comparable() {
		taken.Delete(takenName{p, name})
	}
}
