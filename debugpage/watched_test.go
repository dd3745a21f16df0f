package debugpage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache"
)

// kept are the samples that there are once all is quiet.
func kept(w *watched) []sample {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.samples)
}

func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		defer p.Close()
		h, c := p.Hooks("a"), &fake{stats: nearcache.Stats{L1Hits: 1 << 40, MaxStaleness: 2 * time.Second}}
		p.Watch("a", c)
		time.Sleep(1500 * time.Millisecond)
		c.change(func(s *nearcache.Stats) {
			s.L1Hits, s.L1Misses, s.L2Hits, s.Loads = s.L1Hits+90, 10, 6, 2
			s.LoadErrors, s.RedisErrors, s.ProofAge = 1, 2, 300*time.Millisecond
		})
		h.End(t.Context(), &nearcache.Operation{Kind: "load", Source: nearcache.FromLoader, Took: 4 * time.Millisecond})
		h.End(t.Context(), &nearcache.Operation{Kind: "get", Source: nearcache.FromL2, Took: time.Millisecond})
		h.Announced(nearcache.Announcement{Lag: 8 * time.Millisecond})
		h.Announced(nearcache.Announcement{Lag: -1})
		h.Event(nearcache.Event{Kind: "gap"})
		time.Sleep(time.Second)
		got := kept(p.named("a"))[1]
		want := sample{at: got.at, marks: markOf("gap"), reads: 100, loads: 2, failed: 3, l1: .9, l2: .75, proof: .3, bound: 2,
			lagP50: .008, lagMax: .008, l2P50: .001, l2P99: .001, loadP50: .004, loadP99: .004}
		for _, latency := range []struct{ got, want *float64 }{{&got.lagP50, &want.lagP50}, {&got.l2P50, &want.l2P50},
			{&got.l2P99, &want.l2P99}, {&got.loadP50, &want.loadP50}, {&got.loadP99, &want.loadP99}} {
			if off := *latency.got / *latency.want; off < 1 || off > 1.125 {
				t.Errorf("a latency of %v, want %v", *latency.got, *latency.want)
			}
			*latency.got = *latency.want
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		c.change(func(s *nearcache.Stats) { s.L1Hits-- }) // as concurrent reads may make it seem
		time.Sleep(time.Second)
		if s := kept(p.named("a"))[2]; s.reads != 0 || !math.IsNaN(s.l1) || !math.IsNaN(s.lagMax) || s.marks != 0 {
			t.Errorf("a second without reads: %+v", s)
		}
		for _, proof := range []struct {
			age, bound time.Duration
			known      bool
		}{{0, 0, false}, {-1, time.Second, false}, {0, time.Second, true}} {
			c.change(func(s *nearcache.Stats) { s.ProofAge, s.MaxStaleness = proof.age, proof.bound })
			time.Sleep(time.Second)
			all := kept(p.named("a"))
			if s := all[len(all)-1]; math.IsNaN(s.proof) == proof.known {
				t.Errorf("%+v: proof %v", proof, s.proof)
			}
		}
	})
}

// loud tells of an event whenever it is asked, as a cache may do that holds a lock.
type loud struct {
	fake
	hooks nearcache.Hooks
}

func (l *loud) Stats() nearcache.Stats {
	told := make(chan struct{})
	go func() {
		l.hooks.Event(nearcache.Event{Kind: "gap"})
		close(told)
	}()
	<-told
	return l.fake.Stats()
}

// TestHooksDoNotWaitForStats: else a hook that is called with a lock of the cache held,
// and Stats, which wants it, would wait for each other.
func TestHooksDoNotWaitForStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		defer p.Close()
		p.Watch("a", &loud{hooks: p.Hooks("a")})
		time.Sleep(3 * time.Second)
		if n := len(kept(p.named("a"))); n < 2 {
			t.Errorf("%d samples", n)
		}
	})
}

// TestReplaced: another cache under a name begins anew.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		defer p.Close()
		p.Watch("a", &fake{stats: nearcache.Stats{L1Hits: 1 << 50}})
		time.Sleep(3500 * time.Millisecond)
		p.Watch("a", &fake{stats: nearcache.Stats{L1Hits: 1}})
		time.Sleep(2 * time.Second)
		for _, s := range kept(p.named("a")) {
			if s.reads != 0 && !math.IsNaN(s.reads) {
				t.Errorf("%v reads a second", s.reads)
			}
		}
		if n := len(p.all()); n != 1 {
			t.Errorf("%d caches", n)
		}
	})
}

// fickle puts another cache in its own place when it is asked for the second time.
type fickle struct {
	fake
	instead func()
	asked   int
}

