package chart

import (
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Line is a quantity along X.
type Line struct {
	Name      string
	X, Y      []float64
	Highlight bool
}

// LinePanel is a group of lines on common axes.
type LinePanel struct {
	Title, X, Y string
	LogX, LogY  bool
	Lines       []Line
}

// Lines draws panels of lines in a grid. Lines of the same name have the same
// colour in all panels, and share an entry of the legend; one line alone needs none.
func Lines(w io.Writer, title string, columns int, panels []LinePanel) error {
	var plots []*plot.Plot
	var legend []entry
	colours := make(map[string]color.RGBA)
	others := 0
	for _, panel := range panels {
		if len(panel.Lines) == 0 {
			return errEmpty
		}
		for _, line := range panel.Lines {
			if _, known := colours[line.Name]; known {
				continue
			}
			c := ours
			if !line.Highlight {
				c = hues[others%len(hues)]
				others++
			}
			colours[line.Name] = c
			legend = append(legend, entry{line.Name, c, line.Highlight})
		}
		p, err := linePlot(panel, colours)
		if err != nil {
			return err
		}
		plots = append(plots, p)
	}
	if len(plots) == 0 {
		return errEmpty
	}
	if len(legend) == 1 {
		legend = nil
	}
	columns = min(columns, len(plots))
	rows := (len(plots) + columns - 1) / columns
	height := 190
	if columns == 1 {
		height = 260
	}
	return render(w, title, vg.Length(66+rows*height+14*(len(legend)/4)), columns, plots, legend)
}

func linePlot(panel LinePanel, colours map[string]color.RGBA) (*plot.Plot, error) {
	p := newPlot(panel.Title, panel.X, panel.Y)
	var xs, ys []float64
	for _, line := range panel.Lines {
		if len(line.X) != len(line.Y) || len(line.X) == 0 {
			return nil, fmt.Errorf("chart: %s: line %s has %d x and %d y", panel.Title, line.Name, len(line.X), len(line.Y))
		}
		xs, ys = append(xs, line.X...), append(ys, line.Y...)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, faint
	grid.Horizontal.Width = vg.Points(0.5)
	p.Add(grid)
	onTop := slices.SortedStableFunc(slices.Values(panel.Lines), func(a, b Line) int {
		return map[bool]int{true: 1}[a.Highlight] - map[bool]int{true: 1}[b.Highlight]
	})
	for _, line := range onTop {
		points := make(plotter.XYs, len(line.X))
		for i := range points {
			points[i] = plotter.XY{X: line.X[i], Y: line.Y[i]}
		}
		l, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("chart: %s: %w", panel.Title, err)
		}
		c := colours[line.Name]
		l.LineStyle = stroke(c, line.Highlight)
		dots.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(2.2), Shape: draw.CircleGlyph{}}
		p.Add(l, dots)
	}
	low, high := span(ys, panel.LogY)
	scale(&p.Y, low, high, panel.LogY)
	low, high = span(xs, panel.LogX)
	scale(&p.X, low, high, panel.LogX)
	if panel.LogX { // the points are few and known: each is a tick
		p.X.Min, p.X.Max = xs[0], xs[0]
		for _, x := range xs {
			p.X.Min, p.X.Max = min(p.X.Min, x), max(p.X.Max, x)
		}
		var ticks plot.ConstantTicks
		for _, x := range panel.Lines[0].X {
			ticks = append(ticks, plot.Tick{Value: x, Label: Number(x)})
		}
		p.X.Tick.Marker = ticks
	}
	p.X.Padding, p.Y.Padding = 4, 4
	return p, nil
}
