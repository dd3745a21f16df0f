package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
	"golang.org/x/perf/benchfmt"
)

// sample are results of two scenarios, one of them by number of callers.
func sample(t *testing.T) *Results {
	t.Helper()
	r := &Results{
		HitRatios: []HitRatio{
			{Trace: "loop", Accesses: 10, Distinct: 5, Size: 2, Cache: contender.NearcacheL1, Ratio: measure.Summary{Median: 0.25}},
			{Trace: "loop", Accesses: 10, Distinct: 5, Size: 2, Cache: contender.Otter, Ratio: measure.Summary{Median: 0.5}},
			{Trace: "loop", Accesses: 10, Distinct: 5, Size: 4, Cache: contender.NearcacheL1, Ratio: measure.Summary{Median: 0.75}},
		},
		Fleet: []FleetPoint{
			{Instances: 1, IdleCPU: 0.002, Clients: 3, InvalidationCPU: 30},
			{Instances: 11, IdleCPU: 0.012, Clients: 33, InvalidationCPU: 130},
		},
	}
	r.Fits = fits(r.Fleet)
	for _, s := range []measure.Scenario{
		{Name: "l1-hit/serial", Title: "L1 hit, one caller", Baseline: contender.Ristretto},
		{Name: "l2-hit/callers=2", Title: "L2 hit, 2 callers", Baseline: contender.Ristretto},
		{Name: "l2-hit/callers=64", Title: "L2 hit, 64 callers", Baseline: contender.Ristretto},
	} {
		rows, err := measure.Rows(s, []measure.Series{
			{Scenario: s.Name, Lane: contender.Ristretto, Unit: measure.Nanoseconds, Count: 7, Values: []float64{100, 200, 150}},
			{Scenario: s.Name, Lane: contender.Nearcache, Unit: measure.Nanoseconds, Count: 7, Values: []float64{80, 160, 120}},
			{Scenario: s.Name, Lane: contender.Ristretto, Unit: measure.Allocations, Values: []float64{1, 1, 1}},
			{Scenario: s.Name, Lane: contender.Nearcache, Unit: measure.Allocations, Values: []float64{0, 0, 0}},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Rows = append(r.Rows, rows...)
		r.Titles = append(r.Titles, Titled{s.Name, s.Title})
	}
	return r
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	if err := sample(t).writeMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"| **nearcache** | 120 | 80 – 160 | 0.80 (0.80 – 0.80) | 0 | 0 |",
		"| ristretto | 150 | 100 – 200 | 1 | 0 | 1 |",
		"| loop | 10 | 5 | 2 | 25.0 % | 0.0 % | 50.0 % |",
		"| connections | 0 | 3 | 1.000 | 3,000 |",
		"![L1 hit](l1-hit.svg)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Index(text, "**nearcache** | 120") > strings.Index(text, "ristretto | 150") {
		t.Error("the slower one comes first")
	}
}

// TestBenchfmt: what is written can be read by those who read Go benchmarks.
func TestBenchfmt(t *testing.T) {
	var out bytes.Buffer
	if err := sample(t).writeBenchfmt(&out); err != nil {
		t.Fatal(err)
	}
	var got []float64
	for r := benchfmt.NewReader(&out, "bench.txt"); r.Scan(); {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("%v", r.Result())
		}
		if result.Name.String() == "L1Hit/serial/contender=nearcache" {
			v, _ := result.Value("sec/op")
			got = append(got, v*1e9)
			if _, ok := result.Value("allocs/op"); !ok || result.Iters != 7 {
				t.Errorf("%+v", result)
			}
		}
	}
	if len(got) != 3 || math.Abs(got[1]-160) > 1e-6 {
		t.Errorf("read %v, want the three rounds", got)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := sample(t)
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	var back Results
	data, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &back); err != nil || len(back.Rows) != len(r.Rows) || back.Rows[1].Ratio.Median != 0.8 {
		t.Fatalf("%+v, %v", back, err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"l1-hit.svg", "l2-hit.svg", "hit-ratio.svg", "fleet.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !bytes.Contains(readme, []byte("("+name+")")) {
			t.Errorf("%s is not drawn and shown: %v", name, err)
		}
	}
}

// TestLinePanel: the numbers of callers are along X, in order.
func TestLinePanel(t *testing.T) {
	panel, err := sample(t).linePanel(lines{prefix: "l2-hit/callers="})
	if err != nil || len(panel.Lines) != 2 {
		t.Fatalf("%+v, %v", panel, err)
	}
	ours := panel.Lines[0]
	if ours.Name != contender.Nearcache || !ours.Highlight || ours.X[0] != 2 || ours.X[1] != 64 || ours.Y[0] != 0.12 {
		t.Errorf("%+v", ours)
	}
	if _, err := sample(t).linePanel(lines{prefix: "l1-hit/"}); err == nil {
		t.Error("a name without a number is no error")
	}
}

// TestBarPanel: times are in the unit that suits the fastest, and far apart ones on
// a logarithmic axis.
func TestBarPanel(t *testing.T) {
	r := sample(t)
	for i := range r.Rows {
		if r.Rows[i].Unit == measure.Nanoseconds && r.Rows[i].Contender == contender.Ristretto {
			r.Rows[i].Summary = measure.Summary{Median: 5e6, Low: 4e6, High: 6e6}
		}
	}
	panel := r.barPanel(r.Titles[0])
	if !panel.Log || panel.Unit != "ns, logarithmic" || panel.Bars[0].Label != contender.Nearcache || panel.Bars[0].Value != 120 {
		t.Errorf("%+v", panel)
	}
	if note := panel.Bars[0].Note; note != "120 ns  (0.80)" {
		t.Errorf("note %q", note)
	}
}

func TestFits(t *testing.T) {
	for _, f := range sample(t).Fits {
		switch f.Quantity {
		case "connections":
			if math.Abs(f.PerOne-3) > 1e-9 || math.Abs(f.AtPlanned-3000) > 1e-6 {
				t.Errorf("%+v", f)
			}
		case "processor time while idle, cores":
			if math.Abs(f.Base-0.001) > 1e-9 || math.Abs(f.AtPlanned-1.001) > 1e-9 || f.R2 < 0.999 {
				t.Errorf("%+v", f)
			}
		}
	}
	if got := fits(make([]FleetPoint, 1)); got != nil {
		t.Errorf("a line through one point: %v", got)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "l[12]-hit", "-trace", "a.arc", "-trace", "b.csv", "-rounds", "8"})
	if err != nil || !o.quick || o.rounds != 8 || len(o.traces) != 2 || !o.only.MatchString("l2-hit/callers=1") || o.only.MatchString("heap") {
		t.Fatalf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-only", "("}, {"surplus"}, {"-rounds", "-1"}, {"-turn", "-1s"}} {
		if o, err := parse(bad); err == nil {
			t.Errorf("%v: %+v", bad, o)
		}
	}
}

// TestTable: 80 columns are enough.
func TestTable(t *testing.T) {
	r := sample(t)
	r.Rows[1].Summary.Median, r.Rows[1].Ratio = 123_456_789, &measure.Summary{Median: 123.45, Low: 100.12, High: 234.56}
	main, others := r.rowsOf("l1-hit/serial")
	var out bytes.Buffer
	printTable(&out, measure.Scenario{Title: "L1 hit", Baseline: contender.Ristretto}, main, others)
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(out.String(), "123.45 (100.12-234.56)") {
		t.Error(out.String())
	}
}
