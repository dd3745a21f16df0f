package nearcache_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

const clusterShards = 64 // the default on a cluster

// clusterScene is a scene on a Redis Cluster, which serves what it can while a
// master is missing.
type clusterScene struct {
	*scene
	cluster *redistest.Cluster
}

func newClusterScene(t *testing.T, change ...func(*redis.ClusterOptions)) *clusterScene {
	t.Helper()
	cluster := redistest.StartCluster(t)
	for _, node := range append(cluster.Masters, cluster.Replicas...) {
		if err := node.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := openScene(t, load.instances, 60, serverBound, func() redis.UniversalClient { return cluster.Client(t, change...) }, strict)
	return &clusterScene{s, cluster}
}

// TestClusterShards: a cluster client gets 64 shards, which are recorded and checked.
func TestClusterShards(t *testing.T) {
	cluster := redistest.StartCluster(t)
	open := func(shards int) error {
		cache, err := nearcache.New(nearcache.Config[product]{
			Name: "products", Redis: cluster.Client(t), Shards: shards, RedisTimeout: calm,
		})
		if err == nil {
			t.Cleanup(func() { cache.Close() })
		}
		return err
	}
	if err := open(0); err != nil {
		t.Fatal(err)
	}
	if n, err := cluster.Client(t).Get(t.Context(), "{products}:shards").Int(); err != nil || n != clusterShards {
		t.Fatalf("%d shards recorded, %v; want %d", n, err, clusterShards)
	}
	if err := open(8); err == nil || !strings.Contains(err.Error(), "configured 8") {
		t.Fatalf("8 shards: %v", err)
	}
	if err := open(clusterShards); err != nil {
		t.Fatal(err)
	}
}

func shardOf(key string) int { return int(crc32.ChecksumIEEE([]byte(key)) % clusterShards) }

// shardTag begins the names of all Redis keys of a shard.
func shardTag(shard int) string { return fmt.Sprintf("{products:%02d}", shard) }

// onFirst returns those of keys that live on the first master, and the others.
func (s *clusterScene) onFirst(t *testing.T, keys []string) (first, others []string) {
	t.Helper()
	client := s.cluster.Client(t)
	for _, key := range keys {
		node, err := client.MasterForKey(t.Context(), shardTag(shardOf(key)))
		if err != nil {
			t.Fatal(err)
		}
		if node.Options().Addr == s.cluster.Masters[0].Addr() {
			first = append(first, key)
		} else {
			others = append(others, key)
		}
	}
	if len(first) == 0 || len(others) == 0 {
		t.Fatalf("%d keys on the first master, %d on the others", len(first), len(others))
	}
	return first, others
}

// promotion watches for the first master's replica to take over; the returned function
// tells how long after the loss that was.
func (s *clusterScene) promotion(t *testing.T, lost time.Time) (after func() time.Duration) {
	var took atomic.Int64
	heir := s.cluster.Replicas[0].Client(t)
	stop := sync.OnceFunc(watch(func() {
		role, err := heir.Do(context.Background(), "role").Slice()
		if err == nil && role[0] == "master" {
			took.CompareAndSwap(0, int64(time.Since(lost)))
		}
	}))
	t.Cleanup(stop)
	return func() time.Duration { stop(); return time.Duration(took.Load()).Round(time.Millisecond) }
}

// acknowledged waits until a change of each key is acknowledged, for so long each.
func (s *clusterScene) acknowledged(t *testing.T, limit time.Duration, keys []string) {
	t.Helper()
	for _, key := range keys {
		eventuallyWithin(t, limit, "a change of "+key+" is acknowledged", func() bool {
			return s.change(context.Background(), 0, key, false) == nil
		})
	}
}

// brief gives a cluster's client the timeouts that docs/topologies.md asks for.
func brief(o *redis.ClusterOptions) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
}

