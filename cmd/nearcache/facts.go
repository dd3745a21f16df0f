package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// facts is what could be learned of one master.
type facts struct {
	addr    string
	info    map[string]string
	config  map[string]string // nil if the server does not tell
	refused map[string]error  // requests that were refused: INFO, CONFIG, CLIENT ID, EVAL
	trips   []time.Duration   // round trips, in ascending order
	skew    time.Duration     // of its clock, against ours
	runs    []string          // identities of the servers that new connections reach
	denied  []string          // commands that the user may not use on the cache's keys
}

// number returns a setting or figure; ok is false if it is not known.
func (f *facts) number(from map[string]string, name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(from[name], 10, 64)
	return n, err == nil
}

const (
	pings   = 50 // at most, and a second long
	greeted = 4  // new connections that are asked who they reach
)

// examine asks a master everything that checks want to know. It writes nothing.
func examine(ctx context.Context, c *redis.Client, ns *namespace) (*facts, error) {
	f := &facts{addr: c.Options().Addr, refused: map[string]error{}}
	info, err := c.InfoMap(ctx).Result()
	if err := f.ask("INFO", err); err != nil {
		return nil, err
	}
	f.info = make(map[string]string)
	for _, section := range info {
		for name, value := range section {
			f.info[name] = value
		}
	}
	if port := f.info["tcp_port"]; f.addr == "FailoverClient" && port != "" {
		f.addr = "the master, port " + port // go-redis does not tell its address
	}
	f.config, err = c.ConfigGet(ctx, "*").Result()
	if err := f.ask("CONFIG", err); err != nil {
		return nil, err
	}
	if len(f.config) == 0 {
		f.config = nil
	}
	if err := f.ask("CLIENT ID", c.ClientID(ctx).Err()); err != nil {
		return nil, err
	}
	if err := f.measure(ctx, c); err != nil {
		return nil, err
	}
	if err := f.greet(ctx, c); err != nil {
		return nil, err
	}
	return f, f.permissions(ctx, c, ns)
}

// ask takes note of a refusal. Other errors are the end of the examination.
func (f *facts) ask(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, reply := errors.AsType[redis.Error](err); reply {
		f.refused[what] = err
		return nil
	}
	return fmt.Errorf("%s of %s: %w", what, f.addr, err)
}

// measure takes round trips, and the clock when the answer was fastest.
func (f *facts) measure(ctx context.Context, c *redis.Client) error {
	best := time.Hour
	for began := time.Now(); len(f.trips) < pings && (len(f.trips) < 5 || time.Since(began) < time.Second); {
		sent := time.Now()
		clock, err := c.Time(ctx).Result()
		trip := time.Since(sent)
		if err != nil {
			return f.ask("TIME", err)
		}
		f.trips = append(f.trips, trip)
		if trip < best {
			best, f.skew = trip, clock.Sub(sent.Add(trip/2)).Round(100*time.Microsecond)
		}
	}
	slices.Sort(f.trips)
	return nil
}

// greet asks new connections which server they reach.
func (f *facts) greet(ctx context.Context, c *redis.Client) error {
	for range greeted {
		o := *c.Options()
		o.PoolSize, o.MinIdleConns = 1, 0
		fresh := redis.NewClient(&o)
		info, err := fresh.InfoMap(ctx, "server").Result()
		fresh.Close()
		if err := f.ask("INFO", err); err != nil {
			return err
		}
		if run := info["Server"]["run_id"]; run != "" && !slices.Contains(f.runs, run) {
			f.runs = append(f.runs, run)
		}
	}
	return nil
}

// allowed asks the server which of the commands in ARGV[1] this user may run, and runs
// none of them.
const allowed = `
if not redis.acl_check_cmd then return {} end
local denied = {}
for _, command in ipairs(cjson.decode(ARGV[1])) do
  local known, may = pcall(redis.acl_check_cmd, unpack(command))
  if not known or not may then table.insert(denied, command[1]) end
end
return denied`

