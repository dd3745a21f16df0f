package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exam is all that the checks judge.
type exam struct {
	*deployment
	servers []*facts
	cache   *namespace // nil if none was named
	state   *state     // likewise
	given   int        // --shards
	bounds
}

// bounds are settings of instances, which Redis does not know.
type bounds struct {
	redisTimeout, maxStaleness, recoveryWindow time.Duration
}

// Severities, in order.
const (
	problem = "problem" // the promise or the cache's work is at risk
	warning = "warning" // it works worse, or is about to
	remark  = "note"    // how it is, if that is what is wanted
)

// finding is what a check found.
type finding struct {
	Check    string `json:"check"`
	Severity string `json:"severity"`
	Server   string `json:"server,omitempty"`
	Seen     string `json:"seen"`
	Why      string `json:"why"`
	Do       string `json:"do"`
}

// check is a question that is asked of each server, or of all at once.
type check struct {
	name   string
	server func(*exam, *facts) []finding
	whole  func(*exam) []finding
}

// checks are all of them, in the order of the report.
var checks = []check{
	{name: "version", server: checkVersion},
	{name: "identity", server: checkIdentity},
	{name: "topology", server: checkTopology},
	{name: "writable", server: checkWritable},
	{name: "permissions", server: checkPermissions},
	{name: "eviction", server: checkEviction},
	{name: "memory", server: checkMemory},
	{name: "output-buffer", server: checkOutputBuffer},
	{name: "round-trip", server: checkRoundTrip},
	{name: "clock", server: checkClock},
	{name: "clocks", whole: checkClocks},
	{name: "replicas", server: checkReplicas},
	{name: "persistence", server: checkPersistence},
	{name: "script-limit", server: checkScriptLimit},
	{name: "idle-connections", server: checkIdle},
	{name: "clients", server: checkClients},
	{name: "keyspace-events", server: checkEvents},
	{name: "coverage", server: checkCoverage},
	{name: "encryption", whole: checkEncryption},
	{name: "shards", whole: checkShards},
	{name: "records", whole: checkRecords},
	{name: "log", whole: checkLog},
	{name: "instances", whole: checkInstances},
}

// findings runs all checks.
func (x *exam) findings() (all []finding) {
	for _, c := range checks {
		var found []finding
		for _, f := range x.servers {
			if c.server == nil {
				break
			}
			for _, one := range c.server(x, f) {
				one.Server = f.addr
				found = append(found, one)
			}
		}
		if c.whole != nil {
			found = c.whole(x)
		}
		for _, one := range found {
			one.Check = c.name
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		order := []string{problem, warning, remark}
		return slices.Index(order, a.Severity) - slices.Index(order, b.Severity)
	})
	return all
}

// one is a list of one finding.
func one(severity, seen, why, do string) []finding {
	return []finding{{Severity: severity, Seen: seen, Why: why, Do: do}}
}

func checkVersion(_ *exam, f *facts) []finding {
	name, version, least := "Redis", f.info["redis_version"], []int{7, 0}
	if v := f.info["valkey_version"]; v != "" {
		name, version, least = "Valkey", v, []int{7, 2}
	}
	var got []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		got = append(got, n)
	}
	if version == "" || slices.Compare(got, least) >= 0 {
		return nil
	}
	return one(problem, name+" "+version, "scripts and streams of the protocol need Redis 7.0 or Valkey 7.2",
		fmt.Sprintf("run %s %d.%d or later", name, least[0], least[1]))
}

func checkIdentity(_ *exam, f *facts) (found []finding) {
	if err := f.refused["INFO"]; err != nil {
		found = append(found, one(problem, "INFO is refused: "+err.Error(),
			"scripts tell by it whether they still run on the server that the epoch began on: without it a failover that loses "+
				"changes goes unnoticed", "allow INFO: ACL SETUSER <user> +info; if a proxy refuses it, connect past the proxy")...)
	}
	if err := f.refused["CLIENT ID"]; err != nil {
		found = append(found, one(warning, "CLIENT ID is refused: "+err.Error(),
			"Config.Tracking needs it, and a proxy that refuses it may share connections between clients, which breaks Pub/Sub",
			"allow it: ACL SETUSER <user> +client|id; if a proxy refuses it, connect past the proxy")...)
	}
	if len(f.runs) > 1 {
		found = append(found, one(problem, fmt.Sprintf("%d new connections reached %d different servers", greeted, len(f.runs)),
			"behind one address a proxy or balancer spreads connections: what one server announces the others' subscribers never hear",
			"give instances the address of one master, or use Sentinel (redis+sentinel://) or a cluster (redis+cluster://)")...)
	}
	return found
}

