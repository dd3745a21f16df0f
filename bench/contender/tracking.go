package contender

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
	"github.com/valkey-io/valkey-go"
)

// tracking is a client that the server tells of changes. It keeps replies, so a hit is
// decoded.
type tracking struct {
	tracker
	prefix string
	env    Env
}

// tracker is what rueidis and its fork for Valkey have in common.
type tracker interface {
	get(ctx context.Context, name string) (data []byte, found bool, err error)
	getMany(ctx context.Context, names []string) (map[string][]byte, error)
	set(ctx context.Context, name string, data []byte) error
	del(ctx context.Context, name string) error
	Close()
}

func (t tracking) Get(ctx context.Context, key string) (Product, error) {
	data, found, err := t.get(ctx, t.prefix+key)
	if err != nil {
		return Product{}, err
	}
	if found {
		return decode(data)
	}
	p, err := t.env.load(ctx, key)
	if err == nil {
		err = t.Set(ctx, key, p)
	}
	return p, err
}

func (t tracking) GetMany(ctx context.Context, keys []string) (map[string]Product, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = t.prefix + key
	}
	values, err := t.getMany(ctx, names)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Product, len(keys))
	for name, data := range values {
		if found[strings.TrimPrefix(name, t.prefix)], err = decode(data); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (t tracking) Set(ctx context.Context, key string, p Product) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	return t.set(ctx, t.prefix+key, data)
}

func (t tracking) Invalidate(ctx context.Context, key string) error {
	return t.del(ctx, t.prefix+key)
}

// bytesOf takes the bytes out of replies.
func bytesOf[R any, P interface {
	*R
	AsBytes() ([]byte, error)
}](replies map[string]R, err error) (map[string][]byte, error) {
	if err != nil {
		return nil, err
	}
	values := make(map[string][]byte, len(replies))
	for name, reply := range replies {
		if values[name], err = P(&reply).AsBytes(); err != nil {
			return nil, err
		}
	}
	return values, nil
}

type rueidisTracker struct{ rueidis.Client }

func openRueidis(env Env) (Cache, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{env.Redis}})
	return tracking{rueidisTracker{c}, env.Namespace + ":", env}, err
}

func (r rueidisTracker) get(ctx context.Context, name string) ([]byte, bool, error) {
	data, err := r.DoCache(ctx, r.B().Get().Key(name).Cache(), TTL).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, false, nil
	}
	return data, true, err
}

func (r rueidisTracker) getMany(ctx context.Context, names []string) (map[string][]byte, error) {
	return bytesOf(rueidis.MGetCache(r, ctx, TTL, names))
}

func (r rueidisTracker) set(ctx context.Context, name string, data []byte) error {
	return r.Do(ctx, r.B().Set().Key(name).Value(rueidis.BinaryString(data)).Ex(TTL).Build()).Error()
}

func (r rueidisTracker) del(ctx context.Context, name string) error {
	return r.Do(ctx, r.B().Del().Key(name).Build()).Error()
}

type valkeyTracker struct{ valkey.Client }

func openValkey(env Env) (Cache, error) {
	c, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{env.Redis}})
	return tracking{valkeyTracker{c}, env.Namespace + ":", env}, err
}

func (v valkeyTracker) get(ctx context.Context, name string) ([]byte, bool, error) {
	data, err := v.DoCache(ctx, v.B().Get().Key(name).Cache(), TTL).AsBytes()
	if valkey.IsValkeyNil(err) {
		return nil, false, nil
	}
	return data, true, err
}

func (v valkeyTracker) getMany(ctx context.Context, names []string) (map[string][]byte, error) {
	return bytesOf(valkey.MGetCache(v, ctx, TTL, names))
}

func (v valkeyTracker) set(ctx context.Context, name string, data []byte) error {
	return v.Do(ctx, v.B().Set().Key(name).Value(valkey.BinaryString(data)).Ex(TTL).Build()).Error()
}

func (v valkeyTracker) del(ctx context.Context, name string) error {
	return v.Do(ctx, v.B().Del().Key(name).Build()).Error()
}

// aside is rueidis's cache-aside client: DoCache with a lease for the loader.
type aside struct {
	client rueidisaside.CacheAsideClient
	plain  tracking
}

func openRueidisAside(env Env) (Cache, error) {
	c, err := rueidisaside.NewClient(rueidisaside.ClientOption{ClientOption: rueidis.ClientOption{InitAddress: []string{env.Redis}}})
	if err != nil {
		return nil, err
	}
	return aside{c, tracking{rueidisTracker{c.Client()}, env.Namespace + ":", env}}, nil
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
