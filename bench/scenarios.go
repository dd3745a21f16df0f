package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
)

// question is a scenario before its contenders are opened.
type question struct {
	name  string
	title string
	build func(a *arena, s measure.Scenario) (measure.Scenario, func(), error)
}

// questions are all scenarios in the order in which they are asked.
func questions() []question {
	q := []question{
		{"l1-hit/serial", "L1 hit, one caller", hit(1)},
		{"l1-hit/parallel", "L1 hit, 8 callers", hit(8)},
	}
	for _, callers := range []int{1, 2, 64, 512} {
		q = append(q, question{fmt.Sprintf("l2-hit/callers=%d", callers), fmt.Sprintf("L2 hit, %s", count(callers, "caller")), l2Hit(callers)})
	}
	for _, share := range []int{0, 50, 100} {
		for _, keys := range []int{1, 10, 100, 1000} {
			if keys*share%100 == 0 { // one key cannot be half in L1
				q = append(q, question{fmt.Sprintf("getmany/l1=%d/keys=%d", share, keys),
					fmt.Sprintf("GetMany of %s, %d %% of them in L1", count(keys, "key"), share), getMany(keys, share)})
			}
		}
	}
	return append(q,
		question{"miss/l1", "Miss with loader, no Redis", miss(onlyL1, contender.Ristretto)},
		question{"miss/l2", "Miss with loader, both tiers", miss(withL2, contender.GoRedis)},
		question{"set/l1", "Set, no Redis", set(onlyL1, contender.Ristretto)},
		question{"set/l2", "Set, both tiers", set(withL2, contender.GoRedis)},
		question{"invalidate/l1", "Invalidate, no Redis", invalidate(onlyL1, contender.Ristretto)},
		question{"invalidate/l2", "Invalidate, both tiers", invalidate(withL2, contender.GoRedis)},
		question{"propagation", "From Invalidate here to the new value there", propagation},
	)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

type builder = func(a *arena, s measure.Scenario) (measure.Scenario, func(), error)

// hit reads keys that L1 holds.
func hit(callers int) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		s.Baseline, s.Callers = contender.Ristretto, callers
		return a.scenario(s, withL1, nil, func(e *entrant) (measure.Lane, error) {
			return measure.Lane{Run: a.gets(e, a.key)}, a.warm(e, a.keys)
		})
	}
}

// gets reads the key that belongs to each number.
func (a *arena) gets(e *entrant, key func(i int) string) func(from, until int) error {
	ctx := context.Background()
	return func(from, until int) error {
		cache := e.Cache
		for i := from; i < until; i++ {
			if _, err := cache.Get(ctx, key(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// errLoaded proves that what should be in L2 is found there.
var errLoaded = errors.New("asked the loader for a value that is in L2")

// l2Hit reads keys that L2 holds and L1 does not: each turn has a new instance and
// asks it once for each key.
func l2Hit(callers int) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		s.Baseline, s.Callers = contender.GoRedis, callers
		load := func(context.Context, string) (contender.Product, error) { return contender.Product{}, errLoaded }
		connecting := make([]string, 2*callers) // keys for opening connections with
		for i := range connecting {
			connecting[i] = fmt.Sprintf("connecting:%d", i)
		}
		return a.scenario(s, withL2, load, func(e *entrant) (measure.Lane, error) {
			if err := errors.Join(e.fill(a.keys), e.fill(connecting)); err != nil {
				return measure.Lane{}, err
			}
			return measure.Lane{
				Most:    keyCount,
				Prepare: func() error { return errors.Join(e.reopen(), e.connect(connecting)) },
				Run:     a.gets(e, func(i int) string { return a.keys[i%keyCount] }),
			}, nil
		})
	}
}

// connect reads all keys at once, which opens the connections that so many callers
// need.
func (e *entrant) connect(keys []string) error {
	errs := make([]error, len(keys))
	var reading sync.WaitGroup
	for i, key := range keys {
		reading.Go(func() { _, errs[i] = e.Get(context.Background(), key) })
	}
	reading.Wait()
	return cmp.Or(errs...)
}

// miss reads keys that no tier holds, each once, with a loader that answers at
// once.
func miss(fits func(contender.Contender) bool, baseline string) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		s.Baseline = baseline
		load := func(_ context.Context, key string) (contender.Product, error) { return contender.ProductOf(key), nil }
		return a.scenario(s, fits, load, func(e *entrant) (measure.Lane, error) {
			return measure.Lane{Run: a.gets(e, func(i int) string { return fmt.Sprintf("cold:%08d", i) })}, nil
		})
	}
}

// set writes keys that are there already.
func set(fits func(contender.Contender) bool, baseline string) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		s.Baseline = baseline
		return a.scenario(s, fits, nil, func(e *entrant) (measure.Lane, error) {
			value := contender.ProductOf("set")
			return measure.Lane{Run: func(from, until int) error {
				for i := from; i < until; i++ {
					if err := e.Set(context.Background(), a.key(i), value); err != nil {
						return err
					}
				}
				return nil
			}}, e.fill(a.keys)
		})
	}
}

// invalidate takes keys away that are there.
func invalidate(fits func(contender.Contender) bool, baseline string) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		s.Baseline = baseline
		return a.scenario(s, fits, nil, func(e *entrant) (measure.Lane, error) {
			keys := a.keys[:2000]
			return measure.Lane{
				Most:    len(keys),
				Prepare: func() error { return e.fill(keys) },
				Run: func(from, until int) error {
					for i := from; i < until; i++ {
						if err := e.Invalidate(context.Background(), keys[i%len(keys)]); err != nil {
							return err
						}
					}
					return nil
				},
			}, nil
		})
	}
}

// propagation clocks how long another instance goes on with the old value: from
// the call of Invalidate on one until a Get on the other returns the new one, which
// it loads.
func propagation(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
	s.Baseline = contender.Rueidis
	var others []*entrant
	s, closeAll, err := a.scenario(s, tells, nil, func(e *entrant) (measure.Lane, error) {
		w := &witness{writer: e}
		e.env.Load = w.load
		other := &entrant{Contender: e.Contender, env: e.env}
		w.reader = other
		others = append(others, other)
		return measure.Lane{Most: 40, Clock: func(i int) (time.Duration, error) { return w.clock(a.keys[i%100]) }},
			errors.Join(e.reopen(), other.reopen())
	})
	return s, func() {
		closeAll()
		for _, e := range others {
			e.close()
		}
	}, err
}

// witness sees when one instance learns what another has changed.
type witness struct {
	version        atomic.Int64
	writer, reader *entrant
}

func (w *witness) load(_ context.Context, key string) (contender.Product, error) {
	p := contender.ProductOf(key)
	p.Version = w.version.Load()
	return p, nil
}

func (w *witness) clock(key string) (time.Duration, error) {
	ctx := context.Background()
	for range 3 { // the second read and those after it are L1 hits
		if _, err := w.reader.Get(ctx, key); err != nil {
			return 0, err
		}
		time.Sleep(500 * time.Microsecond)
	}
	version := w.version.Add(1)
	invalidated := make(chan error, 1)
	began := time.Now()
	go func() { invalidated <- w.writer.Invalidate(ctx, key) }()
	for {
		p, err := w.reader.Get(ctx, key)
		took := time.Since(began)
		switch {
		case err != nil:
			return 0, err
		case p.Version >= version:
			return took, <-invalidated
		case took > 10*time.Second:
			return 0, errors.New("the other instance still has the old value after 10 s")
		}
	}
}
