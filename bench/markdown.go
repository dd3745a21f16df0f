package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nearcache/nearcache/bench/chart"
	"github.com/nearcache/nearcache/bench/measure"
)

func (r *Results) writeMarkdown(w io.Writer) error {
	out := &strings.Builder{}
	e := r.Environment
	fmt.Fprintf(out, "# Results\n\nWritten by `make bench`; do not edit. %s, %s, %s, %d cores, %s, Redis %s.\n\n",
		e.Date, e.Go, e.Platform, e.Cores, cmp.Or(e.Processor, "unknown processor"), e.Redis)
	fmt.Fprintf(out, "Medians of %d rounds in which all contenders took a turn of about %s. **Ratio** is the\n"+
		"median of the rounds' ratios to the baseline, with its 95 %% interval: below 1 is less\n"+
		"than the baseline. [The README](../README.md) tells what is measured and how.\n", e.Rounds, e.Turn)
	if e.Quick {
		out.WriteString("\n**A quick run: the figures show that it works, no more.**\n")
	}
	out.WriteString("\n")
	for _, path := range slices.Sorted(maps.Keys(e.Versions)) {
		fmt.Fprintf(out, "- %s %s\n", path, e.Versions[path])
	}
	for _, c := range r.charts() {
		fmt.Fprintf(out, "\n## %s\n\n![%s](%s)\n", c.title, c.title, c.file)
		for _, t := range r.Titles {
			if slices.Contains(c.scenarios, t.Name) {
				r.table(out, t)
			}
		}
		if c.table != nil {
			c.table(out)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// table writes a scenario, the fastest first.
func (r *Results) table(out *strings.Builder, t Titled) {
	main, others := r.rowsOf(t.Name)
	if len(main) == 0 {
		return
	}
	fmt.Fprintf(out, "\n### %s\n\nBaseline: %s.\n\n", t.Title, main[0].Baseline)
	memory := len(others) > 0
	out.WriteString("| | " + main[0].Unit + " | spread | ratio |")
	if memory {
		out.WriteString(" B/op | allocs/op |")
	}
	out.WriteString("\n| --- | ---: | ---: | ---: |" + strings.Repeat(" ---: |", map[bool]int{true: 2}[memory]) + "\n")
	for _, row := range main {
		fmt.Fprintf(out, "| %s | %s | %s | %s |", bold(row), chart.Number(row.Summary.Median), spread(row.Summary), ratio(row.Ratio))
		if memory {
			fmt.Fprintf(out, " %.0f | %.0f |", others[row.Contender][measure.Bytes], others[row.Contender][measure.Allocations])
		}
		out.WriteString("\n")
	}
}

// rowsOf returns the rows of a scenario that are compared, the least first, and
// the medians of the other units by contender and unit.
func (r *Results) rowsOf(scenario string) (main []measure.Row, others map[string]map[string]float64) {
	others = make(map[string]map[string]float64)
	for _, row := range r.Rows {
		switch {
		case row.Scenario != scenario:
		case row.Unit == measure.Nanoseconds || row.Unit == measure.EntryBytes:
			main = append(main, row)
		default:
			if others[row.Contender] == nil {
				others[row.Contender] = make(map[string]float64)
			}
			others[row.Contender][row.Unit] = row.Summary.Median
		}
	}
	slices.SortStableFunc(main, func(a, b measure.Row) int { return cmp.Compare(a.Summary.Median, b.Summary.Median) })
	return main, others
}

func bold(row measure.Row) string {
	if isOurs(row.Contender) {
		return "**" + row.Contender + "**"
	}
	return row.Contender
}

func isOurs(contender string) bool { return strings.HasPrefix(contender, "nearcache") }

// spread writes the interval around a median.
func spread(s measure.Summary) string { return chart.Number(s.Low) + " – " + chart.Number(s.High) }

func ratio(r *measure.Summary) string {
	if r == nil {
		return ""
	}
	if r.Low == 1 && r.High == 1 {
		return "1"
	}
	return fmt.Sprintf("%.2f (%.2f – %.2f)", r.Median, r.Low, r.High)
}

func (r *Results) hitRatioTable(out *strings.Builder) {
	var caches []string
	for _, c := range sized {
		caches = append(caches, c.name)
	}
	fmt.Fprintf(out, "\n| trace | accesses | keys | entries | %s |\n| --- | ---: | ---: | ---: |%s\n",
		strings.Join(caches, " | "), strings.Repeat(" ---: |", len(caches)))
	type place struct {
		trace string
		size  int
	}
	ratios := make(map[place]map[string]float64)
	var order []HitRatio
	for _, h := range r.HitRatios {
		at := place{h.Trace, h.Size}
		if ratios[at] == nil {
			ratios[at] = make(map[string]float64)
			order = append(order, h)
		}
		ratios[at][h.Cache] = h.Ratio.Median
	}
	for _, h := range order {
		fmt.Fprintf(out, "| %s | %s | %s | %s |", h.Trace, chart.Number(float64(h.Accesses)), chart.Number(float64(h.Distinct)), chart.Number(float64(h.Size)))
		for _, c := range caches {
			fmt.Fprintf(out, " %.1f %% |", 100*ratios[place{h.Trace, h.Size}][c])
		}
		out.WriteString("\n")
	}
}

func (r *Results) fleetTable(out *strings.Builder) {
	out.WriteString("\n| instances | idle: core | commands/s | connections | their memory | invalidation: µs | bytes sent | lag p50 | p99 |\n" +
		"| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, p := range r.Fleet {
		fmt.Fprintf(out, "| %d | %.2f %% | %s | %s | %s kB | %s | %s | %s µs | %s µs |\n", p.Instances, 100*p.IdleCPU,
			chart.Number(p.IdleCommands), chart.Number(p.Clients), chart.Number(p.ClientBytes/1000),
			chart.Number(p.InvalidationCPU), chart.Number(p.FanOut), chart.Number(p.LagP50), chart.Number(p.LagP99))
	}
	fmt.Fprintf(out, "\nStraight lines through these points:\n\n| | at none | for each instance | R² | extrapolated to %d |\n| --- | ---: | ---: | ---: | ---: |\n", planned)
	for _, f := range r.Fits {
		fmt.Fprintf(out, "| %s | %s | %s | %.3f | %s |\n", f.Quantity, chart.Number(f.Base), chart.Number(f.PerOne), f.R2, chart.Number(f.AtPlanned))
	}
}
