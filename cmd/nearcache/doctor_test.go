package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// rarely is a bound with heartbeats that leave a test alone with what it planted.
func rarely(c *nearcache.Config[string]) { c.MaxStaleness = 2 * time.Minute }

// wantOnly fails unless there is no finding but those of check, of which there is one,
// and notes.
func wantOnly(t *testing.T, d *diagnosis, check, severity string) {
	t.Helper()
	found := check == ""
	for _, f := range d.Findings {
		if f.Seen == "" || f.Why == "" || f.Do == "" {
			t.Errorf("a finding that does not help: %+v", f)
		}
		switch {
		case f.Check == check && f.Severity == severity:
			found = true
		case f.Severity != remark:
			t.Errorf("found besides: %+v", f)
		}
	}
	if !found {
		t.Errorf("%s %q was not found, but %+v", severity, check, d.Findings)
	}
}

// TestDoctorFindsNothingOnAGoodServer, not even a note.
func TestDoctorFindsNothingOnAGoodServer(t *testing.T) {
	server := redistest.StartProcess(t, "--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
	for range 3 {
		must(t, cache[string](t, server.Client(t)).Set(context.Background(), "k", "v"))
	}
	must(t, cache[string](t, server.Client(t)).Close()) // its heartbeat is there for a while, and nobody listens
	o := nc(t, server.Addr(), "doctor", "-n", "users", "--json")
	d := parse[diagnosis](t, o)
	if len(d.Findings) > 0 || len(d.Missing) > 0 || o.code != exitOK {
		t.Errorf("exit code %d, %+v", o.code, d)
	}
	if len(d.Checks) < 20 || len(d.Servers) != 1 || d.Servers[0].P50 <= 0 || d.Shards != 1 || d.Alive != 3 {
		t.Errorf("%+v", d)
	}
	nc(t, server.Addr(), "doctor", "-n", "users").want(t, exitOK, "0 problems, 0 warnings, 0 notes", "3 instances")
	nc(t, server.Addr(), "doctor").want(t, exitOK, "they need --name")
}

// TestDoctorFindsWhatWasPlanted: each of them alone, by its name.
func TestDoctorFindsWhatWasPlanted(t *testing.T) {
	ctx := context.Background()
	set := func(name, value string) func(*testing.T, *redistest.Server, *redis.Client) {
		return func(t *testing.T, _ *redistest.Server, c *redis.Client) { must(t, c.ConfigSet(ctx, name, value).Err()) }
	}
	type planted struct {
		name     string
		server   []string
		plant    func(*testing.T, *redistest.Server, *redis.Client)
		doctor   []string
		user     string // rule that limits the doctor's user
		check    string
		severity string
		seen     string
	}
	for _, p := range []planted{
		{name: "evicts anything", server: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"},
			check: "eviction", severity: problem, seen: "allkeys-lru"},
		{name: "evicts markers", server: []string{"--maxmemory", "100mb", "--maxmemory-policy", "volatile-lfu"},
			check: "eviction", severity: warning, seen: "volatile-lfu"},
		{name: "full", plant: set("maxmemory", "1mb"), check: "memory", severity: warning, seen: "of maxmemory 1048576"},
		{name: "small buffers", server: []string{"--client-output-buffer-limit", "pubsub 64kb 16kb 60"},
			check: "output-buffer", severity: warning, seen: "65536 16384 60"},
		{name: "script limit", server: []string{"--busy-reply-threshold", "20"}, check: "script-limit", severity: warning, seen: "20 ms"},
		{name: "idle timeout", server: []string{"--timeout", "5"}, check: "idle-connections", severity: warning, seen: "timeout is 5"},
		{name: "no keepalive", server: []string{"--tcp-keepalive", "0"}, check: "idle-connections", severity: warning, seen: "tcp-keepalive is 0"},
		{name: "few clients", plant: fewClients, check: "clients", severity: warning, seen: "of maxclients 30"},
		{name: "keyspace events", plant: set("notify-keyspace-events", "KEA"), check: "keyspace-events", severity: remark, seen: "AKE"},
		{name: "snapshots only", plant: set("save", "3600 1"), check: "persistence", severity: remark, seen: "3600 1"},
		{name: "cannot save", plant: cannotSave, check: "writable", severity: problem, seen: "rdb_last_bgsave_status is err"},
		{name: "wants replicas", plant: set("min-replicas-to-write", "2"), check: "writable", severity: problem, seen: "min-replicas-to-write is 2"},
		{name: "replica without minimum", plant: func(t *testing.T, s *redistest.Server, _ *redis.Client) { redistest.StartReplica(t, s.Addr()) },
			check: "replicas", severity: problem, seen: "1 replica, min-replicas-to-write is 0"},
		{name: "other number recorded", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) {
			must(t, c.Set(ctx, "{users}:shards", 3, 0).Err())
		}, check: "shards", severity: problem, seen: "heartbeats to {users}"},
		{name: "garbage recorded", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) {
			must(t, c.Set(ctx, "{users}:shards", "many", 0).Err())
		}, check: "shards", severity: problem, seen: `"many"`},
		{name: "other number given", doctor: []string{"--shards", "4"}, check: "shards", severity: problem, seen: "1 shards are recorded"},
		{name: "record overwritten", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) {
			must(t, c.Set(ctx, "{users}:seq", "garbage", 0).Err())
		}, check: "records", severity: problem, seen: "garbage"},
		{name: "log deleted", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) { must(t, c.Del(ctx, "{users}:log").Err()) },
			check: "log", severity: problem, seen: "no log"},
		{name: "log too short", plant: storm, doctor: []string{"--max-staleness", "200ms"}, check: "log", severity: warning, seen: "at the present rate"},
		{name: "scripts disabled", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) {
			must(t, c.Do(ctx, "acl", "setuser", "default", "-eval").Err())
		}, check: "permissions", severity: problem, seen: "EVAL is refused"},
		{name: "no INFO", plant: func(t *testing.T, _ *redistest.Server, c *redis.Client) {
			must(t, c.Do(ctx, "acl", "setuser", "default", "-info").Err())
		}, check: "identity", severity: problem, seen: "INFO is refused"},
		{name: "channel forbidden", user: "resetchannels", check: "permissions", severity: problem, seen: "PUBLISH SUBSCRIBE"},
		{name: "no CLIENT ID", user: "-client|id", check: "identity", severity: warning, seen: "CLIENT ID is refused"},
		{name: "writes forbidden", user: "-@write", check: "permissions", severity: problem, seen: "SET"},
	} {
		t.Run(p.name, func(t *testing.T) {
			server := redistest.StartProcess(t, p.server...)
			client := server.Client(t)
			must(t, cache(t, server.Client(t), rarely).Set(ctx, "k", "v"))
			if p.plant != nil {
				p.plant(t, server, client)
			}
			url := server.Addr()
			if p.user != "" {
				must(t, client.Do(ctx, "acl", "setuser", "limited", "on", ">pw", "allkeys", "allchannels", "allcommands", p.user).Err())
				url = "redis://limited:pw@" + url
			}
			o := nc(t, url, append([]string{"doctor", "-n", "users", "--json"}, p.doctor...)...)
			d := parse[diagnosis](t, o)
			wantOnly(t, &d, p.check, p.severity)
			wantFound(t, &d, p.check, p.seen)
			if found := p.severity == problem; o.code == exitFound != found {
				t.Errorf("exit code %d", o.code)
			}
		})
	}
}

