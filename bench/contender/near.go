package contender

import (
	"context"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

type near struct {
	*nearcache.Cache[Product]
	client *redis.Client
}

// entryBytes is more than what nearcache charges for one Product.
const entryBytes = 600

// patience is as long as go-redis waits by default. nearcache's own default would
// have it turn to the loader when the machine is busy.
const patience = 5 * time.Second

func openNearcache(env Env) (Cache, error) {
	client := redis.NewClient(&redis.Options{Addr: env.Redis})
	c, err := newNear(env, client)
	if err != nil {
		client.Close()
		return nil, err
	}
	return near{c, client}, nil
}

func openNearcacheL1(env Env) (Cache, error) {
	c, err := newNear(env, nil)
	return near{c, nil}, err
}

func newNear(env Env, client *redis.Client) (*nearcache.Cache[Product], error) {
	cfg := nearcache.Config[Product]{
		Name: env.Namespace, Load: env.Load, MaxBytes: int64(env.Capacity) * entryBytes,
		TTL:          nearcache.TTL{L1: TTL, L2: TTL},
		RedisTimeout: patience,
	}
	if client != nil {
		cfg.Redis = client
	}
	return nearcache.New(cfg)
}

func (n near) Get(ctx context.Context, key string) (Product, error) { return n.Cache.Get(ctx, key) }

func (n near) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	return n.Cache.GetMany(ctx, keys)
}

func (n near) Set(ctx context.Context, key string, p Product) error { return n.Cache.Set(ctx, key, p) }

func (n near) Invalidate(ctx context.Context, key string) error { return n.Cache.Invalidate(ctx, key) }

func (n near) Close() {
	n.Cache.Close()
	if n.client != nil {
		n.client.Close()
	}
}
