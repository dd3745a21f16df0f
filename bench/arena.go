package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
	"github.com/nearcache/nearcache/bench/server"
)

const (
	keyCount     = 10_000
	zipfExponent = 1.1
	capacity     = 10 * keyCount // room in L1, so that nothing is evicted unless a scenario wants it
)

// arena is where contenders meet: one server, the same keys in the same order.
type arena struct {
	server *server.Server
	keys   []string
	stream []int32 // indexes of keys by a Zipf law; a power of two of them
	opened atomic.Int64
}

func newArena(s *server.Server) *arena {
	a := &arena{server: s, keys: make([]string, keyCount), stream: make([]int32, 1<<17)}
	for i := range a.keys {
		a.keys[i] = fmt.Sprintf("product:%08d", i)
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), zipfExponent, 1, keyCount-1)
	for i := range a.stream {
		a.stream[i] = int32(zipf.Uint64())
	}
	return a
}

// key returns the i-th key of the stream.
func (a *arena) key(i int) string { return a.keys[a.stream[i&(len(a.stream)-1)]] }

// those returns the contenders that fit.
func those(fits func(c contender.Contender) bool) (out []contender.Contender) {
	for _, c := range contender.All {
		if fits(c) {
			out = append(out, c)
		}
	}
	return out
}

func withL1(c contender.Contender) bool { return c.L1 }
func withL2(c contender.Contender) bool { return c.L2 }
func onlyL1(c contender.Contender) bool { return c.L1 && !c.L2 }
func tells(c contender.Contender) bool  { return c.Tells }

// entrant is a contender in a scenario. It may be reopened in the same namespace,
// which empties its L1 and leaves its L2.
type entrant struct {
	contender.Contender
	contender.Cache
	env   contender.Env
	loads int // by the loader of warm
}

func (a *arena) enter(c contender.Contender, load contender.Load) (*entrant, error) {
	e := &entrant{Contender: c, env: contender.Env{
		Redis: a.server.Addr, Namespace: fmt.Sprintf("b%d", a.opened.Add(1)), Capacity: capacity, Load: load,
	}}
	return e, e.reopen()
}

func (e *entrant) reopen() error {
	e.close()
	var err error
	if e.Cache, err = e.Open(e.env); err != nil {
		e.Cache = nil
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	return nil
}

func (e *entrant) close() {
	if e.Cache != nil {
		e.Close()
		e.Cache = nil
	}
}

// fill sets all keys, several at a time.
func (e *entrant) fill(keys []string) error {
	const callers = 16
	errs := make([]error, callers)
	var filling sync.WaitGroup
	for c := range callers {
		filling.Go(func() {
			for i := c; i < len(keys) && errs[c] == nil; i += callers {
				errs[c] = e.Set(context.Background(), keys[i], contender.ProductOf(keys[i]))
			}
		})
	}
	filling.Wait()
	return cmp.Or(errs...)
}

// warm brings keys into L1: from Redis where there is one, else from a loader.
func (a *arena) warm(e *entrant, keys []string) error {
	if !e.L2 {
		e.env.Load = func(_ context.Context, key string) (contender.Product, error) {
			e.loads++
			return contender.ProductOf(key), nil
		}
		if err := e.reopen(); err != nil {
			return err
		}
	}
	return a.bring(e, keys)
}

// bring brings keys into L1.
func (a *arena) bring(e *entrant, keys []string) error {
	if e.L2 {
		if err := e.fill(keys); err != nil {
			return err
		}
	}
	return a.settle(e, keys)
}

// settle reads keys until L1 answers for all of them, by the server's own account.
func (a *arena) settle(e *entrant, keys []string) error {
	for range 50 {
		e.loads = 0
		before, err := a.server.Account(context.Background())
		if err != nil {
			return err
		}
		for _, key := range keys {
			if _, err := e.Get(context.Background(), key); err != nil {
				return err
			}
		}
		after, err := a.server.Account(context.Background())
		if err != nil {
			return err
		}
		// Others' heartbeats and pings are counted too.
		if e.loads == 0 && after.Commands-before.Commands < int64(len(keys)/100+20) {
			return nil
		}
	}
	return errors.New("L1 does not keep the keys, although they fit")
}

// scenario builds a scenario of one lane for each contender that fits. Whatever
// happens, the entrants are closed by the function returned.
func (a *arena) scenario(s measure.Scenario, fits func(contender.Contender) bool, load contender.Load,
	lane func(e *entrant) (measure.Lane, error)) (measure.Scenario, func(), error) {
	var entrants []*entrant
	closeAll := func() {
		for _, e := range entrants {
			e.close()
		}
	}
	if err := a.server.Flush(context.Background()); err != nil {
		return s, closeAll, err
	}
	for _, c := range those(fits) {
		e, err := a.enter(c, load)
		if err != nil {
			return s, closeAll, err
		}
		entrants = append(entrants, e)
		l, err := lane(e)
		if err != nil {
			return s, closeAll, fmt.Errorf("%s: %s: %w", s.Name, c.Name, err)
		}
		l.Name = c.Name
		s.Lanes = append(s.Lanes, l)
	}
	return s, closeAll, nil
}
