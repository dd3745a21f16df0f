package chart

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.8: "0.8", 0.0512: "0.0512", 1.234: "1.23", 12.34: "12.3", 999.6: "1,000",
		1000: "1,000", 123456: "123,456", 1e6: "1,000,000", -1234: "-1,234", -100: "-100", 0.1: "0.1", 100: "100",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		values    []float64
		low, high float64
	}{
		{[]float64{30, 480}, 20, 500},
		{[]float64{100, 100}, 100, 200},
		{[]float64{0.07, 3}, 0.05, 5},
		{[]float64{1, 10}, 1, 10},
	} {
		low, high := span(c.values, true)
		if math.Abs(low-c.low) > 1e-9 || math.Abs(high-c.high) > 1e-9 {
			t.Errorf("%v: %v to %v, want %v to %v", c.values, low, high, c.low, c.high)
		}
		if ticks := (logTicks{}).Ticks(low, high); len(ticks) < 2 || ticks[0].Value != low {
			t.Errorf("%v: ticks %v", c.values, ticks)
		}
	}
	if low, high := span([]float64{20, 480}, false); low != 0 || high < 480 {
		t.Errorf("%v to %v, want from zero", low, high)
	}
}

// TestBars: each bar's label and note can be read, in SVG that parses.
func TestBars(t *testing.T) {
	var out bytes.Buffer
	err := Bars(&out, "Time & ratio", []BarPanel{{Title: "Hit", Unit: "ns", Log: true, Bars: []Bar{
		{Label: "nearcache", Value: 50, Low: 45, High: 60, Note: "50 ns", Highlight: true},
		{Label: "another", Value: 5000, Low: 4000, High: 6000, Note: "5,000 ns"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	parses(t, out.String())
	for _, want := range []string{"nearcache", "another", "50 ns", "5,000 ns", "Time &amp; ratio", hex(ours), hex(theirs)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the chart", want)
		}
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	panel := LinePanel{Title: "Zipf", X: "entries", Y: "hits", LogX: true, Lines: []Line{
		{Name: "nearcache", X: []float64{100, 1000}, Y: []float64{0.5, 0.7}, Highlight: true},
		{Name: "another", X: []float64{100, 1000}, Y: []float64{0.4, 0.6}},
	}}
	if err := Lines(&out, "Hit ratio", 2, []LinePanel{panel, panel}); err != nil {
		t.Fatal(err)
	}
	parses(t, out.String())
	if n := strings.Count(out.String(), ">another<"); n != 1 {
		t.Errorf("%d entries of the legend for one name", n)
	}
}

// TestNight: every colour that is drawn has another one on a dark ground.
func TestNight(t *testing.T) {
	for _, c := range append(hues, ground, ink, faint, ours, theirs) {
		if _, ok := night[c]; !ok {
			t.Errorf("%s has no colour by night", hex(c))
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	if err := Bars(io.Discard, "t", nil); err == nil {
		t.Error("no panel is no error")
	}
	if err := Bars(io.Discard, "t", []BarPanel{{}}); err == nil {
		t.Error("a panel without bars is no error")
	}
	if err := Lines(io.Discard, "t", 1, []LinePanel{{Lines: []Line{{Name: "a", X: []float64{1}}}}}); err == nil {
		t.Error("a line without y is no error")
	}
}

func parses(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
