package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/nearcache/nearcache/bench/contender"
	"github.com/nearcache/nearcache/bench/server"
)

func TestValueIs200Bytes(t *testing.T) {
	if n := unsafe.Sizeof(contender.Product{}); n != 200 {
		t.Fatalf("%d bytes", n)
	}
}

// started returns a server that ends with the test.
func started(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.Start()
	if errors.Is(err, server.ErrNoBinary) && os.Getenv("NEARCACHE_REQUIRE_REAL") != "1" {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestContenders: each returns what was set, loads what is missing, and holds
// nothing that was invalidated; with Redis, another instance finds what one has set.
func TestContenders(t *testing.T) {
	a := newArena(started(t))
	ctx := context.Background()
	for _, c := range contender.All {
		t.Run(c.Name, func(t *testing.T) {
			loads := 0
			e, err := a.enter(c, func(_ context.Context, key string) (contender.Product, error) {
				loads++
				return contender.ProductOf(key), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			read := func(key string, want contender.Product, loaded int) {
				t.Helper()
				loads = 0
				if p, err := e.Get(ctx, key); err != nil || p != want || loads != loaded {
					t.Fatalf("%s: %+v, %v, %d loads; want %+v, %d loads", key, p, err, loads, want, loaded)
				}
			}
			if _, ok := e.Cache.(contender.ManyGetter); c.Many && !ok {
				t.Error("it is no ManyGetter")
			}
			read("loaded", contender.ProductOf("loaded"), 1)
			set := contender.ProductOf("set")
			set.Version = 3
			if err := e.Set(ctx, "set", set); err != nil {
				t.Fatal(err)
			}
			if c.L2 {
				if err := e.reopen(); err != nil {
					t.Fatal(err)
				}
				read("set", set, 0)
			}
			if err := e.Invalidate(ctx, "set"); err != nil {
				t.Fatal(err)
			}
			if c.Tells && c.Name != contender.Nearcache {
				forgets(t, e, "set", set) // what the server tells of comes later
				return
			}
			read("set", contender.ProductOf("set"), 1)
		})
	}
}

// TestPart: calls in turn ask for all keys, each once.
func TestPart(t *testing.T) {
	keys := []string{"a", "b", "c", "d", "e", "f"}
	var got []string
	for i := range 3 {
		got = part(got, keys, i, 2)
	}
	if !slices.Equal(got, keys) {
		t.Fatal(got)
	}
}

// forgets waits until the entrant returns another value than old.
func forgets(t *testing.T, e *entrant, key string, old contender.Product) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p, err := e.Get(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		if p != old {
			return
		}
	}
	t.Fatal("the value is still there 10 s after its invalidation")
}

// TestContendersWithoutLoader: a miss is an error, not a wrong value.
func TestContendersWithoutLoader(t *testing.T) {
	a := newArena(started(t))
	for _, c := range contender.All {
		e, err := a.enter(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := e.Get(context.Background(), "missing"); err == nil {
			t.Errorf("%s: %+v", c.Name, p)
		}
		e.close()
	}
}