// cannotSave takes the server's folder away.
func cannotSave(t *testing.T, _ *redistest.Server, c *redis.Client) {
	ctx := context.Background()
	must(t, os.RemoveAll(c.ConfigGet(ctx, "dir").Val()["dir"]))
	must(t, c.ConfigSet(ctx, "save", "3600 1").Err())
	_ = c.BgSave(ctx).Err()
	eventually(t, "saving fails", func() bool {
		return strings.Contains(c.Info(ctx, "persistence").Val(), "rdb_last_bgsave_status:err")
	})
}

// fewClients opens connections until there are hardly any left.
func fewClients(t *testing.T, s *redistest.Server, c *redis.Client) {
	must(t, c.ConfigSet(context.Background(), "maxclients", "30").Err())
	for range 21 {
		conn, err := net.Dial("tcp", s.Addr())
		must(t, err)
		t.Cleanup(func() { conn.Close() })
	}
}

// storm makes so many changes that the log reaches back for seconds only.
func storm(t *testing.T, s *redistest.Server, c *redis.Client) {
	users := cache(t, c, rarely)
	for i := range 4000 {
		must(t, users.Invalidate(context.Background(), strconv.Itoa(i)))
	}
}

// TestDoctorFindsTheNetwork: what is between Redis and here.
func TestDoctorFindsTheNetwork(t *testing.T) {
	server := redistest.StartProcess(t)
	cache(t, server.Client(t), rarely)
	wire := faultnet.Start(t, server.Addr())
	wire.Delay(60 * time.Millisecond)
	d := parse[diagnosis](t, nc(t, wire.Addr(), "doctor", "-n", "users", "--json"))
	wantOnly(t, &d, "round-trip", problem)
	d = parse[diagnosis](t, nc(t, wire.Addr(), "doctor", "-n", "users", "--json", "--redis-timeout", "2s"))
	wantOnly(t, &d, "", "")

	o := nc(t, balancer(t, server, redistest.StartProcess(t)), "doctor", "--json")
	d = parse[diagnosis](t, o)
	wantOnly(t, &d, "identity", problem)
	if o.code != exitFound {
		t.Errorf("exit code %d", o.code)
	}
}

