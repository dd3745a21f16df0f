package l2

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says how a store uses Redis. All fields are required.
type Config struct {
	Client  redis.UniversalClient
	Name    string        // namespace
	Shards  int           // 1 to [MaxShards]
	Timeout time.Duration // budget of one operation
	LogLen  int           // entries that a shard's log keeps, about
}

// Store is the L2 tier of one cache instance. It is safe for concurrent use.
type Store struct {
	client   redis.UniversalClient
	space    space
	instance string // names this instance in Redis, 16 hexadecimal digits
	timeout  time.Duration
	logLen   int

	overrun error
	tokens  atomic.Uint64
	lanes   lanes
	mapped  atomic.Bool // a cluster client knows where the slots are
	stop    chan struct{}
	running sync.WaitGroup
	closing sync.Once
}

// Open returns a store on cfg. It does not talk to Redis yet.
func Open(cfg Config) *Store {
	s := &Store{
		client:   bounded(cfg.Client, cfg.Timeout),
		instance: nonce(),
		timeout:  cfg.Timeout,
		logLen:   cfg.LogLen,
		overrun:  overrun(cfg.Timeout),
		stop:     make(chan struct{}),
	}
	s.space = newSpace(cfg.Name, s.instance, cfg.Shards)
	s.lanes.main = s.startLane()
	s.lanes.to = make(map[string]*lane)
	return s
}

// bounded returns the client with its socket timeouts lowered to the budget,
// where go-redis offers that: it shares the user's pool, but has none of the user's
// hooks (go-redis v9.23 forgets them, measured). Others keep
// their own, so after an outage their connections may be busy for that long.
func bounded(client redis.UniversalClient, timeout time.Duration) redis.UniversalClient {
	if c, ok := client.(*redis.Client); ok {
		return c.WithTimeout(timeout)
	}
	return client
}

// Close ends what the store started and waits for it: for at most the client's
// own timeouts where Redis is silent. The client stays open.
func (s *Store) Close() {
	s.closing.Do(func() { close(s.stop) })
	s.running.Wait()
}

// Shards returns the number of shards.
func (s *Store) Shards() int { return len(s.space.shards) }

// Shard returns the shard of a key.
func (s *Store) Shard(key string) int { return s.space.shard(key) }

// Channels returns the Pub/Sub channel of each shard, in order.
func (s *Store) Channels() []string {
	names := make([]string, len(s.space.shards))
	for i, k := range s.space.shards {
		names[i] = k.channel
	}
	return names
}

// Away reports whether the breakers to all servers are open: operations fail at
// once.
func (s *Store) Away() bool { return s.lanes.away() }

// ErrShards says that the namespace lives in Redis with another number of
// shards. Two instances that disagree would not see each other's changes.
var ErrShards = errors.New("the namespace has another number of shards in redis")

// Agree records the number of shards in Redis, or compares it with what
// another instance recorded.
func (s *Store) Agree(ctx context.Context) error {
	var set *redis.BoolCmd
	var get *redis.StringCmd
	key := s.space.agreed()
	if err := s.do(ctx, key, func(p redis.Pipeliner) {
		set = p.SetNX(ctx, key, len(s.space.shards), 0)
		get = p.Get(ctx, key)
	}); err != nil {
		return err
	}
	if err := set.Err(); err != nil {
		return err
	}
	recorded, err := get.Result()
	if err == nil && recorded != strconv.Itoa(len(s.space.shards)) {
		return fmt.Errorf("%w: configured %d, %q recorded at %s; configure the same number everywhere, or delete that key once no instance runs",
			ErrShards, len(s.space.shards), recorded, key)
	}
	return err
}

// Token returns a new lease token. It is unique to one load, not to this
// process: a token that is used twice lets a late fill replace a newer lease.
func (s *Store) Token() string {
	return s.instance + "." + strconv.FormatUint(s.tokens.Add(1), 36)
}

// nonce returns 16 random hexadecimal digits.
func nonce() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
