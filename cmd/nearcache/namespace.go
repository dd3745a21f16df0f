package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// namespace is one cache in a Redis.
type namespace struct {
	*deployment
	name   string
	shards int
	store  *l2.Store
}

// findNamespace returns the namespace called name, which has as many shards as Redis
// says; shards, if not 0, is used where it does not say.
func findNamespace(ctx context.Context, d *deployment, name string, shards int) (*namespace, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if name == "" {
		return nil, fmt.Errorf("which cache? --name says so, as in its Config.Name; %s", found(ctx, d))
	}
	recorded, err := recordedShards(ctx, d.client, name)
	switch {
	case errors.Is(err, redis.Nil) && shards == 0:
		return nil, fmt.Errorf("there is no cache %q on %s; %s", name, d.place(), found(ctx, d))
	case errors.Is(err, redis.Nil), errors.Is(err, errShards) && shards != 0:
	case err != nil:
		return nil, err
	case shards != 0 && shards != recorded:
		return nil, fmt.Errorf("--shards is %d, but the cache has %d shards, as recorded at %s: leave --shards out",
			shards, recorded, shardsKey(name))
	default:
		shards = recorded
	}
	if shards < 1 || shards > l2.MaxShards {
		return nil, fmt.Errorf("--shards is %d, must be 1 to %d", shards, l2.MaxShards)
	}
	return d.namespace(name, shards), nil
}

func (d *deployment) namespace(name string, shards int) *namespace {
	store := l2.Open(l2.Config{Client: d.client, Name: name, Shards: shards, Timeout: patience, LogLen: l2.LogLen(shards)})
	return &namespace{deployment: d, name: name, shards: shards, store: store}
}

func (n *namespace) close() {
	n.store.Close()
	n.client.Close()
}

// tags are what the names of each shard's keys begin with.
func (n *namespace) tags() []string {
	tags := n.store.Channels()
	for i := range tags {
		tags[i] = strings.TrimSuffix(tags[i], ":ch")
	}
	return tags
}

func shardsKey(name string) string { return "{" + name + "}:shards" }

var errShards = errors.New("the recorded number of shards is none")

// recordedShards returns the number of shards in Redis. Errors are redis.Nil, errShards
// and those of Redis.
func recordedShards(ctx context.Context, client redis.UniversalClient, name string) (int, error) {
	raw, err := client.Get(ctx, shardsKey(name)).Result()
	if errors.Is(err, redis.Nil) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", shardsKey(name), err)
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 || n > l2.MaxShards {
		return 0, fmt.Errorf("%w: %.32q at %s, must be 1 to %d; delete that key once no instance runs, or name the number by --shards",
			errShards, raw, shardsKey(name), l2.MaxShards)
	}
	return n, nil
}

const (
	scanPage  = 1000
	scanPages = 200 // of a server: a look around must not become a burden
	scanTime  = 2 * time.Second
)

// found tells which namespaces there are.
func found(ctx context.Context, d *deployment) string {
	keys, whole, err := scan(ctx, d.client, "{*}:shards")
	if err != nil {
		return "which ones there are cannot be listed: " + err.Error()
	}
	var names []string
	for _, key := range keys {
		names = append(names, fmt.Sprintf("%q", strings.TrimSuffix(strings.TrimPrefix(key, "{"), "}:shards")))
	}
	slices.Sort(names)
	list := strings.Join(names[:min(len(names), 20)], ", ")
	switch {
	case len(names) > 20:
		return fmt.Sprintf("there are %s and others", list)
	case len(names) > 0:
		return "there are: " + list
	case !whole:
		return "and none among the keys looked at; there are too many to look at all"
	default:
		return "and no other; instances create it, with the Name of their Config and this Redis"
	}
}

// scan returns the keys that match, of all masters. It gives up where that takes long:
// whole is false then.
func scan(ctx context.Context, client redis.UniversalClient, pattern string) (keys []string, whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	var mu sync.Mutex
	whole = true
	err = eachMaster(ctx, client, func(ctx context.Context, c *redis.Client) error {
		var cursor uint64
		for range scanPages {
			page, next, err := c.Scan(ctx, cursor, pattern, scanPage).Result()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			mu.Lock()
			keys = append(keys, page...)
			mu.Unlock()
			if cursor = next; cursor == 0 && err == nil {
				return nil
			}
			if err != nil {
				break
			}
		}
		mu.Lock()
		whole = false
		mu.Unlock()
		return nil
	})
	slices.Sort(keys)
	return slices.Compact(keys), whole, err
}

// eachMaster calls what for every master, at once where there are many.
func eachMaster(ctx context.Context, client redis.UniversalClient, what func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, what)
	case *redis.Client:
		return what(ctx, c)
	}
	return fmt.Errorf("a client of type %T", client)
}
