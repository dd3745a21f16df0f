package promnearcache

import (
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/prometheus/client_golang/prometheus"
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
	registry := prometheus.NewPedanticRegistry()
	c, err := New("users", registry)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Observe(fixed(stats)); err != nil {
		t.Fatal(err)
	}
	for field, n := range want {
		name, labels := nameOf(field)
		if got := series(t, registry, name)[labels]; math.Abs(got-n) > 0.5 { // the proof grows old meanwhile
			t.Errorf("%s is %v, want Stats.%s, %v", name, got, field, n)
		}
	}
}

func nameOf(field string) (name, labels string) {
	switch field {
	case "L1Hits":
		return "nearcache_hits_total", "users,l1"
	case "L2Hits":
		return "nearcache_hits_total", "users,l2"
	case "L1Misses":
		return "nearcache_misses_total", "users,l1"
	case "L1Bytes":
		return "nearcache_l1_size_bytes", "users"
	case "Pending":
		return "nearcache_pending_changes", "users"
	case "RedisAway":
		return "nearcache_redis_away", "users"
	}
	name = "nearcache" + strings.ToLower(regexp.MustCompile(`([A-Z][a-z0-9]*)`).ReplaceAllString(field, "_$1"))
	if field == "ProofAge" || field == "MaxStaleness" {
		return name + "_seconds", "users"
	}
	return name + "_total", "users"
}
