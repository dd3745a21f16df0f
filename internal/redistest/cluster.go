package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// settling bounds how long the servers of a group may take to find each other.
const settling = 30 * time.Second

// Cluster is a Redis Cluster of one test, of processes that the test may harm.
type Cluster struct {
	Masters, Replicas []*Server // replica i follows master i, until a failover
}

// StartCluster returns a Redis Cluster of three masters with a replica each,
// under the conditions of [StartProcess].
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range 3 {
		c.Masters = append(c.Masters, StartProcess(t, ClusterArgs(t)...))
	}
	for range 3 {
		c.Replicas = append(c.Replicas, StartProcess(t, ClusterArgs(t)...))
	}
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	defer cancel()
	if err := JoinCluster(ctx, addrs(c.Masters), addrs(c.Replicas)); err != nil {
		t.Fatal(err)
	}
	return c
}

// Client returns a client of the cluster that is closed with the test. change edits
// its options.
func (c *Cluster) Client(t testing.TB, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	options := &redis.ClusterOptions{Addrs: append(addrs(c.Masters), addrs(c.Replicas)...)}
	for _, edit := range change {
		edit(options)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// MoveSlots moves hash slots and their keys to another master, as resharding does:
// slot by slot and key by key, while both serve.
func (c *Cluster) MoveSlots(t testing.TB, slots []int, from, to *Server) {
	t.Helper()
	ctx := context.Background()
	source, target := from.Client(t), to.Client(t)
	leaver, heir := source.ClusterMyID(ctx).Val(), target.ClusterMyID(ctx).Val()
	for _, slot := range slots {
		if err := moveSlot(ctx, slot, source, target, leaver, heir); err != nil {
			t.Fatalf("moving slot %d from %s to %s: %v", slot, from.addr, to.addr, err)
		}
	}
}

func moveSlot(ctx context.Context, slot int, source, target *redis.Client, leaver, heir string) error {
	if err := errors.Join(
		target.Do(ctx, "cluster", "setslot", slot, "importing", leaver).Err(),
		source.Do(ctx, "cluster", "setslot", slot, "migrating", heir).Err(),
	); err != nil {
		return err
	}
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 1).Result() // one at a time: most are apart for a while
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		if err := source.Do(ctx, "migrate", "127.0.0.1", Port(target.Options().Addr), keys[0], 0, 1000).Err(); err != nil {
			return err
		}
	}
	return errors.Join(
		target.Do(ctx, "cluster", "setslot", slot, "node", heir).Err(),
		source.Do(ctx, "cluster", "setslot", slot, "node", heir).Err(),
	)
}

func addrs(servers []*Server) []string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.addr
	}
	return list
}

// ClusterArgs returns what makes a redis-server the node of a cluster on the
// loopback interface that declares a silent node dead after a second. A replica
// is listed only once it has received something, hence the brisk pings.
func ClusterArgs(t testing.TB) []string {
	t.Helper()
	return []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-ping-replica-period", "1",
		"--cluster-port", Port(FreeAddrs(t, 1)[0]), "--cluster-announce-ip", "127.0.0.1"}
}

// JoinCluster makes empty nodes a cluster: slots are spread evenly over the
// masters, and replica i follows master i. It returns when every node says that
// the cluster works and every replica is in step.
func JoinCluster(ctx context.Context, masters, replicas []string) error {
	nodes, leave := connect(append(append([]string{}, masters...), replicas...))
	defer leave()
	ids := make([]string, len(masters))
	for i := range masters {
		var err error
		if ids[i], err = nodes[i].ClusterMyID(ctx).Result(); err != nil {
			return fmt.Errorf("node %s: %w", masters[i], err)
		}
		if err := nodes[i].ClusterAddSlotsRange(ctx, slots*i/len(masters), slots*(i+1)/len(masters)-1).Err(); err != nil {
			return fmt.Errorf("giving node %s its slots: %w", masters[i], err)
		}
	}
	for i, node := range nodes {
		// Without epochs of their own nodes quarrel about who is newer first.
		if err := node.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return err
		}
		if i > 0 {
			if err := meet(ctx, nodes[0], node); err != nil {
				return fmt.Errorf("node %s, meeting: %w", node.Options().Addr, err)
			}
		}
	}
	for i := range replicas {
		node := nodes[len(masters)+i]
		// It must have heard of its master before it can follow it.
		if err := until(ctx, func() error { return node.ClusterReplicate(ctx, ids[i%len(ids)]).Err() }); err != nil {
			return fmt.Errorf("node %s, replicating: %w", replicas[i], err)
		}
	}
	for i, node := range nodes {
		if err := until(ctx, func() error { return joined(ctx, node, len(masters), i >= len(masters)) }); err != nil {
			return fmt.Errorf("node %s, joining: %w", node.Options().Addr, err)
		}
	}
	return nil
}

// meet introduces node to host, whose gossip tells the others.
func meet(ctx context.Context, host, node *redis.Client) error {
	bus, err := node.ConfigGet(ctx, "cluster-port").Result()
	if err != nil {
		return err
	}
	return host.Do(ctx, "cluster", "meet", "127.0.0.1", Port(node.Options().Addr), bus["cluster-port"]).Err()
}

// joined returns why a node does not see the whole cluster yet.
func joined(ctx context.Context, node *redis.Client, masters int, replica bool) error {
	shards, err := node.ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	if len(shards) != masters {
		return fmt.Errorf("sees %d shards, want %d", len(shards), masters)
	}
	for _, shard := range shards {
		online := 0
		for _, n := range shard.Nodes {
			if n.Health == "online" {
				online++
			}
		}
		if len(shard.Slots) == 0 || online < 2 {
			return fmt.Errorf("sees %d of a shard's nodes for slots %v", online, shard.Slots)
		}
	}
	state, err := node.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(state, "cluster_state:ok") {
		return errors.New("does not say cluster_state:ok")
	}
	if replica {
		return following(ctx, node)
	}
	return nil
}

// following returns why a replica is not in step with its master.
func following(ctx context.Context, replica *redis.Client) error {
	info, err := replica.InfoMap(ctx, "replication").Result()
	if err == nil && info["Replication"]["master_link_status"] != "up" {
		err = fmt.Errorf("link to its master is %q", info["Replication"]["master_link_status"])
	}
	return err
}

// connect returns a client for each address, and what closes them all.
func connect(addrs []string) (clients []*redis.Client, leave func()) {
	for _, addr := range addrs {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: addr}))
	}
	return clients, func() {
		for _, c := range clients {
			c.Close()
		}
	}
}

// until calls what again until it returns nil; when ctx ends, with its last
// error.
func until(ctx context.Context, what func() error) error {
	for {
		err := what()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
