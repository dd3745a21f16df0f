package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/codec/s2"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestGet: each codec is read, and what cannot be read or is not taken is told apart.
func TestGet(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	client := server.Client(t)
	seal, err := codec.NewSeal(codec.Key{ID: 1, Secret: make([]byte, 32)})
	must(t, err)

	must(t, cache[person](t, client).Set(ctx, "msgpack", person{"Ada", 36}))
	must(t, cache[map[int]any](t, client).Set(ctx, "odd keys", map[int]any{1: []byte("hi"), 2: nil}))
	must(t, cache(t, client, func(c *nearcache.Config[person]) { c.Codec = codec.JSON[person]() }).Set(ctx, "json", person{"Bob", 7}))
	must(t, cache(t, client, func(c *nearcache.Config[[]byte]) { c.Codec = codec.Bytes() }).Set(ctx, "bytes", []byte{0, 255}))
	must(t, cache(t, client, func(c *nearcache.Config[string]) { c.Codec = codec.String() }).Set(ctx, "text", "plain"))
	must(t, cache(t, client, func(c *nearcache.Config[string]) { c.Compressor = s2.Compressor{} }).Set(ctx, "large", strings.Repeat("long ", 1000)))
	must(t, cache(t, client, func(c *nearcache.Config[string]) { c.Seal = seal }).Set(ctx, "secret", "hidden"))
	must(t, cache[string](t, client).Set(ctx, "tagged", "v", nearcache.WithTags("a", "b")))
	must(t, cache[string](t, client).Set(ctx, "expired", "v"))
	must(t, cache[string](t, client).Expire(ctx, "expired"))
	must(t, cache[string](t, client).InvalidateTags(ctx, "b"))
	must(t, client.Set(ctx, "{users}:v:garbage", "?", 0).Err())
	must(t, client.LPush(ctx, "{users}:v:list", "?").Err())
	must(t, client.Set(ctx, "{users}:v:leased", "L0123456789abcdef", time.Minute).Err())
	none := cache(t, client, func(c *nearcache.Config[string]) {
		c.Load = func(context.Context, string) (string, error) { return "", nearcache.ErrNotFound }
		c.TTL.Negative = time.Hour
	})
	if _, err := none.Get(ctx, "absent"); !errors.Is(err, nearcache.ErrNotFound) {
		t.Fatal(err)
	}
	eventually(t, `"not found" is kept`, func() bool { return client.StrLen(ctx, "{users}:v:absent").Val() > 17 })

	for _, row := range []struct {
		key, stdout, stderr string
		code                int
		holds               string
	}{
		{"msgpack", `{"Age":36,"Name":"Ada"}` + "\n", "", 0, "value"},
		{"odd keys", `{"1":"hi","2":null}` + "\n", "", 0, "value"},
		{"json", `{"Name":"Bob","Age":7}` + "\n", "", 0, "value"},
		{"bytes", "\x00\xff", "", 0, "value"},
		{"text", "plain", "", 0, "value"},
		{"large", `"` + strings.Repeat("long ", 1000) + `"` + "\n", "", 0, "value"},
		{"secret", "", "sealed", 0, "value"},
		{"tagged", `"v"` + "\n", `its tag "b" was invalidated`, 1, "value"},
		{"expired", `"v"` + "\n", "it was expired", 1, "value"},
		{"garbage", "", "not an envelope", 1, "garbage"},
		{"list", "", "type other than string", 1, "garbage"},
		{"leased", "", "an instance loads it", 1, "lease"},
		{"absent", "", "not existing", 1, "not found"},
		{"nothing", "", "Redis does not have it", 1, "nothing"},
	} {
		t.Run(row.key, func(t *testing.T) {
			o := nc(t, server.Addr(), "get", row.key, "-n", "users")
			if o.code != row.code || o.stdout != row.stdout || !strings.Contains(o.stderr, row.stderr) || row.stderr == "" && o.stderr != "" {
				t.Errorf("%d, %.200q, %q; want %d, %.200q, %q", o.code, o.stdout, o.stderr, row.code, row.stdout, row.stderr)
			}
			s := parse[stored](t, nc(t, server.Addr(), "get", row.key, "-n", "users", "--json"))
			if s.Key != row.key || s.Holds != row.holds || (s.Refused != "") != (row.code == 1 && row.key != "absent") {
				t.Errorf("%+v", s)
			}
		})
	}

	must(t, cache[string](t, client).Clear(ctx))
	nc(t, server.Addr(), "get", "msgpack", "-n", "users").want(t, exitFound, "it was cleared away")
	must(t, client.Del(ctx, "{users}:seq").Err())
	nc(t, server.Addr(), "get", "json", "-n", "users").want(t, exitFound, "readers do not take it")
}

