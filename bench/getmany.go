package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
)

// many is one caller that asks for several keys in a call: hot ones that L1 holds,
// and cold ones that it does not.
type many struct {
	entrant   *entrant
	hot, cold []string
	hotEach   int // of hot in a call
	coldEach  int // of cold in a call
	keys      []string
}

// getMany reads keys in one call, of which share percent are in L1 and the others
// in L2. Where some are not, each turn has a new instance, and asks for each of the
// cold keys once at most.
func getMany(keys, share int) builder {
	return func(a *arena, s measure.Scenario) (measure.Scenario, func(), error) {
		hotEach := keys * share / 100
		fits := func(c contender.Contender) bool { return c.Many && c.L2 }
		s.Baseline = contender.GoRedis
		if share == 100 {
			fits = func(c contender.Contender) bool { return c.Many && c.L1 }
			s.Baseline = contender.Ristretto
		}
		return a.scenario(s, fits, nil, func(e *entrant) (measure.Lane, error) {
			m := &many{entrant: e, hot: a.keys[:1000], hotEach: hotEach, coldEach: keys - hotEach}
			if m.coldEach == 0 {
				return measure.Lane{Run: m.run}, a.warm(e, m.hot)
			}
			m.cold = make([]string, max(10_000, 10*m.coldEach))
			for i := range m.cold {
				m.cold[i] = fmt.Sprintf("cold:%08d", i)
			}
			return measure.Lane{
				Most:    len(m.cold) / m.coldEach,
				Prepare: func() error { return m.prepare(a) },
				Run:     m.run,
			}, errors.Join(e.fill(m.hot), e.fill(m.cold))
		})
	}
}

func (m *many) prepare(a *arena) error {
	if err := m.entrant.reopen(); err != nil {
		return err
	}
	if !m.entrant.L1 || m.hotEach == 0 {
		return m.entrant.connect(m.hot[:1])
	}
	return a.settle(m.entrant, m.hot)
}

func (m *many) run(from, until int) error {
	cache, ok := m.entrant.Cache.(contender.ManyGetter)
	if !ok {
		return errors.New("it has no call for many keys")
	}
	for i := from; i < until; i++ {
		m.keys = part(m.keys[:0], m.hot, i, m.hotEach)
		m.keys = part(m.keys, m.cold, i, m.coldEach)
		found, err := cache.GetMany(context.Background(), m.keys)
		if err != nil {
			return err
		}
		if len(found) != len(m.keys) {
			return fmt.Errorf("%d values for %d keys", len(found), len(m.keys))
		}
	}
	return nil
}

// part appends the i-th n of keys, which are used in turn.
func part(to, keys []string, i, n int) []string {
	for k := range n {
		to = append(to, keys[(i*n+k)%len(keys)])
	}
	return to
}
