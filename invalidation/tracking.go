package invalidation

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// Watcher judges what Redis tells of writes to its keys.
type Watcher interface {
	// Written tells that the values of keys may not be what they were. Once it returns
	// nil, nothing of before is believed that is not known to be the same.
	Written(ctx context.Context, shard int, keys []string) error
	// Missed tells that there may have been such writes to any key.
	Missed(ctx context.Context) error
	// Lost tells that the connection to a server failed, and is made again.
	Lost(server string, err error)
}

// maxWritten bounds the keys that wait to be judged. With more, nothing is believed.
const maxWritten = 1 << 16

// Tracking keeps a watcher informed of writes to Redis that nobody announces. It comes
// on top of the bus: it knows no order, repeats nothing, and what it tells only takes
// away.
type Tracking struct {
	store    *l2.Store
	watcher  Watcher
	interval time.Duration

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Track follows every server that holds values until Close. It notices a silent one
// within two intervals.
func Track(store *l2.Store, watcher Watcher, interval time.Duration) *Tracking {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Tracking{store: store, watcher: watcher, interval: interval, cancel: cancel}
	t.running.Go(func() { t.supervise(ctx) })
	return t
}

// Close ends the tracking and waits for it. It may be called more than once.
func (t *Tracking) Close() {
	t.cancel()
	t.running.Wait()
}

// supervise follows servers as they come and go. There is a new one after a failover in
// a cluster, which from then on tells of the slots that it has.
func (t *Tracking) supervise(ctx context.Context) {
	followed := make(map[string]context.CancelFunc)
	for ctx.Err() == nil {
		addrs, fresh, err := t.store.Trackers(ctx, func(addr string) bool { return followed[addr] != nil })
		for _, tracker := range fresh {
			server, leave := context.WithCancel(ctx)
			followed[tracker.Addr] = leave
			t.running.Go(func() { t.follow(server, tracker) })
		}
		for addr, leave := range followed {
			if err == nil && !slices.Contains(addrs, addr) {
				leave()
				delete(followed, addr)
			}
		}
		pause(ctx, t.interval)
	}
}

// follow listens to a server on one connection after the other.
func (t *Tracking) follow(ctx context.Context, tracker *l2.Tracker) {
	defer tracker.Close()
	for wait := grace; ctx.Err() == nil; wait = min(2*wait, t.interval, longestRetry) {
		w := &written{woken: make(chan struct{}, 1)}
		sub := tracker.Subscribe(ctx)
		listening, stop := context.WithCancel(ctx)
		hangUp := context.AfterFunc(listening, func() { sub.Close() }) // Receive ignores ctx
		var judging sync.WaitGroup
		judging.Go(func() {
			defer stop()
			t.judge(listening, w)
		})
		alive, err := t.listen(listening, sub, w)
		stop()
		judging.Wait()
		hangUp()
		sub.Close()
		if alive {
			wait = grace
			if ctx.Err() == nil { // once, not at every try
				t.watcher.Lost(tracker.Addr, err)
			}
		}
		pause(ctx, wait/2+rand.N(wait))
	}
}

// listen collects what the server tells until the connection fails, goes silent, or
// tells what is no list of keys: that everything was flushed.
func (t *Tracking) listen(ctx context.Context, sub *redis.PubSub, w *written) (alive bool, err error) {
	pinged := false
	for {
		in, err := sub.ReceiveTimeout(ctx, t.interval)
		var timeout net.Error
		switch {
		case err == nil:
			alive, pinged = true, false
			switch in := in.(type) {
			case *redis.Subscription:
				w.missed()
			case *redis.Message:
				if !w.add(in.PayloadSlice) {
					return alive, errBehind
				}
			}
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged && ctx.Err() == nil:
			pinged = true
			if err := sub.Ping(ctx, "nearcache"); err != nil {
				return alive, err
			}
		default:
			return alive, err
		}
	}
}

var errBehind = errors.New("more is written than can be judged")

// judge hands what was collected to the watcher, all that came meanwhile at once. It
// gives up when the watcher does: what cannot be judged counts as missed.
func (t *Tracking) judge(ctx context.Context, w *written) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.woken:
		}
		names, missed := w.take()
		if missed {
			if t.watcher.Missed(ctx) != nil {
				return
			}
			continue // whatever came with it is covered
		}
		byShard := make(map[int][]string)
		for name := range names {
			if shard, key, ok := t.store.Tracked(name); ok {
				byShard[shard] = append(byShard[shard], key)
			}
		}
		for shard, keys := range byShard {
			for part := range slices.Chunk(keys, l2.MaxKeys) {
				if t.watcher.Written(ctx, shard, part) != nil {
					return
				}
			}
		}
	}
}

// written is what a server told and was not judged yet.
type written struct {
	mu    sync.Mutex
	names map[string]struct{}
	all   bool
	woken chan struct{}
}

func (w *written) missed() {
	w.mu.Lock()
	w.all = true
	w.mu.Unlock()
	w.wake()
}

// add reports whether there was room.
func (w *written) add(names []string) bool {
	w.mu.Lock()
	if w.names == nil {
		w.names = make(map[string]struct{})
	}
	for _, name := range names {
		w.names[name] = struct{}{}
	}
	room := len(w.names) <= maxWritten
	w.mu.Unlock()
	w.wake()
	return room
}

func (w *written) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *written) take() (names map[string]struct{}, missed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, missed = w.names, w.all
	w.names, w.all = nil, false
	return names, missed
}
