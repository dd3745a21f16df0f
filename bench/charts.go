package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nearcache/nearcache/bench/chart"
	"github.com/nearcache/nearcache/bench/measure"
)

// picture is a section of the results: a chart, and the tables that it draws.
type picture struct {
	file, title string
	scenarios   []string
	draw        func(io.Writer) error
	table       func(*strings.Builder)
}

// charts are the pictures of what was measured, in the order of the document.
func (r *Results) charts() []picture {
	var out []picture
	for _, p := range []picture{
		r.barPicture("l1-hit.svg", "L1 hit", "l1-hit/"),
		r.linePicture("l2-hit.svg", "L2 hit: in Redis, not in L1", "l2-hit/",
			lines{"Time by number of callers", "l2-hit/callers=", "callers", "µs a Get, all callers together"}),
		r.linePicture("getmany.svg", "GetMany", "getmany/",
			lines{"No key in L1", "getmany/l1=0/keys=", "keys", "µs a call"},
			lines{"Half of the keys in L1", "getmany/l1=50/keys=", "keys", "µs a call"},
			lines{"All keys in L1", "getmany/l1=100/keys=", "keys", "µs a call"}),
		r.barPicture("miss.svg", "Miss with loader", "miss/"),
		r.barPicture("set.svg", "Set", "set/"),
		r.barPicture("invalidate.svg", "Invalidate", "invalidate/"),
		r.barPicture("propagation.svg", "Propagation of an invalidation", "propagation"),
		r.barPicture("heap.svg", "Memory", heapName),
	} {
		if len(p.scenarios) > 0 {
			out = append(out, p)
		}
	}
	if len(r.HitRatios) > 0 {
		out = append(out, picture{file: "hit-ratio.svg", title: "Hit ratio", draw: r.drawHitRatios, table: r.hitRatioTable})
	}
	if len(r.Fleet) > 1 {
		out = append(out, picture{file: "fleet.svg", title: "What a fleet costs Redis", draw: r.drawFleet, table: r.fleetTable})
	}
	return out
}

// named returns the scenarios whose names begin so.
func (r *Results) named(prefix string) (out []Titled) {
	for _, t := range r.Titles {
		if strings.HasPrefix(t.Name, prefix) {
			out = append(out, t)
		}
	}
	return out
}

func names(of []Titled) (out []string) {
	for _, t := range of {
		out = append(out, t.Name)
	}
	return out
}

// barPicture has a panel for each scenario.
func (r *Results) barPicture(file, title, prefix string) picture {
	scenarios := r.named(prefix)
	return picture{file: file, title: title, scenarios: names(scenarios), draw: func(w io.Writer) error {
		var panels []chart.BarPanel
		for _, t := range scenarios {
			panels = append(panels, r.barPanel(t))
		}
		return chart.Bars(w, title, panels)
	}}
}

// wide is the factor between the greatest and the least value from which on an
// axis is logarithmic.
const wide = 20

func (r *Results) barPanel(t Titled) chart.BarPanel {
	rows, _ := r.rowsOf(t.Name)
	var panel chart.BarPanel
	by, unit := 1.0, "bytes"
	if rows[0].Unit == measure.Nanoseconds {
		by, unit = timeUnit(rows[0].Summary.Median)
	}
	panel.Log = rows[len(rows)-1].Summary.Median > wide*rows[0].Summary.Median
	panel.Title = fmt.Sprintf("%s (ratio to %s)", t.Title, rows[0].Baseline)
	panel.Unit = unit // short: gonum misplaces long names of logarithmic axes
	if panel.Log {
		panel.Unit += ", logarithmic"
	}
	for _, row := range rows {
		note := chart.Number(row.Summary.Median/by) + " " + unit
		if row.Ratio != nil {
			note += fmt.Sprintf("  (%.2f)", row.Ratio.Median)
		}
		panel.Bars = append(panel.Bars, chart.Bar{
			Label: row.Contender, Value: row.Summary.Median / by, Low: row.Summary.Low / by, High: row.Summary.High / by,
			Note: note, Highlight: isOurs(row.Contender),
		})
	}
	return panel
}

