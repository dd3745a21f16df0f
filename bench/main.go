// Command bench compares nearcache with other caches, side by side.
//
//	go run -C bench . [-quick] [-only REGEXP] [-out DIR] [-trace FILE]...
//
// It starts a redis-server of its own, and writes tables, charts and the figures of
// every round into a directory.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nearcache/nearcache/bench/access"
	"github.com/nearcache/nearcache/bench/chart"
	"github.com/nearcache/nearcache/bench/measure"
	"github.com/nearcache/nearcache/bench/server"
	"github.com/redis/go-redis/v9/logging"
)

// options are those of the command line.
type options struct {
	quick  bool
	rounds int
	turn   time.Duration
	only   *regexp.Regexp
	out    string
	traces []string
}

// effort is how much a run does.
type effort struct {
	rounds       int
	turn         time.Duration
	heapEntries  int
	heapRepeats  int
	traceLength  int
	traceRepeats int
	fleetSizes   []int
	fleetWindow  time.Duration
}

var (
	full = effort{
		rounds: 10, turn: 100 * time.Millisecond, heapEntries: 50_000, heapRepeats: 3,
		traceLength: 200_000, traceRepeats: 3, fleetSizes: []int{1, 2, 5, 10, 20, 30, 40, 50}, fleetWindow: 6 * time.Second,
	}
	quick = effort{
		rounds: 3, turn: 15 * time.Millisecond, heapEntries: 10_000, heapRepeats: 1,
		traceLength: 30_000, traceRepeats: 1, fleetSizes: []int{1, 5, 10}, fleetWindow: time.Second,
	}
)

