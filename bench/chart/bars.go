package chart

import (
	"errors"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bar is a value with the interval that it lies in and a note to its right.
type Bar struct {
	Label            string
	Value, Low, High float64
	Note             string
	Highlight        bool
}

// BarPanel is a group of bars on a common axis. With Log the axis is logarithmic:
// what is twice as long is not twice as much.
type BarPanel struct {
	Title, Unit string
	Log         bool
	Bars        []Bar // from top to bottom
}

var errEmpty = errors.New("chart: nothing to draw")

// Bars draws panels of horizontal bars below each other.
func Bars(w io.Writer, title string, panels []BarPanel) error {
	var plots []*plot.Plot
	height := vg.Length(42)
	for _, panel := range panels {
		if len(panel.Bars) == 0 {
			return errEmpty
		}
		plots = append(plots, barPlot(panel))
		height += vg.Length(len(panel.Bars))*17 + 66
	}
	if len(plots) == 0 {
		return errEmpty
	}
	// Panels have equal heights, so those with few bars have wider gaps.
	return render(w, title, height, 1, plots, nil)
}

func barPlot(panel BarPanel) *plot.Plot {
	p := newPlot(panel.Title, panel.Unit, "")
	var values []float64
	names := make([]string, len(panel.Bars))
	for i, b := range panel.Bars {
		values = append(values, b.Value, b.Low, b.High)
		names[len(names)-1-i] = b.Label
	}
	low, high := span(values, panel.Log)
	if panel.Log {
		high *= 5 // room for the notes
	} else {
		high *= 1.35
	}
	p.NominalY(names...)
	p.Y.Tick.Label.YAlign = -0.62 // the middle of small letters
	scale(&p.X, low, high, panel.Log)
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	p.Y.Padding = 2
	p.Add(bars(panel.Bars))
	return p
}

// bars draws itself from the axis's low end on, which a logarithmic axis has in
// the place of zero; gonum's own bars cannot.
type bars []Bar

func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, tick := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if !tick.IsMinor() {
			c.StrokeLine2(draw.LineStyle{Color: faint, Width: vg.Points(0.5)}, x(tick.Value), c.Min.Y, x(tick.Value), c.Max.Y)
		}
	}
	half := min((y(1)-y(0))*0.32, 8)
	note := text.Style{
		Color: ink, YAlign: -0.45, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: 9},
	}
	for i, bar := range b {
		at := y(float64(len(b) - 1 - i))
		fill := color.Color(theirs)
		if bar.Highlight {
			fill = ours
		}
		right := x(max(bar.Value, p.X.Min))
		c.FillPolygon(fill, []vg.Point{{X: c.Min.X, Y: at - half}, {X: right, Y: at - half}, {X: right, Y: at + half}, {X: c.Min.X, Y: at + half}})
		low, high := x(max(bar.Low, p.X.Min)), x(max(bar.High, p.X.Min))
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: vg.Points(1)}, low, at, high, at)
		c.FillText(note, vg.Point{X: max(right, high) + 5, Y: at}, bar.Note)
	}
}
