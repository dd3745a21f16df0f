package tieredtest_test

import (
	"testing"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/tiered/tieredtest"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEmbedded(t *testing.T) {
	s := redistest.StartEmbedded(t)
	tieredtest.Run(t, func(t testing.TB) redis.UniversalClient { return s.Client(t) })
}

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	tieredtest.Run(t, func(t testing.TB) redis.UniversalClient { return s.Client(t) })
}

func TestSentinel(t *testing.T) {
	s := redistest.StartSentinel(t)
	tieredtest.Run(t, func(t testing.TB) redis.UniversalClient { return s.Client(t) })
}

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t)
	tieredtest.Run(t, func(t testing.TB) redis.UniversalClient { return c.Client(t) })
}
