package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// diary writes down what hooks are told.
type diary struct {
	mu    sync.Mutex
	lines []string
}

type parent struct{}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns what was written since, sorted if order is none of the matter.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

func (d *diary) has(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.lines, line)
}

// operations are hooks that write down operations, and below which other one each is.
func (d *diary) operations() nearcache.Hooks {
	return nearcache.Hooks{
		Start: func(ctx context.Context, op *nearcache.Operation) context.Context {
			above, _ := ctx.Value(parent{}).(string)
			d.write("start %s %v %d in %q", op.Kind, op.Keys, op.N, above)
			return context.WithValue(ctx, parent{}, op.Kind)
		},
		End: func(ctx context.Context, op *nearcache.Operation) {
			if op.Took <= 0 || ctx.Value(parent{}) != op.Kind {
				d.write("an end of nothing: %+v", op)
			}
			d.write("end %s %v stale=%v %v", op.Kind, op.Source, op.Stale, op.Err)
		},
	}
}

// TestHooksSeeOperations: each with its outcome, and loads below the reads that caused
// them.
func TestHooksSeeOperations(t *testing.T) {
	ctx, d := context.Background(), &diary{}
	loaded := make(chan string, 10)
	cache, err := nearcache.New(nearcache.Config[string]{
		Name: "hooked", Redis: redistest.Start(t).Client(t), RedisTimeout: calm, Hooks: d.operations(),
		Load: func(ctx context.Context, key string) (string, error) {
			above, _ := ctx.Value(parent{}).(string)
			loaded <- above
			if key == "none" {
				return "", nearcache.ErrNotFound
			}
			return "v", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"a miss", func() error { _, err := cache.Get(ctx, "a"); return err }, []string{
			`start get [a] 1 in ""`, `start load [a] 1 in "get"`, "end load loader stale=false <nil>", "end get loader stale=false <nil>"}},
		{"a hit", func() error { _, err := cache.Get(ctx, "a"); return err }, nil},
		{"a value of Redis", func() error { _, err := cache.Get(ctx, "a", nearcache.SkipL1()); return err }, []string{
			`start get [a] 1 in ""`, "end get L2 stale=false <nil>"}},
		{"no such value", func() error { _, err := cache.Get(ctx, "none"); return ignore(err, nearcache.ErrNotFound) }, []string{
			`start get [none] 1 in ""`, `start load [none] 1 in "get"`,
			"end load loader stale=false nearcache: not found", "end get loader stale=false nearcache: not found"}},
		{"many", func() error { _, err := cache.GetMany(ctx, []string{"a", "b"}); return err }, []string{
			`start get many [b] 1 in ""`, `start load [b] 1 in "get many"`,
			"end load loader stale=false <nil>", "end get many loader stale=false <nil>"}},
		{"Set", func() error { return cache.Set(ctx, "a", "w") }, []string{
			`start set [] 1 in ""`, "end set unknown stale=false <nil>"}},
		{"Invalidate", func() error { return cache.Invalidate(ctx, "a", "b") }, []string{
			`start invalidate [a b] 2 in ""`, "end invalidate unknown stale=false <nil>"}},
		{"Expire", func() error { return cache.Expire(ctx, "a") }, []string{
			`start expire [a] 1 in ""`, "end expire unknown stale=false <nil>"}},
		{"InvalidateTags", func() error { return cache.InvalidateTags(ctx, "t") }, []string{
			`start invalidate tags [t] 1 in ""`, "end invalidate tags unknown stale=false <nil>"}},
		{"Clear", func() error { return cache.Clear(ctx) }, []string{
			`start clear [] 0 in ""`, "end clear unknown stale=false <nil>"}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := d.take(); !slices.Equal(got, step.want) {
			t.Errorf("%s: hooks were told\n%q, want\n%q", step.name, got, step.want)
		}
		if step.name == "a miss" { // what was put into L1 is there in a moment
			eventually(t, "an L1 hit that tells nobody", func() bool {
				_, err := cache.Get(ctx, "a")
				return err == nil && len(d.take()) == 0
			})
		}
	}
	close(loaded)
	for above := range loaded {
		if above != "load" {
			t.Errorf("a loader's context descends from that of %q, want of its own operation", above)
		}
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// TestTee: both sets are told, and ends come in the opposite order.
func TestTee(t *testing.T) {
	d := &diary{}
	named := func(name string) nearcache.Hooks {
		return nearcache.Hooks{
			Start: func(ctx context.Context, _ *nearcache.Operation) context.Context {
				above, _ := ctx.Value(parent{}).(string)
				d.write("start %s", name)
				return context.WithValue(ctx, parent{}, above+name)
			},
			End:       func(ctx context.Context, _ *nearcache.Operation) { d.write("end %s of %v", name, ctx.Value(parent{})) },
			Announced: func(nearcache.Announcement) { d.write("announced %s", name) },
			Event:     func(nearcache.Event) { d.write("event %s", name) },
			Sampled:   func(string, bool) { d.write("sampled %s", name) },
		}
	}
	tee := nearcache.Tee(nearcache.Hooks{}, named("a"), nearcache.Hooks{}, named("b"))
	op := &nearcache.Operation{}
	tee.End(tee.Start(context.Background(), op), op)
	tee.Announced(nearcache.Announcement{})
	tee.Event(nearcache.Event{})
	tee.Sampled("k", true)
	want := []string{"start a", "start b", "end b of ab", "end a of ab", "announced a", "announced b", "event a", "event b", "sampled a", "sampled b"}
	if got := d.take(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if none := nearcache.Tee(); none.Start != nil || none.End != nil || none.Announced != nil || none.Event != nil || none.Sampled != nil {
		t.Error("hooks made of none are some")
	}
}

// TestHooksHearAnnouncements: of every kind, on another instance, with how long they took.
func TestHooksHearAnnouncements(t *testing.T) {
	var mu sync.Mutex
	heard := make(map[string]nearcache.Announcement)
	f := launch(t, 2, func(c *nearcache.Config[product]) {
		c.Hooks.Announced = func(a nearcache.Announcement) {
			mu.Lock()
			defer mu.Unlock()
			heard[a.Kind] = a
		}
	})
	ctx, c := context.Background(), f.caches[0]
	if err := errors.Join(c.Set(ctx, "s", product{}), c.Invalidate(ctx, "i"), c.Expire(ctx, "x"), c.InvalidateTags(ctx, "t"), c.Clear(ctx)); err != nil {
		t.Fatal(err)
	}
	for kind, names := range map[string]string{"set": "s", "invalidate": "i", "expire": "x", "invalidate tags": "t", "clear": ""} {
		eventually(t, kind+" is heard", func() bool {
			mu.Lock()
			defer mu.Unlock()
			a, ok := heard[kind]
			return ok && strings.Join(a.Keys, ",") == names && a.Shard == 0 && a.Lag >= 0 && a.Lag < calm
		})
	}
}

// TestEventsTellOfFaults: what an outage and a restart without data look like, to the
// hook and in the log, which says each thing once.
func TestEventsTellOfFaults(t *testing.T) {
	server := redistest.StartProcess(t)
	d, log := &diary{}, &strings.Builder{}
	var mu sync.Mutex
	cache, err := nearcache.New(nearcache.Config[string]{
		Name: "eventful", Redis: redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1}), MaxStaleness: 200 * time.Millisecond,
		Load:   func(context.Context, string) (string, error) { return "v", nil },
		Hooks:  nearcache.Hooks{Event: func(e nearcache.Event) { d.write("%s at %s", e.Kind, e.Server) }},
		Logger: slog.New(slog.NewTextHandler(locked{log, &mu}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	happens := func(event string) {
		t.Helper()
		eventually(t, event, func() bool {
			_, err := cache.Get(context.Background(), fmt.Sprint(time.Now().UnixNano()))
			return err == nil && d.has(event)
		})
	}
	at := " at " + server.Addr()
	eventually(t, "the instance is subscribed", func() bool {
		return server.Client(t).PubSubNumSub(context.Background(), "{eventful}:ch").Val()["{eventful}:ch"] == 1
	})
	server.Kill(t)
	happens("subscription lost at ")
	happens("breaker open" + at)
	if n := cache.Stats().RedisAway; n != 1 {
		t.Errorf("%d servers are away, want 1", n)
	}
	d.take()
	server.Restart(t)
	happens("breaker closed" + at)
	happens("epoch at ")
	happens("subscribed at ")
	if n := cache.Stats().RedisAway; n != 0 {
		t.Errorf("%d servers are away, want none", n)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, event := range []string{"subscribed", "subscription lost", "breaker open", "breaker closed", "epoch"} {
		if n := len(regexp.MustCompile(`event="?`+event+`"?\s`).FindAllString(log.String(), -1)); n != 1 {
			t.Errorf("%d lines tell of %q, want 1, in\n%s", n, event, log)
		}
	}
}

// locked is a writer for several goroutines.
type locked struct {
	to *strings.Builder
	mu *sync.Mutex
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}

// TestDebugLogSamples: one lookup in a thousand, if the level asks for it at that time.
func TestDebugLogSamples(t *testing.T) {
	log, level := &strings.Builder{}, new(slog.LevelVar)
	cache, err := nearcache.New(nearcache.Config[string]{
		Name:   "sampled",
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	read := func() int {
		for range 10 << 10 {
			if _, err := cache.Get(context.Background(), "k"); !errors.Is(err, nearcache.ErrMiss) {
				t.Fatal(err)
			}
		}
		return strings.Count(log.String(), "hit=false")
	}
	if n := read(); n != 0 {
		t.Errorf("%d lines above debug level", n)
	}
	level.Set(slog.LevelDebug)
	if n := read(); n < 8 || n > 12 {
		t.Errorf("%d lines of 10,240 lookups, want 10 about", n)
	}
}