// balancer spreads connections over servers, as no proxy before Redis should.
func balancer(t *testing.T, servers ...*redistest.Server) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	var next atomic.Int64
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", servers[int(next.Add(1))%len(servers)].Addr())
			if err != nil {
				client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() { _, _ = io.Copy(client, server); client.Close() }()
		}
	}()
	return l.Addr().String()
}

// TestDoctorFindsTheTopology: a replica, and a cluster's node addressed as neither.
func TestDoctorFindsTheTopology(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t, "--min-replicas-to-write", "0")
	cache(t, server.Client(t), rarely)
	replica := redistest.StartReplica(t, server.Addr())
	d := parse[diagnosis](t, nc(t, replica.Addr(), "doctor", "-n", "users", "--json"))
	wantFound(t, &d, "topology", "role is replica")

	node := redistest.StartProcess(t, redistest.ClusterArgs(t)...)
	c := node.Client(t)
	must(t, c.ClusterAddSlotsRange(ctx, 0, 16383).Err())
	eventually(t, "the cluster works", func() bool { return strings.HasPrefix(c.ClusterInfo(ctx).Val(), "cluster_state:ok") })
	cache(t, c, rarely)
	d = parse[diagnosis](t, nc(t, node.Addr(), "doctor", "-n", "users", "--json"))
	wantOnly(t, &d, "topology", problem)
}

func wantFound(t *testing.T, d *diagnosis, check, seen string) {
	t.Helper()
	for _, f := range d.Findings {
		if f.Check == check && strings.Contains(f.Seen, seen) {
			return
		}
	}
	t.Errorf("%q was not found by %s: %+v", seen, check, d.Findings)
}

// TestDoctorFindsADeafInstance: its user may not subscribe.
func TestDoctorFindsADeafInstance(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	admin := server.Client(t)
	must(t, admin.Do(ctx, "acl", "setuser", "mute", "on", "nopass", "allkeys", "allcommands", "allchannels", "-subscribe").Err())
	cache(t, server.Client(t), rarely)
	mute := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "mute", Password: "x"})
	t.Cleanup(func() { mute.Close() })
	cache(t, mute, rarely)
	d := parse[diagnosis](t, nc(t, server.Addr(), "doctor", "-n", "users", "--json", "--max-staleness", "100ms"))
	wantOnly(t, &d, "instances", warning)
}

