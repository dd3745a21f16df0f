package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nearcache/nearcache"
)

// screen shows progress: on a terminal as one line that is rewritten, elsewhere
// as a line every second.
type screen struct {
	out      io.Writer
	terminal bool
	pace     time.Duration
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, pace: time.Second}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			s.terminal, s.pace = true, 250*time.Millisecond
		}
	}
	return s
}

func (s *screen) progress(line string) {
	if s.terminal {
		fmt.Fprintf(s.out, "\r%-79.79s", line)
		return
	}
	fmt.Fprintln(s.out, line)
}

// done leaves the place of the progress to what follows.
func (s *screen) done() {
	if s.terminal {
		fmt.Fprintf(s.out, "\r%79s\r", "")
	}
}

// report prints what was seen, in 80 columns, and reports whether every read
// kept the promise.
func (s *shop) report(w io.Writer) bool {
	f, verdict := &s.figures, s.journal.Report()
	fmt.Fprintf(w, "\n%d instances, %s products, %s, on %s, %.1f s\n\n", len(s.instances),
		grouped(int64(len(s.demand.ids))), s.pattern(), s.redisName, f.elapsed.Seconds())
	s.reportReads(w)
	var loads uint64
	var lag nearcache.Latency
	for _, instance := range s.instances {
		stats := instance.cache.Stats()
		loads += stats.Loads
		lag.Count += stats.Lag.Count
		lag.P50, lag.P99, lag.Max = max(lag.P50, stats.Lag.P50), max(lag.P99, stats.Lag.P99), max(lag.Max, stats.Lag.Max)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-20s"+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintln(w)
	row("loads", "%s", grouped(int64(loads)))
	row("price updates", "%s", grouped(f.updates.Load()))
	row("propagation", "p50 %s, p99 %s, max %s (slowest instance)", short(lag.P50), short(lag.P99), short(lag.Max))
	row("longest staleness", "%s, of %v allowed", short(verdict.Longest), s.staleness)
	row("errors", "%s", grouped(f.errors.Load()))
	fmt.Fprintln(w)
	if n := verdict.Violations(); n > 0 {
		fmt.Fprintf(w, "PROMISE BROKEN %s times, first:\n", grouped(n))
		for _, v := range verdict.Examples[:min(4, len(verdict.Examples))] {
			fmt.Fprintf(w, "  %v\n", v)
		}
		return false
	}
	fmt.Fprintf(w, "All %s reads kept the promise.\n", grouped(verdict.Reads))
	return true
}

func (s *shop) pattern() string {
	if s.trace == "" {
		return "Zipf law"
	}
	return "traced requests"
}

func (s *shop) reportReads(w io.Writer) {
	f, all := &s.figures, int64(0)
	for i := range f.reads {
		all += f.reads[i].Load()
	}
	fmt.Fprintf(w, "  %-14s%14s%9s%12s%12s\n", "answered by", "reads", "share", "p50", "p99")
	line := func(name string, n int64, h *hdrhistogram.Histogram) {
		fmt.Fprintf(w, "  %-14s%14s%9s%12s%12s\n", name, grouped(n), share(n, all),
			short(time.Duration(h.ValueAtPercentile(50))), short(time.Duration(h.ValueAtPercentile(99))))
	}
	total := histogram()
	for source := nearcache.FromL1; source <= nearcache.FromLoader; source++ {
		line(source.String(), f.reads[source].Load(), f.latency[source])
		total.Merge(f.latency[source])
	}
	line("all", all, total)
	fmt.Fprintf(w, "  %-14s%14s%9s%12s%12s\n", "over HTTP", grouped(f.http.TotalCount()), "",
		short(time.Duration(f.http.ValueAtPercentile(50))), short(time.Duration(f.http.ValueAtPercentile(99))))
}

// share writes a part of a whole as a percentage.
func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// short writes a duration with three digits.
func short(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= u.unit {
			return strconv.FormatFloat(float64(d)/float64(u.unit), 'g', 3, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + " ns"
}
