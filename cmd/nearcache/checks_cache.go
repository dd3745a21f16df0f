package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache/l2"
)

// leastCover is how long an outage the log should cover.
const leastCover = time.Minute

func checkShards(x *exam) (found []finding) {
	if x.state == nil {
		return nil
	}
	recorded, err := strconv.Atoi(x.state.raw)
	key := shardsKey(x.cache.name)
	switch {
	case x.state.raw == "":
		found = append(found, one(warning, key+" is missing", "instances with different Config.Shards would not notice each other",
			fmt.Sprintf("SET %s %d, if that is what instances use; the next that starts does so, too", key, x.cache.shards))...)
	case err != nil || recorded < 1 || recorded > l2.MaxShards:
		found = append(found, one(problem, fmt.Sprintf("%s is %.32q, must be 1 to %d", key, x.state.raw, l2.MaxShards),
			"no instance starts with that", fmt.Sprintf("SET %s %d, if that is what instances use", key, x.cache.shards))...)
	case x.given != 0 && x.given != recorded:
		found = append(found, one(problem, fmt.Sprintf("%d shards are recorded at %s, instances have %d (--shards)", recorded, key, x.given),
			"nearcache.New fails with another number than the recorded one",
			fmt.Sprintf("Shards: %d in Config; or stop all instances and DEL %s", recorded, key))...)
	}
	if len(x.state.strangers) > 0 {
		found = append(found, one(problem, fmt.Sprintf("instances send heartbeats to %s, not one of the %s recorded",
			strings.Join(x.state.strangers[:min(3, len(x.state.strangers))], " "), count(x.cache.shards, "shard")),
			"instances that disagree about the number of shards do not see each other's changes",
			"the same Shards in every Config, and start those that differ again")...)
	}
	return append(found, checkSpread(x)...)
}

// checkSpread looks for masters of a cluster that have nothing to do.
func checkSpread(x *exam) []finding {
	if x.kind != clustered {
		return nil
	}
	busy := map[string]int{}
	for _, s := range x.state.shards {
		busy[s.Server]++
	}
	if len(busy) >= len(x.servers) {
		return nil
	}
	return one(warning, fmt.Sprintf("%s on %d of %s", count(x.cache.shards, "shard"), len(busy), count(len(x.servers), "master")),
		"the other masters have no part of the cache",
		fmt.Sprintf("give the cache another Name with Shards: %d", max(64, 8*len(x.servers))))
}

func checkRecords(x *exam) []finding {
	if x.state == nil {
		return nil
	}
	for i, s := range x.state.shards {
		switch {
		case s.Garbage == "":
		case len(x.state.instances) == 0 && s.Garbage == "nothing":
			return nil // the first heartbeat begins an epoch
		default:
			return one(problem, fmt.Sprintf("shard %d has %.48q in place of its record", i, s.Garbage),
				"somebody wrote or deleted it: an epoch ends each time, and every L1 with it",
				fmt.Sprintf("find out who writes to %s:seq; the next heartbeat of an instance repairs it", x.cache.tags()[i]))
		}
	}
	return nil
}

func checkLog(x *exam) (found []finding) {
	if x.state == nil {
		return nil
	}
	worst, at := time.Duration(1<<62), 0
	for i := range x.state.shards {
		s := &x.state.shards[i]
		if s.Garbage != "" {
			continue
		}
		// The record was read first: a log that ends before it lacks what it should hold.
		if s.Log.Last < s.Record.Seq && found == nil && !s.Log.denied() {
			seen := fmt.Sprintf("the log of shard %d ends %s before the record", i, short(time.Duration(s.Record.Seq-s.Log.Last)*time.Microsecond))
			if s.Log.Err != nil {
				seen = fmt.Sprintf("shard %d has no log: %v", i, s.Log.Err)
			}
			found = one(problem, seen, "what an instance misses is read from the log: without it a lost message costs all of a shard's L1",
				fmt.Sprintf("find out who deletes or trims %s:log (eviction, a cleanup job); it grows again with the next changes", x.cache.tags()[i]))
		}
		if c := s.covers(x.cache.shards); c < worst {
			worst, at = c, i
		}
	}
	if worst > leastCover {
		return found
	}
	severity := warning
	if worst < x.maxStaleness {
		severity = problem
	}
	s := &x.state.shards[at]
	return append(found, one(severity, fmt.Sprintf("the log of shard %d keeps about %d changes: %s at the present rate of %.0f a second",
		at, l2.LogLen(x.cache.shards), short(worst), s.Rate),
		"an instance that is cut off for longer cannot repair what it missed, and gives up all of a shard's L1",
		"invalidate many keys in one call (up to 512 are one change); tags in place of long lists; more Shards, under another Name")...)
}

// denied reports whether the user may not read the log: permissions are another matter.
func (l *logState) denied() bool { return l.Err != nil && strings.HasPrefix(l.Err.Error(), "NOPERM") }

// covers is how long an outage the log of a shard makes up for, at the rate of the last
// moments.
func (s *shardState) covers(shards int) time.Duration {
	return time.Duration(min(float64(l2.LogLen(shards))/max(s.Rate, 1e-6), 1e9) * 1e9)
}

func checkInstances(x *exam) []finding {
	if x.state == nil || !x.state.whole {
		return nil
	}
	alive := len(x.state.instances)
	if alive == 0 && len(x.state.strangers) > 0 {
		return nil // they disagree about the shards, which is told there
	}
	if alive == 0 {
		return one(remark, "no instance sends heartbeats", "nobody uses the cache now, or nobody's writes land",
			"nothing, if none should run; else see the instances' logs")
	}
	i := x.state.deaf()
	if i < 0 {
		return nil
	}
	listening := count(x.state.listeners[i], "connection")
	return one(warning, fmt.Sprintf("%s, but %s listening to shard %d", count(alive, "instance"), listening, i),
		"an instance that does not hear announcements learns of changes by its heartbeats only, up to MaxStaleness late",
		"see the instances' logs for \"subscription lost\"; an ACL user needs its channels: &{"+x.cache.name+"}:ch")
}

// deaf returns a shard that fewer listen to than are alive, or -1.
func (s *state) deaf() int {
	for i, n := range s.listeners {
		if n < int64(len(s.instances)) && !s.untold {
			return i
		}
	}
	return -1
}