// permissions finds the commands that the user lacks.
func (f *facts) permissions(ctx context.Context, c *redis.Client, ns *namespace) error {
	var commands [][]string
	if ns != nil {
		commands = needed(ns.tags()[ns.shards-1], ns.name)
	}
	list, err := json.Marshal(commands)
	if err != nil {
		return err
	}
	if ns == nil {
		list = []byte("[]")
	}
	f.denied, err = c.Eval(ctx, allowed, nil, string(list)).StringSlice()
	return f.ask("EVAL", err)
}

// needed are the commands that instances send, and scripts run, on a shard's keys.
func needed(tag, name string) [][]string {
	value, record, log := tag+":v:k", tag+":seq", tag+":log"
	return [][]string{
		{"GET", value}, {"MGET", value}, {"SET", value, "x", "NX", "GET", "PX", "1"}, {"PTTL", value},
		{"GETRANGE", value, "0", "1"}, {"SETRANGE", value, "0", "x"}, {"STRLEN", value}, {"TYPE", value},
		{"DEL", value}, {"UNLINK", value}, {"PEXPIRE", value, "1"}, {"SETNX", shardsKey(name), "1"},
		{"GET", record}, {"SET", record, "x"}, {"SET", tag + ":t:k", "1", "PX", "1"}, {"SET", tag + ":i:k", "1", "PX", "1"},
		{"PERSIST", log}, {"DEL", log}, {"XADD", log, "1-0", "m", "x"}, {"XRANGE", log, "-", "+"},
		{"PUBLISH", tag + ":ch", "x"}, {"SUBSCRIBE", tag + ":ch"}, {"PING"}, {"TIME"},
		{"EVALSHA", "0000000000000000000000000000000000000000", "1", record}, {"EVAL", "return 1", "1", record},
	}
}

// state is what Redis knows of a cache.
type state struct {
	raw       string // what is recorded as the number of shards
	shards    []shardState
	instances map[string]int // alive, with the number of shards that each has
	strangers []string       // names of shards that there should not be
	listeners []int64        // connections that listen to each shard
	untold    bool           // a server does not tell who listens
	whole     bool           // all keys were looked at for instances
}

// shardState is what Redis knows of a shard.
type shardState struct {
	Record  l2.Record
	Garbage string // what is in the record's place
	Log     logState
	Rate    float64 // changes a second, in the last moments
	Server  string  // that has it; only known in a cluster
}

type logState struct {
	Length      int64
	Added       int64
	First, Last uint64
	Err         error
}

// recently is how far back changes are counted, and recent how many of them at most.
const (
	recently = 10 * time.Second
	recent   = 1000
)

// survey reads what Redis knows of the cache. In full it also finds who is alive, which
// takes a look at every key, within bounds, and how fast changes come.
func (n *namespace) survey(ctx context.Context, full bool) (*state, error) {
	s := &state{shards: make([]shardState, n.shards), listeners: make([]int64, n.shards), instances: map[string]int{}}
	if err := n.surveyShards(ctx, s, full); err != nil {
		return nil, err
	}
	if err := n.surveyListeners(ctx, s); err != nil {
		return nil, err
	}
	if !full {
		return s, nil
	}
	return s, n.surveyInstances(ctx, s)
}

