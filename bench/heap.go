package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/measure"
)

const heapName, heapTitle = "heap", "Heap per entry of L1, without the key"

// heap measures what one more entry costs: the growth between a fifth of the keys
// and all of them, so that what a cache allocates at first does not count. The
// keys are the caller's and not counted, unless a cache copies them.
func (a *arena) heap(entries, repeats int, progress func(done, all int, on string)) (measure.Scenario, []measure.Series, error) {
	s := measure.Scenario{Name: heapName, Title: heapTitle, Baseline: contender.Ristretto}
	keys := make([]string, entries)
	for i := range keys {
		keys[i] = fmt.Sprintf("product:%08d", i)
	}
	few := keys[:entries/5]
	fitting := those(withL1)
	var series []measure.Series
	for i, c := range fitting {
		one := measure.Series{Scenario: s.Name, Lane: c.Name, Unit: measure.EntryBytes, Count: len(keys) - len(few)}
		for r := range repeats {
			progress(i*repeats+r, len(fitting)*repeats, c.Name)
			bytes, err := a.grown(c, few, keys)
			if err != nil {
				return s, nil, fmt.Errorf("%s: %s: %w", s.Name, c.Name, err)
			}
			one.Values = append(one.Values, bytes/float64(one.Count))
		}
		series = append(series, one)
	}
	return s, series, nil
}

// grown returns by how many bytes the heap grows from few keys to all. Where there is a
// Redis it holds all of them before: what a cache remembers of its own writes is no part
// of an entry.
func (a *arena) grown(c contender.Contender, few, all []string) (float64, error) {
	e, err := a.enter(c, nil)
	if err != nil {
		return 0, err
	}
	defer e.close()
	if e.L2 {
		if err := errors.Join(e.fill(all), e.reopen()); err != nil {
			return 0, err
		}
		err = a.settle(e, few)
	} else {
		err = a.warm(e, few)
	}
	if err != nil {
		return 0, err
	}
	before := live()
	if err := a.settle(e, all); err != nil {
		return 0, err
	}
	grown := live() - before
	runtime.KeepAlive(e)
	return grown, nil
}

func live() float64 {
	runtime.GC()
	runtime.GC() // what pools held is freed by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
