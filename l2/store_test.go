package l2

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const minute = time.Minute

// open returns a store on a server of its own, with a record begun.
func open(t *testing.T, shards int) (*Store, *redis.Client, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t)
	client := server.Client(t)
	s := Open(Config{Client: client, Name: "test", Shards: shards, Timeout: time.Second, LogLen: 100})
	t.Cleanup(s.Close)
	for _, b := range s.Heartbeat(t.Context(), make([]Known, shards), minute) {
		if b.Err != nil {
			t.Fatalf("heartbeat: %v", b.Err)
		}
	}
	return s, client, server
}

func read(t *testing.T, s *Store, key, token string) Reply {
	t.Helper()
	r, err := s.Read(t.Context(), key, token, minute)
	if err != nil {
		t.Fatalf("Read(%q): %v", key, err)
	}
	if !r.Known {
		t.Fatalf("Read(%q): no record", key)
	}
	return r
}

// TestReadsTellWhetherTheServerWrites: one that is out of memory is read all the same, and
// what it grants nobody proves nothing.
func TestReadsTellWhetherTheServerWrites(t *testing.T) {
	server := redistest.StartProcess(t)
	client := server.Client(t)
	s := Open(Config{Client: client, Name: "test", Shards: 1, Timeout: time.Second, LogLen: 100})
	t.Cleanup(s.Close)
	s.Heartbeat(t.Context(), make([]Known, 1), minute)
	if err := client.Set(t.Context(), "{test}:v:k", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for limit, tokens := range map[string]map[string]bool{
		"0": {s.Token(): true, "": false},
		"1": {s.Token(): false, "": false},
	} {
		if err := client.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
		for token, wrote := range tokens {
			if r := read(t, s, "k", token); r.State != Present || r.Wrote != wrote {
				t.Errorf("maxmemory %s, token %q: %+v, want one that wrote: %v", limit, token, r, wrote)
			}
		}
	}
}

func TestLeaseThenFill(t *testing.T) {
	s, _, _ := open(t, 1)
	ours, theirs := s.Token(), s.Token()
	r := read(t, s, "k", ours)
	if r.State != Leased {
		t.Fatalf("first read: state %v, want Leased", r.State)
	}
	if r := read(t, s, "k", theirs); r.State != Held || r.Holder != ours {
		t.Fatalf("second read: state %v holder %q, want Held by %q", r.State, r.Holder, ours)
	}
	if kept, err := s.Fill(t.Context(), "k", ours, r.Record.Epoch, []byte("value"), minute); err != nil || !kept {
		t.Fatalf("Fill: %v, %v; want kept", kept, err)
	}
	if r := read(t, s, "k", theirs); r.State != Present || string(r.Data) != "value" {
		t.Fatalf("after fill: state %v data %q", r.State, r.Data)
	}
}

// TestFillIsRefused: each row takes away one piece of the evidence that a fill needs.
func TestFillIsRefused(t *testing.T) {
	ctx := context.Background()
	for name, spoil := range map[string]func(t *testing.T, s *Store, c *redis.Client){
		"invalidated meanwhile": func(t *testing.T, s *Store, c *redis.Client) {
			if _, err := s.Invalidate(ctx, 0, []string{"k"}); err != nil {
				t.Fatal(err)
			}
		},
		"flushed meanwhile": func(t *testing.T, s *Store, c *redis.Client) { c.FlushAll(ctx) },
		"lease passed on to another load": func(t *testing.T, s *Store, c *redis.Client) {
			c.Set(ctx, "{test}:v:k", "L"+s.Token(), 0)
		},
		"lease resurrected in another epoch": func(t *testing.T, s *Store, c *redis.Client) {
			c.Set(ctx, "{test}:seq", "1 0123456789abcdef 0 - 1 1", 0)
		},
		"lease resurrected on another server": func(t *testing.T, s *Store, c *redis.Client) {
			raw := c.Get(ctx, "{test}:seq").Val()
			f := strings.Fields(raw)
			f[3] = "00000000"
			c.Set(ctx, "{test}:seq", strings.Join(f, " "), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, _ := open(t, 1)
			token := s.Token()
			r := read(t, s, "k", token)
			spoil(t, s, c)
			if kept, err := s.Fill(ctx, "k", token, r.Record.Epoch, []byte("old"), minute); err != nil || kept {
				t.Fatalf("Fill: %v, %v; want refused", kept, err)
			}
			if got := c.Get(ctx, "{test}:v:k").Val(); got == "old" {
				t.Fatal("the refused value is in Redis")
			}
		})
	}
}

func TestWaiterIsWoken(t *testing.T) {
	for name, end := range map[string]func(s *Store, token, epoch string) error{
		"fill": func(s *Store, token, epoch string) error {
			_, err := s.Fill(context.Background(), "k", token, epoch, []byte("v"), minute)
			return err
		},
		"release": func(s *Store, token, epoch string) error {
			return s.Release(context.Background(), "k", token, epoch, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := open(t, 1)
			sub := s.Subscribe(t.Context())
			defer sub.Close()
			if _, err := sub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			token := s.Token()
			r := read(t, s, "k", token)
			if there, err := s.Flag(t.Context(), "k", token); err != nil || !there {
				t.Fatalf("Flag: %v, %v", there, err)
			}
			if err := end(s, token, r.Record.Epoch); err != nil {
				t.Fatal(err)
			}
			m, err := sub.ReceiveMessage(t.Context())
			if err != nil || m.Payload != "1 0 0 "+r.Record.Epoch+" w 1:k," {
				t.Fatalf("wake-up: %v, %v", m, err)
			}
			if there, _ := s.Flag(t.Context(), "k", token); there {
				t.Fatal("the lease can still be flagged")
			}
		})
	}
}

func TestChangesAreNumberedLoggedAndPublished(t *testing.T) {
	s, c, _ := open(t, 1)
	before := read(t, s, "a", "").Record
	if _, kept, err := s.Set(t.Context(), 0, []string{"a"}, []Value{{[]byte("v"), minute}}, before.Epoch, 1<<60); err != nil || !kept {
		t.Fatalf("Set: kept %v, %v", kept, err)
	}
	set := read(t, s, "a", "").Record
	inv, err := s.Invalidate(t.Context(), 0, []string{"a", "b\x00,"})
	if err != nil {
		t.Fatal(err)
	}
	clr, err := s.Clear(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !(before.Seq < set.Seq && set.Seq < inv.Seq && inv.Seq < clr.Seq && clr.Cleared == clr.Seq) {
		t.Fatalf("sequence %v %v %v %v does not rise", before, set, inv, clr)
	}
	if c.Exists(t.Context(), "{test}:v:a").Val() != 0 {
		t.Fatal("invalidated value is still there")
	}
	log, err := s.Log(t.Context(), 0, before.Seq)
	if err != nil || len(log) != 3 {
		t.Fatalf("log has %q, %v; want three changes", log, err)
	}
	if !strings.HasSuffix(log[1], " "+inv.Epoch+" i 1:a,3:b\x00,,") {
		t.Fatalf("log entry %q", log[1])
	}
}

func TestLateSetOnlyDeletes(t *testing.T) {
	for name, late := range map[string]struct {
		epoch    string
		deadline int64
	}{"after its deadline": {"", 1}, "in another epoch": {"feedfeedfeedfeed", 1 << 60}} {
		t.Run(name, func(t *testing.T) {
			s, c, _ := open(t, 1)
			epoch := late.epoch
			if epoch == "" {
				epoch = read(t, s, "k", "").Record.Epoch
			}
			if _, kept, err := s.Set(t.Context(), 0, []string{"k"}, []Value{{[]byte("late"), minute}}, epoch, late.deadline); err != nil || kept {
				t.Fatalf("Set: kept %v, %v; want refused", kept, err)
			}
			if c.Exists(t.Context(), "{test}:v:k").Val() != 0 {
				t.Fatal("the late value was kept")
			}
		})
	}
}

func TestHeartbeatBeginsAnEpoch(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		lose func(c *redis.Client, r Record)
		want bool
	}{
		"not while all is well": {func(*redis.Client, Record) {}, false},
		"after FLUSHALL":        {func(c *redis.Client, _ Record) { c.FlushAll(ctx) }, true},
		"over garbage":          {func(c *redis.Client, _ Record) { c.Set(ctx, "{test}:seq", "garbage", 0) }, true},
		"over another type": {func(c *redis.Client, _ Record) {
			c.Del(ctx, "{test}:seq")
			c.LPush(ctx, "{test}:seq", "x")
		}, true},
		"on another replication id": {func(c *redis.Client, r Record) {
			c.Set(ctx, "{test}:seq", "99999999999999 "+r.Epoch+" 0 abc 1 1", 0)
		}, true},
		"when seq went back": {func(c *redis.Client, r Record) {
			raw := strings.Fields(c.Get(ctx, "{test}:seq").Val())
			raw[0] = "5"
			c.Set(ctx, "{test}:seq", strings.Join(raw, " "), 0)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, client, _ := open(t, 1)
			r := read(t, s, "k", "").Record
			c.lose(client, r)
			b := s.Heartbeat(ctx, []Known{{Epoch: r.Epoch, Seq: r.Seq}}, minute)[0]
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			if began := b.Record.Epoch != r.Epoch; began != c.want {
				t.Fatalf("epoch %s -> %s, want a new one: %v", r.Epoch, b.Record.Epoch, c.want)
			}
			if b.Record.Seq < r.Seq {
				t.Fatalf("seq went back from %d to %d", r.Seq, b.Record.Seq)
			}
		})
	}
}

func TestGarbageIsReplacedByALease(t *testing.T) {
	ctx := context.Background()
	for name, put := range map[string]func(c *redis.Client){
		"string": func(c *redis.Client) { c.Set(ctx, "{test}:v:k", "garbage", 0) },
		"list":   func(c *redis.Client) { c.LPush(ctx, "{test}:v:k", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			s, c, _ := open(t, 1)
			put(c)
			token := s.Token()
			bad := read(t, s, "k", token)
			if ok, err := s.Drop(ctx, "k", bad, token, minute); err != nil || !ok {
				t.Fatalf("Drop: %v, %v", ok, err)
			}
			if got := c.Get(ctx, "{test}:v:k").Val(); got != "L"+token {
				t.Fatalf("found %q, want our lease", got)
			}
			if ok, _ := s.Drop(ctx, "k", bad, token, minute); ok {
				t.Fatal("dropped what is not the garbage any more")
			}
		})
	}
}

func TestShardsAreAgreed(t *testing.T) {
	s, c, _ := open(t, 4)
	if err := s.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := Open(Config{Client: c, Name: "test", Shards: 8, Timeout: time.Second, LogLen: 100})
	defer other.Close()
	if err := other.Agree(t.Context()); !errors.Is(err, ErrShards) {
		t.Fatalf("Agree with 8 of 4 shards: %v, want ErrShards", err)
	}
}

// TestSilentServer: callers leave within the budget, then the breaker spares
// them the wait, and a heartbeat closes it.
func TestSilentServer(t *testing.T) {
	s, _, server := open(t, 1)
	s.timeout = 50 * time.Millisecond
	server.Pause(t)
	for range tripAfter {
		if _, err := s.Read(t.Context(), "k", "", 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read of a silent server: %v", err)
		}
	}
	if _, err := s.Read(t.Context(), "k", "", 0); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Read behind the breaker: %v, want ErrUnavailable", err)
	}
	if b := s.Heartbeat(t.Context(), make([]Known, 1), minute)[0]; b.Err == nil {
		t.Error("a silent server answered a heartbeat")
	}
	server.Resume(t)
	for deadline := time.Now().Add(10 * time.Second); s.Away(); {
		s.Heartbeat(t.Context(), make([]Known, 1), minute)
		if time.Now().After(deadline) {
			t.Fatal("the breaker stays open")
		}
	}
	read(t, s, "k", "")
}

func TestScriptsSurviveAFlush(t *testing.T) {
	s, c, _ := open(t, 1)
	c.ScriptFlush(t.Context())
	if _, err := s.Invalidate(t.Context(), 0, []string{"k"}); err != nil {
		t.Fatal(err)
	}
	c.ScriptFlush(t.Context())
	if b := s.Heartbeat(t.Context(), make([]Known, 1), minute)[0]; b.Err != nil {
		t.Fatal(b.Err)
	}
}

// TestOwnLease: a client that retries a command which was carried out finds its
// own lease.
func TestOwnLease(t *testing.T) {
	s, _, _ := open(t, 1)
	token := s.Token()
	for range 2 {
		if r := read(t, s, "k", token); r.State != Leased {
			t.Fatalf("state %v, want Leased", r.State)
		}
	}
}

// TestLogLen: shards share a length, down to a minimum.
func TestLogLen(t *testing.T) {
	for shards, want := range map[int]int{1: 10_000, 5: 2000, 64: 1000, MaxShards: 1000} {
		if got := LogLen(shards); got != want {
			t.Errorf("the log of one of %d shards keeps %d changes, want %d", shards, got, want)
		}
	}
}