// TestFaultClusterMaster: a master of a cluster dies, or falls silent, under load, and
// its replica takes over. What lives on the other masters notices nothing.
func TestFaultClusterMaster(t *testing.T) {
	for name, c := range map[string]struct {
		lose    func(*redistest.Server, testing.TB)
		options func(*redis.ClusterOptions)
	}{
		"dead":                     {(*redistest.Server).Kill, brief},
		"silent":                   {(*redistest.Server).Pause, brief},
		"dead, default timeouts":   {(*redistest.Server).Kill, func(*redis.ClusterOptions) {}},
		"silent, default timeouts": {(*redistest.Server).Pause, func(*redis.ClusterOptions) {}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "default timeouts") && os.Getenv("NEARCACHE_LONG") != "1" {
				t.Skip("SKIPPED: up to 25 s; NEARCACHE_LONG=1 runs it")
			}
			s := newClusterScene(t, c.options)
			first, others := s.onFirst(t, s.keys)
			alone, _ := s.onFirst(t, numbered(100 * load.instances)[100:]) // keys that the load leaves alone
			stop := s.underLoad(t, s.keys)
			time.Sleep(serverBound)
			c.lose(s.cluster.Masters[0], t)
			lost := time.Now()
			promoted := s.promotion(t, lost)
			s.changeFailing(t, 1, first[:2])
			s.acknowledged(t, 10*time.Second, others) // a busy machine may miss the budget of one
			s.servesAgain(t, lost, alone)
			s.acknowledged(t, 40*time.Second, first)
			t.Logf("the replica was master %v after the loss, and changes are acknowledged again after %v",
				promoted(), time.Since(lost).Round(time.Millisecond))
			stop().someOfBoth(t)
			stopReading := s.readers(t)
			s.settledAgain(t)
			s.repaired(t, s.keys)
			s.changeAll(t, 1, s.keys)
			s.refilled(t, first[0])
			if strings.HasPrefix(name, "silent") {
				s.cluster.Masters[0].Resume(t) // to find itself a replica
			}
			s.changeAll(t, 0, s.keys)
			s.repaired(t, s.keys)
			s.warm(t)
			stopReading()
			s.judged(t)
		})
	}
}

// TestFaultClusterResharding: a thousand slots, and among them all of the first
// master's that hold anything, move to another master, key by key, under load; those
// that hold something then move on, and back again.
func TestFaultClusterResharding(t *testing.T) {
	s := newClusterScene(t)
	first, _ := s.onFirst(t, s.keys)
	slots := s.slots(t, first)
	used := len(slots)
	for slot := 0; len(slots) < 1000; slot++ { // the first master begins with 5,461
		if !slices.Contains(slots, slot) {
			slots = append(slots, slot)
		}
	}
	stop := s.underLoad(t, first) // some changes are refused while their shard is in two places
	at := s.cluster.Masters[0]
	for to := 1; to <= 3; to++ {
		next, began := s.cluster.Masters[to%3], time.Now()
		s.cluster.MoveSlots(t, slots, at, next)
		t.Logf("%d slots moved in %v", len(slots), time.Since(began).Round(time.Millisecond))
		at, slots = next, slots[:used]
		time.Sleep(serverBound)
	}
	if stop().acknowledged.Load() == 0 {
		t.Fatal("not one change was acknowledged")
	}
	stopReading := s.readers(t)
	s.acknowledged(t, 40*time.Second, first)
	s.settledAgain(t)
	s.repaired(t, s.keys)
	s.changeAll(t, 1, s.keys)
	s.refilled(t, first[0])
	s.warm(t)
	stopReading()
	s.judged(t)
}

// slots returns the hash slots that keys live in.
func (s *clusterScene) slots(t *testing.T, keys []string) (slots []int) {
	t.Helper()
	client := s.cluster.Client(t)
	for _, key := range keys {
		slot, err := client.ClusterKeySlot(t.Context(), shardTag(shardOf(key))).Result()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(slots, int(slot)) {
			slots = append(slots, int(slot))
		}
	}
	return slots
}
