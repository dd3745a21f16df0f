// Command resilience tells five short stories of a service whose parts fail: it
// prints what its readers were answered, and exits with 1 if that was not what the
// story promises.
//
//	go run -C examples ./resilience
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// quiet keeps go-redis from writing of every connection that fails.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func main() {
	redis.SetLogger(quiet{})
	if err := tell(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "resilience:", err)
		os.Exit(1)
	}
}

// stage is an embedded Redis and a database whose answers a story decides on.
type stage struct {
	out    io.Writer
	redis  *miniredis.Miniredis
	loads  atomic.Int64
	price  atomic.Int64
	takes  atomic.Int64 // how long the database takes
	down   atomic.Bool
	caches []*nearcache.Cache[int64]
	close  []func()
}

var errDown = errors.New("the database is down")

// tell tells all stories.
func tell(out io.Writer) error {
	for _, story := range []struct {
		title string
		play  func(*stage) error
	}{
		{"A crowd asks for one cold key on two instances", crowd},
		{"The database is down", databaseDown},
		{"The database is slow", databaseSlow},
		{"A hot value grows old", hotValue},
		{"Redis is gone", redisGone},
	} {
		fmt.Fprintf(out, "%s\n", story.title)
		s := &stage{out: out}
		err := story.play(s)
		s.end()
		if err != nil {
			return fmt.Errorf("%s: %w", story.title, err)
		}
		fmt.Fprintln(out)
	}
	return nil
}

// open starts a server and two instances, whose configuration change may edit.
func (s *stage) open(change func(*nearcache.Config[int64])) error {
	var err error
	if s.redis, err = miniredis.Run(); err != nil {
		return fmt.Errorf("starting the embedded Redis: %w", err)
	}
	s.close = append(s.close, s.redis.Close)
	s.redis.ClockTTL(true)
	s.price.Store(100)
	for range 2 {
		client := redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
		s.close = append(s.close, func() { client.Close() })
		cfg := nearcache.Config[int64]{
			Name: "prices", Redis: client, Load: s.load, TTLJitter: -1, RedisTimeout: time.Second,
			Logger: slog.New(slog.DiscardHandler),
		}
		change(&cfg)
		cache, err := nearcache.New(cfg)
		if err != nil {
			return err
		}
		s.close = append(s.close, func() { cache.Close() })
		s.caches = append(s.caches, cache)
	}
	return nil
}

func (s *stage) end() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
}

// load is the database.
func (s *stage) load(ctx context.Context, _ string) (int64, error) {
	s.loads.Add(1)
	select {
	case <-time.After(time.Duration(s.takes.Load())):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.down.Load() {
		return 0, errDown
	}
	return s.price.Load(), nil
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

// read reads the price on an instance, and says what was answered.
func (s *stage) read(instance int, want int64) (nearcache.Info, error) {
	var info nearcache.Info
	began := time.Now()
	price, err := s.caches[instance].Get(context.Background(), "tea", nearcache.WithInfo(&info))
	if err != nil {
		return info, err
	}
	stale := ""
	if info.Stale {
		stale = ", stale"
	}
	s.say("a reader is answered %d from %v%s after %v", price, info.Source, stale, time.Since(began).Round(10*time.Millisecond))
	if price != want {
		return info, fmt.Errorf("answered %d, want %d", price, want)
	}
	return info, nil
}

func crowd(s *stage) error {
	if err := s.open(func(*nearcache.Config[int64]) {}); err != nil {
		return err
	}
	s.takes.Store(int64(100 * time.Millisecond))
	var readers sync.WaitGroup
	var failed atomic.Int64
	for i := range 1000 {
		readers.Go(func() {
			if _, err := s.caches[i%2].Get(context.Background(), "tea"); err != nil {
				failed.Add(1)
			}
		})
	}
	readers.Wait()
	s.say("1000 readers, %d errors, %d load", failed.Load(), s.loads.Load())
	if s.loads.Load() != 1 || failed.Load() > 0 {
		return errors.New("want one load and no error")
	}
	return nil
}

func databaseDown(s *stage) error {
	err := s.open(func(c *nearcache.Config[int64]) {
		c.TTL = nearcache.TTL{L1: 100 * time.Millisecond, L2: 100 * time.Millisecond, StaleIfError: time.Hour}
		c.ErrorBackoff = 200 * time.Millisecond
	})
	if err != nil {
		return err
	}
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	s.down.Store(true)
	time.Sleep(150 * time.Millisecond)
	s.say("its life is over, and the database does not answer")
	for range 2 {
		if info, err := s.read(0, 100); err != nil || !info.Stale {
			return fmt.Errorf("want the stale value: %w", err)
		}
	}
	s.say("the database was asked %d times in all", s.loads.Load())
	if err := s.caches[0].Invalidate(context.Background(), "tea"); err != nil {
		return err
	}
	_, err = s.caches[0].Get(context.Background(), "tea")
	s.say("once it is invalidated a reader is answered: %v", err)
	if !errors.Is(err, errDown) {
		return errors.New("what was invalidated must not be answered")
	}
	return nil
}

func databaseSlow(s *stage) error {
	err := s.open(func(c *nearcache.Config[int64]) {
		c.TTL = nearcache.TTL{L1: 400 * time.Millisecond, L2: 400 * time.Millisecond, StaleIfError: time.Hour}
		c.LoadSoftTimeout = 100 * time.Millisecond
		c.RefreshAhead = -1 // or it would have been refreshed in time
	})
	if err != nil {
		return err
	}
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	s.price.Store(120)
	s.takes.Store(int64(500 * time.Millisecond))
	time.Sleep(450 * time.Millisecond)
	s.say("its life is over, and the database takes 500 ms")
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	s.say("the load went on without its reader")
	_, err = s.read(0, 120)
	return err
}

func hotValue(s *stage) error {
	err := s.open(func(c *nearcache.Config[int64]) {
		c.TTL = nearcache.TTL{L1: time.Second, L2: time.Second}
	})
	if err != nil {
		return err
	}
	s.takes.Store(int64(50 * time.Millisecond))
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	reads, waited := 0, 0
	var slowest time.Duration
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		var info nearcache.Info
		began := time.Now()
		if _, err := s.caches[0].Get(context.Background(), "tea", nearcache.WithInfo(&info)); err != nil {
			return err
		}
		slowest = max(slowest, time.Since(began))
		if reads++; info.Source == nearcache.FromLoader {
			waited++
		}
	}
	s.say("three lives of 1 s, a load of 50 ms: %d loads, of %d reads %d waited for one", s.loads.Load(), reads, waited)
	if waited > 0 {
		return fmt.Errorf("no reader should have waited; the slowest took %v", slowest)
	}
	return nil
}

func redisGone(s *stage) error {
	err := s.open(func(c *nearcache.Config[int64]) {
		c.MaxStaleness = 400 * time.Millisecond
		c.RedisTimeout = 50 * time.Millisecond
	})
	if err != nil {
		return err
	}
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	s.redis.Close()
	s.say("Redis is gone")
	if _, err := s.read(0, 100); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	s.say("MaxStaleness has passed: what is in memory is not proven any more")
	s.price.Store(120)
	_, err = s.read(0, 120)
	return err
}