func (f *fickle) Stats() nearcache.Stats {
	if f.asked++; f.asked == 2 {
		f.instead()
	}
	return nearcache.Stats{L1Hits: 1 << 40}
}

// TestReplacedMeanwhile: what a cache says that is not there any more is not shown.
func TestReplacedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		defer p.Close()
		p.Watch("a", &fickle{instead: func() { p.Watch("a", new(fake)) }})
		time.Sleep(1500 * time.Millisecond)
		if page, n := get(t, p, ""), len(kept(p.named("a"))); n != 0 || strings.Contains(page, grouped(1<<40)) {
			t.Errorf("%d samples of the old cache", n)
		}
	})
}

// TestLinesBreak where nothing is known, and where nobody looked.
func TestLinesBreak(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	var samples []sample
	for _, s := range []struct {
		second int
		v      float64
	}{{0, 1}, {1, 2}, {2, math.NaN()}, {3, 1}, {5, 2}, {20, 3}, {21, 3}} {
		samples = append(samples, sample{at: begin.Add(time.Duration(s.second) * time.Second), reads: s.v})
	}
	d := charts[1].draw("x", "small", small, samples, begin.Add(21*time.Second))
	var shape []byte
	for _, c := range []byte(d.Lines[0].Path) {
		if c == 'M' || c == 'L' {
			shape = append(shape, c)
		}
	}
	if string(shape) != "MLMLML" {
		t.Errorf("%s: %s", shape, d.Lines[0].Path)
	}
	if want := "reads: now 3, lowest 1, highest 3."; d.Text != want {
		t.Errorf("%q, want %q", d.Text, want)
	}
}

// TestBounds: what is kept does not grow.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{ShowKeys: true})
		defer p.Close()
		h := p.Hooks("a")
		p.Watch("a", new(fake))
		for i := range 2 * maxSamples {
			for range 10 {
				h.Event(nearcache.Event{Kind: "fault", Shard: i})
				h.Event(nearcache.Event{Kind: "breaker open", Server: fmt.Sprint(i)})
				h.Sampled(fmt.Sprint("key", i), true)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		w := p.named("a")
		if len(w.samples) != maxSamples || len(w.events) != maxEvents || len(w.keys.counts) > counters || len(w.away) > maxEvents {
			t.Errorf("%d samples, %d events, %d keys, %d servers", len(w.samples), len(w.events), len(w.keys.counts), len(w.away))
		}
		if e := w.events[maxEvents-1]; e.n != 10 {
			t.Errorf("the last event stands for %d", e.n)
		}
		if age := time.Since(w.samples[0].at); age > (maxSamples+1)*time.Second {
			t.Errorf("the oldest sample is of %v ago", age)
		}
		page := get(t, p, "")
		lacks(t, page, "NaN", "Inf")
		if len(page) > 250_000 {
			t.Errorf("the page has %d bytes", len(page))
		}
	})
}

func TestVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		defer p.Close()
		const second = time.Second
		for i, c := range []struct {
			stats  nearcache.Stats
			events []string
			level  string
			want   string
		}{
			{nearcache.Stats{}, nil, "good", "In this process only"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second / 5}, nil, "good", "Current: proven 200 ms ago|more than 2 s ago|No trouble seen"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second / 5}, []string{"epoch", "subscribed"}, "good", "Last trouble 3 s ago: data lost"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second, RedisAway: 1}, []string{"breaker open"}, "bad", "Redis does not answer since 3 s|answers until that is 2 s"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: 12 * second, RedisAway: 1}, nil, "bad", "Redis does not answer|Reads go to the loader"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: -1, RedisAway: 1}, nil, "bad", "Reads go to the loader"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: -1}, nil, "warn", "Not proven current"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: 3 * second}, nil, "bad", "Not proven current for 3 s"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second}, []string{"subscription lost"}, "warn", "subscription is lost since 3 s"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second}, []string{"subscription lost", "subscribed"}, "good", "Current"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second, Pending: 7}, nil, "warn", "Changes wait for Redis: 7"},
			{nearcache.Stats{MaxStaleness: 2 * second, ProofAge: second}, []string{"disagreement"}, "bad", "Redis is not used"},
		} {
			name := fmt.Sprint(i)
			h := p.Hooks(name)
			p.Watch(name, &fake{stats: c.stats})
			for _, e := range c.events {
				h.Event(nearcache.Event{Kind: e})
			}
			time.Sleep(3 * second)
			v := p.named(name).verdict(time.Now())
			if v.Level != c.level {
				t.Errorf("%d: %s: %+v", i, c.level, v)
			}
			has(t, v.Headline+" "+v.Text, strings.Split(c.want, "|")...)
		}
		p.Close()
		time.Sleep(time.Minute)
		if v := p.named("1").verdict(time.Now()); v.Level != "idle" {
			t.Errorf("long closed: %+v", v)
		}
	})
}

