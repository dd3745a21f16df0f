// Command httpproxy is a small shared HTTP cache (RFC 9111) in front of any origin: a
// reverse proxy behind package httpcache. With -redis, several of them are one cache.
//
//	go run -C examples ./httpproxy -origin http://127.0.0.1:8000 -listen 127.0.0.1:8001
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nearcache/nearcache/httpcache"
	"github.com/redis/go-redis/v9"
)

// Exit codes of the program.
const (
	ended  = 0
	failed = 1 // it could not start, or not serve any longer
	misuse = 2 // its arguments make no sense
)

type options struct {
	listen  string
	origin  *url.URL
	redis   string
	ttl     time.Duration
	maxBody int
	status  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, from its arguments to its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return ended
	case err != nil:
		fmt.Fprintln(stderr, "httpproxy:", err)
		return misuse
	}
	if err := serve(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "httpproxy:", err)
		return failed
	}
	return ended
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("httpproxy", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8001", "`host:port` to serve on; port 0 takes a free one")
	origin := f.String("origin", "http://127.0.0.1:8000", "`URL` of the origin")
	f.StringVar(&o.redis, "redis", "", "`host:port` of a Redis server to share responses through (default: none)")
	f.DurationVar(&o.ttl, "ttl", 0, "life of responses that name none (default: a tenth of their age)")
	f.IntVar(&o.maxBody, "max-body", 1<<20, "`bytes` of the largest body that is stored")
	f.StringVar(&o.status, "status", "", "`name` to write Cache-Status fields under (default: none are written)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; -help lists the flags", f.Arg(0))
	}
	if o.origin, err = url.Parse(*origin); err != nil {
		return o, fmt.Errorf("-origin: %w", err)
	}
	if o.origin.Scheme != "http" && o.origin.Scheme != "https" || o.origin.Host == "" {
		return o, fmt.Errorf("-origin is %q, must be like http://host:port", *origin)
	}
	return o, nil
}

// serve serves until ctx ends, and lets requests finish for five seconds then.
func serve(ctx context.Context, o options, stdout, stderr io.Writer) error {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	cfg := httpcache.Config{
		Name: "httpproxy", Logger: logger, MaxBodyBytes: o.maxBody, CacheStatus: o.status,
		ETags: httpcache.NoETags, // those of the origin, and no others
	}
	if o.redis != "" {
		rdb := redis.NewClient(&redis.Options{Addr: o.redis})
		defer rdb.Close()
		cfg.Redis = rdb
	}
	cache, err := httpcache.New(cfg)
	if err != nil {
		return err
	}
	defer cache.Close()
	proxy, leave := newProxy(o.origin, logger)
	defer leave()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           cache.Handler(o.ttl)(proxy),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	fmt.Fprintf(stdout, "http://%s caches %s\n", listener.Addr(), o.origin)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close() // some client takes too long
	}
	<-served
	return nil
}
