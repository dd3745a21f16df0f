package contender

import (
	"context"
	"errors"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"
)

// bareRistretto has string keys and a TTL, and no loader: the caller looks, loads
// and sets.
type bareRistretto struct {
	cache *ristretto.Cache[string, Product]
	env   Env
}

func openRistretto(env Env) (Cache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, Product]{
		NumCounters: int64(10 * env.Capacity), MaxCost: int64(env.Capacity), BufferItems: 64, IgnoreInternalCost: true,
	})
	return bareRistretto{c, env}, err
}

func (r bareRistretto) Get(ctx context.Context, key string) (Product, error) {
	if p, ok := r.cache.Get(key); ok {
		return p, nil
	}
	p, err := r.env.load(ctx, key)
	if err == nil {
		r.cache.SetWithTTL(key, p, 1, TTL)
	}
	return p, err
}

func (r bareRistretto) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	return each(ctx, r, keys)
}

// Set may be dropped by Ristretto under pressure, without an error.
func (r bareRistretto) Set(_ context.Context, key string, p Product) error {
	r.cache.SetWithTTL(key, p, 1, TTL)
	return nil
}

func (r bareRistretto) Invalidate(_ context.Context, key string) error {
	r.cache.Del(key)
	return nil
}

func (r bareRistretto) Close() { r.cache.Close() }

type bareOtter struct {
	cache *otter.Cache[string, Product]
	load  otter.Loader[string, Product]
}

func openOtter(env Env) (Cache, error) {
	c, err := otter.New(&otter.Options[string, Product]{
		MaximumSize: env.Capacity, ExpiryCalculator: otter.ExpiryWriting[string, Product](TTL),
	})
	return bareOtter{c, otter.LoaderFunc[string, Product](env.load)}, err
}

func (o bareOtter) Get(ctx context.Context, key string) (Product, error) {
	if p, ok := o.cache.GetIfPresent(key); ok {
		return p, nil
	}
	return o.cache.Get(ctx, key, o.load)
}

func (o bareOtter) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	return each(ctx, o, keys)
}

func (o bareOtter) Set(_ context.Context, key string, p Product) error {
	o.cache.Set(key, p)
	return nil
}

func (o bareOtter) Invalidate(_ context.Context, key string) error {
	o.cache.Invalidate(key)
	return nil
}

func (o bareOtter) Close() { o.cache.StopAllGoroutines() }

type bareTheine struct {
	cache *theine.LoadingCache[string, Product]
}

func openTheine(env Env) (Cache, error) {
	c, err := theine.NewBuilder[string, Product](int64(env.Capacity)).BuildWithLoader(
		func(ctx context.Context, key string) (theine.Loaded[Product], error) {
			p, err := env.load(ctx, key)
			return theine.Loaded[Product]{Value: p, Cost: 1, TTL: TTL}, err
		})
	return bareTheine{c}, err
}

func (t bareTheine) Get(ctx context.Context, key string) (Product, error) {
	return t.cache.Get(ctx, key)
}

func (t bareTheine) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	return each(ctx, t, keys)
}

func (t bareTheine) Set(_ context.Context, key string, p Product) error {
	if !t.cache.SetWithTTL(key, p, 1, TTL) {
		return errors.New("theine refused the value")
	}
	return nil
}

func (t bareTheine) Invalidate(_ context.Context, key string) error {
	t.cache.Delete(key)
	return nil
}

func (t bareTheine) Close() { t.cache.Close() }

// each gets keys one after the other, as the user of a cache without a call for
// many does.
func each(ctx context.Context, c Cache, keys []string) (map[string]Product, error) {
	found := make(map[string]Product, len(keys))
	for _, key := range keys {
		p, err := c.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		found[key] = p
	}
	return found, nil
}
