package nearcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestTheJudgeConvictsANaiveCache: DEL, then PUBLISH, then go-redis's Channel,
// as most near caches do it. A judge that lets this pass proves nothing of ours.
func TestTheJudgeConvictsANaiveCache(t *testing.T) {
	const within = 3
	for seed := range uint64(within) {
		r := history(t, seed, dense, sockets(t), naiveOn)
		if r.Violations() > 0 {
			t.Logf("convicted with seed %d: %v", seed, r)
			return
		}
	}
	t.Fatalf("not convicted within %d seeds", within)
}

// naive keeps values in a map and drops them when a message says so.
type naive struct {
	client *redis.Client
	source *source
	mu     sync.Mutex
	values map[string]product
}

const naiveChannel = "naive"

func naiveOn(t testing.TB, client *redis.Client, src *source, _ plot) player {
	n := &naive{client: client, source: src, values: make(map[string]product)}
	sub := client.Subscribe(context.Background(), naiveChannel)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m := range sub.Channel() {
			n.drop(m.Payload)
		}
	})
	t.Cleanup(func() { sub.Close(); listening.Wait() })
	return n
}

func (n *naive) drop(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.values, key)
}

func (n *naive) keep(p product) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.values[p.ID] = p
}

func (n *naive) read(ctx context.Context, key string, bypass bool) (int, error) {
	n.mu.Lock()
	p, ok := n.values[key]
	n.mu.Unlock()
	if ok && !bypass {
		return p.Version, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	var found product // not p, whose tags others read
	if b, err := n.client.Get(ctx, key).Bytes(); err == nil && json.Unmarshal(b, &found) == nil {
		n.keep(found)
		return found.Version, nil
	}
	p, err := n.source.load(context.Background(), key)
	if err != nil {
		return 0, err
	}
	if b, err := json.Marshal(p); err == nil {
		n.client.Set(ctx, key, b, time.Minute)
	}
	n.keep(p)
	return p.Version, nil
}

func (n *naive) invalidate(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	n.drop(key)
	return errors.Join(n.client.Del(ctx, key).Err(), n.client.Publish(ctx, naiveChannel, key).Err())
}

func (n *naive) set(ctx context.Context, p product) error { return n.invalidate(ctx, p.ID) }
