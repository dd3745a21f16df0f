package debugpage

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// counters bounds how many keys are counted, and topShown how many are shown of them.
const (
	counters = 64
	topShown = 15
)

// topKeys estimates which keys are read most, in bounded memory: Space-Saving, of
// Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements
// in data streams" (ICDT 2005). A key that has no counter takes over the smallest one,
// and its count as a possible error. Every key with more than a 64th of the reads is
// found. Halving all makes it forget.
type topKeys struct {
	mu     sync.Mutex
	counts []count
	total  uint64
}

type count struct {
	key      string
	n        uint64 // at most
	over     uint64 // of these, that may be other keys'
	hits     uint64 // of the reads counted since the key took over
	hitsFrom uint64
}

func (t *topKeys) add(key string, hit bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.find(key)
	c.n++
	c.hitsFrom++
	t.total++
	if hit {
		c.hits++
	}
}

// find returns the counter of a key. To scan 64 costs less than to keep them in order,
// since one in 1,024 reads is counted.
func (t *topKeys) find(key string) *count {
	least := 0
	for i := range t.counts {
		if t.counts[i].key == key {
			return &t.counts[i]
		}
		if t.counts[i].n < t.counts[least].n {
			least = i
		}
	}
	fresh := count{key: strings.Clone(key)} // key may be a part of something large
	if len(t.counts) < counters {
		t.counts = append(t.counts, fresh)
		return &t.counts[len(t.counts)-1]
	}
	fresh.n, fresh.over = t.counts[least].n, t.counts[least].n
	t.counts[least] = fresh
	return &t.counts[least]
}

func (t *topKeys) halve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total /= 2
	for i := range t.counts {
		c := &t.counts[i]
		c.n, c.over, c.hits, c.hitsFrom = c.n/2, c.over/2, c.hits/2, c.hitsFrom/2
	}
	t.counts = slices.DeleteFunc(t.counts, func(c count) bool { return c.n == 0 })
}

// hotKey is a key with the shares of all reads that are surely its own, and of hits.
type hotKey struct {
	key         string
	share, hits float64
}

func (t *topKeys) top() []hotKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	var top []hotKey
	for _, c := range t.counts {
		if c.n > c.over && c.hitsFrom > 0 {
			top = append(top, hotKey{c.key, float64(c.n-c.over) / float64(max(t.total, 1)), float64(c.hits) / float64(c.hitsFrom)})
		}
	}
	slices.SortFunc(top, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.share, a.share), strings.Compare(a.key, b.key))
	})
	return top[:min(len(top), topShown)]
}
