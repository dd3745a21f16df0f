package nearcache_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// outages are the two ways of a server to be away, and back.
var outages = map[string]struct {
	leave, back func(*redistest.Server, testing.TB)
}{
	"refused": {(*redistest.Server).Kill, (*redistest.Server).Restart},
	"silent":  {(*redistest.Server).Pause, (*redistest.Server).Resume},
}

// victim is an instance whose server a test takes away. Its client is as go-redis
// makes it, with all its retries and dial timeouts.
type victim struct {
	server *redistest.Server
	client *redis.Client
	cache  *nearcache.Cache[int]
	next   atomic.Int64
}

func newVictim(t testing.TB) *victim {
	v := &victim{server: redistest.StartProcess(t)}
	v.client = v.server.Client(t)
	cache, err := nearcache.New(nearcache.Config[int]{
		Name: "products", Redis: v.client,
		Load: func(context.Context, string) (int, error) { return 1, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	v.cache = cache
	v.read(t) // connected
	return v
}

// read reads a key that nobody has read before, and returns how long that took.
func (v *victim) read(t testing.TB) time.Duration {
	began := time.Now()
	if n, err := v.cache.Get(context.Background(), fmt.Sprint("cold", v.next.Add(1))); err != nil || n != 1 {
		t.Errorf("a cold read was answered %d, %v", n, err)
	}
	return time.Since(began)
}

// refills waits until a value is filled into L2 again.
func (v *victim) refills(t testing.TB) {
	t.Helper()
	admin := redis.NewClient(&redis.Options{Addr: v.server.Addr()})
	defer admin.Close()
	eventually(t, "L2 is filled again", func() bool {
		key := fmt.Sprint("cold", v.next.Load()+1)
		v.read(t)
		time.Sleep(2 * time.Millisecond) // fills are off the caller's path
		return admin.StrLen(context.Background(), "{products}:v:"+key).Val() > 17
	})
}

// TestReadsOutliveRedis: cold reads are answered while the server is away, nothing
// piles up, and L2 is filled again when it is back. NEARCACHE_LONG=1 makes it a
// minute. Reads come at 5,000 a second.
func TestReadsOutliveRedis(t *testing.T) {
	length := 2 * time.Second
	if os.Getenv("NEARCACHE_LONG") == "1" {
		length = time.Minute
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			outage.leave(v.server, t)
			for range 200 {
				v.read(t)
			}
			calm := runtime.NumGoroutine()
			most, reads := 0, 0
			var reading sync.WaitGroup
			for began := time.Now(); time.Since(began) < length; time.Sleep(time.Millisecond) {
				// Those of the last turn have had a millisecond: what is begun now to make up
				// for a turn that came late is no pile. Nor are so many begun at once that
				// a slow machine needs more than one turn for them.
				most = max(most, runtime.NumGoroutine())
				for due := min(int(5000*time.Since(began).Seconds()), reads+50); reads < due; reads++ {
					reading.Go(func() { v.read(t) })
				}
			}
			reading.Wait()
			pool := v.client.PoolStats()
			t.Logf("%d reads in %v, %d goroutines at most (%d before), %d connections", reads, length, most, calm, pool.TotalConns)
			if most > calm+500 {
				t.Errorf("goroutines pile up: %d, %d before", most, calm)
			}
			if limit := uint32(v.client.Options().PoolSize); pool.TotalConns > limit {
				t.Errorf("%d connections, pool size %d", pool.TotalConns, limit)
			}
			outage.back(v.server, t)
			back := time.Now()
			v.refills(t)
			t.Logf("L2 is filled again %v after the server was back", time.Since(back).Round(time.Millisecond))
		})
	}
}

// BenchmarkOutage measures cold reads with an instant loader while the server is
// away: the slowest of the first ones, which wait for it, the others, which the
// breaker spares that, and how soon L2 is filled again.
//
//	go test -run '^$' -bench Outage -benchtime 1x .
func BenchmarkOutage(b *testing.B) {
	for name, outage := range outages {
		b.Run(name, func(b *testing.B) {
			var first time.Duration
			var later []time.Duration
			var recovery []time.Duration
			for b.Loop() {
				for range 5 {
					v := newVictim(b)
					outage.leave(v.server, b)
					for n := range 200 {
						took := v.read(b)
						if n < 4 {
							first = max(first, took)
						} else {
							later = append(later, took)
						}
					}
					time.Sleep(time.Second)
					outage.back(v.server, b)
					back := time.Now()
					v.refills(b)
					recovery = append(recovery, time.Since(back))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(first.Seconds()*1e3, "ms-first-max")
			reportQuantiles(b, later, time.Microsecond, "µs")
			b.ReportMetric(slices.Max(recovery).Seconds()*1e3, "ms-recovery-max")
		})
	}
}

func reportQuantiles(b *testing.B, took []time.Duration, unit time.Duration, name string) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/float64(unit), name+"-p50")
	b.ReportMetric(float64(took[len(took)*99/100])/float64(unit), name+"-p99")
}

// stampede has many callers on every instance ask for cold keys at once, and returns
// how long each waited, from when it asked.
func stampede[C getter](t testing.TB, prefix string, keys, callers int, caches ...C) []time.Duration {
	waits := make([]time.Duration, keys*len(caches)*callers)
	var crowd sync.WaitGroup
	start := make(chan struct{})
	rest := waits
	for k := range keys {
		key := fmt.Sprint(prefix, k)
		for _, c := range caches {
			for range callers {
				wait := &rest[0]
				rest = rest[1:]
				crowd.Go(func() {
					<-start
					began := time.Now()
					if v, err := c.Get(context.Background(), key); err != nil || v != 1 {
						t.Errorf("Get: %d, %v", v, err)
					}
					*wait = time.Since(began)
				})
			}
		}
	}
	close(start)
	crowd.Wait()
	return waits
}

type getter interface {
	Get(ctx context.Context, key string, opts ...nearcache.Option) (int, error)
}

// bare is the least that coalesces loads: what a crowd costs by itself, since nobody
// asks Redis and each instance loads for itself.
type bare struct {
	origin *origin
	mu     sync.Mutex
	loads  map[string]*bareLoad
}

type bareLoad struct {
	done  chan struct{}
	value int
	err   error
}

func (b *bare) Get(ctx context.Context, key string, _ ...nearcache.Option) (int, error) {
	b.mu.Lock()
	l := b.loads[key]
	if l == nil {
		l = &bareLoad{done: make(chan struct{})}
		b.loads[key] = l
		go func() {
			l.value, l.err = b.origin.load(context.WithoutCancel(ctx), key)
			close(l.done)
		}()
	}
	b.mu.Unlock()
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

const (
	stampedeKeys      = 50
	stampedeInstances = 4
	stampedeCallers   = 50
	stampedeLoad      = 100 * time.Millisecond
)

// TestStampede: cold keys that everybody asks for at once are loaded once each.
func TestStampede(t *testing.T) {
	inBothEras(t, func(t *testing.T, e era) {
		o := &origin{version: 1, takes: stampedeLoad}
		caches := e.numbers(t, stampedeInstances, o, func(*nearcache.Config[int]) {})
		stampede(t, "k", stampedeKeys, stampedeCallers, caches...)
		for k := range stampedeKeys {
			if n := len(o.loads(fmt.Sprint("k", k))); n != 1 {
				t.Errorf("key %d was loaded %d times", k, n)
			}
		}
	})
}

// BenchmarkStampede measures the wait of a crowd for cold keys as a multiple of the
// loader's time, and the loads a key; and the same of the least that coalesces loads, in
// turns, since all callers share the processors with each other and whatever else runs.
//
//	go test -run '^$' -bench Stampede -benchtime 8x .
func BenchmarkStampede(b *testing.B) {
	o, least := &origin{version: 1, takes: stampedeLoad}, &origin{version: 1, takes: stampedeLoad}
	server := redistest.Start(b)
	var caches []*nearcache.Cache[int]
	var bares []*bare
	for range stampedeInstances {
		c, err := nearcache.New(nearcache.Config[int]{Name: "products", Redis: server.Client(b), Load: o.load})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		caches = append(caches, c)
		bares = append(bares, &bare{origin: least, loads: make(map[string]*bareLoad)})
	}
	var waits, floor []time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		round := fmt.Sprint("r", rounds, "k")
		waits = append(waits, stampede(b, round, stampedeKeys, stampedeCallers, caches...)...)
		floor = append(floor, stampede(b, round, stampedeKeys, stampedeCallers, bares...)...)
	}
	loads := 0
	for _, times := range o.asked {
		loads += len(times)
	}
	b.ReportMetric(0, "ns/op")
	reportQuantiles(b, waits, stampedeLoad, "loads")
	reportQuantiles(b, floor, stampedeLoad, "floor")
	b.ReportMetric(float64(loads)/float64(rounds*stampedeKeys), "loads/key")
}

// TestUnansweredLease: a lease that was granted too late to be of use keeps nobody.
func TestUnansweredLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := era{bubble(t), true}
		o := &origin{version: 1}
		var caches []*nearcache.Cache[int]
		var wires []*faultnet.Proxy
		for range 2 {
			client, wire := e.join(&redis.Options{})
			t.Cleanup(func() { client.Close() })
			c, err := nearcache.New(nearcache.Config[int]{Name: "products", Redis: client, Load: o.load, RedisTimeout: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			caches, wires = append(caches, c), append(wires, wire)
		}
		wires[0].Delay(60 * time.Millisecond) // on each way
		var late sync.WaitGroup
		late.Go(func() {
			if _, err := caches[0].Get(t.Context(), "k", nearcache.SkipL1()); err != nil { // which asks for the lease at once
				t.Error(err)
			}
		})
		time.Sleep(80 * time.Millisecond)
		if e.admin.Exists(t.Context(), "{products}:v:k").Val() != 1 {
			t.Fatal("no lease was granted")
		}
		time.AfterFunc(30*time.Millisecond, wires[0].Heal) // just after the budget of 100 ms
		began := time.Now()
		if _, err := caches[1].Get(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > 200*time.Millisecond {
			t.Errorf("another instance waited %v", waited)
		}
		late.Wait()
	})
}
