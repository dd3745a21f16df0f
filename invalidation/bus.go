package invalidation

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// grace is how long a heartbeat waits for announcements that it overtook
// before it reads the log.
const grace = 10 * time.Millisecond

// longestRetry bounds the pause between tries to subscribe. What a cut kept from
// this instance is repaired that much later than the network is.
const longestRetry = 50 * time.Millisecond

// Bus keeps a handler in step with the changes of all shards.
type Bus struct {
	store    *l2.Store
	handler  Handler
	interval time.Duration

	chains   []*chain
	channels map[string]*chain
	kick     chan struct{} // asks for a heartbeat now
	gaps     atomic.Uint64
	replays  atomic.Uint64
	deaf     bool // a subscription was lost, and there is no other yet; receive's own

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start sends a first heartbeat, and returns when it was answered or its budget
// is over; then it subscribes and sends one every interval until Close.
func Start(store *l2.Store, handler Handler, interval time.Duration) *Bus {
	ctx, cancel := context.WithCancel(context.Background())
	b := &Bus{
		store: store, handler: handler, interval: interval,
		channels: make(map[string]*chain),
		kick:     make(chan struct{}, 1),
		cancel:   cancel,
	}
	for i, name := range store.Channels() {
		c := &chain{shard: i, handler: handler}
		b.chains = append(b.chains, c)
		b.channels[name] = c
	}
	b.beat(ctx)
	b.running.Go(func() { b.beats(ctx) })
	b.running.Go(func() { b.receive(ctx) })
	return b
}

// Close ends the bus and waits for it. It may be called more than once.
func (b *Bus) Close() {
	b.cancel()
	b.running.Wait()
}

// Kick asks for a heartbeat now: somebody saw a sign that data was lost.
func (b *Bus) Kick() {
	select {
	case b.kick <- struct{}{}:
	default: // one is due already
	}
}

// Gaps returns how often an announcement showed that one before it is missing.
func (b *Bus) Gaps() uint64 { return b.gaps.Load() }

// Replays returns how often the log was read to make up for what was missed.
func (b *Bus) Replays() uint64 { return b.replays.Load() }

func (b *Bus) beats(ctx context.Context) {
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.kick:
		}
		b.beat(ctx)
	}
}

// beat proves each shard as of the moment before it was asked, once everything
// that its answer covers has been applied.
func (b *Bus) beat(ctx context.Context) {
	known := make([]l2.Known, len(b.chains))
	for i, c := range b.chains {
		known[i] = c.position()
	}
	sent := time.Now()
	answers := b.store.Heartbeat(ctx, known, 3*b.interval)
	b.settle(ctx, answers)
	for i, a := range answers {
		switch {
		case a.Refused():
			b.handler.Disprove(i)
		case a.Err != nil: // nothing learnt: the last proof ages
		default:
			if b.chains[i].position().Seq < a.Record.Seq {
				b.replays.Add(1)
			}
			if err := b.chains[i].replay(ctx, b.store, a.Record); err == nil {
				b.handler.Prove(i, sent, a.Clock)
			}
		}
	}
}

// settle adopts new epochs, and if an answer is ahead of what was applied
// gives the announcements a moment to arrive.
func (b *Bus) settle(ctx context.Context, answers []l2.Beat) {
	behind := false
	for i, a := range answers {
		if a.Err == nil {
			b.chains[i].adopt(a.Record)
			behind = behind || b.chains[i].position().Seq < a.Record.Seq
		}
	}
	if behind {
		pause(ctx, grace)
	}
}

// receive listens on one subscription after the other. go-redis would reconnect
// inside of one by itself, but without telling, and without ever noticing a
// connection that has gone silent.
func (b *Bus) receive(ctx context.Context) {
	for wait := grace; ctx.Err() == nil; wait = min(2*wait, b.interval, longestRetry) {
		sub := b.store.Subscribe(ctx)
		hangUp := context.AfterFunc(ctx, func() { sub.Close() }) // Receive ignores ctx
		if b.listen(ctx, sub) {
			wait = grace
		}
		hangUp()
		sub.Close()
		pause(ctx, wait/2+rand.N(wait))
	}
}

// listen hands out messages until the subscription fails or answers neither
// with messages nor with a pong. It reports whether anything ever came.
func (b *Bus) listen(ctx context.Context, sub *redis.PubSub) (alive bool) {
	pinged := false
	for {
		in, err := sub.ReceiveTimeout(ctx, b.interval)
		var timeout net.Error
		switch {
		case err == nil:
			if b.deaf {
				b.deaf = false
				b.handler.Listens()
			}
			alive, pinged = true, false
			b.handle(in)
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged && ctx.Err() == nil:
			pinged = true
			if sub.Ping(ctx, "nearcache") != nil {
				return alive
			}
		default:
			if alive && ctx.Err() == nil { // once, not at every try
				b.deaf = true
				b.handler.Deaf(err)
			}
			return alive
		}
	}
}

func (b *Bus) handle(in any) {
	switch in := in.(type) {
	case *redis.Subscription:
		b.Kick() // what was missed before it is in the log
	case *redis.Message:
		if c := b.channels[in.Channel]; c != nil {
			b.deliver(c, in.Payload)
		}
	}
}

func (b *Bus) deliver(c *chain, payload string) {
	m, err := Parse(payload)
	switch {
	case err != nil:
		b.handler.Garbage(err)
	case m.Op == l2.OpWake:
		b.handler.Wake(m.Keys)
	default:
		switch c.announce(m) {
		case gap:
			b.gaps.Add(1)
			b.handler.Missing(c.shard)
			b.Kick()
		case strange:
			b.Kick()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
