package nearcache_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// These tests run an instance in a process of its own, this test binary
// started again, because a process is what gets paused and killed.

const (
	childAddr  = "NEARCACHE_TEST_CHILD" // host:port of its server
	childBound = "NEARCACHE_TEST_BOUND"
	rows       = "row:"    // the source that processes share: versions in Redis
	endless    = "endless" // the child's loader never answers for it
)

// rowLoader loads versions that processes share.
func rowLoader(db *redis.Client) func(context.Context, string) (product, error) {
	return func(ctx context.Context, id string) (product, error) {
		version, err := db.Get(ctx, rows+id).Int()
		return product{ID: id, Version: version}, err
	}
}

// init turns this binary into an instance if it was started as one: before any
// test runs.
func init() {
	if addr := os.Getenv(childAddr); addr != "" {
		if err := child(addr, os.Getenv(childBound)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// child answers every key on standard input with the version that its cache
// has.
func child(addr, bound string) error {
	d, err := time.ParseDuration(bound)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	load := rowLoader(client)
	c, err := nearcache.New(nearcache.Config[product]{
		Name: "products", Redis: client, MaxStaleness: d, LoadTimeout: time.Second,
		Load: func(ctx context.Context, id string) (product, error) {
			if id == endless {
				<-ctx.Done()
				return product{}, ctx.Err()
			}
			return load(ctx, id)
		},
	})
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var info nearcache.Info
		p, err := c.Get(context.Background(), in.Text(), nearcache.WithInfo(&info))
		if err != nil {
			return err
		}
		fmt.Println(p.Version, info.Source)
	}
	return nil
}

// family is an instance here and one in another process.
type family struct {
	server *redistest.Server
	db     *redis.Client
	cache  *nearcache.Cache[product]
	proc   *os.Process
	in     io.Writer
	out    *bufio.Scanner
}

func newFamily(t *testing.T, bound time.Duration) *family {
	t.Helper()
	f := &family{server: redistest.StartProcess(t)}
	f.db = f.server.Client(t)
	cache, err := nearcache.New(nearcache.Config[product]{
		Name: "products", Redis: f.server.Client(t), MaxStaleness: bound, LoadTimeout: time.Second, Load: rowLoader(f.db),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	f.cache = cache
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddr+"="+f.server.Addr(), childBound+"="+bound.String())
	cmd.Stderr = os.Stderr
	if f.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.out = bufio.NewScanner(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.proc = cmd.Process
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return f
}

// commit writes a version at the source, and tells nobody.
func (f *family) commit(t *testing.T, key string, version int) {
	t.Helper()
	if err := f.db.Set(context.Background(), rows+key, version, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// ask sends the child a key; hear returns its answer.
func (f *family) ask(t *testing.T, key string) {
	t.Helper()
	if _, err := fmt.Fprintln(f.in, key); err != nil {
		t.Fatal(err)
	}
}

func (f *family) hear(t *testing.T) (version int, source string) {
	t.Helper()
	if !f.out.Scan() {
		t.Fatalf("the other process ended: %v", f.out.Err())
	}
	digits, source, _ := strings.Cut(f.out.Text(), " ")
	version, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("the other process says %q", f.out.Text())
	}
	return version, source
}

// hits waits until key is an L1 hit of the child.
func (f *family) hits(t *testing.T, key string) {
	t.Helper()
	eventually(t, "an L1 hit in the other process", func() bool {
		f.ask(t, key)
		_, source := f.hear(t)
		return source == nearcache.FromL1.String()
	})
}

func (f *family) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := f.proc.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// TestFaultPausedInstance: an instance is stopped, a key changes meanwhile, and
// the first thing that it does on waking is to read it.
func TestFaultPausedInstance(t *testing.T) {
	const bound = 500 * time.Millisecond
	f := newFamily(t, bound)
	for version := 1; version <= 5; version++ {
		f.commit(t, "k", version)
		if err := f.cache.Invalidate(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		f.hits(t, "k")
		f.signal(t, syscall.SIGSTOP)
		f.commit(t, "k", version+1)
		if err := f.cache.Invalidate(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(bound + 100*time.Millisecond)
		f.ask(t, "k") // waits in the pipe for it
		f.signal(t, syscall.SIGCONT)
		if got, from := f.hear(t); got != version+1 {
			t.Fatalf("on waking it answered version %d from %s, want %d", got, from, version+1)
		}
	}
}

// TestFaultSlowSubscriber: an instance takes nothing from its connection until
// the server gives it up.
func TestFaultSlowSubscriber(t *testing.T) {
	f := newFamily(t, noBound)
	ctx := context.Background()
	if err := f.db.ConfigSet(ctx, "client-output-buffer-limit", "pubsub 4194304 0 0").Err(); err != nil {
		t.Fatal(err)
	}
	subscribers := func() int { return strings.Count(f.db.Do(ctx, "client", "list", "type", "pubsub").String(), "id=") }
	eventually(t, "two subscribers", func() bool { return subscribers() == 2 })
	f.commit(t, "k", 1)
	f.hits(t, "k")

	f.signal(t, syscall.SIGSTOP)
	f.commit(t, "k", 2)
	if err := f.cache.Invalidate(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	keys := make([]string, 512)
	for i := range keys {
		keys[i] = fmt.Sprintf("%d%s", i, strings.Repeat("x", 1000))
	}
	bytes := 0
	eventually(t, "the server cuts the slow subscriber off", func() bool {
		if err := f.cache.Invalidate(ctx, keys...); err != nil {
			t.Fatal(err)
		}
		bytes += 512 << 10
		return subscribers() == 1
	})
	f.signal(t, syscall.SIGCONT)
	woke := time.Now()
	eventually(t, "the change is seen", func() bool {
		f.ask(t, "k")
		version, _ := f.hear(t)
		return version == 2
	})
	t.Logf("cut off %d MB behind, repaired %v after waking", bytes>>20, time.Since(woke).Round(time.Millisecond))
}

// TestFaultKilledLoader: an instance is killed in the middle of a load that a crowd
// waits for.
func TestFaultKilledLoader(t *testing.T) {
	f := newFamily(t, noBound)
	f.commit(t, endless, 1)
	f.ask(t, endless)
	eventually(t, "its lease", func() bool { return f.db.Exists(context.Background(), "{products}:v:"+endless).Val() == 1 })
	f.signal(t, syscall.SIGKILL)
	began := time.Now()
	var crowd sync.WaitGroup
	for range 50 {
		crowd.Go(func() {
			if p, err := f.cache.Get(context.Background(), endless); err != nil || p.Version != 1 {
				t.Errorf("Get: %+v, %v", p, err)
			}
		})
	}
	crowd.Wait()
	if s := f.cache.Stats(); s.LeaseWaits == 0 || s.Loads != 1 {
		t.Fatalf("%d waits for the dead, %d loads; want some and 1", s.LeaseWaits, s.Loads)
	}
	t.Logf("loaded %v after the loading process was killed, with leases of 1.1 s", time.Since(began).Round(time.Millisecond))
}
