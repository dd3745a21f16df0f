package nearcache_test

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// flater is a small Compressor on the standard library.
type flater struct {
	id     byte
	greedy bool // takes no notice of limits
}

func (f flater) ID() byte { return f.id }

func (f flater) Compress(dst, src []byte) []byte {
	buf := bytes.NewBuffer(dst)
	w, _ := flate.NewWriter(buf, flate.BestSpeed)
	_, _ = w.Write(src)
	_ = w.Close()
	return buf.Bytes()
}

func (f flater) Decompress(dst, src []byte, limit int) ([]byte, error) {
	if f.greedy {
		limit = 1 << 30
	}
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(src)), int64(limit)+1))
	if err == nil && len(out) > limit {
		err = errors.New("more than the limit")
	}
	return append(dst, out...), err
}

// panicky is a Compressor with a bug.
type panicky struct{ flater }

func (panicky) Decompress(dst, src []byte, limit int) ([]byte, error) { panic("a bug") }

// pages is two instances of a cache of strings that loads, and what Redis has of it.
type pages struct {
	rdb    *redis.Client
	caches [2]*nearcache.Cache[string]
	load   func(key string, item *nearcache.Item[string]) (string, error)
}

func onServers(t *testing.T, story func(t *testing.T, server *redistest.Server)) {
	t.Run("real", func(t *testing.T) { story(t, redistest.Start(t)) })
	t.Run("embedded", func(t *testing.T) { story(t, redistest.StartEmbedded(t)) })
}

func openPages(t *testing.T, server *redistest.Server, change func(i int, c *nearcache.Config[string])) *pages {
	t.Helper()
	p := &pages{rdb: server.Client(t), load: func(string, *nearcache.Item[string]) (string, error) { return "loaded", nil }}
	for i := range p.caches {
		cfg := nearcache.Config[string]{Name: "pages", Redis: server.Client(t), RedisTimeout: calm, Codec: codec.String(),
			Logger: slog.New(slog.DiscardHandler), RefreshAhead: -1,
			LoadItem: func(_ context.Context, key string, item *nearcache.Item[string]) (string, error) {
				return p.load(key, item)
			}}
		change(i, &cfg)
		c, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		p.caches[i] = c
	}
	return p
}

// raw returns what Redis has under key.
func (p *pages) raw(t *testing.T, key string) (data []byte, h codec.Header) {
	t.Helper()
	eventually(t, "Redis has "+key, func() bool {
		var err error
		if data, err = p.rdb.Get(context.Background(), "{pages}:v:"+key).Bytes(); err == nil {
			h, _, err = codec.Open(data)
		}
		return err == nil && h.Claim.Kind == codec.NoClaim
	})
	return data, h
}

