package debugpage

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chart is a plot of what the samples have.
type chart struct {
	ID, Title, Help string
	write           func(float64) string
	log             bool    // a logarithmic scale
	least           float64 // that a linear scale reaches at least, or exactly with exact
	exact           bool
	lines           []series
}

type series struct {
	name string
	of   func(*sample) float64
}

// proof is the plot in which the events are named.
var proof = chart{"proof", "Is it current?", "How long ago this instance was last proven to know every change. Beyond the bound L1 is not believed, and reads go past it.",
	seconds, false, 0.1, false, []series{{"proof", func(s *sample) float64 { return s.proof }}}}

var charts = []chart{
	{"ratio", "Hit ratio", "L1: of all reads. L2: of those that went past L1.", percent, false, 1, true, []series{
		{"L1", func(s *sample) float64 { return s.l1 }}, {"L2", func(s *sample) float64 { return s.l2 }}}},
	{"reads", "Reads a second", "Each key that was asked for.", amount, false, 10, false, []series{
		{"reads", func(s *sample) float64 { return s.reads }}}},
	{"loads", "Loads a second", "Calls of the loader; errors are its own and those of Redis.", amount, false, 5, false, []series{
		{"loads", func(s *sample) float64 { return s.loads }}, {"errors", func(s *sample) float64 { return s.failed }}}},
	{"lag", "Announcement lag", "From a change on any instance until this one has applied it.", seconds, true, 0, false, []series{
		{"p50", func(s *sample) float64 { return s.lagP50 }}, {"max", func(s *sample) float64 { return s.lagMax }}}},
	{"l2", "Latency of Redis", "Of reads that Redis answered.", seconds, true, 0, false, []series{
		{"p50", func(s *sample) float64 { return s.l2P50 }}, {"p99", func(s *sample) float64 { return s.l2P99 }}}},
	{"loader", "Latency of the loader", "Of its calls.", seconds, true, 0, false, []series{
		{"p50", func(s *sample) float64 { return s.loadP50 }}, {"p99", func(s *sample) float64 { return s.loadP99 }}}},
}

// size is that of a drawing and its margins, in the units of its viewBox. Text is made
// for a scale of about 1, so there is one drawing for each width of a window.
type size struct {
	Width, Height, left, right, top, bottom float64
	names                                   int // rows of names of events
}

var (
	small  = size{380, 170, 46, 88, 10, 22, 0}
	wide   = size{1120, 260, 46, 96, 72, 22, 4}
	narrow = size{380, 260, 46, 88, 72, 22, 4}
)

// drawing is a chart in coordinates.
type drawing struct {
	size
	ID, Class, Title, Text   string // Text says it to those who do not see
	Left, Right, Top, Bottom float64
	X, Y                     []tick
	Shades                   []shade
	Bound                    *tick
	Trouble, Good            string // paths of the marks of events
	Names                    []name
	Lines                    []line
}

// PlotHeight is without the margins.
func (d drawing) PlotHeight() float64 { return d.Bottom - d.Top }

type tick struct {
	At   float64
	Text string
}

// shade is a time in which L1 was not believed.
type shade struct{ X, Width float64 }

// Middle is where its name stands, if there is room for it.
func (s shade) Middle() float64 {
	if s.Width < 100 {
		return 0
	}
	return s.X + s.Width/2
}

// name is that of an event, beside its mark.
type name struct {
	X, Y   float64
	Anchor string
	Text   string
	Good   bool
}

type line struct {
	Class, Name, Now string
	Path             string
	LabelY           float64
}

const (
	minWindow = time.Minute // of the time axis
	hole      = 4           // seconds without a sample that break a line
)

// axes turn moments and values into coordinates.
type axes struct {
	size
	from, to  time.Time
	low, high float64
	log       bool
}

func (a *axes) x(at time.Time) float64 {
	return a.left + (a.Width-a.left-a.right)*float64(at.Sub(a.from))/float64(a.to.Sub(a.from))
}

func (a *axes) y(v float64) float64 {
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return a.Height - a.bottom - (a.Height-a.top-a.bottom)*min(max(part, 0), 1)
}

