package s2

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
)

func noise(n int) []byte {
	random, b := rand.NewChaCha8([32]byte{1}), make([]byte, n)
	_, _ = random.Read(b)
	return b
}

func TestRoundTrip(t *testing.T) {
	for name, src := range map[string][]byte{
		"empty": {}, "text": []byte(strings.Repeat("near cache ", 1000)), "noise": noise(5000), "zeros": make([]byte, 1<<20),
	} {
		packed := Compressor{}.Compress([]byte("before"), src)
		if !bytes.HasPrefix(packed, []byte("before")) {
			t.Fatalf("%s: what was there is gone", name)
		}
		got, err := Compressor{}.Decompress([]byte("before"), packed[len("before"):], len(src))
		if err != nil || string(got) != "before"+string(src) {
			t.Errorf("%s: came back as %d bytes, %v", name, len(got), err)
		}
		t.Logf("%s: %d bytes from %d", name, len(packed)-len("before"), len(src))
	}
}

// TestBombs: bytes that say they are large are believed up to the limit, and are not
// given memory beyond it.
func TestBombs(t *testing.T) {
	bomb := Compressor{}.Compress(nil, make([]byte, 1<<20))
	if got, err := (Compressor{}).Decompress(nil, bomb, 1<<20-1); !errors.Is(err, s2.ErrTooLarge) || got != nil {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got, err := (Compressor{}).Decompress(nil, []byte("\xff\xff\xff\xff\x0f"), 1<<20); !errors.Is(err, s2.ErrTooLarge) || got != nil {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestBetweenInstances: what one instance compresses the other reads, and what cannot
// be decompressed is loaded anew.
func TestBetweenInstances(t *testing.T) {
	for name, server := range map[string]*redistest.Server{"any": redistest.Start(t), "embedded": redistest.StartEmbedded(t)} {
		t.Run(name, func(t *testing.T) {
			ctx, rdb := context.Background(), server.Client(t)
			page := strings.Repeat("<p>near cache</p>", 1000)
			var caches [2]*nearcache.Cache[string]
			for i := range caches {
				c, err := nearcache.New(nearcache.Config[string]{
					Name: "pages", Redis: rdb, Compressor: Compressor{}, RedisTimeout: 10 * time.Second,
					Load: func(context.Context, string) (string, error) { return page, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				caches[i] = c
			}
			if err := caches[0].Set(ctx, "k", page); err != nil {
				t.Fatal(err)
			}
			data, _ := rdb.Get(ctx, "{pages}:v:k").Bytes()
			if h, _, err := codec.Open(data); err != nil || !h.Compressed || len(data) > len(page)/10 {
				t.Fatalf("%d bytes in Redis, %+v, %v", len(data), h, err)
			}
			var info nearcache.Info
			if got, err := caches[1].Get(ctx, "k", nearcache.WithInfo(&info)); err != nil || got != page || info.Source != nearcache.FromL2 {
				t.Fatalf("%d bytes from %v, %v", len(got), info.Source, err)
			}
			h, _, _ := codec.Open(data)
			garbage := append(codec.Begin(nil, "", nil), "\x01garbage"...)
			codec.Finish(garbage, h)
			rdb.Set(ctx, "{pages}:v:k", garbage, time.Minute)
			if got, err := caches[1].Get(ctx, "k", nearcache.SkipL1(), nearcache.WithInfo(&info)); err != nil || got != page || info.Source != nearcache.FromLoader {
				t.Fatalf("garbage: %d bytes from %v, %v", len(got), info.Source, err)
			}
			if n := caches[1].Stats().Faults; n == 0 {
				t.Fatal("garbage is no fault")
			}
		})
	}
}

// FuzzDecompress: whatever the bytes are, there is an answer within the limit or an
// error.
func FuzzDecompress(f *testing.F) {
	f.Add(Compressor{}.Compress(nil, []byte("near cache")), 100)
	f.Add(Compressor{}.Compress(nil, make([]byte, 100_000)), 1000)
	f.Add([]byte("\xff\xff\xff\xff\x0f\x00"), 1<<20)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		limit &= 1<<20 - 1
		got, err := Compressor{}.Decompress([]byte("x"), data, limit)
		if len(got) < 1 || got[0] != 'x' || err == nil && len(got)-1 > limit || err != nil && len(got) != 1 {
			t.Fatalf("%d bytes, limit %d, %v", len(got), limit, err)
		}
	})
}
