package contender

import (
	"context"
	"encoding/json"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/viccon/sturdyc"
)

type sturdy struct {
	cache   *sturdyc.Client[Product]
	storage *storage // nil without Redis
	env     Env
}

// openSturdycL1 switches off evictions in the background: sturdyc cannot be closed,
// so every instance would leave a goroutine behind.
func openSturdycL1(env Env) (Cache, error) {
	return sturdy{cache: sturdyc.New[Product](env.Capacity, 256, TTL, 10, sturdyc.WithNoContinuousEvictions()), env: env}, nil
}

func openSturdyc(env Env) (Cache, error) {
	s := &storage{client: redis.NewClient(&redis.Options{Addr: env.Redis}), prefix: env.Namespace + ":"}
	return sturdy{
		cache: sturdyc.New[Product](env.Capacity, 256, TTL, 10,
			sturdyc.WithNoContinuousEvictions(), sturdyc.WithDistributedStorage(s)),
		storage: s, env: env,
	}, nil
}

func (s sturdy) Get(ctx context.Context, key string) (Product, error) {
	if p, ok := s.cache.Get(key); ok {
		return p, nil
	}
	return s.cache.GetOrFetch(ctx, key, func(ctx context.Context) (Product, error) { return s.env.load(ctx, key) })
}

// GetMany gives a function that fetches nothing: what Redis lacks is an error.
func (s sturdy) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	return s.cache.GetOrFetchBatch(ctx, keys, func(id string) string { return id },
		func(context.Context, []string) (map[string]Product, error) { return nil, errMiss })
}

// Set writes to each tier by itself: sturdyc has no call that writes to both. The
// record is in sturdyc's own format, which it reads back.
func (s sturdy) Set(ctx context.Context, key string, p Product) error {
	if s.storage != nil {
		data, err := json.Marshal(record{CreatedAt: time.Now(), Value: p})
		if err != nil {
			return err
		}
		if err := s.storage.client.Set(ctx, s.storage.prefix+key, data, TTL).Err(); err != nil {
			return err
		}
	}
	s.cache.Set(key, p)
	return nil
}

type record struct {
	CreatedAt time.Time `json:"created_at"`
	Value     Product   `json:"value"`
	Missing   bool      `json:"is_missing_record"`
}

func (s sturdy) Invalidate(ctx context.Context, key string) error {
	s.cache.Delete(key)
	if s.storage == nil {
		return nil
	}
	return s.storage.client.Del(ctx, s.storage.prefix+key).Err()
}

func (s sturdy) Close() {
	if s.storage != nil {
		s.storage.client.Close()
	}
}

// storage is Redis as sturdyc wants it: failures look like misses.
type storage struct {
	client *redis.Client
	prefix string
}

func (s *storage) Get(ctx context.Context, key string) ([]byte, bool) {
	data, err := s.client.Get(ctx, s.prefix+key).Bytes()
	return data, err == nil
}

func (s *storage) Set(ctx context.Context, key string, value []byte) {
	s.client.Set(ctx, s.prefix+key, value, TTL)
}

func (s *storage) GetBatch(ctx context.Context, keys []string) map[string][]byte {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.prefix + key
	}
	found := make(map[string][]byte, len(keys))
	for i, v := range s.client.MGet(ctx, names...).Val() {
		if text, ok := v.(string); ok {
			found[keys[i]] = []byte(text)
		}
	}
	return found
}

func (s *storage) SetBatch(ctx context.Context, records map[string][]byte) {
	pipe := s.client.Pipeline()
	for key, value := range records {
		pipe.Set(ctx, s.prefix+key, value, TTL)
	}
	_, _ = pipe.Exec(ctx)
}
