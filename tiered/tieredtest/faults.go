package tieredtest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// tag begins all names of the shard of a key in Redis.
func (s *suite) tag(f *fleet, key string) string {
	if s.shards == 1 {
		return "{" + f.name + "}"
	}
	return fmt.Sprintf("{%s:%02d}", f.name, crc32.ChecksumIEEE([]byte(key))%uint32(s.shards))
}

// record is a shard's SEQ EPOCH CLEARED REPLID.
func (s *suite) record(t *testing.T, f *fleet, key string) (seq uint64, epoch, rest string) {
	t.Helper()
	raw, err := f.admin.Get(context.Background(), s.tag(f, key)+":seq").Result()
	if err == nil {
		_, err = fmt.Sscan(raw, &seq, &epoch)
	}
	must(t, err)
	return seq, epoch, strings.SplitN(raw, " ", 3)[2]
}

// lose changes a key as the scripts do, but for the message that nobody hears.
func (s *suite) lose(t *testing.T, f *fleet, key, value string) {
	t.Helper()
	ctx, tag := context.Background(), s.tag(f, key)
	seq, epoch, rest := s.record(t, f, key)
	f.put(key, value)
	message := fmt.Sprintf("1 %d %d %s i %d:%s,", seq+1, seq, epoch, len(key), key)
	must(t,
		f.admin.Del(ctx, tag+":v:"+key).Err(),
		f.admin.XAdd(ctx, &redis.XAddArgs{Stream: tag + ":log", ID: fmt.Sprintf("%d-0", seq+1), Values: []string{"m", message}}).Err(),
		f.admin.Set(ctx, tag+":seq", fmt.Sprintf("%d %s %s", seq+1, epoch, rest), 0).Err())
}

// lostMessageIsRepaired: the next change of the shard shows the gap, and the log
// fills it. Nothing else leaves L1.
func lostMessageIsRepaired(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	for _, key := range keys(32) {
		f.put(key, "old")
		f.settled(t, key, "old")
	}
	s.lose(t, f, "k0", "new")
	f.put("next", "1")
	next := "next"
	for i := 0; s.tag(f, next) != s.tag(f, "k0"); i++ { // another key of that shard
		next = fmt.Sprint("next", i)
	}
	f.change(t, 1, next, "1")
	f.settled(t, "k0", "new")
	for i, c := range f.caches {
		if st := c.Stats(); st.Replays == 0 || st.Distrusts+st.Epochs != 0 {
			t.Errorf("instance %d was not repaired from the log: %+v", i, st)
		}
	}
	f.kept(t, keys(32)[1:])
}

// kept fails unless keys that nobody changed are still L1 hits everywhere, but for
// a tenth: a key may share the stripe of a changed one.
func (f *fleet) kept(t *testing.T, keys []string) {
	t.Helper()
	for i := range f.caches {
		lost := 0
		for _, key := range keys {
			if v, from := f.read(t, i, key); v != "old" || from != nearcache.FromL1 {
				lost++
			}
		}
		if lost > len(keys)/10 {
			t.Errorf("%d of %d keys that nobody changed left L1 of instance %d", lost, len(keys), i)
		}
	}
}

// killedSubscriptionIsRepaired: the servers cut all subscriptions off while keys
// are changed.
func killedSubscriptionIsRepaired(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	for _, key := range keys(64) {
		f.put(key, "old")
		f.settled(t, key, "old")
	}
	if err := everywhere(f.admin, "client", "kill", "type", "pubsub"); err != nil {
		s.lacking(t, "subscriptions cannot be cut off", err)
	}
	for _, key := range keys(16) {
		f.change(t, 0, key, "new")
	}
	for _, key := range keys(16) {
		f.settled(t, key, "new")
	}
	f.kept(t, keys(64)[16:])
}

// scissors is a hook that fails all commands of a client while it is closed.
type scissors struct{ closed atomic.Bool }

var errCut = errors.New("tieredtest: the instance is cut off")

func (s *scissors) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *scissors) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.closed.Load() {
			cmd.SetErr(errCut)
			return errCut
		}
		return next(ctx, cmd)
	}
}

func (s *scissors) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !s.closed.Load() {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(errCut)
		}
		return errCut
	}
}

// cutOffInstanceKeepsTheBound: one that no heartbeat proves L1 to does not believe
// it for longer than the bound, and asks the loader. A change that it makes returns
// an error, and is sent when the servers can be reached again.
func cutOffInstanceKeepsTheBound(t *testing.T, s *suite) {
	var cut scissors
	instances := 0
	f := s.launch(t, 2, func(c *nearcache.Config[string]) {
		c.MaxStaleness = 400 * time.Millisecond
		if instances++; instances == 2 {
			c.Redis.AddHook(&cut)
			if _, ok := c.Redis.(*redis.Client); ok { // its WithTimeout forgets hooks
				c.Redis = struct{ redis.UniversalClient }{c.Redis}
			}
		}
	})
	for _, key := range []string{"k", "mine"} {
		f.put(key, "old")
		f.settled(t, key, "old")
	}
	cut.closed.Store(true)
	s.lose(t, f, "k", "new")
	eventually(t, "the instance does not believe L1 any more", func() bool {
		v, _ := f.read(t, 1, "k")
		return v == "new"
	})
	f.put("mine", "new")
	err := f.caches[1].Invalidate(context.Background(), "mine")
	if _, ok := errors.AsType[*nearcache.TierError](err); !ok {
		t.Fatalf("a change that cannot reach the servers: %v, want a *TierError", err)
	}
	f.expect(t, 1, "mine", "new")
	cut.closed.Store(false)
	f.settled(t, "mine", "new")
	f.settled(t, "k", "new")
}

