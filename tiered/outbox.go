package tiered

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
)

// outbox remembers this instance's own changes of one shard: those that failed,
// until they land, and those that landed, for as long as a failover may still
// lose them. When it is full, single keys give way to the whole shard.
type outbox struct {
	window time.Duration
	limit  int

	pending atomic.Int64 // changes that have not landed: looked at by every read of L2

	mu        sync.Mutex
	epoch     string            // that landed changes belong to
	failed    map[string]uint64 // item to the number of its newest failure
	failures  uint64
	all       uint64   // not 0: the whole shard is to be cleared, by that failure
	landed    []landed // oldest first
	forgotten l1.Instant
}

type landed struct {
	item string
	at   l1.Instant
}

// An item is what was changed: a key or a tag, told apart by its first byte, or
// everything.
const (
	keyItem    = 'k'
	tagItem    = 't'
	everything = "*"
)

func items(kind byte, names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(kind) + name
	}
	return list
}

// holds reports whether a change of key has not landed: L2 then still has what
// the change should have taken away.
func (o *outbox) holds(key string) bool {
	if o.pending.Load() == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, failed := o.failed[string(keyItem)+key]
	return failed || o.all != 0
}

// holdsTag reports whether an invalidation of one of the tags has not landed.
func (o *outbox) holdsTag(tags []string) bool {
	if o.pending.Load() == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, tag := range tags {
		if _, failed := o.failed[string(tagItem)+tag]; failed {
			return true
		}
	}
	return o.all != 0
}

// fail enters changes that did not reach Redis, or may not have.
func (o *outbox) fail(items []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, item := range items {
		if guard.Removed(guard.Outbox) {
			return
		}
		o.enter(item)
	}
	o.count()
}

func (o *outbox) enter(item string) {
	o.failures++
	if item == everything || o.all != 0 || len(o.failed) >= o.limit {
		o.all = o.failures
		o.failed = nil
		return
	}
	if o.failed == nil {
		o.failed = make(map[string]uint64)
	}
	o.failed[item] = o.failures
}

// land notes changes that Redis acknowledged in epoch. It reports false if that
// is not the epoch that this instance follows: they may be among what was
// lost, and are entered as failed.
func (o *outbox) land(items []string, epoch string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.count()
	if epoch != o.epoch {
		for _, item := range items {
			o.enter(item)
		}
		return false
	}
	now := l1.Now()
	for _, item := range items {
		o.landed = append(o.landed, landed{item, now})
	}
	o.trim(now)
	return true
}

// tidy frees the memory of what landed long ago, also when nothing changes any more.
func (o *outbox) tidy() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trim(l1.Now())
}

// trim forgets what landed long ago, and what there is no room for.
func (o *outbox) trim(now l1.Instant) {
	n := 0
	for n < len(o.landed) && now.Sub(o.landed[n].at) > o.window {
		n++
	}
	if over := len(o.landed) - o.limit; over > n {
		n = over
		o.forgotten = o.landed[n-1].at
	}
	// Appending moves the rest to a new array from time to time, which frees
	// what lies before it.
	clear(o.landed[:n])
	if o.landed = o.landed[n:]; len(o.landed) == 0 {
		o.landed = nil
	}
}

// renew begins an epoch: what landed recently is to be sent again.
func (o *outbox) renew(epoch string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := l1.Now()
	o.trim(now)
	if o.forgotten != 0 && now.Sub(o.forgotten) <= o.window {
		o.failures++
		o.all, o.failed = o.failures, nil
	}
	for _, l := range o.landed {
		o.enter(l.item)
	}
	o.epoch, o.landed, o.forgotten = epoch, nil, 0
	o.count()
}

// due returns changes of one kind to send, [l2.MaxKeys] names at most, and the newest
// failure that sending them makes good.
func (o *outbox) due() (op string, names []string, upTo uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all != 0 {
		return l2.OpClear, nil, o.failures
	}
	ops := map[byte]string{keyItem: l2.OpInvalidate, tagItem: l2.OpTags}
	for item := range o.failed {
		if op == "" {
			op = ops[item[0]]
		}
		if ops[item[0]] == op {
			names = append(names, item[1:])
		}
		if len(names) == l2.MaxKeys {
			break
		}
	}
	return op, names, o.failures
}

// sent strikes out items that due returned, but for what has failed again since.
func (o *outbox) sent(items []string, upTo uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, item := range items {
		if item == everything && o.all <= upTo {
			o.all = 0
		}
		if o.failed[item] <= upTo {
			delete(o.failed, item)
		}
	}
	o.count()
}

func (o *outbox) count() {
	n := int64(len(o.failed))
	if o.all != 0 {
		n++
	}
	o.pending.Store(n)
}
