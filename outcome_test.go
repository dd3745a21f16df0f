package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestResultsOfOperations: an outcome has one word, whatever wraps its error.
func TestResultsOfOperations(t *testing.T) {
	var mu sync.Mutex
	results := make(map[string]string) // by key and kind
	ctx := context.Background()
	impatient, leave := context.WithCancel(ctx)
	load := func(ctx context.Context, key string, item *nearcache.Item[string]) (string, error) {
		switch key {
		case "none":
			return "", fmt.Errorf("no row: %w", nearcache.ErrNotFound)
		case "same":
			if item.HasOld {
				return "", nearcache.ErrNotModified
			}
		case "left":
			leave()
			<-ctx.Done()
			return "", context.Cause(ctx)
		case "slow":
			<-ctx.Done()
			return "", context.Cause(ctx)
		case "deadline": // the loader's own, of which its caller knows nothing
			return "", context.DeadlineExceeded
		case "old":
			if item.HasOld {
				return "", errors.New("down")
			}
		}
		return "v", nil
	}
	cfg := nearcache.Config[string]{
		TTL: nearcache.TTL{L1: time.Minute, StaleIfError: time.Minute}, LoadTimeout: 50 * time.Millisecond,
		LoadItem: load,
		Hooks: nearcache.Hooks{End: func(_ context.Context, op *nearcache.Operation) {
			mu.Lock()
			defer mu.Unlock()
			for _, key := range op.Keys {
				results[op.Kind+" "+key] = op.Result
			}
		}},
	}
	cache, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LoadItem, cfg.Name, cfg.Redis = nil, "loaderless", redistest.StartEmbedded(t).Client(t)
	loaderless, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("the user closed the window"))
	for _, key := range []string{"a", "none", "slow", "deadline", "same", "old"} {
		cache.Get(ctx, key)
	}
	cache.Get(impatient, "left")
	cache.Get(gone, "closed")
	for _, key := range []string{"same", "old"} { // L1 admits behind the reader's back
		var info nearcache.Info
		for info.Source != nearcache.FromL1 {
			cache.Get(ctx, key, nearcache.WithInfo(&info))
		}
	}
	cache.Expire(ctx, "same", "old") // a load sees the old value, which stands in
	cache.Get(ctx, "same")
	cache.Get(ctx, "old")
	loaderless.Get(ctx, "nobody's")
	loaderless.Invalidate(gone, "late")
	cache.Close()
	loaderless.Close()
	for what, want := range map[string]string{
		"get a": "ok", "load a": "ok",
		"get none": "not found", "load none": "not found",
		"get slow": "timeout", "load slow": "timeout",
		"get deadline": "error", "load deadline": "error",
		"get left": "canceled", "load left": "canceled",
		"get closed":   "canceled",
		"load same":    "not modified",
		"get old":      "stale",
		"load old":     "error",
		"get nobody's": "miss", "invalidate late": "canceled",
		"expire old": "ok",
	} {
		if results[what] != want {
			t.Errorf("%s: %q, want %q", what, results[what], want)
		}
	}
}
