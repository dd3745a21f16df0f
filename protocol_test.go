package nearcache_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// foreignKeys are such that a careless writer would get their length, their shard or
// their quotes wrong.
var foreignKeys = []string{"plain", "with space", "ünïcode", "{tag}:x", "new\nline", `"'$x\`, "a:5:hello,"}

// foreignClients are the programs that invalidate keys of a namespace on a server.
var foreignClients = map[string]struct {
	needs string
	run   func(server string, cluster bool, namespaceAndKeys ...string) *exec.Cmd
}{
	"shell": {"redis-cli", func(server string, cluster bool, args ...string) *exec.Cmd {
		cmd := exec.Command("examples/protocol/invalidate.sh", args...)
		opts := "-p " + redistest.Port(server)
		if cluster {
			opts += " -c"
		}
		cmd.Env = append(os.Environ(), "REDIS_CLI_OPTS="+opts)
		return cmd
	}},
	"Python": {"python3", func(server string, _ bool, args ...string) *exec.Cmd {
		return exec.Command("python3", append([]string{"examples/protocol/invalidate.py", server}, args...)...)
	}},
}

// TestForeignClient: the clients of docs/protocol.md take keys from the L1 of running
// instances, on one server and on a cluster, and nothing else.
func TestForeignClient(t *testing.T) {
	for name, client := range foreignClients {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(client.needs); err != nil {
				if client.needs == "redis-cli" && os.Getenv("NEARCACHE_REQUIRE_REAL") == "1" {
					t.Fatal("no redis-cli, which the shell client runs on")
				}
				t.Skipf("SKIPPED: the %s client runs on %s, which is not installed", name, client.needs)
			}
			for name, shards := range map[string]int{"one shard": 1, "eight shards": 8} {
				t.Run(name, func(t *testing.T) {
					server := redistest.StartProcess(t)
					foreignClient(t, shards, func() redis.UniversalClient { return server.Client(t) }, func(args ...string) *exec.Cmd {
						return client.run(server.Addr(), false, args...)
					})
				})
			}
			t.Run("cluster", func(t *testing.T) {
				cluster := redistest.StartCluster(t)
				foreignClient(t, 0, func() redis.UniversalClient { return cluster.Client(t) }, func(args ...string) *exec.Cmd {
					return client.run(cluster.Masters[0].Addr(), true, args...)
				})
			})
		})
	}
}

func foreignClient(t *testing.T, shards int, client func() redis.UniversalClient, run func(args ...string) *exec.Cmd) {
	f := &fleet{source: &source{}}
	for range 2 {
		cache, err := nearcache.New(nearcache.Config[product]{
			Name: "products", Redis: client(), Load: f.source.load, Shards: shards,
			MaxStaleness: noBound, RedisTimeout: calm, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		f.caches = append(f.caches, cache)
	}
	for version := 1; version <= 3; version++ { // the script is unknown, then known
		for _, key := range append(foreignKeys, "other") {
			f.source.put(key, version)
			if key == "other" {
				f.source.put(key, 1)
			}
		}
		if out, err := run(append([]string{"products"}, foreignKeys...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for i := range f.caches {
			for _, key := range foreignKeys {
				eventually(t, fmt.Sprintf("version %d of %q on instance %d", version, key, i), func() bool {
					p, err := f.caches[i].Get(t.Context(), key)
					return err == nil && p.Version == version
				})
				f.settled(t, i, key, version)
			}
			f.settled(t, i, "other", 1)
		}
	}
	for i, cache := range f.caches {
		if s := cache.Stats(); s.Faults+s.Gaps+s.Distrusts+s.Epochs != 0 {
			t.Errorf("instance %d could not follow: %+v", i, s)
		}
	}
	if n := f.source.loads.Load(); n != int64(3*len(foreignKeys)+1) {
		t.Errorf("%d loads, want one for each change and one for the key that nobody changed", n)
	}
	if out, err := run("nobody", "k").CombinedOutput(); err == nil || !strings.Contains(string(out), "no namespace nobody") {
		t.Errorf("a namespace that nobody uses: %v, %s", err, out)
	}
}

// TestProtocolTellsOfEveryScript: docs/protocol.md has a section for every script, and
// shows the client that the tests run.
func TestProtocolTellsOfEveryScript(t *testing.T) {
	b, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(b)
	scripts, _ := filepath.Glob("l2/scripts/*.lua")
	if len(scripts) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range scripts {
		if name := filepath.Base(file); !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("it does not mention %s", name)
		}
	}
	client, err := os.ReadFile("examples/protocol/invalidate.sh")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(guide, string(client)) {
		t.Error("the client in it is not examples/protocol/invalidate.sh")
	}
}
