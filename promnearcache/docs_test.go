package promnearcache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// fixed is a cache that has these statistics.
type fixed nearcache.Stats

func (f fixed) Stats() nearcache.Stats { return nearcache.Stats(f) }

// stir has every metric recorded, with every label.
func stir(h nearcache.Hooks) {
	for _, kind := range []string{"get", "load", "set"} {
		h.End(context.Background(), &nearcache.Operation{Kind: kind, Source: nearcache.FromL2, Result: "ok", Took: time.Millisecond})
	}
	h.Announced(nearcache.Announcement{Lag: time.Millisecond})
	h.Event(nearcache.Event{Kind: "gap"})
}

func guide(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// metricRow is one of the guide's table: name, type, labels, what.
var metricRow = regexp.MustCompile("(?m)^\\| `nearcache\\.\\S+` \\| `(nearcache_\\w+)` \\| ([a-z -]+) \\| \\S+ \\| (.*?) ?\\| (.*) \\|$")

func rows(t *testing.T) [][]string {
	t.Helper()
	rows := metricRow.FindAllStringSubmatch(guide(t), -1)
	if len(rows) == 0 {
		t.Fatal("there is no table")
	}
	for _, row := range rows {
		if row[2] == "up-down counter" {
			row[2] = "gauge"
		}
	}
	return rows
}

// TestGuideHasEveryMetric: the table of the guide and the code say the same of the same
// metrics, and the package comment lists them.
func TestGuideHasEveryMetric(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	c, err := New("users", registry)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Observe(fixed{}); err != nil {
		t.Fatal(err)
	}
	stir(c.Hooks())
	var written, told, names, listed []string
	for _, family := range gather(t, registry) {
		labels := labelsOf(t, family)
		written = append(written, fmt.Sprintf("%s %s (%s): %s",
			family.GetName(), strings.ToLower(family.GetType().String()), labels, family.GetHelp()))
		names = append(names, family.GetName()+" "+labels)
	}
	for _, row := range rows(t) {
		told = append(told, fmt.Sprintf("%s %s (%s): %s", row[1], row[2], row[3], row[4]))
	}
	same(t, "the guide", told, written)
	source, err := os.ReadFile("collector.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^//\t(nearcache\S+) *(.*)$`).FindAllStringSubmatch(string(source), -1) {
		listed = append(listed, line[1]+" "+regexp.MustCompile(` \(.*?\)`).ReplaceAllString(line[2], ""))
	}
	same(t, "the package comment", listed, names)
}

func same(t *testing.T, where string, told, written []string) {
	t.Helper()
	if len(told) == 0 {
		t.Errorf("there is nothing in %s", where)
	}
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

// labelsOf returns the labels of a metric but the cache's name.
func labelsOf(t *testing.T, family *dto.MetricFamily) string {
	t.Helper()
	var names []string
	for _, pair := range family.GetMetric()[0].GetLabel() {
		if pair.GetName() != "cache" {
			names = append(names, pair.GetName())
		} else if pair.GetValue() != "users" {
			t.Errorf("%s is of the cache %q", family.GetName(), pair.GetValue())
		}
	}
	known := []string{"tier", "operation", "source", "result", "event"}
	slices.SortFunc(names, func(a, b string) int { return slices.Index(known, a) - slices.Index(known, b) })
	return strings.Join(names, ", ")
}

func gather(t *testing.T, from prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// TestGuideHasEveryEvent that there is a counter for from the beginning.
func TestGuideHasEveryEvent(t *testing.T) {
	_, section, _ := strings.Cut(guide(t), "## Log lines")
	section, _, _ = strings.Cut(section, "\n## ")
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z ]+)` \\|").FindAllStringSubmatch(section, -1) {
		told = append(told, row[1])
	}
	same(t, "the guide", told, events)
}

// TestGuideHasEveryAlert, with its patience, and each is tried.
func TestGuideHasEveryAlert(t *testing.T) {
	rules, err := os.ReadFile("deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tried, err := os.ReadFile("deploy/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	var told, written []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(Nearcache\\w+)` \\| (.*?) ?\\|").FindAllStringSubmatch(guide(t), -1) {
		told = append(told, row[1]+" "+strings.ReplaceAll(row[2], " ", ""))
	}
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		var patience string
		if m := regexp.MustCompile(`(?m)^ *for: (\S+)$`).FindStringSubmatch(rule); m != nil {
			patience = m[1]
		}
		written = append(written, name+" "+patience)
		if n := strings.Count(string(tried), "alertname: "+name); n < 2 {
			t.Errorf("%s is tried %d times, want when it fires and when not", name, n)
		}
	}
	same(t, "the guide", told, written)
}

// dashboard is what is looked at of it.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Datasource  map[string]string
		Targets     []struct{ RefID, Expr string }
		FieldConfig struct{ Defaults struct{ Unit string } }
		Description string
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("deploy/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard: panels do not overlap, ask the source that was chosen, for the caches
// that were chosen, and show every metric there is.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if v := d.Templating.List; len(v) != 2 || v[0].Type != "datasource" || v[0].Name != "datasource" || v[1].Name != "cache" {
		t.Errorf("variables are %v", v)
	}
	var all strings.Builder
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the ID %d", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%q is where %q is, or beside the screen", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource["uid"] != "${datasource}" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("%q asks %v for %d series of unit %q", p.Title, p.Datasource, len(p.Targets), p.FieldConfig.Defaults.Unit)
		}
		for _, target := range p.Targets {
			all.WriteString(target.Expr + "\n")
			if metrics := strings.Count(target.Expr, "nearcache_"); strings.Count(target.Expr, `cache=~"$cache"`) != metrics {
				t.Errorf("%q is not of the chosen caches: %s", p.Title, target.Expr)
			}
		}
	}
	for _, row := range rows(t) {
		if !regexp.MustCompile(row[1] + `(_bucket|_count)?\{`).MatchString(all.String()) {
			t.Errorf("%s is not shown", row[1])
		}
	}
}
