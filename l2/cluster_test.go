package l2

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
)

// openCluster returns a store of 16 shards on a Redis Cluster that serves what it
// can while a master is missing, and the shards that live on its first master.
func openCluster(t *testing.T) (s *Store, cluster *redistest.Cluster, first []int) {
	t.Helper()
	cluster = redistest.StartCluster(t)
	client := cluster.Client(t)
	for _, node := range append(cluster.Masters, cluster.Replicas...) {
		if err := node.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	s = Open(Config{Client: client, Name: "test", Shards: 16, Timeout: 200 * time.Millisecond, LogLen: 100})
	t.Cleanup(s.Close)
	beatsWell(t, s)
	for i, k := range s.space.shards {
		node, err := client.MasterForKey(t.Context(), k.record)
		if err != nil {
			t.Fatal(err)
		}
		if node.Options().Addr == cluster.Masters[0].Addr() {
			first = append(first, i)
		}
	}
	if len(first) == 0 || len(first) == 16 {
		t.Fatalf("%d of 16 shards live on one of three masters", len(first))
	}
	return s, cluster, first
}

// beatsWell waits until every shard answers a heartbeat.
func beatsWell(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		missing := 0
		for _, b := range s.Heartbeat(context.Background(), make([]Known, 16), minute) {
			if b.Err != nil {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 16 shards answer no heartbeat", missing)
		}
	}
}

// TestClusterMasterLost: a master that is dead, or silent, takes nothing from the
// others; and when its replica has taken over, that is found by asking.
func TestClusterMasterLost(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server, testing.TB){
		"dead": (*redistest.Server).Kill, "silent": (*redistest.Server).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			s, cluster, first := openCluster(t)
			gone := make(map[int]bool)
			for _, shard := range first {
				gone[shard] = true
			}
			lose(cluster.Masters[0], t)
			var others, lost int
			for i := range 200 {
				key := fmt.Sprint("k", i)
				_, err := s.Read(t.Context(), key, s.Token(), minute)
				switch {
				case gone[s.Shard(key)] && err != nil:
					lost++
				case err != nil:
					t.Fatalf("reading %s from a master that is well: %v", key, err)
				default:
					others++
				}
			}
			if lost == 0 || others == 0 {
				t.Fatalf("%d reads lost, %d not", lost, others)
			}
			if s.Away() {
				t.Fatal("all of Redis counts as away")
			}
			for i, b := range s.Heartbeat(t.Context(), make([]Known, 16), minute) {
				if !gone[i] && b.Err != nil {
					t.Fatalf("heartbeat of a master that is well: %v", b.Err)
				}
			}
			beatsWell(t, s)
			for i := range 200 {
				if _, err := s.Read(t.Context(), fmt.Sprint("k", i), s.Token(), minute); err != nil {
					t.Fatalf("after the failover: %v", err)
				}
			}
			if name == "silent" { // its connections end
				cluster.Masters[0].Resume(t)
			}
		})
	}
}