// draw makes a drawing of samples, the last of which is of now.
func (c *chart) draw(id, class string, s size, samples []sample, now time.Time) drawing {
	a := axes{size: s, to: now, from: now.Add(-minWindow), log: c.log}
	if len(samples) > 0 && samples[0].at.Before(a.from) {
		a.from = samples[0].at
	}
	bound := math.NaN()
	if c.ID == proof.ID && len(samples) > 0 && samples[len(samples)-1].bound > 0 {
		bound = samples[len(samples)-1].bound
	}
	c.scale(&a, samples, bound)
	d := drawing{size: s, ID: id, Class: class, Title: c.Title, Left: s.left, Right: s.Width - s.right, Top: s.top, Bottom: s.Height - s.bottom}
	d.X, d.Y = a.times(), a.values(c.write)
	if !math.IsNaN(bound) {
		d.Bound = &tick{a.y(bound), "bound " + c.write(bound)}
		d.Shades = a.shades(samples)
	}
	d.Trouble, d.Good, d.Names = a.marks(samples)
	for i, l := range c.lines {
		d.Lines = append(d.Lines, line{Class: string(rune('a' + i)), Name: l.name, Now: c.write(last(samples, l.of)),
			Path: a.path(samples, l.of), LabelY: a.label(samples, l.of)})
	}
	spread(d.Lines, d.Top+8, d.Bottom)
	d.Text = c.describe(samples, now)
	return d
}

// scale finds the range of values.
func (c *chart) scale(a *axes, samples []sample, bound float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for i := range samples {
			if v := l.of(&samples[i]); v > 0 { // NaN is not
				low, high = min(low, v), max(high, v)
			}
		}
	}
	switch {
	case c.exact:
		a.low, a.high = 0, c.least
	case c.log && math.IsInf(high, 0):
		a.low, a.high = 1e-4, 1e-2
	case c.log:
		a.low = math.Pow(10, math.Floor(math.Log10(max(low, 1e-7))))
		a.high = max(a.low*100, math.Pow(10, math.Ceil(math.Log10(max(high, 1e-7)))))
	default:
		if !math.IsNaN(bound) {
			high = max(high, bound*1.25)
		}
		a.low, a.high = 0, round(max(high, c.least))
	}
}

// round returns the next number that an axis may end with, a multiple of four parts.
func round(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8} {
		if v <= m*unit {
			return m * unit
		}
	}
	return 10 * unit
}

func (a *axes) values(write func(float64) string) (ticks []tick) {
	if !a.log {
		for i := range 5 {
			v := a.low + (a.high-a.low)*float64(i)/4
			if i%2 == 0 || a.Height > 200 {
				ticks = append(ticks, tick{a.y(v), write(v)})
			}
		}
		return ticks
	}
	decades := math.Round(math.Log10(a.high / a.low))
	step := math.Pow(10, math.Ceil(decades/4))
	for v := a.low; v < a.high*1.01; v *= step {
		ticks = append(ticks, tick{a.y(v), write(v)})
	}
	return ticks
}

func (a *axes) times() (ticks []tick) {
	step := 15 * time.Second
	for a.to.Sub(a.from)/step > 5 {
		step *= 2
	}
	for ago := time.Duration(0); ago <= a.to.Sub(a.from); ago += step {
		text := "now"
		switch {
		case ago > 0 && step < time.Minute:
			text = fmt.Sprintf("−%d s", ago/time.Second)
		case ago > 0:
			text = fmt.Sprintf("−%d min", ago/time.Minute)
		}
		ticks = append(ticks, tick{a.x(a.to.Add(-ago)), text})
	}
	return ticks
}

