package nearcache_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

type basket struct {
	Items  []string
	Prices map[string]int
	At     time.Time
	Owner  *string
}

// TestMutationIsDetected: whoever changes what all share is told which key it was.
func TestMutationIsDetected(t *testing.T) {
	for name, detect := range map[string]bool{"on": true, "off": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				var log journal
				c, err := nearcache.New(nearcache.Config[*basket]{
					Name: "baskets", DetectMutation: detect, Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Load: func(context.Context, string) (*basket, error) {
						return &basket{Items: []string{"tea"}, Prices: map[string]int{"tea": 3}, At: time.Now()}, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				for _, key := range []string{"ada", "bob"} {
					if _, err := c.Get(ctx, key); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5 * time.Second)
				if s := c.Stats(); s.Mutations != 0 || log.String() != "" {
					t.Fatalf("nobody changed anything: %d, %s", s.Mutations, log.String())
				}
				synctest.Wait() // the watch has read what is about to be changed
				b, _ := c.Get(ctx, "ada")
				b.Prices["coffee"] = 4
				if err := c.Set(ctx, "carol", &basket{}); err != nil { // and the watch looks after it
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				want := 0
				if detect {
					want = 1
				}
				s, lines := c.Stats(), log.String()
				if s.Mutations != uint64(want) || strings.Count(lines, "key=ada") != want || strings.Contains(lines, "key=bob") {
					t.Fatalf("%d mutations: %s", s.Mutations, lines)
				}
			})
		})
	}
}

// TestMutationIsDetectedAtClose: also of a cache that lives less than a second.
func TestMutationIsDetectedAtClose(t *testing.T) {
	var log journal
	c, err := nearcache.New(nearcache.Config[[]string]{DetectMutation: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Load: func(context.Context, string) ([]string, error) { return []string{"a"}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Get(context.Background(), "k")
	if err != nil {
		t.Fatal(err)
	}
	v[0] = "b"
	if err := c.Close(); err != nil || !strings.Contains(log.String(), "key=k") {
		t.Fatalf("%v: %s", err, log.String())
	}
}

// TestUnchangedIsNeverNamed: neither values that were decoded nor those that are cloned
// before they are changed.
func TestUnchangedIsNeverNamed(t *testing.T) {
	onServers(t, func(t *testing.T, server *redistest.Server) {
		for name, c := range map[string]codec.Codec[basket]{"msgpack": codec.Msgpack[basket](), "JSON": codec.JSON[basket]()} {
			ctx := context.Background()
			var log journal
			var caches [2]*nearcache.Cache[basket]
			for i := range caches {
				cache, err := nearcache.New(nearcache.Config[basket]{
					Name: "baskets-" + name, Redis: server.Client(t), RedisTimeout: calm, Codec: c, DetectMutation: true,
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Clone: func(b basket) basket {
						b.Prices = map[string]int{}
						return b
					},
					Load: func(_ context.Context, key string) (basket, error) {
						b := basket{Items: []string{key}, Prices: map[string]int{}, At: time.Now(), Owner: &key}
						for i := range 50 {
							b.Prices[fmt.Sprint(i)] = i
						}
						return b, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				caches[i] = cache
			}
			for i := range 100 {
				for _, cache := range caches {
					b, err := cache.Get(ctx, fmt.Sprint(i%50))
					if err != nil {
						t.Fatal(err)
					}
					b.Prices["mine"] = 1
				}
			}
			for _, cache := range caches {
				if err := cache.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if log.String() != "" {
				t.Errorf("%s: %s", name, log.String())
			}
		}
	})
}
