package memoize_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/memoize"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type query struct {
	User  string
	Limit int
	Tags  []string
}

// shop is a source whose answers tell what it was asked, and when.
type shop struct {
	version, calls atomic.Int64
	failure        error
	takes          time.Duration
}

func (s *shop) orders(_ context.Context, q query) (string, error) {
	s.calls.Add(1)
	version := s.version.Load()
	time.Sleep(s.takes)
	if s.failure != nil {
		return "", s.failure
	}
	return fmt.Sprintf("%+v %d", q, version), nil
}

func (s *shop) total(_ context.Context, user string) (string, error) {
	s.calls.Add(1)
	return fmt.Sprint("total ", user, " ", s.version.Load()), nil
}

// instance is one of some that have the same functions.
type instance struct {
	cache  *memoize.Cache[string]
	orders *memoize.Func[query, string]
	total  *memoize.Func[string, string]
}

func open(t *testing.T, server *redistest.Server, s *shop, o memoize.Options) *instance {
	t.Helper()
	cfg := nearcache.Config[string]{Name: "shop", RedisTimeout: 10 * time.Second, RefreshAhead: -1}
	if server != nil {
		cfg.Redis = server.Client(t)
	}
	c, err := memoize.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	i := &instance{cache: c}
	var errs [2]error
	i.orders, errs[0] = memoize.Wrap(c, "orders", s.orders, o)
	i.total, errs[1] = memoize.Wrap(c, "total", s.total, memoize.Options{})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return i
}

func wants[A any](t *testing.T, f *memoize.Func[A, string], a A, want string) {
	t.Helper()
	if got, err := f.Call(context.Background(), a); err != nil || got != want {
		t.Fatalf("%+v: %q, %v; want %q", a, got, err, want)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func onServers(t *testing.T, story func(t *testing.T, server *redistest.Server)) {
	t.Run("real", func(t *testing.T) { story(t, redistest.Start(t)) })
	t.Run("embedded", func(t *testing.T) { story(t, redistest.StartEmbedded(t)) })
}

// TestFunctions: each argument is computed once for all instances, until it is
// forgotten, alone or with all others.
func TestFunctions(t *testing.T) {
	onServers(t, func(t *testing.T, server *redistest.Server) {
		ctx, s := context.Background(), &shop{}
		a, b := open(t, server, s, memoize.Options{}), open(t, server, s, memoize.Options{})
		ada, bob := query{"ada", 3, []string{"x"}}, query{"bob", 3, nil}
		settle := func(version int) {
			for _, q := range []query{ada, bob} {
				want := fmt.Sprintf("%+v %d", q, version)
				wants(t, a.orders, q, want)
				eventually(t, "the other instance has it from the first, or by itself", func() bool {
					got, err := b.orders.Call(ctx, q)
					return err == nil && got == want
				})
			}
		}
		settle(0)
		var info nearcache.Info
		eventually(t, "L1 has it", func() bool {
			_, err := a.orders.Get(ctx, ada, nearcache.WithInfo(&info))
			return err == nil && info.Source == nearcache.FromL1
		})
		wants(t, a.total, "ada", "total ada 0")

		s.version.Store(1)
		if err := a.orders.Forget(ctx, ada); err != nil {
			t.Fatal(err)
		}
		wants(t, a.orders, ada, "{User:ada Limit:3 Tags:[x]} 1")
		wants(t, a.orders, bob, "{User:bob Limit:3 Tags:[]} 0")
		if got, err := b.orders.Get(ctx, ada, nearcache.SkipL1()); err != nil || got != "{User:ada Limit:3 Tags:[x]} 1" {
			t.Fatalf("on the other instance: %q, %v", got, err)
		}

		s.version.Store(2)
		if err := b.orders.ForgetAll(ctx); err != nil {
			t.Fatal(err)
		}
		wants(t, b.orders, ada, "{User:ada Limit:3 Tags:[x]} 2")
		settle(2)
		wants(t, a.total, "ada", "total ada 0")
		if n := a.cache.Stats().Faults + b.cache.Stats().Faults; n != 0 {
			t.Errorf("%d faults", n)
		}
	})
}

// TestOneComputation: whoever asks while it is computed waits for it.
func TestOneComputation(t *testing.T) {
	s := &shop{takes: 50 * time.Millisecond}
	a := open(t, nil, s, memoize.Options{})
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() { wants(t, a.orders, query{User: "ada"}, "{User:ada Limit:0 Tags:[]} 0") })
	}
	callers.Wait()
	if n := s.calls.Load(); n != 1 {
		t.Errorf("computed %d times", n)
	}
}

