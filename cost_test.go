package nearcache_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// BenchmarkCost measures what the protocol costs the server, by the server's own
// account, against what a cache without it would send:
//
//	go test -run '^$' -bench Cost -benchtime 1x .
//
// exec is the time in which commands run and nobody else is served (INFO
// commandstats); cpu adds sockets, parsing and replies (INFO cpu). One caller, so
// nothing is pipelined. The two sides take turns, eight rounds of them; figures are
// medians, the spread is that of the cpu ratio.
func BenchmarkCost(b *testing.B) {
	server := redistest.Start(b)
	client := server.Client(b)
	ctx := context.Background()
	cache, err := nearcache.New(nearcache.Config[[]byte]{
		Name: "cost", Redis: server.Client(b), MaxStaleness: time.Hour, // no heartbeats in between
		Load: func(context.Context, string) ([]byte, error) { return make([]byte, 200), nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	key := func(i int) string { return "user:" + strconv.Itoa(i%1000) }
	for i := range 1000 {
		if err := cache.Set(ctx, key(i), make([]byte, 200)); err != nil {
			b.Fatal(err)
		}
		client.Set(ctx, "plain:"+key(i), make([]byte, 200), time.Hour)
	}
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("read", func(b *testing.B) {
		costs(b, client, 4000, func(i int) {
			_, err := cache.Get(ctx, key(i), nearcache.SkipL1())
			check(err)
		}, func(i int) { check(client.Get(ctx, "plain:"+key(i)).Err()) })
	})
	for _, keys := range []int{1, 100} {
		names := make([]string, keys)
		for i := range names {
			names[i] = key(i)
		}
		b.Run(fmt.Sprintf("invalidate %d", keys), func(b *testing.B) {
			costs(b, client, 4000, func(int) { check(cache.Invalidate(ctx, names...)) }, func(int) {
				_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
					p.Del(ctx, names...)
					p.Publish(ctx, "plain", strings.Join(names, ","))
					return nil
				})
				check(err)
			})
			b.ReportMetric(float64(client.MemoryUsage(ctx, "{cost}:log").Val())/1024, "kB-log")
			b.ReportMetric(float64(client.XLen(ctx, "{cost}:log").Val()), "log-entries")
		})
	}
}

// BenchmarkIdleCost counts what an instance with the default bound sends while
// nobody uses it.
func BenchmarkIdleCost(b *testing.B) {
	server := redistest.Start(b)
	client := server.Client(b)
	cache, err := nearcache.New(nearcache.Config[int]{Name: "idle", Redis: server.Client(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	const wait = 10 * time.Second
	calls := func() (n float64) {
		for _, name := range []string{"evalsha", "ping"} {
			_, after, _ := strings.Cut(client.Info(context.Background(), "commandstats").Val(), "cmdstat_"+name+":calls=")
			digits, _, _ := strings.Cut(after, ",")
			count, _ := strconv.ParseFloat(digits, 64) // none so far
			n += count
		}
		return n
	}
	for b.Loop() {
		before := calls()
		time.Sleep(wait)
		b.ReportMetric((calls()-before)/wait.Seconds(), "requests/s")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTracking measures what Config.Tracking adds to the cost of a Set, by the
// server's own account, for fleets of several sizes:
//
//	go test -run '^$' -bench Tracking -benchtime 1x .
//
// A thousand Sets a second, each on the next instance, go to a fleet that tracks and to
// one that does not (plain), in turns, on the same server.
func BenchmarkTracking(b *testing.B) {
	for _, instances := range []int{1, 10, 50} {
		b.Run(fmt.Sprint(instances), func(b *testing.B) {
			server := redistest.Start(b)
			costs(b, server.Client(b), 1000, setter(b, server, "tracked", instances, true), setter(b, server, "plain", instances, false))
		})
	}
}

// setter returns what sets a value on the next of some instances, and takes a
// millisecond.
func setter(b *testing.B, server *redistest.Server, name string, instances int, tracking bool) func(i int) {
	var caches []*nearcache.Cache[[]byte]
	for range instances {
		cache, err := nearcache.New(nearcache.Config[[]byte]{
			Name: name, Redis: server.Client(b), MaxStaleness: time.Hour, RedisTimeout: calm, Tracking: tracking,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { cache.Close() })
		if tracking {
			eventually(b, "it tracks", func() bool { return cache.Stats().TrackingGaps > 0 })
		}
		caches = append(caches, cache)
	}
	return func(i int) {
		due := time.Now().Add(time.Millisecond)
		if err := caches[i%instances].Set(context.Background(), "user:"+strconv.Itoa(i), make([]byte, 200)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Until(due))
	}
}

// spent is what one call cost the server, in microseconds, and what it sent.
type spent struct{ commands, scripts, cpu, bytes float64 }

// exec is the time of a call's commands. What runs inside of a script is counted
// as a command too.
func (s spent) exec() float64 {
	if s.scripts > 0 {
		return s.scripts
	}
	return s.commands
}

// costs reports what one of many calls of ours and of theirs cost the server.
func costs(b *testing.B, client *redis.Client, calls int, ours, theirs func(i int)) {
	const rounds = 8
	var our, their [rounds]spent
	for b.Loop() {
		for i := range rounds {
			our[i], their[i] = measure(b, client, calls, ours), measure(b, client, calls, theirs)
		}
	}
	median := func(of func(i int) float64) (low, mid, high float64) {
		var v []float64
		for i := range rounds {
			v = append(v, of(i))
		}
		slices.Sort(v)
		return v[0], (v[rounds/2-1] + v[rounds/2]) / 2, v[rounds-1]
	}
	report := func(unit string, of func(i int) float64) {
		_, mid, _ := median(of)
		b.ReportMetric(mid, unit)
	}
	report("µs-exec", func(i int) float64 { return our[i].exec() })
	report("µs-exec-plain", func(i int) float64 { return their[i].exec() })
	report("µs-cpu", func(i int) float64 { return our[i].cpu })
	report("µs-cpu-plain", func(i int) float64 { return their[i].cpu })
	report("B-out", func(i int) float64 { return our[i].bytes })
	report("B-out-plain", func(i int) float64 { return their[i].bytes })
	low, mid, high := median(func(i int) float64 { return our[i].cpu / their[i].cpu })
	b.ReportMetric(low, "cpu-ratio-min")
	b.ReportMetric(mid, "cpu-ratio")
	b.ReportMetric(high, "cpu-ratio-max")
	b.ReportMetric(0, "ns/op")
}

func measure(b *testing.B, client *redis.Client, calls int, f func(i int)) spent {
	before := account(b, client)
	for i := range calls {
		f(i)
	}
	time.Sleep(20 * time.Millisecond) // what others make of the last ones
	after, n := account(b, client), float64(calls)
	return spent{
		commands: (after.commands - before.commands) / n,
		scripts:  (after.scripts - before.scripts) / n,
		cpu:      (after.cpu - before.cpu) / n,
		bytes:    (after.bytes - before.bytes) / n,
	}
}

// account reads what the server has spent so far.
func account(t testing.TB, client *redis.Client) (s spent) {
	info, err := client.InfoMap(context.Background(), "commandstats", "cpu", "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("INFO: %q is no number", text)
		}
		return n
	}
	for name, fields := range info["Commandstats"] {
		_, usec, _ := strings.Cut(fields, "usec=")
		usec, _, _ = strings.Cut(usec, ",")
		if name == "cmdstat_evalsha" {
			s.scripts = number(usec)
		} else {
			s.commands += number(usec)
		}
	}
	s.cpu = 1e6 * (number(info["CPU"]["used_cpu_user_main_thread"]) + number(info["CPU"]["used_cpu_sys_main_thread"]))
	s.bytes = number(info["Stats"]["total_net_output_bytes"])
	return s
}