func checkTopology(x *exam, f *facts) (found []finding) {
	if f.info["cluster_enabled"] == "1" && x.kind != clustered {
		found = append(found, one(problem, "the server is a node of a cluster, and is addressed as a single one",
			"most shards lie on other nodes: their operations fail with MOVED",
			"use redis+cluster:// here, and redis.NewClusterClient in instances")...)
	}
	if f.info["role"] == "slave" {
		found = append(found, one(problem, "role is replica, of "+f.info["master_host"]+":"+f.info["master_port"],
			"replicas refuse writes, so no change lands and no L1 is proven", "address the master, by Sentinel if there is one")...)
	}
	return found
}

func checkWritable(_ *exam, f *facts) (found []finding) {
	if f.info["loading"] == "1" {
		found = append(found, one(problem, "loading is 1", "the server still reads its data from disk and refuses all else",
			"wait until INFO persistence says loading:0")...)
	}
	stop := f.config["stop-writes-on-bgsave-error"] == "yes" && f.config["save"] != ""
	if f.info["rdb_last_bgsave_status"] == "err" && stop || f.info["aof_last_write_status"] == "err" {
		found = append(found, one(problem, fmt.Sprintf("rdb_last_bgsave_status is %s, aof_last_write_status is %s",
			f.info["rdb_last_bgsave_status"], f.info["aof_last_write_status"]),
			"a server that cannot save refuses all writes (MISCONF): no change lands and no L1 is proven",
			"see the server's log; free the disk, or give up saving: CONFIG SET save \"\"")...)
	}
	want, _ := f.number(f.config, "min-replicas-to-write")
	good, known := f.number(f.info, "min_slaves_good_slaves")
	if !known {
		good, _ = f.number(f.info, "connected_slaves")
	}
	if want > good {
		found = append(found, one(problem, fmt.Sprintf("min-replicas-to-write is %d, replicas in step are %d", want, good),
			"the server refuses all writes (NOREPLICAS): no change lands and no L1 is proven",
			fmt.Sprintf("bring replicas back, or lower it: CONFIG SET min-replicas-to-write %d", good))...)
	}
	return found
}

func checkPermissions(x *exam, f *facts) []finding {
	if err := f.refused["EVAL"]; err != nil {
		return one(problem, "EVAL is refused: "+err.Error(), "every change, fill and heartbeat is a script",
			"allow scripts: ACL SETUSER <user> +eval +evalsha; if the command was renamed or disabled in redis.conf, undo that")
	}
	if len(f.denied) == 0 {
		return nil
	}
	denied := slices.Compact(slices.Sorted(slices.Values(f.denied)))
	return one(problem, "the user may not run, on keys or channels of the cache: "+strings.Join(denied, " "),
		"what needs them fails, on every instance that has this user",
		fmt.Sprintf("ACL SETUSER <user> ~{%s}:* ~{%[1]s:*}:* &{%[1]s}:ch &{%[1]s:*}:ch +@read +@write +@pubsub +@scripting "+
			"+@connection +info +time (on a cluster also +cluster +command); a command that was renamed in redis.conf needs "+
			"its name back", literal(x.cache.name)))
}

func checkEviction(_ *exam, f *facts) []finding {
	policy := f.config["maxmemory-policy"]
	if limit, ok := f.number(f.config, "maxmemory"); !ok || limit == 0 {
		return nil
	}
	seen := fmt.Sprintf("maxmemory is %s, maxmemory-policy is %s", f.config["maxmemory"], policy)
	switch {
	case strings.HasPrefix(policy, "allkeys-"):
		return one(problem, seen, "the server may evict a shard's record (:seq) and log (:log): an epoch ends, every L1 with it, "+
			"and what was missed cannot be repaired",
			"CONFIG SET maxmemory-policy volatile-ttl, or noeviction: records and logs have no expiry, so neither evicts them")
	case strings.HasPrefix(policy, "volatile-") && policy != "volatile-ttl":
		return one(warning, seen, "markers of invalidated tags expire after a week or more, so the server may evict them: "+
			"a value whose tag was invalidated is then believed again. Harmless to caches that use no tags",
			"CONFIG SET maxmemory-policy volatile-ttl: markers outlive values, so they go last; or noeviction")
	}
	return nil
}