// TestVersions: nothing of another version is answered, and all are forgotten at once.
func TestVersions(t *testing.T) {
	server, s, ctx := redistest.StartEmbedded(t), &shop{}, context.Background()
	one, two := open(t, server, s, memoize.Options{Version: 1}), open(t, server, s, memoize.Options{Version: 2})
	q := query{User: "ada"}
	wants(t, one.orders, q, "{User:ada Limit:0 Tags:[]} 0")
	s.version.Store(1)
	wants(t, two.orders, q, "{User:ada Limit:0 Tags:[]} 1")
	s.version.Store(2)
	wants(t, one.orders, q, "{User:ada Limit:0 Tags:[]} 0")
	if err := two.orders.ForgetAll(ctx); err != nil {
		t.Fatal(err)
	}
	for _, i := range []*instance{one, two} {
		if got, err := i.orders.Get(ctx, q, nearcache.SkipL1()); err != nil || got != "{User:ada Limit:0 Tags:[]} 2" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestOwnLives: a function's TTL is that of its results only.
func TestOwnLives(t *testing.T) {
	s := &shop{}
	a := open(t, nil, s, memoize.Options{TTL: nearcache.TTL{L1: 20 * time.Millisecond}})
	wants(t, a.orders, query{}, "{User: Limit:0 Tags:[]} 0")
	wants(t, a.total, "ada", "total ada 0")
	s.version.Store(1)
	eventually(t, "its life is over", func() bool {
		got, err := a.orders.Call(context.Background(), query{})
		return err == nil && got == "{User: Limit:0 Tags:[]} 1"
	})
	wants(t, a.total, "ada", "total ada 0")
}

// TestFailures: errors are not results, but that there is nothing is one.
func TestFailures(t *testing.T) {
	ctx, failure := context.Background(), errors.New("the shop is closed")
	s := &shop{failure: failure}
	c, err := memoize.New(nearcache.Config[string]{ErrorBackoff: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := memoize.Wrap(c, "orders", s.orders, memoize.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Call(ctx, query{}); !errors.Is(err, failure) {
			t.Fatal(err)
		}
	}
	if n := s.calls.Load(); n != 3 {
		t.Errorf("a failing function was called %d times, want 3", n)
	}
	s.failure = nearcache.ErrNotFound
	eventually(t, "it is remembered that there is nothing", func() bool {
		before := s.calls.Load()
		_, err := f.Call(ctx, query{User: "nobody"})
		return errors.Is(err, nearcache.ErrNotFound) && s.calls.Load() == before
	})
	long := query{User: strings.Repeat("x", 2000)}
	if _, err := f.Call(ctx, long); !errors.Is(err, nearcache.ErrKey) || !strings.Contains(err.Error(), "shorten the argument") {
		t.Errorf("a long argument: %v", err)
	}
	if err := f.Forget(ctx, query{}, long); !errors.Is(err, nearcache.ErrKey) {
		t.Errorf("a long argument: %v", err)
	}
	for _, key := range []string{"orders", "nothing@0:00000000:", "orders@1:00000000:1,"} {
		if _, err := c.Get(ctx, key); err == nil || !strings.Contains(err.Error(), "belongs to no wrapped function") {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := c.Get(ctx, f.Key(query{})+"?"); err == nil || !strings.Contains(err.Error(), "more than one argument") {
		t.Errorf("%v", err)
	}
}

// TestTaggedHoweverAsked: results that were asked for by their keys are forgotten with
// the others.
func TestTaggedHoweverAsked(t *testing.T) {
	ctx, s := context.Background(), &shop{}
	a := open(t, nil, s, memoize.Options{})
	if got, err := a.cache.GetMany(ctx, []string{a.total.Key("ada")}); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	s.version.Store(1)
	if err := a.total.ForgetAll(ctx); err != nil {
		t.Fatal(err)
	}
	wants(t, a.total, "ada", "total ada 1")
}

func TestMistakes(t *testing.T) {
	ctx := context.Background()
	if _, err := memoize.New(nearcache.Config[int]{Load: func(context.Context, string) (int, error) { return 0, nil }}); err == nil {
		t.Error("a loader of one's own is accepted")
	}
	if _, err := memoize.New(nearcache.Config[int]{MaxBytes: 1}); err == nil {
		t.Error("a wrong configuration is accepted")
	}
	c, err := memoize.New(nearcache.Config[int]{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }
	for _, name := range []string{"", "a b", "a@b", "a:b", "a\n", strings.Repeat("x", 65)} {
		if _, err := memoize.Wrap(c, name, double, memoize.Options{}); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("the name %.10q: %v", name, err)
		}
	}
	f, err := memoize.Wrap(c, "double", double, memoize.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := memoize.Wrap(c, "double", double, memoize.Options{Version: 2}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same name twice: %v", err)
	}
	if n, err := f.Call(ctx, 21); n != 42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	type filter struct{ Where map[string]string }
	_, err = memoize.Wrap(c, "filter", func(context.Context, filter) (int, error) { return 0, nil }, memoize.Options{})
	if err == nil || !strings.Contains(err.Error(), `function "filter": the argument's part .Where is of type map[string]string, a map`) {
		t.Error(err)
	}
}

// TestHitsAllocateTheKey and nothing else.
func TestHitsAllocateTheKey(t *testing.T) {
	ctx, s := context.Background(), &shop{}
	a := open(t, redistest.StartEmbedded(t), s, memoize.Options{TTL: nearcache.TTL{L1: time.Minute}})
	q := query{"ada", 3, []string{"x", "y"}}
	eventually(t, "both are in L1", func() bool {
		var infos [2]nearcache.Info
		_, _ = a.orders.Get(ctx, q, nearcache.WithInfo(&infos[0]))
		_, _ = a.total.Get(ctx, "ada", nearcache.WithInfo(&infos[1]))
		return infos[0].Source == nearcache.FromL1 && infos[1].Source == nearcache.FromL1
	})
	before := s.calls.Load()
	for name, call := range map[string]func() (string, error){
		"a struct": func() (string, error) { return a.orders.Call(ctx, q) },
		"a string": func() (string, error) { return a.total.Call(ctx, "ada") },
	} {
		// An average that is rounded down: the race detector has pools drop things.
		if n := testing.AllocsPerRun(1000, func() { _, _ = call() }); n > 1 {
			t.Errorf("a hit with %s allocates %v times, want once", name, n)
		}
	}
	if n := s.calls.Load() - before; n != 0 {
		t.Fatalf("measured %d computations", n)
	}
}

// BenchmarkHit: a call with a hit beside a Get with its key.
func BenchmarkHit(b *testing.B) {
	ctx := context.Background()
	c, err := memoize.New(nearcache.Config[string]{TTL: nearcache.TTL{L1: time.Hour}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	f, err := memoize.Wrap(c, "orders", new(shop).orders, memoize.Options{})
	if err != nil {
		b.Fatal(err)
	}
	q := query{"ada", 3, []string{"x", "y"}}
	key := f.Key(q)
	b.Run("Call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = f.Call(ctx, q)
		}
	})
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Get(ctx, key)
		}
	})
}
