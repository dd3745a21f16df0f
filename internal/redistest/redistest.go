// Package redistest starts real Redis servers for tests.
package redistest

import (
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Server is a Redis server of one test.
type Server struct {
	addr string
	real bool
	proc *process // nil unless it is a process of this test
}

// Start returns a server, found in this order: NEARCACHE_REDIS (host:port of one
// that runs), the binary of [StartProcess] on a free port, a container of the image
// NEARCACHE_REDIS_IMAGE, by default [DefaultImage] or [LocalImage], and else an
// embedded miniredis with a line that says so. With NEARCACHE_REQUIRE_REAL=1 the
// last is a failure. The server ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	if addr := os.Getenv("NEARCACHE_REDIS"); addr != "" {
		return &Server{addr: addr, real: true}
	}
	if _, err := binary(t); err == nil {
		return StartProcess(t)
	}
	s, err := startContainer(t)
	if err == nil {
		return s
	}
	if os.Getenv("NEARCACHE_REQUIRE_REAL") == "1" {
		t.Fatalf("no real Redis: set NEARCACHE_REDIS or install redis-server; no container either: %v", err)
	}
	t.Logf("NO REAL REDIS: running on the embedded miniredis; what it does not imitate is not tested (no container: %v)", err)
	return StartEmbedded(t)
}

// StartEmbedded returns an embedded miniredis, whose keys expire by the clock.
func StartEmbedded(t testing.TB) *Server {
	fake := miniredis.RunT(t)
	fake.ClockTTL(true)
	return &Server{addr: fake.Addr()}
}

// Addr returns host:port.
func (s *Server) Addr() string { return s.addr }

// Real reports whether it is a Redis server and not an imitation.
func (s *Server) Real() bool { return s.real }

// Client returns a client of the server that is closed with the test.
func (s *Server) Client(t testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	t.Cleanup(func() { c.Close() })
	return c
}
