// Command memoize makes an expensive function a cached one on two instances, calls it
// from a crowd, and prints how often it really ran. It exits with 1 if that was more
// than it should.
//
//	go run -C examples ./memoize
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/memoize"
	"github.com/redis/go-redis/v9"
)

// Parcel is an argument: several of them go into a struct.
type Parcel struct {
	From, To string
	Grams    int
	Extras   []string
}

// Quote is a result.
type Quote struct {
	Cents  int
	Tariff string
}

// carrier computes quotes, slowly.
type carrier struct {
	ran    atomic.Int64
	tariff atomic.Pointer[string]
}

func (c *carrier) quote(_ context.Context, p Parcel) (Quote, error) {
	c.ran.Add(1)
	tariff := *c.tariff.Load()
	time.Sleep(50 * time.Millisecond)
	if p.Grams > 30_000 {
		return Quote{}, errors.New("too heavy")
	}
	return Quote{Cents: 300 + p.Grams/10 + 150*len(p.Extras), Tariff: tariff}, nil
}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "memoize:", err)
		os.Exit(1)
	}
}

// fleet is two instances with the same function.
type fleet struct {
	out     io.Writer
	carrier carrier
	caches  [2]*memoize.Cache[Quote]
	quotes  [2]*memoize.Func[Parcel, Quote]
	changes uint64
}

func run(out io.Writer) error {
	server, err := miniredis.Run()
	if err != nil {
		return fmt.Errorf("starting the embedded Redis: %w", err)
	}
	defer server.Close()
	f := &fleet{out: out}
	f.carrier.tariff.Store(new("January"))
	for i := range f.quotes {
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer client.Close()
		cache, err := memoize.New(nearcache.Config[Quote]{Name: "quotes", Redis: client, RedisTimeout: time.Second})
		if err != nil {
			return err
		}
		defer cache.Close()
		f.caches[i] = cache
		if f.quotes[i], err = memoize.Wrap(cache, "quote", f.carrier.quote, memoize.Options{Version: 1}); err != nil {
			return err
		}
	}
	return f.tell()
}

func (f *fleet) tell() error {
	ctx := context.Background()
	light := Parcel{From: "Oslo", To: "Rome", Grams: 500}
	heavy := Parcel{From: "Oslo", To: "Rome", Grams: 9000, Extras: []string{"insured"}}
	fmt.Fprintf(f.out, "the key of one argument: %s\n\n", f.quotes[0].Key(heavy))
	fmt.Fprintf(f.out, "%-48s %8s %8s\n", "", "calls", "runs")
	for _, step := range []struct {
		title  string
		change func() error
		runs   int64
	}{
		{"a crowd asks two instances about two parcels", nil, 2},
		{"it asks again", nil, 0},
		{"one parcel is forgotten", func() error { return f.quotes[1].Forget(ctx, light) }, 1},
		{"the tariff changes, and all are forgotten", func() error {
			f.carrier.tariff.Store(new("February"))
			return f.quotes[0].ForgetAll(ctx)
		}, 2},
	} {
		if err := f.change(step.change); err != nil {
			return err
		}
		before := f.carrier.ran.Load()
		calls, err := f.crowd(light, heavy)
		if err != nil {
			return err
		}
		runs := f.carrier.ran.Load() - before
		fmt.Fprintf(f.out, "%-48s %8d %8d\n", step.title, calls, runs)
		if runs != step.runs {
			return fmt.Errorf("%s: the function ran %d times, want %d", step.title, runs, step.runs)
		}
	}
	return nil
}

// change makes a change and waits until both instances know of it, which takes a
// network hop: until then the other one may answer what it has.
func (f *fleet) change(change func() error) error {
	if change == nil {
		return nil
	}
	f.changes++
	if err := change(); err != nil {
		return err
	}
	for _, c := range f.caches {
		for c.Stats().Lag.Count < f.changes {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// crowd calls the function from many goroutines, with the current tariff in mind.
func (f *fleet) crowd(parcels ...Parcel) (calls int, err error) {
	const callers = 1000
	failures := make([]error, callers)
	var crowd sync.WaitGroup
	for i := range callers {
		crowd.Go(func() {
			q, err := f.quotes[i%2].Call(context.Background(), parcels[i/2%len(parcels)])
			if want := *f.carrier.tariff.Load(); err == nil && q.Tariff != want {
				err = fmt.Errorf("a quote of %s, want %s", q.Tariff, want)
			}
			failures[i] = err
		})
	}
	crowd.Wait()
	return callers, errors.Join(failures...)
}