// TestExplain tells of all tiers and of what may be wrong with a value.
func TestExplain(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	client := server.Client(t)
	seal, err := codec.NewSeal(codec.Key{ID: 1, Secret: make([]byte, 32)})
	must(t, err)
	must(t, cache[person](t, client).Set(ctx, "k", person{"Ada", 36}, nearcache.WithTags("team")))
	must(t, cache(t, client, func(c *nearcache.Config[string]) { c.Compressor = s2.Compressor{} }).Set(ctx, "large", strings.Repeat("long ", 1000)))
	must(t, cache(t, client, func(c *nearcache.Config[string]) { c.Seal = seal }).Set(ctx, "secret", "hidden"))

	o := nc(t, server.Addr(), "explain", "k", "-n", "users")
	o.want(t, exitOK, "value, readers take it", "msgpack", `["team"]`, "next Get L2 hit", "epoch")
	if strings.Contains(o.stdout, "Ada") {
		t.Errorf("explain shows the value: %s", o.stdout)
	}
	nc(t, server.Addr(), "explain", "large", "-n", "users").want(t, exitOK, "compressed", "next Get L2 hit")
	nc(t, server.Addr(), "explain", "secret", "-n", "users").want(t, exitOK, "sealed", "value, readers take it", "has no keys")
	must(t, cache[person](t, client).InvalidateTags(ctx, "team"))
	nc(t, server.Addr(), "explain", "k", "-n", "users").want(t, exitOK, `refused: its tag "team" was invalidated since`, "next Get miss")

	x := parse[struct {
		Redis    stored
		Instance nearcache.Explanation
	}](t, nc(t, server.Addr(), "explain", "k", "-n", "users", "--json"))
	if x.Redis.Holds != "value" || x.Instance.L2.Holds != "value" || x.Instance.L2.Refused == "" || x.Instance.Floor == 0 {
		t.Errorf("%+v", x)
	}
}

// TestChanges: what the command changes, running instances see.
func TestChanges(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	client := server.Client(t)
	for name, shards := range map[string]int{"one": 1, "many": 7} {
		t.Run(name, func(t *testing.T) {
			users := cache(t, client, func(c *nearcache.Config[string]) { c.Name, c.Shards = name, shards })
			url := server.Addr()
			fill := func() {
				for _, key := range keysOf(12) {
					must(t, users.Set(ctx, key, "v", nearcache.WithTags("tag of "+key)))
					if v, err := users.Get(ctx, key); err != nil || v != "v" {
						t.Fatal(v, err)
					}
				}
			}
			gone := func(keys ...string) {
				t.Helper()
				for _, key := range keysOf(12) {
					want := false
					for _, k := range keys {
						want = want || k == key
					}
					eventually(t, key+" is as it should be", func() bool {
						_, err := users.Get(ctx, key)
						return errors.Is(err, nearcache.ErrMiss) == want
					})
				}
			}
			fill()
			nc(t, url, "invalidate", "k1", "k2", "k3", "-n", name).want(t, exitOK, "invalidated: 3 keys")
			gone("k1", "k2", "k3")
			fill()
			nc(t, url, "expire", "k4", "-n", name).want(t, exitOK, "expired: 1 key")
			gone("k4")
			nc(t, url, "get", "k4", "-n", name).want(t, exitFound, "it was expired")
			fill()
			nc(t, url, "tag", "tag of k5", "tag of k6", "-n", name).want(t, exitOK, "tags invalidated: 2 tags")
			gone("k5", "k6")
			fill()
			nc(t, url, "clear", "-n", name).want(t, exitFailed, "--yes")
			gone()
			c := parse[changed](t, nc(t, url, "clear", "-n", name, "--yes", "--json"))
			if len(c.Seq) != shards || c.Change != "cleared" {
				t.Errorf("%+v", c)
			}
			gone(keysOf(12)...)
			c = parse[changed](t, nc(t, url, "invalidate", "k1", "-n", name, "--json"))
			if len(c.Seq) != 1 || len(c.Names) != 1 {
				t.Errorf("%+v", c)
			}
		})
	}
	must(t, client.ConfigSet(ctx, "min-replicas-to-write", "1").Err())
	nc(t, server.Addr(), "invalidate", "k1", "-n", "one").want(t, exitFailed, "NOREPLICAS", "the same again")
	nc(t, server.Addr(), "clear", "--yes", "-n", "many").want(t, exitFailed, "NOREPLICAS", "the same again")
}

