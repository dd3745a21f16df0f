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

// Config says how a store uses Redis. All fields are required but Breaker.
type Config struct {
	Client  redis.UniversalClient
	Name    string        // namespace
	Shards  int           // 1 to [MaxShards]
	Timeout time.Duration // budget of one operation
	LogLen  int           // entries that a shard's log keeps, about

	// Breaker is told when a server's breaker opens, and why, and when it closes. The
	// address is empty where it is not known. Default nil.
	Breaker func(server string, open bool, cause error)
}

// Store is the L2 tier of one cache instance. It is safe for concurrent use.
type Store struct {
	client   redis.UniversalClient
	space    space
	instance string // names this instance in Redis, 16 hexadecimal digits
	timeout  time.Duration
	logLen   int

	punctual bool  // the client ends every operation at its context's deadline
	overrun  error // of the timeout
	lanes    lanes
	breaker  func(server string, open bool, cause error)
	mapped   atomic.Bool    // a cluster client knows where the slots are
	calls    sync.Pool      // of *call
	batches  sync.Pool      // of *batch
	running  sync.WaitGroup // heartbeats
}

// Open returns a store on cfg. It does not talk to Redis yet.
func Open(cfg Config) *Store {
	s := &Store{
		client:   cfg.Client,
		instance: nonce(),
		timeout:  cfg.Timeout,
		logLen:   cfg.LogLen,
		overrun:  overrun(cfg.Timeout),
		breaker:  cfg.Breaker,
	}
	if s.breaker == nil {
		s.breaker = func(string, bool, error) {}
	}
	addr := ""
	if c, ok := cfg.Client.(*redis.Client); ok {
		s.client, s.punctual = punctual(c, cfg.Timeout), true
		addr = c.Options().Addr
	}
	s.lanes.main, s.lanes.to = s.openLane(addr), make(map[string]*lane)
	s.calls.New = newCall
	s.space = newSpace(cfg.Name, s.instance, cfg.Shards)
	return s
}

// punctual returns a copy of the client with its socket timeouts lowered to the
// budget, and made to heed the deadlines of contexts. It shares the pool of the
// user's, which stays as it is: the options are the copy's own. Other kinds of
// client offer no such copy, so after an outage their connections may be busy for
// as long as the user's timeouts.
func punctual(client *redis.Client, timeout time.Duration) *redis.Client {
	c := client.WithTimeout(timeout)
	c.Options().ContextTimeoutEnabled = true
	return c
}

// Close ends what the store started and waits for it: for at most the client's
// own timeouts where Redis is silent. The client stays open.
func (s *Store) Close() {
	s.lanes.close()
	s.running.Wait()
}

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
	key := s.space.agreed()
	p := s.client.Pipeline()
	set := p.SetNX(ctx, key, len(s.space.shards), 0)
	get := p.Get(ctx, key)
	if err := s.do(ctx, key, p.Cmds()...); err != nil {
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

// Token returns a new token for a lease or claim. It is unique to one load, not to
// this process: a token that is used twice lets a late fill replace a newer lease.
func (s *Store) Token() string { return nonce() }

// nonce returns 16 random hexadecimal digits.
func nonce() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
