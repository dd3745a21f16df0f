// Package server runs a redis-server process for measurements, and reads what it
// has spent.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server on a free loopback port, without persistence.
type Server struct {
	Addr    string
	Version string
	Client  *redis.Client

	process *exec.Cmd
	gone    chan struct{}
	dir     string
}

// ErrNoBinary is returned by [Start] where there is no redis-server.
var ErrNoBinary = errors.New("no redis-server in PATH: the comparisons with Redis need one (Debian: apt-get install redis-server)")

// Start returns a running server, which the caller closes.
func Start() (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoBinary
	}
	dir, err := os.MkdirTemp("", "nearcache-bench")
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may take the free port first
		var s *Server
		if s, err = start(path, dir); err == nil {
			return s, nil
		}
	}
	os.RemoveAll(dir)
	return nil, err
}

func start(path, dir string) (*Server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, process: cmd, gone: make(chan struct{}), dir: dir}
	go func() {
		_ = cmd.Wait()
		close(s.gone)
	}()
	s.Client = redis.NewClient(&redis.Options{Addr: addr})
	if err := s.ready(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) ready() error {
	ctx := context.Background()
	for range 500 {
		select {
		case <-s.gone:
			return errors.New("redis-server ended at once")
		case <-time.After(10 * time.Millisecond):
			if info, err := s.Client.InfoMap(ctx, "server").Result(); err == nil {
				s.Version = info["Server"]["redis_version"]
				return nil
			}
		}
	}
	return errors.New("redis-server did not answer within 5 s")
}

// Close ends the process and waits for it.
func (s *Server) Close() {
	s.Client.Close()
	_ = s.process.Process.Kill() // it may have ended already
	<-s.gone
	os.RemoveAll(s.dir)
}

// Flush empties the server.
func (s *Server) Flush(ctx context.Context) error { return s.Client.FlushAll(ctx).Err() }

// Account is what a server has spent since it started, and holds now.
type Account struct {
	At          time.Time
	CPU         time.Duration // of the main thread, user and system
	Commands    int64
	BytesOut    int64
	Memory      int64 // bytes in all
	Clients     int64
	ClientBytes int64 // of Memory, those of ordinary connections and of subscribers
}

// Account asks the server. The question itself is one command.
func (s *Server) Account(ctx context.Context) (Account, error) {
	info, err := s.Client.InfoMap(ctx, "cpu", "stats", "memory", "clients").Result()
	if err != nil {
		return Account{}, err
	}
	return parse(info, time.Now())
}

func parse(info map[string]map[string]string, now time.Time) (Account, error) {
	var errs []error
	number := func(section, field string) float64 {
		n, err := strconv.ParseFloat(strings.TrimSpace(info[section][field]), 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("INFO %s: %s is %q, no number", section, field, info[section][field]))
		}
		return n
	}
	seconds := number("CPU", "used_cpu_user_main_thread") + number("CPU", "used_cpu_sys_main_thread")
	a := Account{
		At:          now,
		CPU:         time.Duration(seconds * float64(time.Second)),
		Commands:    int64(number("Stats", "total_commands_processed")),
		BytesOut:    int64(number("Stats", "total_net_output_bytes")),
		Memory:      int64(number("Memory", "used_memory")),
		Clients:     int64(number("Clients", "connected_clients")),
		ClientBytes: int64(number("Memory", "mem_clients_normal")),
	}
	return a, errors.Join(errs...)
}
