package debugpage

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/nearcache/nearcache"
)

// view is what the page shows.
type view struct {
	Tabs      []tab
	Title     string // the cache's name, as it is shown
	Name      string
	At        string
	Verdict   verdict
	Facts     []fact
	Proof     []drawing // for wide and narrow windows
	Charts    []plotted
	Events    []happening
	Hooked    bool
	ShowKeys  bool
	Keys      []hot
	Stats     []fact
	Ask       ask
	ProofHelp string
}

type tab struct {
	Name, Shown             string
	Headline, Level, Symbol string
	Chosen                  bool
}

type fact struct{ Name, Value, Text string }

type plotted struct {
	Help string
	Plot drawing
}

type happening struct {
	Clock, Ago, Label, Text, Cause string
	Good                           bool
}

type hot struct {
	Key, Share, Rate, Hits string
	Link                   string // the key in full; empty: too long for a link
	Bar                    float64
}

// maxLink bounds keys that are linked: a URL may be cut somewhere.
const maxLink = 1024

func (p *Page) view(c *watched, now time.Time) *view {
	v := &view{ShowKeys: p.cfg.ShowKeys, At: now.Format("15:04:05"), Name: c.name, Title: shorten(c.name, 60), Hooked: c.hooked.Load(),
		Ask: ask{Cache: c.name, AllowInvalidate: p.cfg.AllowInvalidate}, ProofHelp: proof.Help}
	for _, w := range p.all() {
		j := w.verdict(now)
		v.Tabs = append(v.Tabs, tab{w.name, shorten(w.name, 60), j.Headline, j.Level, j.Symbol(), w == c})
	}
	c.fill(v, now)
	return v
}

// fill shows what was seen of a cache.
func (w *watched) fill(v *view, now time.Time) {
	w.mu.Lock()
	stats, samples, events := w.stats, slices.Clone(w.samples), slices.Clone(w.events)
	v.Verdict = w.judge(now)
	w.mu.Unlock()
	end := now
	if n := len(samples); n > 0 {
		end = samples[n-1].at
	}
	v.Facts = facts(stats, samples)
	v.Proof = []drawing{proof.draw("proof-wide", "wide", wide, samples, end), proof.draw("proof-narrow", "narrow", narrow, samples, end)}
	for i := range charts {
		v.Charts = append(v.Charts, plotted{charts[i].Help, charts[i].draw(charts[i].ID, "small", small, samples, end)})
	}
	for _, e := range slices.Backward(events) {
		v.Events = append(v.Events, e.show(now, v.ShowKeys))
	}
	if w.keys != nil {
		reads := last(samples, func(s *sample) float64 { return s.reads })
		for _, k := range w.keys.top() {
			v.Keys = append(v.Keys, k.show(reads))
		}
	}
	v.Stats = table(stats)
}

func facts(s nearcache.Stats, samples []sample) []fact {
	of := func(f func(*sample) float64) float64 { return last(samples, f) }
	return []fact{
		{"Reads a second", amount(of(func(s *sample) float64 { return s.reads })), ""},
		{"Answered by L1", percent(of(func(s *sample) float64 { return s.l1 })), ""},
		{"Found in Redis, of the rest", percent(of(func(s *sample) float64 { return s.l2 })), ""},
		{"Loads a second", amount(of(func(s *sample) float64 { return s.loads })), ""},
		{"Lag, 99 % since the start", seconds(orNone(s.Lag.P99, s.Lag.Count)), ""},
		{"Memory of L1", byteSize(float64(max(s.L1Bytes, 0))), ""},
	}
}

func orNone(d time.Duration, n uint64) float64 {
	if n == 0 {
		return math.NaN()
	}
	return d.Seconds()
}

func (e event) show(now time.Time, keys bool) happening {
	h := happening{Clock: e.at.Format("15:04:05"), Ago: span(now.Sub(e.at).Round(time.Second)), Label: shorten(e.kind, 40), Cause: cause(e.err, keys)}
	if m := markOf(e.kind); m != 0 {
		k := kinds[m.first()]
		h.Label, h.Text, h.Good = k.label, k.text, k.good
	}
	if e.server != "" {
		h.Text += " Server " + shorten(e.server, 80) + "."
	}
	if e.n > 1 {
		h.Text += fmt.Sprintf(" %s times.", grouped(uint64(e.n)))
	}
	return h
}

func (k hotKey) show(reads float64) hot {
	h := hot{Key: shorten(k.key, 60), Share: percent(k.share), Rate: amount(k.share * reads), Hits: percent(k.hits), Bar: 100 * k.share}
	if len(k.key) <= maxLink {
		h.Link = k.key
	}
	return h
}

// meanings of the fields of nearcache.Stats, for those who do not have its documentation
// at hand.
var meanings = map[string]string{
	"L1Hits":        "answered by L1",
	"L1Misses":      "asked L1 in vain",
	"L2Hits":        "fetched from Redis",
	"Loads":         "calls of the loader",
	"LoadErrors":    "of these, failed",
	"Refreshes":     "loads begun before a life was over",
	"StaleServed":   "answers whose life was over",
	"L1Bytes":       "memory of L1 now",
	"L1Evictions":   "entries that gave way to others",
	"Sets":          "values written through",
	"Invalidations": "keys invalidated here",
	"FailedChanges": "changes that returned an error",
	"Pending":       "keys whose change has not reached Redis yet",
	"Lag":           "from a change to its application here: p50, p99, longest",
	"ProofAge":      "since L1 was last proven current",
	"MaxStaleness":  "the bound: L1 must be proven within it",
	"Gaps":          "announcements found missing",
	"Replays":       "times the log made up for it",
	"Distrusts":     "times it could not, and L1 was given up",
	"TrackedWrites": "writes found that nobody announced",
	"TrackingGaps":  "times that such may have been missed",
	"LeaseWaits":    "waits for another instance's load",
	"RefusedFills":  "loads not kept, since the key changed meanwhile",
	"RefusedValues": "values in Redis refused since it lost data",
	"Epochs":        "times that Redis lost data or was replaced",
	"RedisErrors":   "reads and fills that Redis did not answer",
	"RedisAway":     "servers that do not answer now",
	"Faults":        "what Redis holds and could not be read",
	"Mutations":     "values that somebody changed in L1",
}

// table shows all fields, those of tomorrow too.
func table(s nearcache.Stats) (rows []fact) {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		name, text := v.Type().Field(i).Name, ""
		switch x := v.Field(i).Interface().(type) {
		case uint64:
			text = grouped(x)
		case time.Duration:
			text = span(x)
			if x < 0 {
				text = "none"
			}
		case nearcache.Latency:
			if text = "–"; x.Count > 0 {
				text = seconds(x.P50.Seconds()) + ", " + seconds(x.P99.Seconds()) + ", " + seconds(x.Max.Seconds())
			}
		default:
			text = fmt.Sprint(x)
		}
		if name == "L1Bytes" {
			text = byteSize(float64(max(s.L1Bytes, 0)))
		}
		rows = append(rows, fact{name, text, meanings[name]})
	}
	return rows
}
