package debugpage

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// TestOutage: what the page says while a real server is killed, and once it is back.
func TestOutage(t *testing.T) {
	server := redistest.StartProcess(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	p := opened(t, Config{})
	cache, err := nearcache.New(nearcache.Config[string]{
		Name: "a", Redis: client, Hooks: p.Hooks("a"), MaxStaleness: 200 * time.Millisecond,
		Load:   func(_ context.Context, key string) (string, error) { return "value of " + key, nil },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	p.Watch("a", cache)
	until := func(parts ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for page := ""; ; time.Sleep(50 * time.Millisecond) {
			if _, err := cache.Get(t.Context(), "secret"); err != nil {
				t.Fatal(err)
			}
			missing := ""
			page = get(t, p, "")
			for _, part := range parts {
				if !strings.Contains(page, part) {
					missing = part
				}
			}
			if missing == "" {
				lacks(t, page, "secret", "value of", "NaN", "Inf")
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("never says %q", missing)
			}
		}
	}
	until("Current: proven ")
	server.Kill(t)
	until("Redis does not answer since ", "Reads go to the loader", "subscription lost", `class="shade"`)
	server.Restart(t)
	until("Current: proven ", "Last trouble ", "data lost", "Redis answers again.", "subscribed")
	if answer := get(t, p, "?key=secret"); !strings.Contains(answer, "The next read of <code>secret</code>: <strong>L") || strings.Contains(answer, "value of") {
		t.Error("the key is not explained")
	}
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}
	has(t, get(t, p, "?key=secret"), nearcache.ErrClosed.Error())
}
