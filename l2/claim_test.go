package l2

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/redis/go-redis/v9"
)

// envelope returns an envelope of a payload, as tiered writes it.
func envelope(payload string, h codec.Header) []byte {
	b := append(codec.Begin(nil, h.Validator, h.Tags), payload...)
	codec.Finish(b, h)
	return b
}

// opened reads the envelope of "k".
func opened(t *testing.T, s *Store) (codec.Header, string) {
	t.Helper()
	r := read(t, s, "k", "")
	if r.State != Present {
		t.Fatalf("state %v, want Present", r.State)
	}
	h, p, err := codec.Open(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	return h, string(p)
}

// claimed returns a store whose "k" holds the value "old", claimed by token.
func claimed(t *testing.T) (s *Store, c *redis.Client, seen Reply, token string) {
	t.Helper()
	s, c, _ = open(t, 1)
	c.Set(t.Context(), "{test}:v:k", envelope("old", codec.Header{Codec: 1, Expires: 5}), minute)
	seen, token = read(t, s, "k", ""), s.Token()
	if ok, err := s.Claim(t.Context(), "k", seen, token, minute); err != nil || !ok {
		t.Fatalf("Claim: %v, %v", ok, err)
	}
	return s, c, seen, token
}

// TestClaim: a claimed value stays readable, and only the claim's token fills.
func TestClaim(t *testing.T) {
	s, _, seen, token := claimed(t)
	h, p := opened(t, s)
	if p != "old" || h.Claim.Kind != codec.Loading || h.Claim.Token != token || h.Claim.Until == 0 {
		t.Fatalf("claimed value: %q, %+v", p, h)
	}
	if ok, _ := s.Claim(t.Context(), "k", seen, s.Token(), minute); ok {
		t.Fatal("claimed twice")
	}
	fresh := envelope("new", codec.Header{Codec: 1})
	if ok, _ := s.Fill(t.Context(), "k", s.Token(), seen.Record.Epoch, fresh, minute); ok {
		t.Fatal("filled under another token")
	}
	if ok, err := s.Fill(t.Context(), "k", token, seen.Record.Epoch, fresh, minute); err != nil || !ok {
		t.Fatalf("Fill: %v, %v", ok, err)
	}
	if h, p := opened(t, s); p != "new" || h.Claim.Kind != codec.NoClaim {
		t.Fatalf("filled value: %q, %+v", p, h)
	}
	if ok, _ := s.Claim(t.Context(), "k", seen, s.Token(), minute); ok {
		t.Fatal("claimed a value that is not the one that was seen")
	}
}

// TestClaimIsLost: each row takes the claim away, and with it the right to fill.
func TestClaimIsLost(t *testing.T) {
	ctx := context.Background()
	for name, spoil := range map[string]func(s *Store, c *redis.Client, token, epoch string){
		"invalidated": func(s *Store, _ *redis.Client, _, _ string) { _, _ = s.Invalidate(ctx, 0, []string{"k"}) },
		"expired":     func(s *Store, _ *redis.Client, _, _ string) { _, _ = s.Expire(ctx, 0, []string{"k"}) },
		"set": func(s *Store, _ *redis.Client, _, epoch string) {
			_, _, _ = s.Set(ctx, 0, []string{"k"}, []Value{{envelope("set", codec.Header{Codec: 1}), minute}}, epoch, 1<<60)
		},
		"released": func(s *Store, _ *redis.Client, token, epoch string) { _ = s.Release(ctx, "k", token, epoch, 0) },
		"backed off": func(s *Store, _ *redis.Client, token, epoch string) {
			_ = s.Release(ctx, "k", token, epoch, time.Minute)
		},
		"of another epoch": func(s *Store, c *redis.Client, _, _ string) {
			c.Set(ctx, "{test}:seq", "1 0123456789abcdef 0 - 1 1", 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, seen, token := claimed(t)
			spoil(s, c, token, seen.Record.Epoch)
			if ok, err := s.Fill(ctx, "k", token, seen.Record.Epoch, envelope("late", codec.Header{Codec: 1}), minute); ok {
				t.Errorf("Fill: %v, %v; want refused", ok, err)
			}
			if ok, err := s.Renew(ctx, "k", token, seen.Record.Epoch, renewed(seen.Data, codec.Header{Codec: 1}), minute); ok {
				t.Errorf("Renew: %v, %v; want refused", ok, err)
			}
		})
	}
}

// TestExpire: the value stays, marked; a lease in its place goes.
func TestExpire(t *testing.T) {
	s, c, _, _ := claimed(t)
	ctx := t.Context()
	before := read(t, s, "k", "").Record
	after, err := s.Expire(ctx, 0, []string{"k", "leased"})
	if err != nil || after.Seq <= before.Seq {
		t.Fatalf("Expire: %+v after %+v, %v", after, before, err)
	}
	if h, p := opened(t, s); p != "old" || !h.Expired || h.Claim.Kind != codec.NoClaim {
		t.Fatalf("expired value: %q, %+v", p, h)
	}
	token := s.Token()
	read(t, s, "leased", token)
	if _, err := s.Expire(ctx, 0, []string{"leased"}); err != nil || c.Exists(ctx, "{test}:v:leased").Val() != 0 {
		t.Fatalf("the lease of an expired key is still there: %v", err)
	}
}

// renewed returns the header h for the value that old is the envelope of.
func renewed(old []byte, h codec.Header) []byte {
	header := slices.Clone(old[:codec.HeaderSize])
	codec.Rewrite(header, h)
	return header
}

// TestRenew: a header is replaced, the value stays, and lives on.
func TestRenew(t *testing.T) {
	s, c, seen, token := claimed(t)
	header := renewed(seen.Data, codec.Header{Codec: 1, Expires: 99})
	if ok, err := s.Renew(t.Context(), "k", token, seen.Record.Epoch, header, time.Hour); err != nil || !ok {
		t.Fatalf("Renew: %v, %v", ok, err)
	}
	if h, p := opened(t, s); p != "old" || h.Expires != 99 || h.Claim.Kind != codec.NoClaim {
		t.Fatalf("renewed value: %q, %+v", p, h)
	}
	if life := c.PTTL(t.Context(), "{test}:v:k").Val(); life <= minute {
		t.Fatalf("lives %v, want an hour", life)
	}
}

// TestBackOff: a claim that failed keeps others from claiming, until its end.
func TestBackOff(t *testing.T) {
	s, _, seen, token := claimed(t)
	ctx := t.Context()
	if err := s.Release(ctx, "k", token, seen.Record.Epoch, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if h, _ := opened(t, s); h.Claim.Kind != codec.BackOff {
		t.Fatalf("%+v, want a back-off", h.Claim)
	}
	if ok, _ := s.Claim(ctx, "k", seen, s.Token(), minute); ok {
		t.Fatal("claimed during the back-off")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ok, _ := s.Claim(ctx, "k", seen, s.Token(), minute); ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never claimed again")
		}
	}
}

// TestTouch: values live on, leases do not.
func TestTouch(t *testing.T) {
	s, c, _, _ := claimed(t)
	read(t, s, "leased", s.Token())
	for key, want := range map[string]bool{"k": true, "leased": false, "none": false} {
		if err := s.Touch(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := c.PTTL(t.Context(), "{test}:v:"+key).Val() > minute; got != want {
			t.Errorf("%s lives on: %v, want %v", key, got, want)
		}
	}
}

// TestWaiterOfAClaimIsWoken: as that of a lease is.
func TestWaiterOfAClaimIsWoken(t *testing.T) {
	s, _, seen, token := claimed(t)
	sub := s.Subscribe(t.Context())
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there, err := s.Flag(t.Context(), "k", token); err != nil || !there {
		t.Fatalf("Flag: %v, %v", there, err)
	}
	if ok, err := s.Fill(t.Context(), "k", token, seen.Record.Epoch, envelope("new", codec.Header{}), minute); err != nil || !ok {
		t.Fatalf("Fill: %v, %v", ok, err)
	}
	if m, err := sub.ReceiveMessage(t.Context()); err != nil || m.Payload != "1 0 0 "+seen.Record.Epoch+" w 1:k," {
		t.Fatalf("wake-up: %v, %v", m, err)
	}
}
