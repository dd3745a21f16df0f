package otelnearcache

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// lab is a provider of each kind whose yield can be looked at.
type lab struct {
	reader  *metric.ManualReader
	meters  *metric.MeterProvider
	spans   *tracetest.SpanRecorder
	tracers *sdktrace.TracerProvider
}

func newLab() *lab {
	l := &lab{reader: metric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	l.meters = metric.NewMeterProvider(metric.WithReader(l.reader))
	l.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	return l
}

func (l *lab) observer(t testing.TB, name string, keys bool) *Observer {
	t.Helper()
	o, err := New(name, Config{MeterProvider: l.meters, TracerProvider: l.tracers, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// cache returns an observed cache.
func (l *lab) cache(t testing.TB, o *Observer, cfg nearcache.Config[string]) *nearcache.Cache[string] {
	t.Helper()
	cfg.Hooks = nearcache.Tee(o.Hooks(), cfg.Hooks)
	cache, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	if err := o.Observe(cache); err != nil {
		t.Fatal(err)
	}
	return cache
}

// span returns the only one of that name.
func (l *lab) span(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	var found []sdktrace.ReadOnlySpan
	for _, s := range l.spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q among %d", len(found), name, len(l.spans.Ended()))
	}
	return found[0]
}

// ints returns the values of a counter by their attributes.
func (l *lab) ints(t *testing.T, name string) map[string]int64 {
	t.Helper()
	values := make(map[string]int64)
	for _, m := range collect(t, l.reader) {
		if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
			for _, p := range data.DataPoints {
				values[p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		}
	}
	return values
}

// TestSpansNest: request, get, load, and what the loader does.
func TestSpansNest(t *testing.T) {
	l := newLab()
	tracer := l.tracers.Tracer("test")
	cache := l.cache(t, l.observer(t, "users", false), nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t),
		Load: func(ctx context.Context, key string) (string, error) {
			_, span := tracer.Start(ctx, "select")
			span.End()
			return "v", nil
		},
	})
	ctx, request := tracer.Start(t.Context(), "request")
	if _, err := cache.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	request.End()
	if err := cache.Invalidate(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	for child, parent := range map[string]string{
		"select": "nearcache load", "nearcache load": "nearcache get", "nearcache get": "request", "nearcache invalidate": "request",
	} {
		if l.span(t, child).Parent().SpanID() != l.span(t, parent).SpanContext().SpanID() {
			t.Errorf("%q is not below %q", child, parent)
		}
	}
	for name, want := range map[string]string{
		"nearcache get":        "nearcache.cache=users,nearcache.keys.count=1,nearcache.result=ok,nearcache.source=loader",
		"nearcache load":       "nearcache.cache=users,nearcache.keys.count=1,nearcache.result=ok",
		"nearcache invalidate": "nearcache.cache=users,nearcache.keys.count=2,nearcache.result=ok",
	} {
		s := l.span(t, name)
		set := attribute.NewSet(s.Attributes()...)
		if got := set.Encoded(attribute.DefaultEncoder()); got != want || s.SpanKind() != trace.SpanKindInternal {
			t.Errorf("%s, of kind %v: %s, want %s", name, s.SpanKind(), got, want)
		}
	}
}

// TestErrorsOfSpans: what is an outcome as good as any is none.
func TestErrorsOfSpans(t *testing.T) {
	down := errors.New("the database is down")
	for _, test := range []struct {
		name   string
		load   error // nil: there is no loader
		status codes.Code
		told   string
	}{
		{"not found", nearcache.ErrNotFound, codes.Unset, ""},
		{"miss", nil, codes.Unset, ""},
		{"error", down, codes.Error, down.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab()
			cfg := nearcache.Config[string]{}
			if test.load != nil {
				cfg.Load = func(context.Context, string) (string, error) { return "", test.load }
			}
			cache := l.cache(t, l.observer(t, "users", false), cfg)
			if _, err := cache.Get(t.Context(), "a"); err == nil {
				t.Fatal("no error")
			}
			s := l.span(t, "nearcache get")
			var told string
			for _, e := range s.Events() {
				for _, kv := range e.Attributes {
					if kv.Key == "exception.message" {
						told += kv.Value.AsString()
					}
				}
			}
			if s.Status().Code != test.status || told != test.told {
				t.Errorf("status %v, recorded %q, want %v, %q", s.Status(), told, test.status, test.told)
			}
		})
	}
}

// TestSpansOfTwoObservers: each ends its own.
func TestSpansOfTwoObservers(t *testing.T) {
	l := newLab()
	a, b := l.observer(t, "a", false), l.observer(t, "b", false)
	cache := l.cache(t, a, nearcache.Config[string]{Hooks: b.Hooks()})
	if _, err := cache.Get(t.Context(), "k"); !errors.Is(err, nearcache.ErrMiss) {
		t.Fatal(err)
	}
	ended := map[string]int{}
	for _, s := range l.spans.Ended() {
		for _, kv := range s.Attributes() {
			if kv.Key == "nearcache.cache" {
				ended[kv.Value.AsString()]++
			}
		}
	}
	if len(l.spans.Started()) != 2 || ended["a"] != 1 || ended["b"] != 1 {
		t.Errorf("%d spans began, ended %v", len(l.spans.Started()), ended)
	}
}

const secret = "s3cret"

// use calls every method with keys and tags that nobody is to see.
func use(t *testing.T, cache *nearcache.Cache[string]) {
	t.Helper()
	ctx, key := t.Context(), func(s string) string { return secret + s }
	_, missing := cache.Get(ctx, key("none"))
	_, failed := cache.Get(ctx, key("bad"))
	_, many := cache.GetMany(ctx, []string{key("a"), key("bad"), key("worse")})
	if !errors.Is(missing, nearcache.ErrNotFound) || failed == nil || many == nil || !strings.Contains(many.Error(), secret) {
		t.Fatalf("errors are %v; %v; %v", missing, failed, many)
	}
	for _, err := range []error{
		cache.Set(ctx, key("b"), "v", nearcache.WithTags(key("tag"))), cache.Invalidate(ctx, key("a")),
		cache.Expire(ctx, key("b")), cache.InvalidateTags(ctx, key("tag")), cache.Clear(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeysStayInside: no metric and no span tells one, unless spans were asked to.
func TestKeysStayInside(t *testing.T) {
	for _, keys := range []bool{false, true} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			l := newLab()
			use(t, l.cache(t, l.observer(t, "users", keys), nearcache.Config[string]{
				Name: "users", Redis: redistest.Start(t).Client(t),
				Load: func(_ context.Context, key string) (string, error) {
					switch strings.TrimPrefix(key, secret) {
					case "none":
						return "", nearcache.ErrNotFound
					case "bad", "worse":
						return "", errors.New("bad luck with " + strings.TrimPrefix(key, secret))
					}
					return "v", nil
				},
			}))
			if got := fmt.Sprintf("%+v", collect(t, l.reader)); strings.Contains(got, secret) || !strings.Contains(got, "invalidate tags") {
				t.Errorf("metrics: %s", got)
			}
			got := fmt.Sprintf("%+v", tracetest.SpanStubsFromReadOnlySpans(l.spans.Ended()))
			if strings.Contains(got, secret) != keys || !strings.Contains(got, "bad luck with worse") {
				t.Errorf("spans, with keys %v: %s", keys, got)
			}
		})
	}
}

// TestSpansStaySmall: they tell so many keys and errors, and no more.
func TestSpansStaySmall(t *testing.T) {
	l := newLab()
	cache := l.cache(t, l.observer(t, "users", true), nearcache.Config[string]{
		Load: func(_ context.Context, key string) (string, error) { return "", errors.New("bad luck with " + key) },
	})
	keys := make([]string, 2*maxKeys)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	if _, err := cache.GetMany(t.Context(), keys); err == nil {
		t.Fatal("no error")
	}
	s := l.span(t, "nearcache get many")
	for _, kv := range s.Attributes() {
		if n := len(kv.Value.AsStringSlice()); kv.Key == "nearcache.keys" && n != maxKeys {
			t.Errorf("%d keys", n)
		}
	}
	if n := len(s.Events()); n != maxCauses {
		t.Errorf("%d errors", n)
	}
}

// TestNeedsTheAPIOnly: the SDK is the application's choice.
func TestNeedsTheAPIOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if deps := string(out); strings.Contains(deps, "go.opentelemetry.io/otel/sdk") || !strings.Contains(deps, "go.opentelemetry.io/otel/metric") {
		t.Errorf("depends on\n%s", deps)
	}
}

// TestStatisticsAreRead when metrics are collected, of each cache its own, until the
// observer is closed.
func TestStatisticsAreRead(t *testing.T) {
	l := newLab()
	load := func(context.Context, string) (string, error) { return "v", nil }
	users := l.observer(t, "users", false)
	caches := []*nearcache.Cache[string]{
		l.cache(t, users, nearcache.Config[string]{Load: load}),
		l.cache(t, l.observer(t, "orders", false), nearcache.Config[string]{Load: load}),
	}
	for i, cache := range caches {
		for n := 0; n <= i; n++ {
			if _, err := cache.Get(t.Context(), fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := l.ints(t, "nearcache.loads"); got["cache=users"] != 1 || got["cache=orders"] != 2 {
		t.Errorf("loads %v", got)
	}
	if got := l.ints(t, "nearcache.hits"); len(got) != 4 {
		t.Errorf("hits %v", got)
	}
	if err := users.Close(); err != nil {
		t.Fatal(err)
	}
	if got := l.ints(t, "nearcache.loads"); len(got) != 1 || got["cache=orders"] != 2 {
		t.Errorf("loads after one was closed: %v", got)
	}
}

// TestProofAge: without a proof it goes on to grow.
func TestProofAge(t *testing.T) {
	p := proof{last: time.Now().Add(-time.Hour)}
	if age := p.age(-1); age < time.Hour {
		t.Errorf("never proven: %v", age)
	}
	if age := p.age(time.Minute); age < time.Minute || age > 30*time.Minute {
		t.Errorf("proven a minute ago: %v", age)
	}
	if age := p.age(-1); age < time.Minute || age > 30*time.Minute {
		t.Errorf("proven a minute ago, and not any more: %v", age)
	}
}

// uncomparable is a provider that cannot be the key of a map.
type uncomparable struct {
	noopmetric.MeterProvider
	_ []int
}

func TestMistakesAreTold(t *testing.T) {
	l := newLab()
	config := Config{MeterProvider: l.meters, TracerProvider: l.tracers}
	told := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	users := l.observer(t, "users", false)
	_, err := New("users", config)
	told("taken", err, `the name "users" is taken`)
	_, err = New("", config)
	told("empty", err, `the name "" must be`)
	_, err = New("\xff", config)
	told("no text", err, `the name "\xff" must be`)
	told("nothing", users.Observe(nil), "no cache to observe")
	if err := users.Observe(fixed{}); err != nil {
		t.Fatal(err)
	}
	told("twice", users.Observe(fixed{}), "observes a cache already")
	users.Close()
	if err := users.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	told("closed", users.Observe(fixed{}), `"users" is closed`)
	l.observer(t, "users", false) // the name is free again

	if other := newLab().observer(t, "users", false); other == nil { // and elsewhere it always was
		t.Error("another provider")
	}
	o, err := New("users", Config{MeterProvider: uncomparable{}})
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
}

// TestTogether: everything at once, for the race detector.
func TestTogether(t *testing.T) {
	l := newLab()
	cache := l.cache(t, l.observer(t, "users", true), nearcache.Config[string]{
		Name: "users", Redis: redistest.Start(t).Client(t),
		Load: func(context.Context, string) (string, error) { return "v", nil },
	})
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			for n := range 200 {
				key := fmt.Sprint(n % 20)
				if _, err := cache.Get(t.Context(), key); err != nil {
					t.Errorf("Get: %v", err)
				}
				if n%10 == i {
					cache.Invalidate(t.Context(), key)
				}
				if n%50 == 0 {
					collect(t, l.reader)
				}
			}
		})
	}
	running.Wait()
	began, ended := len(l.spans.Started()), len(l.spans.Ended())
	if ended == 0 || began < ended {
		t.Errorf("%d spans began, %d ended", began, ended)
	}
}

// TestHitsAllocateNothing with all attached.
func TestHitsAllocateNothing(t *testing.T) {
	l := newLab()
	cache := l.cache(t, l.observer(t, "users", true), nearcache.Config[string]{
		Load: func(context.Context, string) (string, error) { return "v", nil },
	})
	ctx := context.Background()
	var info nearcache.Info
	for info.Source != nearcache.FromL1 {
		if _, err := cache.Get(ctx, "k", nearcache.WithInfo(&info)); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := cache.Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}
