package nearcache_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/internal/redistest"
)

func sealOf(t *testing.T, secrets ...byte) *codec.Seal {
	t.Helper()
	var keys []codec.Key
	for _, b := range secrets {
		keys = append(keys, codec.Key{ID: b, Secret: bytes.Repeat([]byte{b}, 32)})
	}
	s, err := codec.NewSeal(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSealedValues: Redis sees none of them, and instances with the keys read them all,
// also after a rotation.
func TestSealedValues(t *testing.T) {
	onServers(t, func(t *testing.T, server *redistest.Server) {
		ctx := context.Background()
		seals := [...]*codec.Seal{sealOf(t, 1, 2), sealOf(t, 2, 1)}
		p := openPages(t, server, func(i int, c *nearcache.Config[string]) {
			c.Seal, c.Compressor = seals[i], flater{id: 64}
		})
		p.load = func(key string, item *nearcache.Item[string]) (string, error) {
			switch {
			case key == "none":
				return "", nearcache.ErrNotFound
			case item.HasOld:
				return "", nearcache.ErrNotModified
			}
			item.Validator, item.Tags = "v1", []string{"a tag"}
			return "secret", nil
		}
		for i := range p.caches {
			for key, value := range map[string]string{"small": "secret", "large": strings.Repeat("secret", 1000)} {
				if err := p.caches[i].Set(ctx, key, value, nearcache.WithTags("a tag")); err != nil {
					t.Fatal(err)
				}
				data, h := p.raw(t, key)
				if !h.Sealed || h.Compressed != (key == "large") || bytes.Contains(data, []byte("secret")) || len(data) > 500 {
					t.Errorf("in Redis: %+v, %d bytes", h, len(data))
				}
				p.wants(t, 1-i, key, value, nearcache.FromL2)
			}
		}
		p.wants(t, 0, "loaded", "secret", nearcache.FromLoader)
		p.raw(t, "loaded")
		p.wants(t, 1, "loaded", "secret", nearcache.FromL2)
		if err := p.caches[0].Expire(ctx, "loaded"); err != nil {
			t.Fatal(err)
		}
		p.wants(t, 1, "loaded", "secret", nearcache.FromLoader) // not modified: the header is renewed
		eventually(t, "the header is renewed", func() bool { _, h := p.raw(t, "loaded"); return h.Sealed && !h.Expired })
		p.wants(t, 0, "loaded", "secret", nearcache.FromL2)
		for i, from := range []nearcache.Source{nearcache.FromLoader, nearcache.FromL2} {
			var info nearcache.Info
			_, err := p.caches[i].Get(ctx, "none", nearcache.SkipL1(), nearcache.WithInfo(&info))
			if !errors.Is(err, nearcache.ErrNotFound) || info.Source != from {
				t.Fatalf("%v from %v", err, info.Source)
			}
			p.raw(t, "none")
		}
		values, err := p.caches[1].GetMany(ctx, []string{"small", "loaded"}, nearcache.SkipL1())
		if err != nil || values["small"] != "secret" || values["loaded"] != "secret" {
			t.Fatalf("%v, %v", values, err)
		}
		for i := range p.caches {
			if n := p.caches[i].Stats().Faults; n != 0 {
				t.Errorf("instance %d: %d faults", i, n)
			}
		}
	})
}

// TestForgedValues: what somebody else writes to Redis is a fault and loaded anew, and
// so are genuine values in another's place.
func TestForgedValues(t *testing.T) {
	ours, large := sealOf(t, 1), strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		seal  *codec.Seal
		forge func(h *codec.Header, payload []byte, other []byte) []byte
	}{
		"not sealed":         {ours, func(h *codec.Header, _, _ []byte) []byte { h.Sealed = false; return []byte("forged") }},
		"flag only":          {ours, func(_ *codec.Header, _, _ []byte) []byte { return []byte("forged") }},
		"of another key":     {ours, func(_ *codec.Header, _, other []byte) []byte { return other }},
		"not found":          {ours, func(h *codec.Header, p, _ []byte) []byte { h.Negative = true; return p }},
		"not found, empty":   {ours, func(h *codec.Header, _, _ []byte) []byte { h.Negative = true; return nil }},
		"another validator":  {ours, func(h *codec.Header, p, _ []byte) []byte { h.Validator = "v2"; return p }},
		"without its tags":   {ours, func(h *codec.Header, p, _ []byte) []byte { h.Tags = nil; return p }},
		"tag for validator":  {ours, func(h *codec.Header, p, _ []byte) []byte { h.Tags, h.Validator = nil, "a tag"; return p }},
		"not compressed":     {ours, func(h *codec.Header, p, _ []byte) []byte { h.Compressed = false; return p }},
		"with another key":   {sealOf(t, 2), func(_ *codec.Header, p, _ []byte) []byte { return p }},
		"read without a key": {nil, func(_ *codec.Header, p, _ []byte) []byte { return p }},
		"changed": {ours, func(_ *codec.Header, p, _ []byte) []byte {
			p[len(p)-1] ^= 1
			return p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			p := openPages(t, redistest.StartEmbedded(t), func(i int, cfg *nearcache.Config[string]) {
				cfg.Seal, cfg.Compressor = ours, flater{id: 64}
				if i == 1 {
					cfg.Seal = c.seal
				}
			})
			for _, key := range []string{"k", "other"} {
				if err := p.caches[0].Set(ctx, key, large+key, nearcache.WithTags("a tag")); err != nil {
					t.Fatal(err)
				}
			}
			data, h := p.raw(t, "k")
			other, _ := p.raw(t, "other")
			_, payload, _ := codec.Open(data)
			_, otherPayload, _ := codec.Open(other)
			p.write(t, "k", h, payload)
			if c.seal == ours {
				p.wants(t, 1, "k", large+"k", nearcache.FromL2) // nothing else is wrong
			}
			forged := c.forge(&h, bytes.Clone(payload), otherPayload)
			p.write(t, "k", h, forged)
			p.wants(t, 1, "k", "loaded", nearcache.FromLoader)
			if n := p.caches[1].Stats().Faults; n != 1 {
				t.Errorf("%d faults, want 1", n)
			}
		})
	}
}

// TestSealedForOneCache: a value of one cache is none of another with the same keys.
func TestSealedForOneCache(t *testing.T) {
	server, ctx := redistest.StartEmbedded(t), context.Background()
	one := openPages(t, server, func(_ int, c *nearcache.Config[string]) { c.Seal = sealOf(t, 1) })
	other := openPages(t, server, func(_ int, c *nearcache.Config[string]) { c.Seal, c.Name = sealOf(t, 1), "others" })
	for _, c := range []*nearcache.Cache[string]{one.caches[0], other.caches[0]} {
		if err := c.Set(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	own, _ := one.raw(t, "k")
	foreign, err := one.rdb.Get(ctx, "{others}:v:k").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	_, payload, err := codec.Open(foreign)
	if err != nil {
		t.Fatal(err)
	}
	h, _, _ := codec.Open(own)
	one.write(t, "k", h, payload)
	one.wants(t, 1, "k", "loaded", nearcache.FromLoader)
}
