package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache/debugpage"
	"github.com/nearcache/nearcache/internal/audit"
	"github.com/redis/go-redis/v9"
)

// shop is the service's instances with all that they run on, and their judge.
type shop struct {
	options
	demand    *demand
	store     *store
	redisName string
	namespace string
	patience  time.Duration // with one operation on Redis
	admin     *redis.Client
	instances []*service
	addresses []string // of the instances' HTTP APIs
	page      *debugpage.Page
	journal   *audit.Journal
	began     time.Time
	figures   figures
	closers   []func()
}

// open starts everything. If it fails nothing is left behind.
func open(ctx context.Context, o options) (*shop, error) {
	s := &shop{
		options: o, namespace: "shop-" + rand.Text()[:8],
		journal: audit.NewJournal(o.staleness, o.instances), began: time.Now(),
	}
	if err := s.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shop) start(ctx context.Context) (err error) {
	s.demand = zipfDemand(s.products)
	if s.trace != "" {
		if s.demand, err = traceDemand(s.trace); err != nil {
			return err
		}
	}
	if err := s.openRedis(ctx); err != nil {
		return err
	}
	if err := s.openDatabase(ctx); err != nil {
		return err
	}
	// One page shows all instances, as they are one process. The products are no secret.
	s.page = debugpage.New(debugpage.Config{ShowKeys: true, AllowInvalidate: true})
	s.onClose(s.page.Close)
	for range s.options.instances {
		if err := s.openInstance(); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything in the reverse order of its start.
func (s *shop) close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
}

func (s *shop) onClose(f func()) { s.closers = append(s.closers, f) }

// openRedis connects to the server that was named, or starts one in this process.
func (s *shop) openRedis(ctx context.Context) error {
	addr := s.redis
	s.redisName, s.patience = "Redis at "+addr, 0 // the library's default
	if addr == "" {
		server, err := miniredis.Run()
		if err != nil {
			return fmt.Errorf("starting the embedded Redis: %w", err)
		}
		s.onClose(server.Close)
		s.onClose(age(server))
		addr, s.redisName = server.Addr(), "an embedded Redis"
		// It interprets Lua in this process, on the cores that the load keeps busy.
		s.patience = time.Second
	}
	s.redis = addr
	s.admin = s.client()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := s.admin.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis at %s does not answer: %w", addr, err)
	}
	s.onClose(s.tidy)
	return nil
}

// age makes keys of the embedded Redis expire, once a second: asked to watch
// the clock by itself it examines every key at every command.
func age(server *miniredis.Miniredis) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var aging sync.WaitGroup
	aging.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				server.FastForward(time.Second)
			}
		}
	})
	return func() { cancel(); aging.Wait() }
}

// client returns a connection pool of its own, as each instance would have.
func (s *shop) client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.redis})
	s.onClose(func() { c.Close() })
	return c
}

// tidy removes the namespace of this run from Redis.
func (s *shop) tidy() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	keys := s.admin.Scan(ctx, 0, "{"+s.namespace+"}:*", 1000).Iterator()
	for keys.Next(ctx) {
		s.admin.Unlink(ctx, keys.Val())
	}
}

func (s *shop) openDatabase(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return fmt.Errorf("a folder for the database: %w", err)
	}
	s.onClose(func() { os.RemoveAll(dir) })
	s.store, err = openStore(ctx, dir, s.demand.ids, func(id string, version int64) {
		s.journal.Visible(id, version, s.now())
	})
	if err == nil {
		s.onClose(func() { s.store.close() })
	}
	return err
}

func (s *shop) openInstance() error {
	name := fmt.Sprintf("instance %d", len(s.instances)+1)
	instance, err := newService(s.namespace, s.staleness, s.patience, s.client(), s.store, s.page.Hooks(name))
	if err != nil {
		return err
	}
	s.onClose(func() { instance.close() })
	s.page.Watch(name, instance.cache)
	api := http.NewServeMux()
	api.Handle("/", instance.handler())
	api.Handle(pagePath, s.page)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("an address for the HTTP API: %w", err)
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 5 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.figures.errors.Add(1)
		}
	})
	s.onClose(func() { server.Close(); serving.Wait() })
	s.instances = append(s.instances, instance)
	s.addresses = append(s.addresses, listener.Addr().String())
	return nil
}

// pagePath is where each instance mounts the page.
const pagePath = "/debug/nearcache/"

// now is the one clock of the journal.
func (s *shop) now() time.Duration { return time.Since(s.began) }
