package nearcache_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

const clusterShards = 64 // the default on a cluster

// clusterScene is a scene on a Redis Cluster, which serves what it can while a
// master is missing.
type clusterScene struct {
	*scene
	cluster *redistest.Cluster
}

func newClusterScene(t *testing.T) *clusterScene {
	t.Helper()
	s := &clusterScene{&scene{fleet: fleet{source: &source{}}}, redistest.StartCluster(t)}
	for _, node := range append(s.cluster.Masters, s.cluster.Replicas...) {
		if err := node.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		cache, err := nearcache.New(nearcache.Config[product]{
			Name: "products", Redis: s.cluster.Client(t), Load: s.fleet.source.load, MaxStaleness: serverBound,
			Strict: true, // a replica that takes over may lack the last changes
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		s.fleet.caches = append(s.fleet.caches, cache)
	}
	s.stage = newStage(s.fleet.source, serverBound, s.fleet.players()...)
	for i := range 60 {
		s.keys = append(s.keys, fmt.Sprint("k", i))
	}
	s.commit(s.keys)
	s.warm(t)
	return s
}

// TestClusterShards: a cluster client gets 64 shards, which are recorded and checked.
func TestClusterShards(t *testing.T) {
	cluster := redistest.StartCluster(t)
	open := func(shards int) error {
		cache, err := nearcache.New(nearcache.Config[product]{Name: "products", Redis: cluster.Client(t), Shards: shards})
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

// onFirst returns the keys that live on the first master, and the others.
func (s *clusterScene) onFirst(t *testing.T) (first, others []string) {
	t.Helper()
	client := s.cluster.Client(t)
	for _, key := range s.keys {
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

// restored waits until changes of keys are acknowledged again, and nothing is left
// to be sent.
func (s *clusterScene) restored(t *testing.T, keys []string) time.Duration {
	t.Helper()
	began := time.Now()
	for _, key := range keys {
		for s.change(context.Background(), 0, key, false) != nil {
			if time.Since(began) > 40*time.Second {
				t.Fatalf("changes of %s still fail", key)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	s.settledAgain(t)
	return time.Since(began).Round(time.Millisecond)
}

// TestFaultClusterMaster: a master of a cluster dies, or falls silent, and its
// replica takes over. What lives on the other masters notices nothing.
func TestFaultClusterMaster(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server, testing.TB){
		"dead": (*redistest.Server).Kill, "silent": (*redistest.Server).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			s := newClusterScene(t)
			first, others := s.onFirst(t)
			stop := s.readers(t)
			s.changeAll(t, 0, s.keys)
			lose(s.cluster.Masters[0], t)
			s.changeFailing(t, 1, first[:2])
			s.changeAll(t, 0, others)
			t.Logf("restored after %v", s.restored(t, first))
			s.repaired(t, s.keys)
			s.changeAll(t, 1, s.keys)
			s.refilled(t, first[0])
			if name == "silent" {
				s.cluster.Masters[0].Resume(t) // to find itself a replica
			}
			s.changeAll(t, 0, s.keys)
			s.repaired(t, s.keys)
			s.warm(t)
			stop()
			s.judged(t)
		})
	}
}

// TestFaultClusterResharding: a thousand slots, and among them all of the first
// master's that hold anything, move to another master, key by key, while instances read
// and write; these then move on, and back again.
func TestFaultClusterResharding(t *testing.T) {
	s := newClusterScene(t)
	first, _ := s.onFirst(t)
	moving := make(map[int]bool)
	for _, key := range first {
		moving[shardOf(key)] = true
	}
	stop := s.readers(t)
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil { // some are refused while their shard is in two places
			_ = s.change(context.Background(), 0, first[rand.IntN(len(first))], false)
			time.Sleep(time.Millisecond)
		}
	})
	at, client := s.cluster.Masters[0], s.cluster.Masters[0].Client(t)
	var slots []int
	for shard := range moving {
		slot, err := client.ClusterKeySlot(t.Context(), shardTag(shard)).Result()
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, int(slot))
	}
	used := len(slots)
	for slot := 0; len(slots) < 1000; slot++ { // the first master begins with 5,461
		if !slices.Contains(slots, slot) {
			slots = append(slots, slot)
		}
	}
	for to := 1; to <= 3; to++ {
		next := s.cluster.Masters[to%3]
		s.cluster.MoveSlots(t, slots, at, next)
		at, slots = next, slots[:used]
		time.Sleep(serverBound)
	}
	cancel()
	writing.Wait()
	t.Logf("restored after %v", s.restored(t, first))
	s.repaired(t, s.keys)
	s.changeAll(t, 1, s.keys)
	s.refilled(t, first[0])
	s.warm(t)
	stop()
	s.judged(t)
}
