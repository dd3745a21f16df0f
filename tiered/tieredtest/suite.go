// Package tieredtest checks that a cache keeps its promises on a kind of servers:
// a version of Redis or Valkey, a managed service, a topology, a client's options.
package tieredtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// Run runs the conformance suite on the servers that connect returns a client of,
// once with one shard and once with eight. Each instance of a cache gets a client
// of its own, so connect is called often; it closes what it returns with the test
// that it is given.
//
// The servers must be there for this test alone: they are flushed. What they cannot
// do is a subtest that is skipped, with a message that begins with "SKIPPED: ", and
// is listed in the end. A run takes seconds.
func Run(t *testing.T, connect func(t testing.TB) redis.UniversalClient) {
	for _, shards := range []int{1, 8} {
		t.Run(fmt.Sprintf("Shards=%d", shards), func(t *testing.T) {
			s := &suite{connect: connect, shards: shards}
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) { c.run(t, s) })
			}
			for _, lack := range s.lacks {
				t.Log("NOT TESTED on these servers: " + lack)
			}
		})
	}
}

// checks are the promises, in the order in which they build on each other.
var checks = []struct {
	name string
	run  func(*testing.T, *suite)
}{
	{"ReadsGoThroughTheTiers", readsGoThroughTheTiers},
	{"OneLoadForTheFleet", oneLoadForTheFleet},
	{"NotFoundIsRemembered", notFoundIsRemembered},
	{"LivesEnd", livesEnd},
	{"InvalidationIsSeenEverywhere", invalidationIsSeenEverywhere},
	{"SetIsSeenEverywhere", setIsSeenEverywhere},
	{"LateFillIsRefused", lateFillIsRefused},
	{"LostMessageIsRepaired", lostMessageIsRepaired},
	{"KilledSubscriptionIsRepaired", killedSubscriptionIsRepaired},
	{"CutOffInstanceKeepsTheBound", cutOffInstanceKeepsTheBound},
	{"ForgottenScriptsAreSentAgain", forgottenScriptsAreSentAgain},
	{"FlushIsSurvived", flushIsSurvived},
	{"GarbageIsTolerated", garbageIsTolerated},
	{"ServersAreToldApart", serversAreToldApart},
	{"ShardsMustAgree", shardsMustAgree},
}

// suite is one run on servers.
type suite struct {
	connect func(testing.TB) redis.UniversalClient
	shards  int
	lacks   []string
}

// lacking skips a check that the servers cannot take.
func (s *suite) lacking(t *testing.T, what string, err error) {
	t.Helper()
	s.lacks = append(s.lacks, fmt.Sprintf("%s: %s: %v", t.Name(), what, err))
	t.Skipf("SKIPPED: %s: %v", what, err)
}

// fleet is some instances of a cache of one namespace, before one source.
type fleet struct {
	*source
	name   string
	caches []*nearcache.Cache[string]
	admin  redis.UniversalClient
}

// launch starts n instances of a new cache. Their bound is so long that it is never
// the bound that repairs something. change edits their configuration.
func (s *suite) launch(t *testing.T, n int, change ...func(*nearcache.Config[string])) *fleet {
	t.Helper()
	f := &fleet{source: newSource(), name: "tieredtest-" + strings.ToLower(rand.Text()[:8]), admin: s.connect(t)}
	for range n {
		cfg := nearcache.Config[string]{
			Name: f.name, Redis: s.connect(t), Load: f.load, Shards: s.shards,
			MaxStaleness: time.Minute, RedisTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
		}
		for _, c := range change {
			c(&cfg)
		}
		cache, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cache.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		f.caches = append(f.caches, cache)
	}
	return f
}

// read returns what an instance answers, and where it found that.
func (f *fleet) read(t *testing.T, instance int, key string, opts ...nearcache.Option) (string, nearcache.Source) {
	t.Helper()
	var info nearcache.Info
	v, err := f.caches[instance].Get(context.Background(), key, append(opts, nearcache.WithInfo(&info))...)
	if err != nil {
		t.Fatalf("instance %d, reading %s: %v", instance, key, err)
	}
	return v, info.Source
}

// expect fails unless an instance answers value.
func (f *fleet) expect(t *testing.T, instance int, key, value string, opts ...nearcache.Option) {
	t.Helper()
	if v, from := f.read(t, instance, key, opts...); v != value {
		t.Fatalf("instance %d answered %q for %s from %v, want %q", instance, v, key, from, value)
	}
}

// settled waits until all instances answer value from L1.
func (f *fleet) settled(t *testing.T, key, value string) {
	t.Helper()
	for i := range f.caches {
		eventually(t, fmt.Sprintf("instance %d answers %q for %s from L1", i, value, key), func() bool {
			var info nearcache.Info
			v, err := f.caches[i].Get(context.Background(), key, nearcache.WithInfo(&info))
			return err == nil && v == value && info.Source == nearcache.FromL1
		})
	}
}

// change writes value to the source, and has an instance invalidate the key.
func (f *fleet) change(t *testing.T, instance int, key, value string) {
	t.Helper()
	f.put(key, value)
	if err := f.caches[instance].Invalidate(context.Background(), key); err != nil {
		t.Fatalf("instance %d, invalidating %s: %v", instance, key, err)
	}
}

// keys returns n keys; eight shards or fewer all have some of 64.
func keys(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("k", i)
	}
	return list
}

// eventually polls until what holds, or fails the test.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// everywhere runs a command on every server that a client knows of.
func everywhere(client redis.UniversalClient, args ...any) error {
	ctx := context.Background()
	run := func(ctx context.Context, node *redis.Client) error { return node.Do(ctx, args...).Err() }
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachShard(ctx, run)
	case *redis.Ring:
		return c.ForEachShard(ctx, run)
	}
	return client.Do(ctx, args...).Err()
}

// must fails the test if any of errs is one.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