// timeUnit returns the unit in which the least of some times is at least one, and
// its nanoseconds.
func timeUnit(least float64) (by float64, unit string) {
	switch {
	case least >= 1e6:
		return 1e6, "ms"
	case least >= 1e3:
		return 1e3, "µs"
	}
	return 1, "ns"
}

// lines are a panel of the scenarios whose names begin with prefix and end with a
// number, which is along X.
type lines struct{ title, prefix, x, y string }

// linePicture has the panels that something was measured for.
func (r *Results) linePicture(file, title, prefix string, panels ...lines) picture {
	return picture{file: file, title: title, scenarios: names(r.named(prefix)), draw: func(w io.Writer) error {
		var drawn []chart.LinePanel
		for _, l := range panels {
			if len(r.named(l.prefix)) == 0 {
				continue
			}
			panel, err := r.linePanel(l)
			if err != nil {
				return err
			}
			drawn = append(drawn, panel)
		}
		return chart.Lines(w, title, 1, drawn)
	}}
}

func (r *Results) linePanel(l lines) (chart.LinePanel, error) {
	panel := chart.LinePanel{Title: l.title, X: l.x, Y: l.y, LogX: true, LogY: true}
	byName := make(map[string]*chart.Line)
	for _, t := range r.named(l.prefix) {
		at, err := strconv.ParseFloat(strings.TrimPrefix(t.Name, l.prefix), 64)
		if err != nil {
			return panel, fmt.Errorf("scenario %s does not end with a number: %w", t.Name, err)
		}
		rows, _ := r.rowsOf(t.Name)
		for _, row := range rows {
			line := byName[row.Contender]
			if line == nil {
				line = &chart.Line{Name: row.Contender, Highlight: isOurs(row.Contender)}
				byName[row.Contender] = line
			}
			line.X, line.Y = append(line.X, at), append(line.Y, row.Summary.Median/1000)
		}
	}
	for _, line := range byName {
		panel.Lines = append(panel.Lines, *line)
	}
	slices.SortFunc(panel.Lines, func(a, b chart.Line) int { return strings.Compare(a.Name, b.Name) })
	return panel, nil
}

func (r *Results) drawHitRatios(w io.Writer) error {
	var panels []chart.LinePanel
	for _, h := range r.HitRatios {
		at := len(panels) - 1
		if at < 0 || panels[at].Title != h.Trace {
			panels = append(panels, chart.LinePanel{Title: h.Trace, X: "entries", Y: "hits, %", LogX: true})
			at++
		}
		lines := &panels[at].Lines
		i := slices.IndexFunc(*lines, func(l chart.Line) bool { return l.Name == h.Cache })
		if i < 0 {
			*lines = append(*lines, chart.Line{Name: h.Cache, Highlight: isOurs(h.Cache)})
			i = len(*lines) - 1
		}
		line := &(*lines)[i]
		line.X, line.Y = append(line.X, float64(h.Size)), append(line.Y, 100*h.Ratio.Median)
	}
	return chart.Lines(w, "Hit ratio by cache size", 2, panels)
}

func (r *Results) drawFleet(w io.Writer) error {
	panel := func(title, y string, of func(p FleetPoint) float64) chart.LinePanel {
		line := chart.Line{Name: "nearcache", Highlight: true}
		for _, p := range r.Fleet {
			line.X, line.Y = append(line.X, float64(p.Instances)), append(line.Y, of(p))
		}
		return chart.LinePanel{Title: title, X: "instances", Y: y, Lines: []chart.Line{line}}
	}
	return chart.Lines(w, "What a fleet costs Redis", 2, []chart.LinePanel{
		panel("Idle: heartbeats and pings", "% of a core", func(p FleetPoint) float64 { return 100 * p.IdleCPU }),
		panel("Idle: commands", "commands/s", func(p FleetPoint) float64 { return p.IdleCommands }),
		panel("One invalidation: processor time", "µs", func(p FleetPoint) float64 { return p.InvalidationCPU }),
		panel("One invalidation: bytes sent to all", "bytes", func(p FleetPoint) float64 { return p.FanOut }),
		panel("Memory of all connections", "kB", func(p FleetPoint) float64 { return p.ClientBytes / 1000 }),
		panel("Lag of the slowest instance, p99", "ms", func(p FleetPoint) float64 { return p.LagP99 / 1000 }),
	})
}