// TestTopKeys: keys that get more than their part of a stream are found in it, however
// many others there are.
func TestTopKeys(t *testing.T) {
	var k topKeys
	exact := make(map[string]uint64)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		key := fmt.Sprint("cold", rng.IntN(50_000))
		if n := rng.IntN(100); n < 20 {
			key = fmt.Sprint("hot", n/10) // each a tenth
		}
		k.add(key, i%2 == 0)
		exact[key]++
	}
	sum := uint64(0)
	for _, c := range k.counts {
		if sum += c.n; exact[c.key] > c.n || exact[c.key] < c.n-c.over {
			t.Errorf("%s was read %d times, counted %d to %d", c.key, exact[c.key], c.n-c.over, c.n)
		}
	}
	if sum != k.total {
		t.Errorf("the counters have %d of %d reads", sum, k.total)
	}
	top := k.top()
	if len(k.counts) != counters || len(top) < 2 || top[0].key[:3] != "hot" || top[1].key[:3] != "hot" {
		t.Fatalf("%d counters, top %v", len(k.counts), top)
	}
	for _, h := range top[:2] {
		if h.share < .085 || h.share > .105 || h.hits < .45 || h.hits > .55 {
			t.Errorf("%s: share %v, hits %v", h.key, h.share, h.hits)
		}
	}
	for range 20 {
		k.halve()
	}
	if len(k.counts) != 0 {
		t.Errorf("%d keys are not forgotten", len(k.counts))
	}
}

func TestCauses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "timed out"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused"},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, "connection reset"},
		{fmt.Errorf("reply: %w", io.EOF), "connection closed"},
		{errors.New("ERR unknown command, with args beginning with: 'secret'"), "not shown: it may contain keys"},
	} {
		if got := cause(c.err, false); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// TestEveryStatIsExplained: fields that nearcache.Stats gets must get a meaning here.
func TestEveryStatIsExplained(t *testing.T) {
	typ := reflect.TypeFor[nearcache.Stats]()
	for i := range typ.NumField() {
		if meanings[typ.Field(i).Name] == "" {
			t.Errorf("%s has no meaning", typ.Field(i).Name)
		}
	}
	if typ.NumField() != len(meanings) {
		t.Errorf("%d fields, %d meanings", typ.NumField(), len(meanings))
	}
}

// TestEveryEventIsKnown: each kind that the library has has a name here.
func TestEveryEventIsKnown(t *testing.T) {
	source, err := os.ReadFile("../tiered/events.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Event\w+ += "([^"]+)"`).FindAllSubmatch(source, -1)
	if len(found) != len(kinds) {
		t.Errorf("%d kinds in the library, %d here", len(found), len(kinds))
	}
	for _, f := range found {
		if markOf(string(f[1])) == 0 {
			t.Errorf("%q has no name", f[1])
		}
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		span(0): "0", span(1500 * time.Nanosecond): "1.5 µs", span(187 * time.Millisecond): "187 ms",
		span(999999 * time.Microsecond): "1 s", span(12345 * time.Millisecond): "12.3 s", span(61 * time.Second): "1 min 1 s",
		span(25 * time.Hour): "25 h 0 min", span(-time.Second): "-1 s", percent(.99999): "99.9 %", percent(1): "100 %",
		percent(math.NaN()): "–", amount(0): "0", amount(9.5): "9.5", amount(1234): "1,234", amount(999_600): "1 M", amount(16_800): "16.8 k",
		grouped(1234567): "1,234,567", byteSize(3 << 20): "3 MiB", shorten("äöü", 3): "ä… (6 bytes)", shorten("a\nb", 9): `"a\nb"`,
		shorten("\xff", 9): `"\xff"`,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestHooksAllocateNothing at a hit in L1, sampled or not.
func TestHooksAllocateNothing(t *testing.T) {
	p := opened(t, Config{ShowKeys: true})
	c, err := nearcache.New(nearcache.Config[int]{
		Load: func(context.Context, string) (int, error) { return 42, nil }, Hooks: p.Hooks("a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p.Watch("a", c)
	get := func() {
		if _, err := c.Get(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	for c.Stats().L1Hits == 0 {
		get()
	}
	if n := testing.AllocsPerRun(50_000, get); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if len(p.named("a").keys.top()) == 0 {
		t.Error("no hit was sampled")
	}
}
