package l2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Redis tells a connection of every key that is written, deleted, expires or is
// evicted, whoever did it, if it asked for that: CLIENT TRACKING in broadcasting mode.
//
// A connection is redirected to itself and speaks RESP2, so that it gets these pushes
// as messages of a subscription, which go-redis reads as they come. In RESP3 it
// handles them only when it reads the reply to a command, and the connection would
// have to be polled.

// trackedChannel is where a tracking connection hears of keys.
const trackedChannel = "__redis__:invalidate"

// headSize is how much of a value tells it from every other.
const headSize = claimedTo

// Identity returns the parts of a value, or of its head, that tell it from every other:
// of an envelope without its claim, of a lease without whether somebody waits.
func Identity(data []byte) (first, rest []byte) {
	if _, leased := Lease(data); leased {
		return data[1:], nil
	}
	if len(data) < headSize {
		return data, nil
	}
	return data[:4], data[claimedFrom:headSize]
}

// Tracker is the way to one server's pushes.
type Tracker struct {
	Addr   string
	client *redis.Client
}

// Subscribe opens a connection on which the server tells of every value in the
// namespace that is written or removed: messages with a PayloadSlice of names. An
// error of its Receive may stand for a FLUSHALL.
func (t *Tracker) Subscribe(ctx context.Context) *redis.PubSub {
	return t.client.Subscribe(ctx, trackedChannel)
}

// Close ends the tracker's connections.
func (t *Tracker) Close() { _ = t.client.Close() }

// ErrNoTracking says that a server, or a kind of client, does not support tracking.
var ErrNoTracking = errors.New("tracking is not supported")

// CheckTracking returns an [ErrNoTracking] if the client cannot track, or if the server
// answers that it does not. That Redis cannot be reached now is no error.
func (s *Store) CheckTracking(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, s.overrun)
	defer cancel()
	servers, err := s.trackedServers(ctx)
	if errors.Is(err, ErrNoTracking) {
		return err
	}
	if len(servers) == 0 {
		return nil
	}
	t := s.tracker(servers[0]) // those of a cluster are alike
	defer t.Close()
	if err := t.client.Ping(ctx).Err(); err != nil && answered(err) {
		return fmt.Errorf("%w: CLIENT TRACKING: %w", ErrNoTracking, err)
	}
	return nil
}

// Trackers returns trackers of all servers that hold values: the masters of a
// cluster. They change: those of known addresses are not made again.
func (s *Store) Trackers(ctx context.Context, known func(addr string) bool) (addrs []string, fresh []*Tracker, err error) {
	servers, err := s.trackedServers(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, server := range servers {
		addr := server.Options().Addr
		if addrs = append(addrs, addr); !known(addr) {
			fresh = append(fresh, s.tracker(server))
		}
	}
	return addrs, fresh, nil
}

func (s *Store) trackedServers(ctx context.Context) (servers []*redis.Client, err error) {
	switch client := s.client.(type) {
	case *redis.Client:
		return []*redis.Client{client}, nil
	case *redis.ClusterClient:
		var mu sync.Mutex
		err = client.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			servers = append(servers, master)
			return nil
		})
		return servers, err
	}
	return nil, fmt.Errorf("%w by a client of type %T, must be *redis.Client or *redis.ClusterClient", ErrNoTracking, s.client)
}

// tracker returns a client with the settings of server's whose connections track.
func (s *Store) tracker(server *redis.Client) *Tracker {
	opt := *server.Options()
	opt.Protocol, opt.PoolSize, opt.MinIdleConns = 2, 1, 0
	opt.ClientSideCacheConfig, opt.ClientSideCache = nil, nil
	prefixes := make([]string, len(s.space.shards))
	for i, k := range s.space.shards {
		prefixes[i] = k.values
	}
	users := opt.OnConnect
	opt.OnConnect = func(ctx context.Context, c *redis.Conn) error {
		if users != nil {
			if err := users(ctx, c); err != nil {
				return err
			}
		}
		id, err := c.ClientID(ctx).Result()
		if err != nil {
			return err
		}
		return c.ClientTrackingOn(ctx, &redis.ClientTrackingOptions{Bcast: true, Prefixes: prefixes, Redirect: id}).Err()
	}
	return &Tracker{Addr: opt.Addr, client: redis.NewClient(&opt)}
}

// Tracked returns the shard and key of a value by its name in Redis.
func (s *Store) Tracked(name string) (shard int, key string, ok bool) {
	_, key, ok = strings.Cut(name, "}:v:") // the Name has no braces
	if !ok {
		return 0, "", false
	}
	shard = s.Shard(key)
	return shard, key, strings.HasPrefix(name, s.space.shards[shard].values)
}

// Record returns the record of shard; known is false if there is none that can be read.
func (s *Store) Record(ctx context.Context, shard int) (r Record, known bool, err error) {
	record := &sharedRecord{cmd: redis.NewStringCmd(ctx, "get", s.space.shards[shard].record)}
	if err := s.do(ctx, s.space.shards[shard].record, record.cmd); err != nil {
		return r, false, err
	}
	record.parse()
	return record.Record, record.Known, record.err
}

// Heads returns the record of shard and, read after it, what of the values of keys
// [Identity] needs: empty where there is none, nil where something is that is no
// string.
func (s *Store) Heads(ctx context.Context, shard int, keys []string) (r Record, known bool, heads [][]byte, err error) {
	cmds := make([]redis.Cmder, len(keys))
	for i, key := range keys {
		cmds[i] = redis.NewStringCmd(ctx, "getrange", s.space.shards[shard].values+key, 0, headSize-1)
	}
	record, err := s.doAfterRecord(ctx, shard, cmds...)
	if err == nil {
		err = record.err
	}
	if err != nil {
		return r, false, nil, err
	}
	heads = make([][]byte, len(keys))
	for i, cmd := range cmds {
		head, err := cmd.(*redis.StringCmd).Bytes()
		switch {
		case err == nil:
			heads[i] = append([]byte{}, head...)
		case !answered(err):
			return r, false, nil, err
		}
	}
	return record.Record, record.Known, heads, nil
}