// TestClearAsks whoever sits at a terminal, which script(1) plays.
func TestClearAsks(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	users := cache[string](t, server.Client(t))
	must(t, users.Set(ctx, "k", "v"))
	for _, row := range []struct {
		typed string
		code  int
		gone  bool
	}{{"y\n", exitFailed, false}, {"users\n", exitOK, true}} {
		c := exec.Command("script", "-qefc", binary+" clear -n users", "/dev/null")
		c.Env = command(server.Addr()).Env
		c.Stdin = strings.NewReader(row.typed)
		finish(t, c).want(t, row.code, `empties the cache "users"`)
		if _, err := users.Get(ctx, "k", nearcache.SkipL1()); errors.Is(err, nearcache.ErrMiss) != row.gone {
			t.Errorf("after %q: %v", row.typed, err)
		}
	}
}

// TestWatch: every kind of change, what it is about, and events of the watcher.
func TestWatch(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	client := server.Client(t)
	users := cache[string](t, client)
	text := begin(t, server.Addr(), "watch", "-n", "users")
	lines := begin(t, server.Addr(), "watch", "-n", "users", "--json")
	text.says(t, "TIME")
	lines.says(t, `"watching"`)

	must(t, users.Set(ctx, "k1", "v"))
	must(t, users.Invalidate(ctx, "k2", "two words"))
	must(t, users.Expire(ctx, "k3"))
	must(t, users.InvalidateTags(ctx, "team"))
	must(t, users.Clear(ctx))
	for _, w := range []string{"set ", "invalidate ", `k2 "two words"`, "expire ", "k3", "invalidate tags ", "team", "clear "} {
		text.says(t, w)
	}
	lines.says(t, `"clear"`)
	must(t, client.Do(ctx, "client", "kill", "type", "pubsub").Err())
	text.says(t, "-- subscription lost")
	for _, l := range []*live{text, lines} {
		if code := l.interrupt(t); code != exitOK {
			t.Errorf("exit code %d after Ctrl-C: %s", code, l.text())
		}
	}
	kinds := map[string]seen{}
	for line := range strings.Lines(strings.TrimPrefix(lines.text(), lines.stderr.String())) {
		var s seen
		must(t, json.Unmarshal([]byte(line), &s))
		kinds[s.Kind] = s
	}
	if k := kinds["invalidate"]; len(k.Keys) != 2 || k.Shard != 0 || k.Time.IsZero() || k.Event {
		t.Errorf("%+v", k)
	}
	if k := kinds["subscription lost"]; !k.Event || k.Error == "" {
		t.Errorf("%+v", k)
	}
}

