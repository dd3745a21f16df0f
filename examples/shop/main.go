// Command shop is a small product service on several instances, each with a
// cache of its own over one database, under load. It checks every answer against
// the database's history, and exits with 1 if one broke the cache's promise.
//
//	go run -C examples ./shop [-redis host:port] [-trace FILE] [-for 10s]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes of the program.
const (
	kept   = 0 // every read kept the promise
	broken = 1 // a read broke it
	failed = 2 // the shop could not be run
)

const maxProducts = 1_000_000

type options struct {
	instances    int
	products     int
	redis        string
	trace        string
	duration     time.Duration
	updates      int
	staleness    time.Duration
	noInvalidate bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	slog.SetLogLoggerLevel(slog.LevelWarn)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, from its arguments to its exit code.
func run(ctx context.Context, args []string, stdout io.Writer, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return kept
	case err != nil:
		fmt.Fprintln(stderr, "shop:", err)
		return failed
	}
	screen := newScreen(stdout)
	screen.progress("filling the database")
	s, err := open(ctx, o)
	if err != nil {
		screen.done()
		fmt.Fprintln(stderr, "shop:", err)
		return failed
	}
	defer s.close()
	screen.done()
	fmt.Fprintf(stdout, "Watch it at http://%s%s\n", s.addresses[0], pagePath)
	screen.progress("starting")
	s.trade(ctx, screen)
	s.settle()
	screen.done()
	if s.report(stdout) {
		return kept
	}
	return broken
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("shop", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.instances, "instances", 3, "instances of the service, 1 to 64")
	f.IntVar(&o.products, "products", 10_000, "products, unless a trace names them")
	f.StringVar(&o.redis, "redis", "", "`host:port` of a Redis server (default: one inside this process)")
	f.StringVar(&o.trace, "trace", "", "`file` of requests to follow: big-endian 32-bit product numbers, plain or .xz")
	f.DurationVar(&o.duration, "for", 10*time.Second, "how long to trade")
	f.IntVar(&o.updates, "updates", 200, "price updates a second, in all")
	f.DurationVar(&o.staleness, "staleness", 2*time.Second, "bound on staleness to promise")
	f.BoolVar(&o.noInvalidate, "no-invalidate", false, "announce no update, to see the checker find it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; -help lists the flags", f.Arg(0))
	}
	return o, errors.Join(
		within("instances", o.instances, 1, 64),
		within("products", o.products, 2, maxProducts),
		within("updates", o.updates, 0, 10_000),
		within("for", o.duration, 100*time.Millisecond, 24*time.Hour),
	)
}

func within[T int | time.Duration](name string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("-%s is %v, must be %v to %v", name, v, low, high)
	}
	return nil
}
