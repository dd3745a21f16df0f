package l2

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// asked runs a function once, before a cluster client sends what it was asked to send
// to another node.
type asked struct {
	once sync.Once
	then func()
}

func (h *asked) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *asked) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *asked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && cmds[0].Name() == "asking" {
			h.once.Do(h.then)
		}
		return next(ctx, cmds)
	}
}

// TestReadWhileItsSlotMoves: the record has moved already and the value has not, so a
// read gets the value first, and the record only when it has asked the other master.
// An invalidation comes in between, where the value follows or where the record has
// come back to. The record must not vouch for the value.
func TestReadWhileItsSlotMoves(t *testing.T) {
	one := func(s *Store, key string) error {
		_, err := s.Read(context.Background(), key, "", 0)
		return err
	}
	many := func(s *Store, key string) error { return s.ReadMany(context.Background(), s.Group([]string{key})) }
	t.Run("and is there", func(t *testing.T) { readWhileItsSlotMoves(t, one, false) })
	t.Run("and back", func(t *testing.T) { readWhileItsSlotMoves(t, one, true) })
	t.Run("and back, many", func(t *testing.T) { readWhileItsSlotMoves(t, many, true) })
}

func readWhileItsSlotMoves(t *testing.T, read func(*Store, string) error, back bool) {
	cluster := redistest.StartCluster(t)
	from, to := cluster.Masters[0], cluster.Masters[1]
	ctx, source, target := t.Context(), from.Client(t), to.Client(t)
	open := func(client *redis.ClusterClient) *Store {
		s := Open(Config{Client: client, Name: "test", Shards: 16, Timeout: 5 * time.Second, LogLen: 100})
		t.Cleanup(s.Close)
		beatsWell(t, s)
		return s
	}
	reading := cluster.Client(t)
	var hook asked
	reading.OnNewNode(func(node *redis.Client) { node.AddHook(&hook) })
	reader, writer := open(reading), open(cluster.Client(t))

	key := keyOn(t, reading, reader, from)
	k := reader.space.shards[reader.Shard(key)]
	before, err := writer.Invalidate(ctx, reader.Shard(key), []string{key})
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Client(t).Set(ctx, k.values+key, "old", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	slot, err := source.ClusterKeySlot(ctx, k.record).Result()
	must(err)
	leaver, err := source.ClusterMyID(ctx).Result()
	must(err)
	heir, err := target.ClusterMyID(ctx).Result()
	must(err)
	move := func(name string) {
		t.Helper()
		must(source.Do(ctx, "migrate", "127.0.0.1", redistest.Port(to.Addr()), name, 0, 1000).Err())
	}
	giveBack := func(name string) {
		t.Helper()
		must(target.Do(ctx, "migrate", "127.0.0.1", redistest.Port(from.Addr()), name, 0, 1000).Err())
	}
	must(target.Do(ctx, "cluster", "setslot", slot, "importing", leaver).Err())
	must(source.Do(ctx, "cluster", "setslot", slot, "migrating", heir).Err())
	move(k.record)
	move(k.log)
	var after Record
	hook.then = func() {
		if back { // nobody wrote or sent a heartbeat where it was: it has the same epoch
			must(source.Do(ctx, "cluster", "setslot", slot, "stable").Err())
			giveBack(k.record)
			giveBack(k.log)
			must(target.Do(ctx, "cluster", "setslot", slot, "stable").Err())
		} else {
			move(k.values + key)
		}
		var err error
		if after, err = writer.Invalidate(ctx, reader.Shard(key), []string{key}); err != nil {
			t.Errorf("invalidation while the slot moves: %v", err)
		}
	}
	err = read(reader, key)
	if after.Seq == 0 {
		t.Fatalf("%v: not the case that was meant", err)
	}
	if !errors.Is(err, errMoving) {
		t.Errorf("the value of before an invalidation passes for one of after it: %v", err)
	}
	// Readers that are no Go programs may not know which of their commands were redirected.
	if !back && after.Epoch == before.Epoch {
		t.Error("a change where the record has moved to began no epoch")
	}
}

// keyOn returns a key whose shard lives on a master.
func keyOn(t *testing.T, client *redis.ClusterClient, s *Store, master *redistest.Server) string {
	t.Helper()
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"} {
		node, err := client.MasterForKey(t.Context(), s.space.shards[s.Shard(key)].record)
		if err != nil {
			t.Fatal(err)
		}
		if node.Options().Addr == master.Addr() {
			return key
		}
	}
	t.Fatal("no key lives on that master")
	return ""
}