// forgottenScriptsAreSentAgain: nobody notices that the servers forgot the scripts.
func forgottenScriptsAreSentAgain(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	for round := range 3 {
		must(t, everywhere(f.admin, "script", "flush"))
		for _, key := range keys(16) {
			value := fmt.Sprint("v", round)
			f.change(t, round%2, key, value)
			f.settled(t, key, value)
		}
	}
	f.healthy(t)
}

// flushIsSurvived: all data are gone. Changes made before, after and without an
// announcement are seen, and L2 is filled again.
func flushIsSurvived(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	for _, key := range keys(32) {
		f.put(key, "old")
		f.settled(t, key, "old")
	}
	f.change(t, 0, "k0", "before")
	flush(t, f.admin)
	f.change(t, 1, "k1", "after")
	f.expect(t, 1, "k1", "after")
	f.settled(t, "k0", "before")
	f.settled(t, "k1", "after")
	// Whoever reads past L1 notices the loss, in each shard.
	for _, key := range keys(32) {
		want, _ := f.load(context.Background(), key)
		eventually(t, key+" is in L2 again", func() bool {
			f.expect(t, 0, key, want, nearcache.SkipL1())
			_, from := f.read(t, 1, key, nearcache.SkipL1())
			return from == nearcache.FromL2
		})
	}
	for i, c := range f.caches {
		eventually(t, fmt.Sprintf("instance %d notices", i), func() bool { return c.Stats().Epochs >= uint64(s.shards) })
	}
	f.change(t, 0, "k2", "later")
	f.settled(t, "k2", "later")
}

// flush empties the servers.
func flush(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx := context.Background()
	if c, ok := client.(*redis.ClusterClient); ok { // replicas refuse it
		must(t, c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() }))
		return
	}
	must(t, client.FlushAll(ctx).Err())
}

// garbageIsTolerated wherever others can write it: it costs a load, and never
// becomes an answer.
func garbageIsTolerated(t *testing.T, s *suite) {
	f := s.launch(t, 2)
	ctx := context.Background()
	tag := s.tag(f, "k")
	value, record, log := tag+":v:k", tag+":seq", tag+":log"
	text := func(key, junk string) func(redis.Pipeliner) {
		return func(p redis.Pipeliner) { p.Set(ctx, key, junk, 0) }
	}
	list := func(key string) func(redis.Pipeliner) {
		return func(p redis.Pipeliner) { p.Del(ctx, key); p.LPush(ctx, key, "garbage") }
	}
	f.put("k", "true")
	for name, spoil := range map[string]func(redis.Pipeliner){
		"value": text(value, "garbage"), "empty value": text(value, ""), "value's type": list(value),
		"record": text(record, "garbage"), "record's type": list(record), "log": text(log, "garbage"),
	} {
		_, err := f.admin.TxPipelined(ctx, func(p redis.Pipeliner) error { spoil(p); return nil })
		must(t, err)
		f.unimpressed(t, name)
	}
	must(t, f.admin.Publish(ctx, tag+":ch", "garbage").Err())
	f.unimpressed(t, "message")
	faults := uint64(0)
	for _, c := range f.caches {
		faults += c.Stats().Faults
	}
	if faults == 0 {
		t.Error("nothing was counted")
	}
}

// unimpressed fails unless the instances answer what is true, use L2 again and see
// each other's changes.
func (f *fleet) unimpressed(t *testing.T, garbled string) {
	t.Helper()
	for i := range f.caches {
		f.expect(t, i, "k", "true", nearcache.SkipL1())
	}
	eventually(t, "L2 serves again after a garbled "+garbled, func() bool {
		f.expect(t, 0, "k", "true", nearcache.SkipL1())
		_, from := f.read(t, 1, "k", nearcache.SkipL1())
		return from == nearcache.FromL2
	})
	f.change(t, 0, "k", "true")
	f.settled(t, "k", "true")
}

// serversAreToldApart: the record says on which server its epoch began, so that a
// failover or restart that lost data begins another.
func serversAreToldApart(t *testing.T, s *suite) {
	f := s.launch(t, 1)
	_, _, rest := s.record(t, f, "k")
	if id := strings.Fields(rest)[1]; id == "-" {
		s.lacking(t, "failovers and restarts cannot be noticed", fmt.Errorf("INFO replication has no master_replid"))
	}
}
