package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the sentinels of a test call the master that they watch.
const MasterName = "nearcache"

// Sentinel is a master with replicas, watched by sentinels, all of them processes
// that the test may harm.
type Sentinel struct {
	Master              *Server // until a failover
	Replicas, Sentinels []*Server
}

// StartSentinel returns a master, two replicas and three sentinels, under the
// conditions of [StartProcess].
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{Master: StartProcess(t)}
	for range 2 {
		s.Replicas = append(s.Replicas, StartReplica(t, s.Master.addr))
	}
	for range 3 {
		s.Sentinels = append(s.Sentinels, launch(t, func(port string) []string {
			file := filepath.Join(t.TempDir(), "sentinel.conf") // it keeps its state there
			if err := os.WriteFile(file, []byte(SentinelConf(port, s.Master.addr)), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{file, "--sentinel"} // redis-sentinel is a link to redis-server
		}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	defer cancel()
	if err := JoinSentinel(ctx, addrs(s.Sentinels), len(s.Replicas)); err != nil {
		t.Fatal(err)
	}
	return s
}

// Client returns a client of whoever is master that is closed with the test.
func (s *Sentinel) Client(t testing.TB) *redis.Client {
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: addrs(s.Sentinels)})
	t.Cleanup(func() { c.Close() })
	return c
}

// SentinelConf returns the configuration of one of three sentinels on the
// loopback interface, which declare a master dead that is silent for a second.
func SentinelConf(port, master string) string {
	return fmt.Sprintf(`port %s
bind 127.0.0.1
sentinel monitor %[2]s 127.0.0.1 %[3]s 2
sentinel down-after-milliseconds %[2]s 1000
sentinel failover-timeout %[2]s 5000
`, port, MasterName, Port(master))
}

// JoinSentinel returns when every sentinel knows the others and the replicas, so
// that a failover can begin.
func JoinSentinel(ctx context.Context, sentinels []string, replicas int) error {
	for _, addr := range sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		defer c.Close()
		err := until(ctx, func() error {
			m, err := c.Master(ctx, MasterName).Result()
			if err != nil {
				return err
			}
			if m["num-slaves"] != fmt.Sprint(replicas) || m["num-other-sentinels"] != fmt.Sprint(len(sentinels)-1) {
				return fmt.Errorf("knows %s replicas and %s other sentinels", m["num-slaves"], m["num-other-sentinels"])
			}
			return c.CkQuorum(ctx, MasterName).Err()
		})
		if err != nil {
			return fmt.Errorf("sentinel %s: %w", addr, err)
		}
	}
	return nil
}
