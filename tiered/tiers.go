package tiered

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/invalidation"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// Config says how the tiers of one cache work. All fields are required but
// Redis, without which there is L1 alone, Compressor, Seal and the observers.
type Config[V any] struct {
	Name           string
	Redis          redis.UniversalClient
	Codec          codec.Codec[V]
	Compressor     codec.Compressor
	Seal           *codec.Seal
	MaxBytes       int64
	MaxValueBytes  int
	MaxStaleness   time.Duration
	LoadTimeout    time.Duration
	RedisTimeout   time.Duration
	RecoveryWindow time.Duration
	Shards         int
	Strict         bool
	Jitter         float64       // part of a life that is taken away at random, 0 to 1
	ErrorBackoff   time.Duration // after a load failed; 0: none
	RefreshAhead   float64       // beta of XFetch; 0: off
	DetectMutation bool
	Tracking       bool // follow writes to Redis that nobody announces
	Logger         *slog.Logger

	// Observers. Each may be nil; none is to take its time.
	Event     func(Event)
	Announced func(shard int, m invalidation.Message, lag time.Duration) // lag is negative while it is not known
	Sampled   func(key string, hit bool)                                 // one in 1,024 lookups
}

// Tiers is L1 before L2 for one cache on one instance. It is safe for
// concurrent use.
type Tiers[V any] struct {
	cfg       Config[V]
	l1        *l1.Store[V]
	l2        *l2.Store              // nil without Redis
	bus       *invalidation.Bus      // nil without Redis
	tracking  *invalidation.Tracking // nil unless it is on
	sightings *sightings             // nil unless tracking is on
	lease     time.Duration
	shards    []*shard

	waiters  waiters
	counters counters
	events   reporter
	lag      Latency
	watch    *watch[V] // nil unless mutation is to be detected

	disagree atomic.Pointer[error] // why this instance must not share L2, if it must not
	resend   chan struct{}         // asks for changes that failed to be sent again
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// entryBytes is what an entry of L1 is assumed to weigh where stripes are counted: one
// for each, so that an invalidation takes about one entry with it by accident. They add
// 8 bytes to it.
const entryBytes = 512

const minStripes, maxStripes = 1024, 1 << 22

// stripesOf returns how many stripes each shard's floors have at least.
func stripesOf(maxBytes int64, shards int) int {
	return int(min(max(maxBytes/entryBytes/int64(shards), minStripes), maxStripes))
}

// Open starts the tiers. With Redis it waits for the first heartbeat, for
// [Config.RedisTimeout] at most twice; that Redis is away is no error.
func Open[V any](cfg Config[V]) (*Tiers[V], error) {
	store, err := l1.New[V](cfg.MaxBytes, nil, cfg.Sampled)
	if err != nil {
		return nil, err
	}
	t := &Tiers[V]{
		cfg:    cfg,
		l1:     store,
		lease:  cfg.LoadTimeout + cfg.RedisTimeout,
		resend: make(chan struct{}, 1),
		stop:   func() {},
	}
	t.events.cache, t.events.log, t.events.hook = cfg.Name, cfg.Logger, cfg.Event
	if cfg.DetectMutation {
		t.watch = startWatch[V](cfg.Name, cfg.Logger)
	}
	t.shards = make([]*shard, max(cfg.Shards, 1))
	for i := range t.shards {
		t.shards[i] = newShard(i, len(t.shards), stripesOf(cfg.MaxBytes, len(t.shards)), cfg.RecoveryWindow)
	}
	if cfg.Redis == nil {
		t.shards[0].epoch.Load().Prove(l1.Always) // nobody else changes anything
		return t, nil
	}
	if err := t.connect(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tiers[V]) connect() error {
	t.l2 = l2.Open(l2.Config{
		Client: t.cfg.Redis, Name: t.cfg.Name, Shards: len(t.shards), Timeout: t.cfg.RedisTimeout,
		LogLen: l2.LogLen(len(t.shards)), Breaker: t.breaker,
	})
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	if err := t.agree(ctx); err != nil {
		return err
	}
	if t.cfg.Tracking {
		if err := t.l2.CheckTracking(ctx); err != nil {
			return err
		}
		t.sightings = &sightings{seed: maphash.MakeSeed()}
	}
	// Four heartbeats within the bound: three may be lost before it costs a hit.
	t.bus = invalidation.Start(t.l2, t, t.cfg.MaxStaleness/4)
	if t.cfg.Tracking {
		t.tracking = invalidation.Track(t.l2, t, t.cfg.MaxStaleness/4)
	}
	t.running.Go(func() { t.resendFailed(ctx) })
	return nil
}

// agree makes sure that no other instance uses another number of shards. That
// Redis cannot be asked now is no error: it is asked again in every new epoch.
func (t *Tiers[V]) agree(ctx context.Context) error {
	err := t.l2.Agree(ctx)
	if !errors.Is(err, l2.ErrShards) {
		return nil
	}
	t.disagree.Store(&err)
	return err
}

// Close sends what could not reach Redis once more, ends everything that the
// tiers started and waits for it. It returns an error if changes are still
// unsent. It must be called once, when no read or write is under way.
func (t *Tiers[V]) Close() error {
	t.stop()
	if t.tracking != nil {
		t.tracking.Close()
	}
	if t.bus != nil {
		t.bus.Close()
	}
	t.running.Wait()
	var err error
	if t.l2 != nil {
		t.resendOnce(context.Background())
		if n := t.pending(); n > 0 {
			err = fmt.Errorf("%d invalidations never reached Redis: other instances may serve the old values until these expire", n)
		}
		t.l2.Close()
	}
	if t.watch != nil {
		t.watch.close()
	}
	t.l1.Close()
	return err
}

// shard is what this instance knows of one shard. Without Redis there is one.
type shard struct {
	index   int
	stripes int
	window  time.Duration
	epoch   atomic.Pointer[l1.Epoch]
	behind  atomic.Int64 // this process's monotonic clock to the server's, in microseconds
	life    atomic.Int64 // that markers of tags are known to be kept for
	outbox  outbox
	markers markers
}

func newShard(index, shards, stripes int, window time.Duration) *shard {
	s := &shard{index: index, stripes: stripes, window: window}
	s.outbox.limit = max(65536/shards, 1024)
	s.outbox.window = window
	s.markers.limit = max(65536/shards, 1024)
	s.epoch.Store(l1.NewEpoch("", l1.StampOf(1), s.stripes))
	return s
}

// lift applies f, which raises floors, to the shard's epoch: to the next one
// too, if it is replaced meanwhile, since that began without them.
func (s *shard) lift(f func(*l1.Epoch)) {
	for e := s.epoch.Load(); ; {
		f(e)
		now := s.epoch.Load()
		if now == e {
			return
		}
		e = now
	}
}

// clock returns the server's clock in microseconds. It was read from a
// heartbeat's answer when that had arrived, so it is never ahead.
func (s *shard) clock() int64 {
	return time.Duration(l1.Now()).Microseconds() + s.behind.Load()
}

func (t *Tiers[V]) shardOf(key string) *shard {
	if t.l2 == nil {
		return t.shards[0]
	}
	return t.shards[t.l2.Shard(key)]
}
