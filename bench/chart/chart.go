// Package chart draws results as SVG: bars and lines in panels, readable at the
// width of a README, by day and by night.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// width of all charts: 830 pixels of a browser.
const width vg.Length = 622.5

// Colours by day. Night has its own for each; see [night].
var (
	ground = rgb(0xFFFFFF)
	ink    = rgb(0x1F2328)
	faint  = rgb(0xD1D9E0)
	ours   = rgb(0xCF222E)
	theirs = rgb(0x8C959F)
)

// hues tell lines apart that are not nearcache's.
var hues = []color.RGBA{rgb(0x0969DA), rgb(0x1A7F37), rgb(0x9A6700), rgb(0x8250DF), rgb(0x0A7E8C), rgb(0x57606A), rgb(0xBF3989)}

// night maps a colour by day to the one in its place on a dark ground.
var night = map[color.RGBA]color.RGBA{
	ground: rgb(0x0D1117), ink: rgb(0xE6EDF3), faint: rgb(0x30363D), ours: rgb(0xFF7B72), theirs: rgb(0x6E7681),
	hues[0]: rgb(0x58A6FF), hues[1]: rgb(0x3FB950), hues[2]: rgb(0xD29922), hues[3]: rgb(0xBC8CFF),
	hues[4]: rgb(0x39C5CF), hues[5]: rgb(0x8B949E), hues[6]: rgb(0xFF8AC6),
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 0xFF}
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

// sans is a family that every reader has; gonum's own would be replaced by a serif
// where it is not installed.
const sans = "Helvetica, Arial, 'Liberation Sans', sans-serif"

// newPlot returns a plot in the style of all charts.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil // the page's rectangle is behind it
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	if title != "" {
		p.Title.Padding = 6
	}
	style := func(t *text.Style, size vg.Length) {
		t.Font = font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
		t.Color = ink
	}
	style(&p.Title.TextStyle, 10.5)
	p.Title.TextStyle.XAlign = draw.XCenter
	style(&p.X.Label.TextStyle, 9)
	style(&p.Y.Label.TextStyle, 9)
	style(&p.X.Tick.Label, 9)
	style(&p.Y.Tick.Label, 9)
	style(&p.Legend.TextStyle, 9)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = faint, faint
		axis.Padding = 0
	}
	return p
}

// render draws plots in a grid under a title, and the legend, if any, below them.
func render(w io.Writer, title string, height vg.Length, columns int, plots []*plot.Plot, legend []entry) error {
	rows := (len(plots) + columns - 1) / columns
	svg := vgsvg.NewWith(vgsvg.UseWH(width, height))
	page := draw.New(svg)
	page.SetColor(ground)
	page.Fill(page.Rectangle.Path())
	const head, margin = 32, 10
	foot := vg.Length(margin)
	if len(legend) > 0 {
		foot += 14 * vg.Length(drawLegend(page, legend, margin))
	}
	bold := text.Style{
		Color: ink, XAlign: draw.XLeft, YAlign: draw.YTop, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Weight: 3, Size: 12},
	}
	page.FillText(bold, vg.Point{X: margin, Y: height - 8}, title)
	tiles := draw.Tiles{
		Rows: rows, Cols: columns, PadTop: head, PadBottom: foot, PadLeft: margin, PadRight: margin + 4, PadX: 14, PadY: 12,
	}
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
		copy(grid[i], plots[i*columns:min((i+1)*columns, len(plots))])
	}
	for i, row := range plot.Align(grid, tiles, page) {
		for j, c := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(c)
			}
		}
	}
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return err
	}
	_, err := io.WriteString(w, dress(out.String(), title))
	return err
}

// dress gives an SVG the colours of the night, where the reader wants them, a
// common font, and a title for those who do not see it.
func dress(svg, title string) string {
	var rules strings.Builder
	days := make([]color.RGBA, 0, len(night))
	for day := range night {
		days = append(days, day)
	}
	slices.SortFunc(days, func(a, b color.RGBA) int { return strings.Compare(hex(a), hex(b)) })
	for _, day := range days {
		for _, property := range []string{"fill", "stroke"} {
			fmt.Fprintf(&rules, "[style*='%s:%s']{%s:%s!important}", property, hex(day), property, hex(night[day]))
		}
	}
	style := "<style>text{font-family:" + sans + "!important}@media (prefers-color-scheme:dark){" + rules.String() + "}</style>"
	at := strings.Index(svg, "<svg")
	end := at + strings.Index(svg[at:], ">") + 1
	return svg[:end] + "\n<title>" + escape.Replace(title) + "</title>\n" + style + svg[end:]
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// entry is a line of a legend.
type entry struct {
	name  string
	color color.RGBA
	thick bool
}

// drawLegend writes entries at the bottom of the page, from left to right, and
// returns how many rows they took.
func drawLegend(page draw.Canvas, entries []entry, margin vg.Length) (rows int) {
	style := text.Style{
		Color: ink, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: 9},
	}
	const swatch, gap, line = 16, 18, 14
	lines := [][]entry{nil}
	room := width - 2*margin
	for _, e := range entries {
		need := swatch + 4 + style.Width(e.name) + gap
		if room < need {
			lines, room = append(lines, nil), width-2*margin
		}
		lines[len(lines)-1] = append(lines[len(lines)-1], e)
		room -= need
	}
	for i, row := range lines {
		x, y := page.Min.X+margin, page.Min.Y+margin/2+vg.Length(line*(len(lines)-1-i))+line/2
		for _, e := range row {
			page.StrokeLine2(stroke(e.color, e.thick), x, y, x+swatch, y)
			page.FillText(style, vg.Point{X: x + swatch + 4, Y: y}, e.name)
			x += swatch + 4 + style.Width(e.name) + gap
		}
	}
	return len(lines)
}

func stroke(c color.RGBA, thick bool) draw.LineStyle {
	w := vg.Points(1.4)
	if thick {
		w = vg.Points(3)
	}
	return draw.LineStyle{Color: c, Width: w}
}

// steps are the ticks of a logarithmic axis within each factor of ten.
var steps = []float64{1, 2, 5}

// span returns the range of an axis that shows all values: from zero or, if it is
// logarithmic, from step to step.
func span(values []float64, logarithmic bool) (low, high float64) {
	least, most := slices.Min(values), slices.Max(values)
	if !logarithmic {
		return 0, most * 1.05
	}
	for decade := math.Pow(10, math.Floor(math.Log10(least))); ; decade *= 10 {
		for _, step := range steps {
			if at := step * decade; at <= least {
				low = at
			} else if at >= most {
				return low, at
			}
		}
	}
}

// scale sets an axis.
func scale(axis *plot.Axis, low, high float64, logarithmic bool) {
	axis.Min, axis.Max = low, high
	axis.Tick.Marker = labelled{}
	if logarithmic {
		axis.Scale = plot.LogScale{}
		axis.Tick.Marker = logTicks{}
	}
}

// logTicks are those of a logarithmic axis: 1, 2, 5, 10 and so on.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high; decade *= 10 {
		for _, step := range steps {
			if at := step * decade; at >= low*(1-1e-9) && at <= high*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: at, Label: Number(at)})
			}
		}
	}
	return ticks
}

// labelled writes the ticks of a linear axis as people do: 10,000 and not 1e+04.
type labelled struct{ plot.DefaultTicks }

func (l labelled) Ticks(low, high float64) []plot.Tick {
	ticks := l.DefaultTicks.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = Number(ticks[i].Value)
		}
	}
	return ticks
}

// Number writes v with three digits that count, and with commas.
func Number(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v))+1e-9)))
	s := fmt.Sprintf("%.*f", decimals, v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}
