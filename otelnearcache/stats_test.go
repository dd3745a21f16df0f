package otelnearcache

import (
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// TestEveryStatisticIsAMetric, and each its own.
func TestEveryStatisticIsAMetric(t *testing.T) {
	var stats nearcache.Stats
	want := make(map[string]float64) // by field
	v := reflect.ValueOf(&stats).Elem()
	for i := range v.NumField() {
		field := v.Field(i)
		n := i + 1
		want[v.Type().Field(i).Name] = float64(n)
		switch field.Interface().(type) {
		case uint64:
			field.SetUint(uint64(n))
		case int, int64:
			field.SetInt(int64(n))
		case time.Duration:
			field.SetInt(int64(time.Duration(n) * time.Second))
		default: // the lag, which is a histogram
			delete(want, v.Type().Field(i).Name)
		}
	}
	l := newLab()
	if err := l.observer(t, "users", false).Observe(fixed(stats)); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64) // by name and tier
	for _, m := range collect(t, l.reader) {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				tier, _ := p.Attributes.Value(attribute.Key("tier"))
				values[m.Name+tier.AsString()] = float64(p.Value)
			}
		case metricdata.Gauge[float64]:
			values[m.Name] = data.DataPoints[0].Value
		}
	}
	for field, n := range want {
		name := nameOf(field)
		if got := values[name]; math.Abs(got-n) > 0.5 { // the proof grows old meanwhile
			t.Errorf("%s is %v, want Stats.%s, %v", name, got, field, n)
		}
	}
	if len(values) != len(want) {
		t.Errorf("%d values of %d statistics: %v", len(values), len(want), values)
	}
}

func nameOf(field string) string {
	known := map[string]string{
		"L1Hits": "hitsl1", "L2Hits": "hitsl2", "L1Misses": "missesl1", "LoadErrors": "load.errors",
		"L1Bytes": "l1.size", "L1Evictions": "l1.evictions", "Pending": "pending_changes", "ProofAge": "proof.age",
	}
	if name, ok := known[field]; ok {
		return "nearcache." + name
	}
	words := regexp.MustCompile(`[A-Z][a-z0-9]*`).FindAllString(field, -1)
	return "nearcache." + strings.ToLower(strings.Join(words, "_"))
}
