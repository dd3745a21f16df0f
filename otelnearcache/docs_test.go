package otelnearcache

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// fixed is a cache that has these statistics.
type fixed nearcache.Stats

func (f fixed) Stats() nearcache.Stats { return nearcache.Stats(f) }

// stir has every instrument record, with every attribute.
func stir(h nearcache.Hooks) {
	ctx := context.Background()
	for _, kind := range []string{"get", "load", "set"} {
		op := &nearcache.Operation{Kind: kind, Source: nearcache.FromL2, Result: "ok", Took: time.Millisecond}
		h.End(h.Start(ctx, op), op)
	}
	h.Announced(nearcache.Announcement{Lag: time.Millisecond})
	h.Event(nearcache.Event{Kind: "gap"})
}

// TestGuideHasEveryMetric: the table of the guide and the code say the same of the same
// metrics, and the package comment lists them.
func TestGuideHasEveryMetric(t *testing.T) {
	reader := metric.NewManualReader()
	o, err := New("users", Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Observe(fixed{}); err != nil {
		t.Fatal(err)
	}
	stir(o.Hooks())
	var written []string
	for _, m := range collect(t, reader) {
		kind, labels := describe(t, m)
		written = append(written, fmt.Sprintf("| `%s` | %s | %s | %s | %s |", m.Name, kind, m.Unit, labels, m.Description))
	}
	guide, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range regexp.MustCompile("(?m)^(\\| `nearcache\\.[a-z0-9_.]+` \\|) `nearcache_\\w+` (\\|.*\\|)$").FindAllStringSubmatch(string(guide), -1) {
		told = append(told, strings.ReplaceAll(row[1]+row[2][1:], "| |", "|  |"))
	}
	same(t, "the guide", told, written)
	var listed, names []string
	source, err := os.ReadFile("observer.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^//\t(nearcache\S+) *(.*)$`).FindAllStringSubmatch(string(source), -1) {
		listed = append(listed, line[1]+" "+regexp.MustCompile(` \(.*?\)`).ReplaceAllString(line[2], ""))
	}
	for _, row := range written {
		cells := strings.Split(row, " | ")
		names = append(names, strings.Trim(cells[0], "| `")+" "+strings.TrimSpace(cells[3]))
	}
	same(t, "the package comment", listed, names)
}

func same(t *testing.T, where string, told, written []string) {
	t.Helper()
	for _, row := range told {
		if !slices.Contains(written, row) {
			t.Errorf("only in %s: %s", where, row)
		}
	}
	for _, row := range written {
		if !slices.Contains(told, row) {
			t.Errorf("not in %s: %s", where, row)
		}
	}
}

// describe returns the type of a metric and its attributes but the cache's name.
func describe(t *testing.T, m metricdata.Metrics) (kind, labels string) {
	var sets []attribute.Set
	sum := func(monotonic bool) string {
		if monotonic {
			return "counter"
		}
		return "up-down counter"
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		kind = sum(data.IsMonotonic)
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Gauge[float64]:
		kind = "gauge"
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Histogram[float64]:
		kind = "histogram"
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	default:
		t.Fatalf("%s is a %T", m.Name, m.Data)
	}
	if len(sets) == 0 {
		t.Fatalf("%s has no data", m.Name)
	}
	for _, attrs := range sets {
		if v, _ := attrs.Value("cache"); v.AsString() != "users" {
			t.Errorf("%s has the cache %q", m.Name, v.AsString())
		}
	}
	known := []string{"tier", "operation", "source", "result", "event"}
	var names []string
	for _, kv := range sets[0].ToSlice() {
		if kv.Key != "cache" {
			names = append(names, string(kv.Key))
		}
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Index(known, a) - slices.Index(known, b) })
	return kind, strings.Join(names, ", ")
}

// collect returns the metrics of the only scope, or none.
func collect(t *testing.T, reader metric.Reader) []metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var list []metricdata.Metrics
	for _, scope := range all.ScopeMetrics {
		list = append(list, scope.Metrics...)
	}
	return list
}

// TestNamesInPrometheus: they are those that a collector makes, by the rules of
// OpenTelemetry's compatibility specification.
func TestNamesInPrometheus(t *testing.T) {
	guide, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(nearcache\\.[a-z0-9_.]+)` \\| `(nearcache_\\w+)` \\| ([a-z -]+) \\| (\\S+) \\|").FindAllStringSubmatch(string(guide), -1)
	if len(rows) == 0 {
		t.Fatal("there is no table")
	}
	for _, row := range rows {
		name := strings.ReplaceAll(row[1], ".", "_") + map[string]string{"s": "_seconds", "By": "_bytes"}[row[4]]
		if row[3] == "counter" {
			name += "_total"
		}
		if row[2] != name {
			t.Errorf("%s is %s in Prometheus, want %s", row[1], row[2], name)
		}
	}
}
