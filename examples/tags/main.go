// Command tags keeps the pages of a magazine on two instances, takes some away by
// their tags and in the end all of them, and prints which were rendered again. It
// exits with 1 if these were not the right ones.
//
//	go run -C examples ./tags
package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// articles is what the pages are rendered from.
var articles = map[string]struct{ author, topic string }{
	"/engines":  {"ada", "machines"},
	"/looms":    {"ada", "textiles"},
	"/compiler": {"grace", "machines"},
	"/flax":     {"rosa", "textiles"},
}

// magazine renders pages, and remembers which.
type magazine struct {
	out    io.Writer
	caches [2]*nearcache.Cache[string]

	mu       sync.Mutex
	edition  int
	rendered map[string]bool
}

// render is the loader. It names the tags of a page: whatever it was made from.
func (m *magazine) render(_ context.Context, path string, item *nearcache.Item[string]) (string, error) {
	a, ok := articles[path]
	if !ok {
		return "", nearcache.ErrNotFound
	}
	item.Tags = append(item.Tags, "author:"+a.author, "topic:"+a.topic)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rendered[path] = true
	return fmt.Sprintf("%s by %s, edition %d", path, a.author, m.edition), nil
}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tags:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	server, err := miniredis.Run()
	if err != nil {
		return fmt.Errorf("starting the embedded Redis: %w", err)
	}
	defer server.Close()
	m := &magazine{out: out, rendered: make(map[string]bool)}
	for i := range m.caches {
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer client.Close()
		m.caches[i], err = nearcache.New(nearcache.Config[string]{
			Name: "pages", Redis: client, LoadItem: m.render, RedisTimeout: time.Second, RefreshAhead: -1,
		})
		if err != nil {
			return err
		}
		defer m.caches[i].Close()
	}
	return m.tell()
}

func (m *magazine) tell() error {
	ctx := context.Background()
	fmt.Fprintf(m.out, "%-36s %s\n", "", "rendered again")
	for _, step := range []struct {
		title  string
		change func() error
		want   string
	}{
		{"nothing is there", func() error { return nil }, "/compiler /engines /flax /looms"},
		{"everything is there", func() error { return nil }, ""},
		{"Ada changes her name", func() error { return m.caches[0].InvalidateTags(ctx, "author:ada") }, "/engines /looms"},
		{"two topics get new headings", func() error { return m.caches[1].InvalidateTags(ctx, "topic:textiles", "topic:music") }, "/flax /looms"},
		{"one page is corrected", func() error { return m.caches[1].Invalidate(ctx, "/compiler") }, "/compiler"},
		{"a new design", func() error { return m.caches[0].Clear(ctx) }, "/compiler /engines /flax /looms"},
	} {
		m.next()
		if err := step.change(); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
		got, err := m.visit(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
		fmt.Fprintf(m.out, "%-36s %s\n", step.title, got)
		if got != step.want {
			return fmt.Errorf("%s: rendered %q again, want %q", step.title, got, step.want)
		}
	}
	return nil
}

// next begins an edition.
func (m *magazine) next() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edition++
	clear(m.rendered)
}

// visit reads all pages on both instances, and tells which were rendered for it.
func (m *magazine) visit(ctx context.Context) (rendered string, err error) {
	for _, cache := range m.caches {
		for path := range articles {
			// SkipL1: the other instance may have the old page for a network hop more.
			if _, err := cache.Get(ctx, path, nearcache.SkipL1()); err != nil {
				return "", err
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(m.rendered)), " "), nil
}