func checkMemory(_ *exam, f *facts) []finding {
	limit, ok := f.number(f.config, "maxmemory")
	used, _ := f.number(f.info, "used_memory")
	if !ok || limit == 0 || used < limit/10*9 {
		return nil
	}
	return one(warning, fmt.Sprintf("used_memory is %d of maxmemory %d", used, limit),
		"a full server refuses values and Sets, or evicts values before their time: reads turn to the loader",
		fmt.Sprintf("CONFIG SET maxmemory %d or more, or shorten TTL.L2", max(2*used, 64<<20)))
}

// leastBuffer is what a burst of large announcements needs: Redis's default.
const leastHard, leastSoft = 8 << 20, 1 << 20

func checkOutputBuffer(_ *exam, f *facts) []finding {
	_, after, ok := strings.Cut(f.config["client-output-buffer-limit"], "pubsub ")
	limits := strings.Fields(after)
	if !ok || len(limits) < 3 {
		return nil
	}
	hard, _ := strconv.ParseInt(limits[0], 10, 64)
	soft, _ := strconv.ParseInt(limits[1], 10, 64)
	if (hard == 0 || hard >= leastHard) && (soft == 0 || soft >= leastSoft) {
		return nil
	}
	return one(warning, "client-output-buffer-limit pubsub is "+strings.Join(limits[:3], " "),
		"a subscriber that is behind by so little is cut off, and reads the log to make up for it; in a burst again and again",
		`CONFIG SET client-output-buffer-limit "pubsub 33554432 8388608 60"`)
}

func checkRoundTrip(x *exam, f *facts) []finding {
	if len(f.trips) == 0 {
		return nil
	}
	p50, p95 := f.trips[len(f.trips)/2], f.trips[len(f.trips)*95/100] // of 50, the 99th is an accident
	seen := fmt.Sprintf("a round trip takes %s (p50), %s (p95); RedisTimeout is %s", short(p50), short(p95), short(x.redisTimeout))
	why := "operations on Redis that take longer fail: reads turn to the loader, changes return errors, breakers open"
	do := fmt.Sprintf("RedisTimeout: %v in Config, or run instances nearer to Redis", max(10*p50, 2*p95).Round(10*time.Millisecond))
	switch {
	case p50 > x.redisTimeout:
		return one(problem, seen, why, do)
	case p95 > x.redisTimeout/2:
		return one(warning, seen, why, do)
	}
	return nil
}

// skewed is a difference of clocks that is no matter of measurement.
const skewed = time.Second

func checkClock(_ *exam, f *facts) []finding {
	if f.skew.Abs() < skewed {
		return nil
	}
	return one(remark, fmt.Sprintf("the server's clock differs from this machine's by %s", short(f.skew)),
		"coherence does not hang on it: numbers are minted by the server's clock alone. Times of day in explain, logs and "+
			"debug pages are off by it", "let both follow NTP (chrony, systemd-timesyncd)")
}

func checkClocks(x *exam) []finding {
	if len(x.servers) < 2 {
		return nil
	}
	low, high := x.servers[0], x.servers[0]
	for _, f := range x.servers {
		if f.skew < low.skew {
			low = f
		}
		if f.skew > high.skew {
			high = f
		}
	}
	if high.skew-low.skew < skewed {
		return nil
	}
	return one(warning, fmt.Sprintf("the clock of %s is %s ahead of that of %s", high.addr, short(high.skew-low.skew), low.addr),
		"when a shard moves to another server, lives of values there end early or late by that much",
		"let the servers follow NTP (chrony, systemd-timesyncd)")
}

func checkReplicas(x *exam, f *facts) (found []finding) {
	replicas, _ := f.number(f.info, "connected_slaves")
	least, known := f.number(f.config, "min-replicas-to-write")
	if replicas > 0 && known && least == 0 && x.kind != clustered {
		found = append(found, one(problem, fmt.Sprintf("%s, min-replicas-to-write is 0", count(replicas, "replica")),
			"a master that was cut off goes on acknowledging changes which its successor does not know: the one failure that "+
				"the promise does not cover", "CONFIG SET min-replicas-to-write 1, and CONFIG SET min-replicas-max-lag 5")...)
	}
	if x.kind == clustered && f.info["cluster_enabled"] == "1" && replicas == 0 {
		found = append(found, one(warning, "a master without replicas", "when it dies its shards are away until it is back",
			"redis-cli --cluster add-node NEW "+f.addr+" --cluster-slave")...)
	}
	for i := range replicas {
		lag := f.info[fmt.Sprintf("slave%d", i)]
		_, text, _ := strings.Cut(lag, ",lag=")
		seconds, err := strconv.Atoi(text)
		if behind := time.Duration(seconds) * time.Second; err == nil && behind > x.recoveryWindow/4 {
			found = append(found, one(warning, fmt.Sprintf("replica %d is %s behind; RecoveryWindow is %s", i, short(behind), short(x.recoveryWindow)),
				"changes older than RecoveryWindow are not sent again if it becomes master before it has them",
				"see why it lags; or RecoveryWindow: "+(8*behind).String()+" in Config")...)
		}
	}
	return found
}

