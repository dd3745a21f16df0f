package contender

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"
)

// goRedis is the client alone: every read is a GET, or with client-side caching
// one that the client may answer.
type goRedis struct {
	client *redis.Client
	prefix string
	env    Env
}

func openGoRedis(env Env) (Cache, error) {
	return goRedis{redis.NewClient(&redis.Options{Addr: env.Redis}), env.Namespace + ":", env}, nil
}

func openGoRedisCSC(env Env) (Cache, error) {
	client := redis.NewClient(&redis.Options{
		Addr: env.Redis, Protocol: 3,
		ClientSideCacheConfig: &redis.ClientSideCacheConfig{MaxEntries: env.Capacity},
	})
	return goRedis{client, env.Namespace + ":", env}, nil
}

func (g goRedis) Get(ctx context.Context, key string) (Product, error) {
	data, err := g.client.Get(ctx, g.prefix+key).Bytes()
	if err == nil {
		return decode(data)
	}
	if !errors.Is(err, redis.Nil) {
		return Product{}, err
	}
	p, err := g.env.load(ctx, key)
	if err == nil {
		err = g.Set(ctx, key, p)
	}
	return p, err
}

func (g goRedis) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = g.prefix + key
	}
	values, err := g.client.MGet(ctx, names...).Result()
	if err != nil {
		return nil, err
	}
	found := make(map[string]Product, len(keys))
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s: %w", keys[i], errMiss)
		}
		if found[keys[i]], err = decode([]byte(text)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (g goRedis) Set(ctx context.Context, key string, p Product) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	return g.client.Set(ctx, g.prefix+key, data, TTL).Err()
}

func (g goRedis) Invalidate(ctx context.Context, key string) error {
	return g.client.Del(ctx, g.prefix+key).Err()
}

func (g goRedis) Close() { g.client.Close() }

// goRedisCache keeps encoded bytes in both tiers.
type goRedisCache struct {
	cache  *cache.Cache
	client *redis.Client
	prefix string
	env    Env
}

func openGoRedisCache(env Env) (Cache, error) {
	client := redis.NewClient(&redis.Options{Addr: env.Redis})
	c := cache.New(&cache.Options{
		Redis: client, LocalCache: cache.NewTinyLFU(env.Capacity, TTL),
		Marshal:   func(v any) ([]byte, error) { return encode(*v.(*Product)) },
		Unmarshal: func(data []byte, v any) (err error) { *v.(*Product), err = decode(data); return err },
	})
	return goRedisCache{c, client, env.Namespace + ":", env}, nil
}

func (g goRedisCache) Get(ctx context.Context, key string) (p Product, err error) {
	if g.env.Load == nil {
		err = g.cache.Get(ctx, g.prefix+key, &p)
		return p, err
	}
	err = g.cache.Once(&cache.Item{Ctx: ctx, Key: g.prefix + key, Value: &p, TTL: TTL,
		Do: func(*cache.Item) (any, error) {
			loaded, err := g.env.Load(ctx, key)
			return &loaded, err
		}})
	return p, err
}

func (g goRedisCache) Set(ctx context.Context, key string, p Product) error {
	return g.cache.Set(&cache.Item{Ctx: ctx, Key: g.prefix + key, Value: &p, TTL: TTL})
}

func (g goRedisCache) Invalidate(ctx context.Context, key string) error {
	return g.cache.Delete(ctx, g.prefix+key)
}

func (g goRedisCache) Close() { g.client.Close() }
