package nearcache_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/redis/go-redis/v9"
)

// sparse is a history in virtual time, at a pace as services have it.
var sparse = plot{
	bound: 2 * time.Second, length: 20 * time.Minute,
	read: 100 * time.Millisecond, change: 400 * time.Millisecond, fault: 3 * time.Second,
	redisTimeout: 100 * time.Millisecond,
}

// TestSimulation: hours of virtual time, with an in-memory server over net.Pipe.
// NEARCACHE_SEEDS sets the number of seeds, 20 minutes each, NEARCACHE_SEED repeats
// one.
func TestSimulation(t *testing.T) {
	for _, seed := range seeds(t, 3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := history(t, seed, sparse, bubble(t), oursOn)
				if r.Violations() > 0 {
					t.Fatalf("NEARCACHE_SEED=%d repeats it: %v", seed, r)
				}
				t.Logf("%d reads in %v, longest staleness %v", r.Reads, sparse.length, r.Longest.Round(time.Millisecond))
			})
		})
	}
}

// bubble is a world in which no byte leaves the process.
func bubble(t *testing.T) world {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	t.Cleanup(server.Close)
	through := func(o *redis.Options, dial func() (net.Conn, error)) *redis.Client {
		o.Addr = "127.0.0.1:6379" // a name would be looked up, outside
		o.Dialer = func(context.Context, string, string) (net.Conn, error) { return dial() }
		return redis.NewClient(o)
	}
	admin := through(&redis.Options{}, server.Dial)
	t.Cleanup(func() { admin.Close() })
	return world{admin, func(o *redis.Options) (*redis.Client, *faultnet.Proxy) {
		wire := faultnet.New(t, server.Dial)
		return through(o, func() (net.Conn, error) { return wire.Dial(), nil }), wire
	}}
}