func checkPersistence(_ *exam, f *facts) []finding {
	aof, save := f.config["appendonly"], f.config["save"]
	switch {
	case f.config == nil || aof == "yes":
		return nil
	case save == "":
		return one(remark, "appendonly is no, nothing is saved",
			"after a restart Redis is empty: instances notice, drop L1, and load everything anew",
			"nothing, if loaders can bear a cold cache; else CONFIG SET appendonly yes")
	}
	return one(remark, "appendonly is no, save is "+save,
		"after a restart Redis is as old as its snapshot: instances send their changes of RecoveryWindow again; those of "+
			"writers from outside, and older ones, stay lost until the values expire",
		"CONFIG SET appendonly yes; or save \"\", and start empty; or Config.Strict")
}

func checkScriptLimit(_ *exam, f *facts) []finding {
	name := "busy-reply-threshold"
	limit, ok := f.number(f.config, name)
	if !ok || limit <= 0 || limit >= 500 {
		return nil
	}
	return one(warning, fmt.Sprintf("%s is %d ms", name, limit),
		"while a script takes longer than that, clients are answered BUSY. Those of nearcache take less than a millisecond, but "+
			"up to 512 keys or a megabyte of values go into one, on a machine that may be busy",
		"CONFIG SET "+name+" 5000")
}

func checkIdle(_ *exam, f *facts) (found []finding) {
	if n, ok := f.number(f.config, "timeout"); ok && n > 0 && n < 60 {
		found = append(found, one(warning, fmt.Sprintf("timeout is %d s", n),
			"connections of a pool that rests are closed: after each lull reads pay for new ones, within RedisTimeout. "+
				"Subscriptions are exempt", "CONFIG SET timeout 0")...)
	}
	if n, ok := f.number(f.config, "tcp-keepalive"); ok && n == 0 {
		found = append(found, one(warning, "tcp-keepalive is 0",
			"subscriptions of instances that vanished without a word stay, and their output buffers fill the server's memory",
			"CONFIG SET tcp-keepalive 300")...)
	}
	return found
}

func checkClients(_ *exam, f *facts) []finding {
	limit, ok := f.number(f.config, "maxclients")
	now, _ := f.number(f.info, "connected_clients")
	if !ok || now < limit*8/10 {
		return nil
	}
	return one(warning, fmt.Sprintf("%d connections of maxclients %d", now, limit),
		"past the limit new connections are refused: an instance that lost its own cannot come back",
		fmt.Sprintf("CONFIG SET maxclients %d, or lower PoolSize in the clients' options", max(2*limit, 1000)))
}

func checkEvents(_ *exam, f *facts) []finding {
	events := f.config["notify-keyspace-events"]
	if events == "" {
		return nil
	}
	return one(remark, "notify-keyspace-events is "+events,
		"nearcache does not need it, Config.Tracking neither; every write of a value costs the server a message more",
		`CONFIG SET notify-keyspace-events "", unless somebody else listens`)
}

func checkCoverage(x *exam, f *facts) []finding {
	if x.kind != clustered || f.config["cluster-require-full-coverage"] != "yes" {
		return nil
	}
	return one(warning, "cluster-require-full-coverage is yes",
		"while one master is missing, the whole cluster refuses to serve, and not only its shards",
		"CONFIG SET cluster-require-full-coverage no, on every node")
}

func checkEncryption(x *exam) []finding {
	if x.tls != nil {
		return nil
	}
	for _, addr := range x.addrs {
		host, _, err := net.SplitHostPort(addr)
		ip := net.ParseIP(host)
		if err != nil || host == "localhost" || ip != nil && ip.IsLoopback() {
			continue // a socket in the file system, or this machine
		}
		return one(warning, "no TLS to "+addr, "passwords, keys and values cross the network in the clear",
			"rediss:// here and Options.TLSConfig in instances, once the server has tls-port; Config.Seal hides values at least")
	}
	return nil
}
