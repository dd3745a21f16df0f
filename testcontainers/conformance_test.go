package testcontainers_test

import (
	"testing"

	"github.com/nearcache/nearcache/tiered/tieredtest"
	"github.com/redis/go-redis/v9"
)

// TestConformance: the promises of a cache, on every kind of servers.
func TestConformance(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			servers := start(t.Context(), t)
			tieredtest.Run(t, func(t testing.TB) redis.UniversalClient { return servers.Client(t) })
		})
	}
}
