package testcontainers

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/testcontainers/testcontainers-go"
)

// Servers are the containers of one test.
type Servers struct {
	// Options reach the servers from the test: a single one, a cluster or a master
	// by its sentinels.
	Options redis.UniversalOptions

	// Containers are in the order that the helper tells. A test may pause, stop or
	// kill them.
	Containers []testcontainers.Container
}

// Client returns a client of the servers that is closed with the test.
func (s *Servers) Client(t testing.TB) redis.UniversalClient {
	c := redis.NewUniversalClient(&s.Options)
	t.Cleanup(func() { c.Close() })
	return c
}

// quiet is what every server is told: nothing is kept on disk.
var quiet = []string{"--save", "", "--appendonly", "no"}

// Redis starts a Redis server without persistence, published to a free port of
// 127.0.0.1. It fails the test if that does not answer in time.
func Redis(ctx context.Context, t testing.TB) *Servers {
	t.Helper()
	return single(ctx, t, redisServer)
}

// Valkey starts a Valkey server as [Redis] does a Redis server.
func Valkey(ctx context.Context, t testing.TB) *Servers {
	t.Helper()
	return single(ctx, t, valkeyServer)
}

func single(ctx context.Context, t testing.TB, f *flavour) *Servers {
	t.Helper()
	name := f.require(t)
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	c := run(ctx, t, name, testcontainers.WithCmd(append([]string{"--protected-mode", "no"}, quiet...)...),
		testcontainers.WithExposedPorts("6379/tcp"),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{
				network.MustParsePort("6379/tcp"): {{HostIP: netip.MustParseAddr("127.0.0.1")}},
			}
		}))
	port, err := c.MappedPort(ctx, "6379/tcp")
	addr := net.JoinHostPort("127.0.0.1", port.Port())
	if err == nil {
		err = redistest.Answering(ctx, addr)
	}
	if err != nil {
		t.Fatalf("the server in the container: %v\n%s", err, said(c))
	}
	return &Servers{Options: redis.UniversalOptions{Addrs: []string{addr}}, Containers: []testcontainers.Container{c}}
}

// Cluster starts a Redis Cluster of three masters with a replica each: containers
// 0 to 2 are the masters, and 3 to 5 their replicas in the same order. A cluster
// tells its clients where its nodes are, so the containers share the network of a
// Linux host, on free ports of 127.0.0.1.
func Cluster(ctx context.Context, t testing.TB) *Servers {
	t.Helper()
	name := redisServer.require(t)
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	s := &Servers{Options: redis.UniversalOptions{IsClusterMode: true, Addrs: redistest.FreeAddrs(t, 6)}}
	for _, addr := range s.Options.Addrs {
		s.host(ctx, t, name, addr, redistest.ClusterArgs(t)...)
	}
	if err := redistest.JoinCluster(ctx, s.Options.Addrs[:3], s.Options.Addrs[3:]); err != nil {
		t.Fatalf("the cluster in containers: %v", err)
	}
	return s
}

// Sentinel starts a master, two replicas and three sentinels, in this order, on
// the network of a Linux host as [Cluster] does.
func Sentinel(ctx context.Context, t testing.TB) *Servers {
	t.Helper()
	name := redisServer.require(t)
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	addrs := redistest.FreeAddrs(t, 6)
	master, sentinels := addrs[0], addrs[3:]
	s := &Servers{Options: redis.UniversalOptions{MasterName: redistest.MasterName, Addrs: sentinels}}
	s.host(ctx, t, name, master)
	for _, addr := range addrs[1:3] {
		s.host(ctx, t, name, addr, "--replicaof", "127.0.0.1", redistest.Port(master))
	}
	for _, addr := range sentinels {
		s.sentinel(ctx, t, name, addr, master)
	}
	if err := redistest.JoinSentinel(ctx, sentinels, 2); err != nil {
		t.Fatalf("the sentinels in containers: %v", err)
	}
	return s
}

// host starts a server at addr on the host's network.
func (s *Servers) host(ctx context.Context, t testing.TB, name, addr string, args ...string) {
	t.Helper()
	s.add(ctx, t, name, addr, testcontainers.WithCmd(append(append([]string{"--port", redistest.Port(addr),
		"--bind", "127.0.0.1"}, quiet...), args...)...))
}

// sentinel starts a sentinel at addr on the host's network. It keeps its state in
// its configuration.
func (s *Servers) sentinel(ctx context.Context, t testing.TB, name, addr, master string) {
	t.Helper()
	const file = "/data/sentinel.conf"
	s.add(ctx, t, name, addr, testcontainers.WithCmd(file, "--sentinel"),
		testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader:            strings.NewReader(redistest.SentinelConf(redistest.Port(addr), master)),
			ContainerFilePath: file,
			FileMode:          0o666,
		}))
}

func (s *Servers) add(ctx context.Context, t testing.TB, name, addr string, options ...testcontainers.ContainerCustomizer) {
	t.Helper()
	c := run(ctx, t, name, append(options,
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.NetworkMode = "host" }))...)
	s.Containers = append(s.Containers, c)
	if err := redistest.Answering(ctx, addr); err != nil {
		t.Fatalf("the server in the container at %s: %v\n%s", addr, err, said(c))
	}
}