// TestStats: what Redis knows, as it changes.
func TestStats(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	client := server.Client(t)
	users := cache(t, client, func(c *nearcache.Config[string]) { c.Shards = 3 })
	cache(t, client, func(c *nearcache.Config[string]) { c.Shards = 3 })
	must(t, users.Clear(ctx))
	o := nc(t, server.Addr(), "stats", "-n", "users", "--times", "2", "--every", "100ms")
	o.want(t, exitOK, "2 instances, 3 shards", "LAST CHANGE")

	l := begin(t, server.Addr(), "stats", "-n", "users", "--every", "100ms", "--json")
	l.says(t, "changes_per_second")
	for range 50 {
		must(t, users.Clear(ctx))
	}
	eventually(t, "changes are counted", func() bool {
		whole, _, _ := strings.Cut(l.text()[:strings.LastIndexByte(l.text(), '\n')+1]+"\n\n", "\n\n")
		for line := range strings.Lines(whole) {
			var c census
			must(t, json.Unmarshal([]byte(line), &c))
			if len(c.Shards) != 3 || c.Instances != 2 || c.Shards[0].Listeners != 2 || c.Shards[0].Log == 0 || c.Shards[0].Seq == 0 {
				t.Fatalf("%+v", c)
			}
			if c.Shards[2].Rate > 1 {
				return true
			}
		}
		return false
	})
	if code := l.interrupt(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestBench measures something of everything, and leaves nothing behind.
func TestBench(t *testing.T) {
	server := redistest.StartProcess(t)
	b := parse[struct{ Results []result }](t, nc(t, server.Addr(), "bench", "--for", "100ms", "--json"))
	if len(b.Results) != 7 {
		t.Errorf("%d results", len(b.Results))
	}
	for _, r := range b.Results {
		if r.N == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.Rate <= 0 {
			t.Errorf("%+v", r)
		}
	}
	swept(t, server)
	nc(t, server.Addr(), "bench", "--for", "50ms").want(t, exitOK, "bare GET", "hit in L1", "propagation")
}

// swept waits until nothing of a scratch cache is left; heartbeats' keys expire.
func swept(t *testing.T, server *redistest.Server) {
	t.Helper()
	client := server.Client(t)
	for _, key := range client.Keys(context.Background(), "*").Val() {
		if !strings.Contains(key, ":i:") {
			t.Errorf("%s is left", key)
		}
	}
	eventually(t, "all keys are gone", func() bool { return client.DBSize(context.Background()).Val() == 0 })
}

// TestChaos keeps the promise on a good server, with every fault, and leaves nothing.
func TestChaos(t *testing.T) {
	server := redistest.StartProcess(t)
	v := parse[verdict](t, nc(t, server.Addr(), "chaos", "--for", "12s", "--staleness", "500ms", "--json"))
	if !v.Kept || v.Reads["L1"] == 0 || v.Reads["loader"] == 0 || v.Changes == 0 || v.Repeated == 0 || v.Longest == 0 ||
		v.Replays == 0 || v.Longest > v.Bound || len(v.Faults) != len(harms) {
		t.Errorf("%+v", v)
	}
	swept(t, server)
}

// TestChaosIsInterrupted: it judges what it has seen, and cleans up.
func TestChaosIsInterrupted(t *testing.T) {
	server := redistest.StartProcess(t)
	l := begin(t, server.Addr(), "chaos", "--for", "10m", "--staleness", "200ms")
	client := server.Client(t)
	eventually(t, "it runs", func() bool { return client.DBSize(context.Background()).Val() > 50 })
	if code := l.interrupt(t); code != exitOK {
		t.Errorf("exit code %d: %s", code, l.text())
	}
	l.says(t, "kept the promise")
	swept(t, server)
}

// TestChaosFindsWhatIsBroken: without a guard of the protocol it exits with 1.
func TestChaosFindsWhatIsBroken(t *testing.T) {
	mutant := binary + "-mutant"
	must(t, build(mutant, "-tags", "nearcache_mutants"))
	for guard, rule := range map[string]string{
		"proof ages": "stale", // L1 is believed however long nothing was heard
		"own floors": "own write",
		"none":       "",
	} {
		t.Run(guard, func(t *testing.T) {
			server := redistest.StartProcess(t)
			chaos := func() (outcome, verdict) {
				c := exec.Command(mutant, "chaos", "--for", "12s", "--staleness", "500ms", "--json")
				c.Env = append(command(server.Addr()).Env, "NEARCACHE_MUTANT="+guard)
				o := finish(t, c)
				return o, parse[verdict](t, o)
			}
			o, v := chaos()
			for tries := 1; rule != "" && v.Kept && tries < 3; tries++ { // its faults are dice
				o, v = chaos()
			}
			if broken := rule != ""; v.Kept == broken || o.code == exitOK == broken || broken && v.Violations[rule] == 0 {
				t.Errorf("exit code %d: %+v", o.code, v)
			}
		})
	}
}
