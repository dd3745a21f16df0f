package redistest

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// binary returns the path of the server that tests start: redis-server, or what
// NEARCACHE_REDIS_SERVER names, such as valkey-server or a path. It fails the test if
// what is named cannot be found: another server would pass for it.
func binary(t testing.TB) (string, error) {
	t.Helper()
	name := os.Getenv("NEARCACHE_REDIS_SERVER")
	if name == "" {
		return exec.LookPath("redis-server")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("NEARCACHE_REDIS_SERVER: %v", err)
	}
	return path, nil
}

// process is a redis-server that a test may harm.
type process struct {
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// StartProcess returns a process of this test, on a free loopback port, without
// persistence, with args added to its command line: redis-server, or the binary that
// NEARCACHE_REDIS_SERVER names. It skips the test, or with NEARCACHE_REQUIRE_REAL=1
// fails it, if there is no redis-server. The process ends with the test.
func StartProcess(t testing.TB, args ...string) *Server {
	t.Helper()
	return launch(t, func(port string) []string {
		return append([]string{"--port", port, "--bind", "127.0.0.1",
			"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--dir", t.TempDir()}, args...)
	})
}

// launch starts the server binary with what args returns for a port.
func launch(t testing.TB, args func(port string) []string) *Server {
	t.Helper()
	path, err := binary(t)
	if err != nil {
		noProcess(t)
	}
	for range 5 { // another process may take the free port first
		s := &Server{addr: FreeAddrs(t, 1)[0], real: true}
		s.proc = &process{args: append([]string{path}, args(Port(s.addr))...)}
		if s.run(t) {
			t.Cleanup(s.proc.kill)
			return s
		}
	}
	t.Fatalf("%s did not start in five tries", path)
	return nil
}

func noProcess(t testing.TB) {
	t.Helper()
	const why = "this test harms the server, and needs the redis-server binary to start one of its own"
	if os.Getenv("NEARCACHE_REQUIRE_REAL") == "1" {
		t.Fatal(why)
	}
	t.Skip("SKIPPED: " + why)
}

// Pause stops the process (SIGSTOP) and Resume lets it go on: in between it is
// silent, with its connections open.
func (s *Server) Pause(t testing.TB)  { s.signal(t, syscall.SIGSTOP) }
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

// Kill ends the process as kill -9 does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	<-s.proc.gone
}

// Restart starts a killed process again, on the port and in the directory that it
// had: with what it saved there, so with nothing by default.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if !s.run(t) {
		t.Fatalf("%s did not start again at %s", s.proc.args[0], s.addr)
	}
}

// StartReplica returns a process like [StartProcess] that replicates source
// (host:port of a server, or of a proxy before it) and is in step with it.
func StartReplica(t testing.TB, source string) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(source)
	if err != nil {
		t.Fatal(err)
	}
	r := StartProcess(t, "--replicaof", host, port)
	c := r.Client(t)
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	defer cancel()
	if err := until(ctx, func() error { return following(ctx, c) }); err != nil {
		t.Fatalf("replica at %s of %s: %v", r.addr, source, err)
	}
	return r
}

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.proc == nil {
		noProcess(t)
	}
	if err := s.proc.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// run starts the process, and reports whether it answers.
func (s *Server) run(t testing.TB) bool {
	t.Helper()
	p := s.proc
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, gone := p.cmd, make(chan struct{})
	p.gone = gone
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	return s.ready()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.gone
}

func (s *Server) ready() bool {
	c := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer c.Close()
	for {
		select {
		case <-s.proc.gone:
			return false
		case <-time.After(10 * time.Millisecond):
			if c.Ping(context.Background()).Err() == nil {
				return true
			}
		}
	}
}

// firstPort and ports are the range of FreeAddrs. The kernel gives its own choices
// (of port 0, for outgoing connections, for what Docker publishes) from 32768 on at
// the lowest, so none of these takes a port between FreeAddrs and the server's start.
const firstPort, ports = 20_000, 12_000

var handedOut sync.Map // ports that FreeAddrs gave before

// FreeAddrs returns n loopback addresses with ports that are free now, and that this
// process is not given again: a server may start at one of them later.
func FreeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for range 100 * n {
		port := firstPort + rand.IntN(ports)
		if _, before := handedOut.LoadOrStore(port, true); before {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue // of another process
		}
		l.Close()
		if addrs = append(addrs, addr); len(addrs) == n {
			return addrs
		}
	}
	t.Fatalf("only %d of %d loopback ports are free from %d on", len(addrs), n, firstPort)
	return nil
}

// Port returns the port of addr, host:port.
func Port(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err) // every address here comes from a listener
	}
	return port
}