func main() {
	logging.Disable() // go-redis reports connections that a closing contender cut
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(o)
	}
	if err != nil && err != flag.ErrHelp {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "about 2 minutes, to see that it works; results go to results/scratch")
	flags.IntVar(&o.rounds, "rounds", 0, "`rounds` of turns; default 10, with -quick 3")
	flags.DurationVar(&o.turn, "turn", 0, "`length` of a turn; default 100ms, with -quick 15ms")
	only := flags.String("only", "", "measure only what matches this `regexp`, such as l1-hit, heap, hit-ratio or fleet; results go to results/scratch")
	flags.StringVar(&o.out, "out", "", "`directory` of the results; default results, or results/scratch")
	flags.Func("trace", "also follow the accesses in this `file`: 32-bit numbers, .arc or .csv, also with .xz", func(path string) error {
		o.traces = append(o.traces, path)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 0 || o.turn < 0 {
		return o, fmt.Errorf("-rounds %d, -turn %v: must not be negative", o.rounds, o.turn)
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

func run(o options) error {
	e := full
	if o.quick {
		e = quick
	}
	if o.rounds == 0 {
		o.rounds = e.rounds
	}
	if o.turn == 0 {
		o.turn = e.turn
	}
	if o.out == "" {
		o.out = "results"
		if o.quick || o.only.String() != "" {
			o.out = "results/scratch" // never in the place of a whole run
		}
	}
	traces := synthetic(e.traceLength)
	for _, path := range o.traces {
		t, err := access.Open(path)
		if err != nil {
			return err
		}
		traces = append(traces, t)
	}
	s, err := server.Start()
	if err != nil {
		return err
	}
	defer s.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		<-signals
		s.Close() // it would outlive this process; some contenders wait long for it to come back
		fmt.Fprintln(os.Stderr, "\nbench: interrupted, nothing is written")
		os.Exit(1)
	}()

	b := &bencher{options: o, effort: e, arena: newArena(s), screen: newScreen(os.Stderr)}
	b.results.Environment = environment(s.Version, o)
	began := time.Now()
	parts := []func() error{b.heap, func() error { return b.hitRatios(traces) }, b.fleet}
	var failed []error // what fails is left out, and the rest is measured all the same
	for _, part := range slices.Concat(b.scenarios(), parts) {
		failed = append(failed, part())
	}
	if err := b.results.write(o.out); err != nil {
		return err
	}
	fmt.Printf("\n%s in all; tables, charts and figures are in %s\n", time.Since(began).Round(time.Second), o.out)
	return errors.Join(failed...)
}

// bencher runs the parts and collects their results.
type bencher struct {
	options options
	effort  effort
	arena   *arena
	screen  *screen
	results Results
}

func (b *bencher) scenarios() (parts []func() error) {
	for _, q := range questions() {
		if b.options.only.MatchString(q.name) {
			parts = append(parts, func() error { return b.ask(q) })
		}
	}
	return parts
}

func (b *bencher) ask(q question) error {
	b.screen.part(q.title)
	s, closeAll, err := q.build(b.arena, measure.Scenario{Name: q.name, Title: q.title})
	defer closeAll()
	if err != nil {
		return err
	}
	series, err := measure.Run(s, measure.Settings{Rounds: b.options.rounds, Turn: b.options.turn, Progress: b.screen.progress})
	if err != nil {
		return err
	}
	return b.add(s, series)
}

func (b *bencher) add(s measure.Scenario, series []measure.Series) error {
	rows, err := measure.Rows(s, series)
	if err != nil {
		return err
	}
	b.results.Titles = append(b.results.Titles, Titled{s.Name, s.Title})
	b.results.Rows = append(b.results.Rows, rows...)
	b.screen.done()
	main, others := b.results.rowsOf(s.Name)
	printTable(os.Stdout, s, main, others)
	return nil
}

// printTable writes a scenario in 80 columns.
func printTable(w io.Writer, s measure.Scenario, rows []measure.Row, others map[string]map[string]float64) {
	fmt.Fprintf(w, "\n%s (ratios to %s)\n  %-22s%12s%24s%12s\n", s.Title, s.Baseline, "", rows[0].Unit, "ratio", "allocs/op")
	for _, row := range rows {
		interval := ""
		if row.Ratio != nil {
			interval = strings.ReplaceAll(ratio(row.Ratio), " – ", "-")
		}
		allocations := ""
		if n, ok := others[row.Contender][measure.Allocations]; ok {
			allocations = fmt.Sprintf("%.0f", n)
		}
		line := fmt.Sprintf("  %-22s%12s%24s%12s", row.Contender, chart.Number(row.Summary.Median), interval, allocations)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func (b *bencher) heap() error {
	if !b.options.only.MatchString(heapName) {
		return nil
	}
	b.screen.part(heapTitle)
	s, series, err := b.arena.heap(b.effort.heapEntries, b.effort.heapRepeats, b.screen.progress)
	if err != nil {
		return err
	}
	return b.add(s, series)
}

func (b *bencher) hitRatios(traces []access.Trace) (err error) {
	if !b.options.only.MatchString("hit-ratio") {
		return nil
	}
	b.screen.part("Hit ratio")
	b.results.HitRatios, err = hitRatios(traces, b.effort.traceRepeats, b.screen.progress)
	if err != nil {
		return err
	}
	b.screen.done()
	fmt.Printf("\nHit ratio\n  %-30s%10s  %-20s%8s\n", "trace", "entries", "cache", "hits")
	for _, h := range b.results.HitRatios {
		fmt.Printf("  %-30.30s%10s  %-20s%7.1f%%\n", h.Trace, chart.Number(float64(h.Size)), h.Cache, 100*h.Ratio.Median)
	}
	return nil
}

func (b *bencher) fleet() (err error) {
	if !b.options.only.MatchString("fleet") {
		return nil
	}
	b.screen.part("Fleet")
	b.results.Fleet, err = fleet(b.effort.fleetSizes, b.effort.fleetWindow, b.screen.progress)
	if err != nil {
		return err
	}
	b.results.Fits = fits(b.results.Fleet)
	b.screen.done()
	fmt.Printf("\nFleet\n  %-40s%12s%12s%12s\n", "on the server", "each", "at 50", "at 1,000")
	for _, f := range b.results.Fits {
		fmt.Printf("  %-40s%12s%12s%12s\n", strings.ReplaceAll(f.Quantity, "µs", "us"), chart.Number(f.PerOne),
			chart.Number(f.Base+50*f.PerOne), chart.Number(f.AtPlanned))
	}
	return nil
}