// path joins the values, but not over what is not known.
func (a *axes) path(samples []sample, of func(*sample) float64) string {
	var b strings.Builder
	var before time.Time // zero: nothing to join to
	for i := range samples {
		s := &samples[i]
		v := of(s)
		if math.IsNaN(v) {
			before = time.Time{}
			continue
		}
		x, y := coordinate(a.x(s.at)), coordinate(a.y(v))
		if before.IsZero() || s.at.Sub(before) > hole*time.Second {
			b.WriteString("M" + x + " " + y + "h0") // alone it is a dot
		} else {
			b.WriteString("L" + x + " " + y)
		}
		before = s.at
	}
	return b.String()
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// shades are the times in which L1 was not believed, joined where they touch.
func (a *axes) shades(samples []sample) (out []shade) {
	for i := 1; i < len(samples); i++ {
		s := &samples[i]
		if s.proof <= s.bound || s.bound == 0 { // NaN is not
			continue
		}
		x := a.x(samples[i-1].at)
		if n := len(out); n > 0 && math.Abs(out[n-1].X+out[n-1].Width-x) < 0.01 {
			out[n-1].Width = a.x(s.at) - out[n-1].X
		} else {
			out = append(out, shade{x, a.x(s.at) - x})
		}
	}
	return out
}

// marks are lines at the seconds with events, and the names of these, which stand in
// rows. What does not fit has none.
func (a *axes) marks(samples []sample) (trouble, good string, names []name) {
	ends := make([]float64, a.names)
	var paths [2]strings.Builder
	for i := range samples {
		m := samples[i].marks
		if m == 0 {
			continue
		}
		x, top := a.x(samples[i].at), a.top
		for k, kind := range kinds {
			if m&(1<<k) == 0 {
				continue
			}
			if n, fits := a.place(ends, x, kind.label); fits {
				n.Good = kind.good
				names, top = append(names, n), min(top, n.Y)
			}
		}
		path := &paths[0]
		if kinds[m.first()].good {
			path = &paths[1]
		}
		path.WriteString("M" + coordinate(x) + " " + coordinate(top) + "V" + coordinate(a.Height-a.bottom))
	}
	return paths[0].String(), paths[1].String(), names
}

// place puts a name into the first row that has room at x; ends are those of the rows.
func (a *axes) place(ends []float64, x float64, text string) (name, bool) {
	const letter, row = 6.6, 14
	n, left, width := name{X: x, Anchor: "start", Text: text}, x, letter*float64(len(text))+12
	if left+width > a.Width {
		n.Anchor, left = "end", x-width
	}
	free := slices.IndexFunc(ends, func(end float64) bool { return end <= left })
	if free < 0 {
		return name{}, false
	}
	ends[free] = left + width
	n.Y = a.top - 8 - row*float64(free)
	return n, true
}

// label is the height at which a line ends.
func (a *axes) label(samples []sample, of func(*sample) float64) float64 {
	for i := range slices.Backward(samples) {
		if v := of(&samples[i]); !math.IsNaN(v) {
			return a.y(v)
		}
	}
	return a.Height - a.bottom
}

// spread moves labels apart that stand on each other.
func spread(lines []line, top, bottom float64) {
	const apart = 15
	order := make([]*line, len(lines))
	for i := range lines {
		order[i] = &lines[i]
	}
	slices.SortStableFunc(order, func(a, b *line) int { return cmp.Compare(a.LabelY, b.LabelY) })
	for i, l := range order {
		l.LabelY = min(max(l.LabelY, top), bottom-apart*float64(len(order)-1-i))
		if i > 0 {
			l.LabelY = max(l.LabelY, order[i-1].LabelY+apart)
		}
	}
}

// last is the newest value; not known if the newest sample has none.
func last(samples []sample, of func(*sample) float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	return of(&samples[len(samples)-1])
}

// describe says in words what a drawing shows.
func (c *chart) describe(samples []sample, now time.Time) string {
	var b strings.Builder
	for _, l := range c.lines {
		low, high := math.NaN(), math.NaN()
		for i := range samples {
			if v := l.of(&samples[i]); !math.IsNaN(v) {
				if !(low <= v) {
					low = v
				}
				if !(high >= v) {
					high = v
				}
			}
		}
		if math.IsNaN(low) {
			fmt.Fprintf(&b, "%s: nothing yet. ", l.name)
			continue
		}
		fmt.Fprintf(&b, "%s: now %s, lowest %s, highest %s. ", l.name, c.write(last(samples, l.of)), c.write(low), c.write(high))
	}
	if c.ID == proof.ID {
		for i := range samples {
			for k, kind := range kinds {
				if samples[i].marks&(1<<k) != 0 {
					fmt.Fprintf(&b, "%s %s ago. ", kind.label, span(now.Sub(samples[i].at).Round(time.Second)))
				}
			}
		}
	}
	return strings.TrimSpace(b.String())
}
