package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/server"
	"github.com/redis/go-redis/v9"
	"gonum.org/v1/gonum/stat"
)

// FleetPoint is what a fleet of so many instances cost the server.
type FleetPoint struct {
	Instances int `json:"instances"`

	IdleCPU      float64 `json:"idle_cpu"` // of one core, 0 to 1
	IdleCommands float64 `json:"idle_commands_per_s"`
	Clients      float64 `json:"connections"`
	ClientBytes  float64 `json:"connection_bytes"`
	Memory       float64 `json:"memory_bytes"` // in all, beyond the empty server's

	Invalidations   float64 `json:"invalidations_per_s"`
	InvalidationCPU float64 `json:"cpu_us_per_invalidation"` // beyond the idle fleet's
	FanOut          float64 `json:"bytes_out_per_invalidation"`
	LagP50          float64 `json:"lag_p50_us"` // of the slowest instance
	LagP99          float64 `json:"lag_p99_us"`
}

// Fit is a straight line through the points of one quantity.
type Fit struct {
	Quantity  string  `json:"quantity"`
	Base      float64 `json:"base"` // at no instances
	PerOne    float64 `json:"per_instance"`
	R2        float64 `json:"r2"`
	AtPlanned float64 `json:"at_1000_instances"` // extrapolated
}

// planned is the fleet that is extrapolated to.
const planned = 1000

const (
	pace     = 5 * time.Millisecond // between invalidations of the whole fleet
	fleetKey = 1000                 // keys that are invalidated
)

// fleet measures fleets of these sizes, each on a server of its own, for a window
// idle and for another while keys are invalidated.
func fleet(sizes []int, window time.Duration, progress func(done, all int, on string)) ([]FleetPoint, error) {
	var out []FleetPoint
	for i, n := range sizes {
		progress(i, len(sizes), fmt.Sprintf("%d instances", n))
		p, err := fleetOf(n, window)
		if err != nil {
			return nil, fmt.Errorf("fleet of %d: %w", n, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func fleetOf(n int, window time.Duration) (p FleetPoint, err error) {
	ctx := context.Background()
	s, err := server.Start()
	if err != nil {
		return p, err
	}
	defer s.Close()
	empty, err := s.Account(ctx)
	if err != nil {
		return p, err
	}
	caches := make([]*nearcache.Cache[contender.Product], 0, n)
	defer func() {
		for _, c := range caches {
			c.Close()
		}
	}()
	for range n {
		client := redis.NewClient(&redis.Options{Addr: s.Addr})
		defer client.Close()
		c, err := nearcache.New(nearcache.Config[contender.Product]{
			Name: "fleet", Redis: client, MaxBytes: 64 << 10,
			Load: func(_ context.Context, key string) (contender.Product, error) { return contender.ProductOf(key), nil },
		})
		if err != nil {
			return p, err
		}
		caches = append(caches, c)
	}
	time.Sleep(time.Second) // until all have said hello
	idle, err := spend(ctx, s, func() error { time.Sleep(window); return nil })
	if err != nil {
		return p, err
	}
	count := 0
	busy, err := spend(ctx, s, func() (err error) { count, err = storm(ctx, caches, window); return err })
	if err != nil {
		return p, err
	}
	p = FleetPoint{
		Instances: n, IdleCPU: idle.cpu, IdleCommands: idle.commands,
		Clients: float64(busy.end.Clients - empty.Clients), ClientBytes: float64(busy.end.ClientBytes - empty.ClientBytes),
		Memory:          float64(busy.end.Memory - empty.Memory),
		Invalidations:   float64(count) / busy.seconds,
		InvalidationCPU: 1e6 * (busy.cpu - idle.cpu) * busy.seconds / float64(count),
		FanOut:          (busy.bytesOut - idle.bytesOut) * busy.seconds / float64(count),
	}
	for _, c := range caches {
		lag := c.Stats().Lag
		p.LagP50, p.LagP99 = max(p.LagP50, float64(lag.P50.Microseconds())), max(p.LagP99, float64(lag.P99.Microseconds()))
	}
	return p, nil
}

// storm invalidates one key after the other, each on another instance.
func storm(ctx context.Context, caches []*nearcache.Cache[contender.Product], window time.Duration) (count int, err error) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < window; <-tick.C {
		if err := caches[count%len(caches)].Invalidate(ctx, fmt.Sprintf("product:%d", count%fleetKey)); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// rates are what a server spent in a second, and what it held in the end.
type rates struct {
	seconds, cpu, commands, bytesOut float64
	end                              server.Account
}

func spend(ctx context.Context, s *server.Server, work func() error) (rates, error) {
	before, err1 := s.Account(ctx)
	err2 := work()
	after, err3 := s.Account(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return rates{}, err
	}
	seconds := after.At.Sub(before.At).Seconds()
	return rates{
		seconds:  seconds,
		cpu:      (after.CPU - before.CPU).Seconds() / seconds,
		commands: float64(after.Commands-before.Commands) / seconds,
		bytesOut: float64(after.BytesOut-before.BytesOut) / seconds,
		end:      after,
	}, nil
}

// fits extrapolates the quantities that should grow by as much with each instance.
func fits(points []FleetPoint) []Fit {
	if len(points) < 2 {
		return nil
	}
	var out []Fit
	for _, q := range []struct {
		name string
		of   func(p FleetPoint) float64
	}{
		{"processor time while idle, cores", func(p FleetPoint) float64 { return p.IdleCPU }},
		{"commands a second while idle", func(p FleetPoint) float64 { return p.IdleCommands }},
		{"connections", func(p FleetPoint) float64 { return p.Clients }},
		{"memory of connections, bytes", func(p FleetPoint) float64 { return p.ClientBytes }},
		{"processor time of an invalidation, µs", func(p FleetPoint) float64 { return p.InvalidationCPU }},
		{"bytes sent for an invalidation", func(p FleetPoint) float64 { return p.FanOut }},
	} {
		xs, ys := make([]float64, len(points)), make([]float64, len(points))
		for i, p := range points {
			xs[i], ys[i] = float64(p.Instances), q.of(p)
		}
		f := Fit{Quantity: q.name}
		f.Base, f.PerOne = stat.LinearRegression(xs, ys, nil, false)
		if f.R2 = stat.RSquared(xs, ys, nil, f.Base, f.PerOne); math.IsNaN(f.R2) {
			f.R2 = 1 // nothing varies
		}
		f.AtPlanned = f.Base + planned*f.PerOne
		out = append(out, f)
	}
	return out
}
