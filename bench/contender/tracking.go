package contender

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
	"github.com/valkey-io/valkey-go"
)

// doCache is rueidis with the server telling it of changes. It keeps replies, so
// a hit is decoded.
type doCache struct {
	client rueidis.Client
	prefix string
	env    Env
}

func openRueidis(env Env) (Cache, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{env.Redis}})
	return doCache{c, env.Namespace + ":", env}, err
}

func (d doCache) Get(ctx context.Context, key string) (Product, error) {
	data, err := d.client.DoCache(ctx, d.client.B().Get().Key(d.prefix+key).Cache(), TTL).AsBytes()
	if err == nil {
		return decode(data)
	}
	if !rueidis.IsRedisNil(err) {
		return Product{}, err
	}
	p, err := d.env.load(ctx, key)
	if err == nil {
		err = d.Set(ctx, key, p)
	}
	return p, err
}

func (d doCache) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = d.prefix + key
	}
	replies, err := rueidis.MGetCache(d.client, ctx, TTL, names)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Product, len(keys))
	for name, reply := range replies {
		data, err := reply.AsBytes()
		if err != nil {
			return nil, err
		}
		if found[strings.TrimPrefix(name, d.prefix)], err = decode(data); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (d doCache) Set(ctx context.Context, key string, p Product) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	return d.client.Do(ctx, d.client.B().Set().Key(d.prefix+key).Value(rueidis.BinaryString(data)).Ex(TTL).Build()).Error()
}

func (d doCache) Invalidate(ctx context.Context, key string) error {
	return d.client.Do(ctx, d.client.B().Del().Key(d.prefix+key).Build()).Error()
}

func (d doCache) Close() { d.client.Close() }

// aside is rueidis's cache-aside client: DoCache with a lease for the loader.
type aside struct {
	client rueidisaside.CacheAsideClient
	plain  doCache
}

func openRueidisAside(env Env) (Cache, error) {
	c, err := rueidisaside.NewClient(rueidisaside.ClientOption{ClientOption: rueidis.ClientOption{InitAddress: []string{env.Redis}}})
	if err != nil {
		return nil, err
	}
	return aside{c, doCache{c.Client(), env.Namespace + ":", env}}, nil
}

func (a aside) Get(ctx context.Context, key string) (Product, error) {
	text, err := a.client.Get(ctx, TTL, a.plain.prefix+key, a.load)
	if err != nil {
		return Product{}, err
	}
	return decode([]byte(text))
}

func (a aside) load(ctx context.Context, name string) (string, error) {
	p, err := a.plain.env.load(ctx, strings.TrimPrefix(name, a.plain.prefix))
	if err != nil {
		return "", err
	}
	data, err := encode(p)
	return string(data), err
}

func (a aside) Set(ctx context.Context, key string, p Product) error { return a.plain.Set(ctx, key, p) }

func (a aside) Invalidate(ctx context.Context, key string) error {
	return a.client.Del(ctx, a.plain.prefix+key)
}

func (a aside) Close() { a.client.Close() }

// valkeyCache is doCache with Valkey's fork of the client.
type valkeyCache struct {
	client valkey.Client
	prefix string
	env    Env
}

func openValkey(env Env) (Cache, error) {
	c, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{env.Redis}})
	return valkeyCache{c, env.Namespace + ":", env}, err
}

func (v valkeyCache) Get(ctx context.Context, key string) (Product, error) {
	data, err := v.client.DoCache(ctx, v.client.B().Get().Key(v.prefix+key).Cache(), TTL).AsBytes()
	if err == nil {
		return decode(data)
	}
	if !valkey.IsValkeyNil(err) {
		return Product{}, err
	}
	p, err := v.env.load(ctx, key)
	if err == nil {
		err = v.Set(ctx, key, p)
	}
	return p, err
}

func (v valkeyCache) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = v.prefix + key
	}
	replies, err := valkey.MGetCache(v.client, ctx, TTL, names)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Product, len(keys))
	for name, reply := range replies {
		data, err := reply.AsBytes()
		if err != nil {
			return nil, err
		}
		if found[strings.TrimPrefix(name, v.prefix)], err = decode(data); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (v valkeyCache) Set(ctx context.Context, key string, p Product) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	return v.client.Do(ctx, v.client.B().Set().Key(v.prefix+key).Value(valkey.BinaryString(data)).Ex(TTL).Build()).Error()
}

func (v valkeyCache) Invalidate(ctx context.Context, key string) error {
	return v.client.Do(ctx, v.client.B().Del().Key(v.prefix+key).Build()).Error()
}

func (v valkeyCache) Close() { v.client.Close() }