func (n *namespace) surveyShards(ctx context.Context, s *state, full bool) error {
	now, err := n.clock(ctx, "")
	if err != nil {
		return err
	}
	since := uint64(now.Add(-recently).UnixMicro())
	pipe := n.client.Pipeline()
	agreed := pipe.Get(ctx, shardsKey(n.name))
	records, logs, entries := make([]*redis.StringCmd, n.shards), make([]*redis.XInfoStreamCmd, n.shards), make([]*redis.XMessageSliceCmd, n.shards)
	for i, tag := range n.tags() {
		records[i] = pipe.Get(ctx, tag+":seq") // before the log, which then is as new at least
		logs[i] = pipe.XInfoStream(ctx, tag+":log")
		if full {
			entries[i] = pipe.XRevRangeN(ctx, tag+":log", "+", strconv.FormatUint(since, 10), recent)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if s.raw = agreed.Val(); agreed.Err() != nil && !errors.Is(agreed.Err(), redis.Nil) {
		return fmt.Errorf("reading %s: %w", shardsKey(n.name), agreed.Err())
	}
	for i := range s.shards {
		sh := &s.shards[i]
		raw, err := records[i].Result()
		if _, reply := errors.AsType[redis.Error](err); err != nil && !reply {
			return fmt.Errorf("reading shard %d: %w", i, err)
		}
		var ok bool
		if sh.Record, ok = l2.ParseRecord(raw); !ok {
			sh.Garbage = or(raw, "nothing")
		}
		x := logs[i].Val()
		if sh.Log.Err = logs[i].Err(); x != nil {
			sh.Log = logState{Length: x.Length, Added: x.EntriesAdded, First: seqOf(x.FirstEntry.ID), Last: seqOf(x.LastEntry.ID)}
		}
		if full {
			sh.Rate = rateOf(entries[i].Val())
		}
	}
	return n.surveyServers(ctx, s)
}

// rateOf returns changes a second, of entries that are the newest of the last moments.
func rateOf(entries []redis.XMessage) float64 {
	if len(entries) < recent {
		return float64(len(entries)) / recently.Seconds()
	}
	span := seqOf(entries[0].ID) - seqOf(entries[recent-1].ID)
	return recent / max(float64(span)/1e6, 1e-3)
}

// seqOf is the change that an entry of the log is about.
func seqOf(id string) uint64 {
	digits, _, _ := strings.Cut(id, "-")
	seq, _ := strconv.ParseUint(digits, 10, 64)
	return seq
}

// surveyServers finds which master of a cluster has which shard.
func (n *namespace) surveyServers(ctx context.Context, s *state) error {
	cluster, ok := n.client.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	for i, tag := range n.tags() {
		master, err := cluster.MasterForKey(ctx, tag+":seq")
		if err != nil {
			return fmt.Errorf("the master of shard %d: %w", i, err)
		}
		s.shards[i].Server = master.Options().Addr
	}
	return nil
}

// surveyListeners counts the subscriptions, which each node of a cluster knows its own of.
func (n *namespace) surveyListeners(ctx context.Context, s *state) error {
	channels := n.store.Channels()
	var mu sync.Mutex
	count := func(ctx context.Context, c *redis.Client) error {
		subs, err := c.PubSubNumSub(ctx, channels...).Result()
		if _, reply := errors.AsType[redis.Error](err); reply {
			err, subs = nil, nil // it does not tell
		}
		mu.Lock()
		defer mu.Unlock()
		s.untold = s.untold || subs == nil
		for i, channel := range channels {
			s.listeners[i] += subs[channel]
		}
		return err
	}
	if cluster, ok := n.client.(*redis.ClusterClient); ok {
		return cluster.ForEachShard(ctx, count)
	}
	return eachMaster(ctx, n.client, count)
}

// surveyInstances finds the keys that heartbeats write.
func (n *namespace) surveyInstances(ctx context.Context, s *state) error {
	keys, whole, err := scan(ctx, n.client, "{"+literal(n.name)+"*}:i:*")
	if _, reply := errors.AsType[redis.Error](err); reply {
		return nil // the user may not look at all keys
	}
	if err != nil {
		return fmt.Errorf("looking for instances: %w", err)
	}
	s.whole = whole
	tags := n.tags()
	for _, key := range keys {
		tag, instance, _ := strings.Cut(key, ":i:")
		switch {
		case slices.Contains(tags, tag):
			s.instances[instance]++
		case n.ofAnotherNumber(tag) && !slices.Contains(s.strangers, tag):
			s.strangers = append(s.strangers, tag)
		}
	}
	return nil
}

// ofAnotherNumber reports whether a tag is one of this cache's with another number of
// shards.
func (n *namespace) ofAnotherNumber(tag string) bool {
	rest, ok := strings.CutPrefix(tag, "{"+n.name)
	digits := strings.TrimSuffix(strings.TrimPrefix(rest, ":"), "}")
	_, err := strconv.ParseUint(digits, 10, 16)
	return ok && (rest == "}" || rest[0] == ':' && err == nil)
}

// literal escapes what patterns of Redis give a meaning to.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(name)
}