// write puts an envelope of payload into Redis as somebody else might.
func (p *pages) write(t *testing.T, key string, h codec.Header, payload []byte) {
	t.Helper()
	buf := append(codec.Begin(nil, h.Validator, h.Tags), payload...)
	codec.Finish(buf, h)
	if err := p.rdb.Set(context.Background(), "{pages}:v:"+key, buf, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
}

// wants fails unless an instance answers value for key from where it should.
func (p *pages) wants(t *testing.T, instance int, key, value string, from nearcache.Source) {
	t.Helper()
	var info nearcache.Info
	got, err := p.caches[instance].Get(context.Background(), key, nearcache.SkipL1(), nearcache.WithInfo(&info))
	if err != nil || got != value || info.Source != from {
		t.Fatalf("%s is %.20q (%d bytes) from %v, %v; want %.20q from %v", key, got, len(got), info.Source, err, value, from)
	}
}

func noise(n int) string {
	random, b := rand.NewChaCha8([32]byte{1}), make([]byte, n)
	_, _ = random.Read(b)
	return string(b)
}

// TestCompression: large values that shrink are compressed, all others are as they
// were, and every instance reads both.
func TestCompression(t *testing.T) {
	onServers(t, func(t *testing.T, server *redistest.Server) {
		p := openPages(t, server, func(_ int, c *nearcache.Config[string]) { c.Compressor = flater{id: 64} })
		large := strings.Repeat("near cache ", 1000)
		p.load = func(key string, _ *nearcache.Item[string]) (string, error) { return large, nil }
		for key, c := range map[string]struct {
			value      string
			compressed bool
		}{
			"large": {large, true}, "small": {large[:codec.CompressAbove-1], false}, "noise": {noise(5000), false}, "none": {"", false},
		} {
			if err := p.caches[0].Set(context.Background(), key, c.value); err != nil {
				t.Fatal(err)
			}
			data, h := p.raw(t, key)
			if h.Compressed != c.compressed || c.compressed != (len(data) < len(c.value)) {
				t.Errorf("%s: compressed %v, %d bytes of %d", key, h.Compressed, len(data), len(c.value))
			}
			p.wants(t, 1, key, c.value, nearcache.FromL2)
		}
		p.wants(t, 0, "loaded", large, nearcache.FromLoader)
		if _, h := p.raw(t, "loaded"); !h.Compressed {
			t.Error("what was loaded is not compressed")
		}
		p.wants(t, 1, "loaded", large, nearcache.FromL2)
		if n := p.caches[1].Stats().Faults; n != 0 {
			t.Errorf("%d faults", n)
		}
	})
}

// TestCompressedValuesAreRenewed: "not modified" rewrites a header only, which goes on
// saying that the payload is compressed.
func TestCompressedValuesAreRenewed(t *testing.T) {
	onServers(t, func(t *testing.T, server *redistest.Server) {
		p := openPages(t, server, func(_ int, c *nearcache.Config[string]) { c.Compressor = flater{id: 64} })
		large := strings.Repeat("near cache ", 1000)
		p.load = func(_ string, item *nearcache.Item[string]) (string, error) {
			if item.HasOld {
				return "", nearcache.ErrNotModified
			}
			item.Validator = "v1"
			return large, nil
		}
		p.wants(t, 0, "k", large, nearcache.FromLoader)
		_, before := p.raw(t, "k")
		if err := p.caches[0].Expire(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
		p.wants(t, 1, "k", large, nearcache.FromLoader)
		eventually(t, "the header is renewed", func() bool {
			_, h := p.raw(t, "k")
			return h.Birth > before.Birth && h.Compressed && !h.Expired
		})
		p.wants(t, 0, "k", large, nearcache.FromL2)
	})
}

// TestWhatCannotBeDecompressed: it is a fault, and loaded anew.
func TestWhatCannotBeDecompressed(t *testing.T) {
	large := strings.Repeat("near cache ", 1000)
	ours := flater{id: 64}
	whole := append([]byte{64}, ours.Compress(nil, []byte(large))...)
	for name, c := range map[string]struct {
		payload    []byte
		compressor codec.Compressor
	}{
		"no compressor":      {whole, nil},
		"another compressor": {whole, flater{id: 65}},
		"garbage":            {[]byte("\x40garbage"), ours},
		"nothing":            {nil, ours},
		"a bomb":             {append([]byte{64}, ours.Compress(nil, make([]byte, 1<<20))...), ours},
		"a bomb, no limit":   {append([]byte{64}, ours.Compress(nil, make([]byte, 1<<20))...), flater{64, true}},
		"a panic":            {whole, panicky{ours}},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPages(t, redistest.StartEmbedded(t), func(_ int, cfg *nearcache.Config[string]) {
				cfg.Compressor, cfg.MaxValueBytes = c.compressor, 100_000
			})
			p.wants(t, 0, "k", "loaded", nearcache.FromLoader)
			_, h := p.raw(t, "k")
			h.Compressed = true
			p.write(t, "k", h, c.payload)
			p.wants(t, 1, "k", "loaded", nearcache.FromLoader)
			if n := p.caches[1].Stats().Faults; n != 1 {
				t.Errorf("%d faults, want 1", n)
			}
		})
	}
}

// TestCompressedLimits: the bound of values is one of what they are, not of what they
// are compressed to.
func TestCompressedLimits(t *testing.T) {
	p := openPages(t, redistest.StartEmbedded(t), func(_ int, c *nearcache.Config[string]) {
		c.Compressor, c.MaxValueBytes = flater{id: 64}, 10_000
	})
	for n, fits := range map[int]bool{10_000: true, 10_001: false} {
		err := p.caches[0].Set(context.Background(), fmt.Sprint(n), strings.Repeat("x", n))
		if (err == nil) != fits || err != nil && !errors.Is(err, nearcache.ErrValue) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	p.wants(t, 1, "10000", strings.Repeat("x", 10_000), nearcache.FromL2)
}