// TestAdviceOnPermissionsIsEnough: the rule that the doctor gives lets a user do all.
func TestAdviceOnPermissionsIsEnough(t *testing.T) {
	ctx := context.Background()
	server := redistest.StartProcess(t)
	admin := server.Client(t)
	cache(t, server.Client(t), rarely)
	must(t, admin.Do(ctx, "acl", "setuser", "app", "on", ">pw", "+@connection", "+@read", "+eval").Err())
	url := "redis://app:pw@" + server.Addr()
	must(t, admin.Do(ctx, "acl", "setuser", "app", "~{users}:*").Err())
	d := parse[diagnosis](t, nc(t, url, "doctor", "-n", "users", "--json"))
	rule := ""
	for _, f := range d.Findings {
		if f.Check == "permissions" {
			rule, _, _ = strings.Cut(f.Do, " (on a cluster")
		}
	}
	words := strings.Fields(strings.ReplaceAll(rule, "<user>", "app"))
	if len(words) < 5 {
		t.Fatalf("no rule in %+v", d.Findings)
	}
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	must(t, admin.Do(ctx, args...).Err())
	d = parse[diagnosis](t, nc(t, url, "doctor", "-n", "users", "--json"))
	wantOnly(t, &d, "", "")
	if len(d.Missing) != 1 || !strings.Contains(d.Missing[0], "CONFIG") {
		t.Errorf("not checked: %q, want what needs CONFIG", d.Missing)
	}
	for _, args := range [][]string{{"get", "k"}, {"invalidate", "k"}, {"explain", "k"}, {"stats", "--times", "1"}, {"tag", "a"}} {
		if o := nc(t, url, append(args, "-n", "users")...); o.code == exitFailed {
			t.Errorf("%s: %s", args[0], o.stderr)
		}
	}
}

// TestChecksOfWhatCannotBePlanted here.
func TestChecksOfWhatCannotBePlanted(t *testing.T) {
	server := func(name, value string) *exam {
		return &exam{deployment: &deployment{kind: oneServer}, servers: []*facts{{info: map[string]string{name: value}}}}
	}
	away := func(addr string) *exam { return &exam{deployment: &deployment{kind: oneServer, addrs: []string{addr}}} }
	skewed := func(by ...time.Duration) *exam {
		x := away("localhost:6379")
		for i, d := range by {
			x.servers = append(x.servers, &facts{addr: fmt.Sprint(i), skew: d})
		}
		return x
	}
	for name, row := range map[string]struct {
		exam  *exam
		check string
	}{
		"old Redis":        {server("redis_version", "6.2.14"), "version"},
		"Redis 7":          {server("redis_version", "7.0.0"), ""},
		"Redis 8":          {server("redis_version", "8.10.1"), ""},
		"old Valkey":       {server("valkey_version", "7.1.9"), "version"},
		"Valkey 8":         {server("valkey_version", "8.0.1"), ""},
		"loading":          {server("loading", "1"), "writable"},
		"over a network":   {away("10.0.0.1:6379"), "encryption"},
		"over a name":      {away("redis.internal:6379"), "encryption"},
		"this machine":     {away("127.0.0.1:6379"), ""},
		"a socket":         {away("/run/redis.sock"), ""},
		"clock is off":     {skewed(3 * time.Second), "clock"},
		"clock is behind":  {skewed(-3 * time.Second), "clock"},
		"clock is right":   {skewed(50 * time.Millisecond), ""},
		"clocks disagree":  {skewed(-700*time.Millisecond, 700*time.Millisecond), "clocks"},
		"clocks agree":     {skewed(700*time.Millisecond, 710*time.Millisecond), ""},
		"replica far back": {lagging(), "replicas"},
	} {
		found := row.exam.findings()
		if row.check == "" && len(found) > 0 || row.check != "" && (len(found) != 1 || found[0].Check != row.check) {
			t.Errorf("%s: %+v, want %q", name, found, row.check)
		}
	}
}

func lagging() *exam {
	x := &exam{deployment: &deployment{kind: oneServer}, bounds: bounds{recoveryWindow: time.Minute}}
	x.servers = []*facts{{info: map[string]string{"connected_slaves": "1", "slave0": "ip=127.0.0.1,port=1,state=online,offset=1,lag=40"}}}
	return x
}
