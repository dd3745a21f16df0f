package invalidation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ear is a handler that remembers.
type ear struct {
	mu         sync.Mutex
	applied    []string
	woken      []string
	distrusted int
	renewed    int
	proven     time.Time
	garbage    int
	deaf       int
	listens    int
}

func (e *ear) Apply(_ int, m Message) { e.locked(func() { e.applied = append(e.applied, m.Keys...) }) }
func (e *ear) Distrust(int, uint64)   { e.locked(func() { e.distrusted++ }) }
func (e *ear) Renew(int, l2.Record)   { e.locked(func() { e.renewed++ }) }
func (e *ear) Wake(keys []string)     { e.locked(func() { e.woken = append(e.woken, keys...) }) }
func (e *ear) Garbage(error)          { e.locked(func() { e.garbage++ }) }
func (e *ear) Missing(int)            {}
func (e *ear) Deaf(error)             { e.locked(func() { e.deaf++ }) }
func (e *ear) Listens()               { e.locked(func() { e.listens++ }) }
func (e *ear) Prove(_ int, at time.Time, _ int64) {
	e.locked(func() { e.proven = at })
}
func (e *ear) Disprove(int) { e.locked(func() { e.proven = time.Time{} }) }

func (e *ear) locked(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// eventually polls until what holds of e, or fails the test.
func (e *ear) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var ok bool
		e.locked(func() { ok = holds() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s; heard %+v", what, e.applied)
		}
	}
}

// listenTo starts a bus whose heartbeats come every interval, already proven.
func listenTo(t *testing.T, interval time.Duration) (*ear, *Bus, *l2.Store, *redis.Client) {
	t.Helper()
	client := redistest.Start(t).Client(t)
	store := l2.Open(l2.Config{Client: client, Name: "test", Shards: 1, Timeout: time.Second, LogLen: 100})
	t.Cleanup(store.Close)
	e := &ear{}
	b := Start(store, e, interval)
	t.Cleanup(b.Close)
	e.eventually(t, "first proof and subscription", func() bool {
		return !e.proven.IsZero() && client.PubSubNumSub(context.Background(), "{test}:ch").Val()["{test}:ch"] == 1
	})
	return e, b, store, client
}

func invalidate(t *testing.T, s *l2.Store, keys ...string) {
	t.Helper()
	if _, err := s.Invalidate(context.Background(), 0, keys); err != nil {
		t.Fatal(err)
	}
}

func TestChangesArriveInOrder(t *testing.T) {
	e, _, s, _ := listenTo(t, time.Hour) // no heartbeat repairs anything here
	var want []string
	for i := range 500 {
		key := fmt.Sprint("k", i)
		want = append(want, key)
		invalidate(t, s, key)
	}
	e.eventually(t, "all 500 changes", func() bool { return len(e.applied) >= 500 })
	if !slices.Equal(e.applied, want) {
		t.Fatal("changes came out of order, or more than once")
	}
}

// TestLostMessage: what was never published is repaired from the log.
func TestLostMessage(t *testing.T) {
	e, b, s, c := listenTo(t, time.Hour)
	seen := b.chains[0].position()
	lose := func(key string) {
		next := seen.Seq + 1
		m := fmt.Sprintf("1 %d %d %s i %s", next, seen.Seq, seen.Epoch, l2.Body(key))
		c.XAdd(context.Background(), &redis.XAddArgs{Stream: "{test}:log", ID: fmt.Sprintf("%d-0", next), Values: []string{"m", m}})
		c.Set(context.Background(), "{test}:seq", fmt.Sprintf("%d %s 0 %s 1 1", next, seen.Epoch, replid(t, c)), 0)
		seen.Seq = next
	}
	lose("lost")
	invalidate(t, s, "heard") // its prev shows the gap
	e.eventually(t, "both changes", func() bool { return slices.Equal(e.applied, []string{"lost", "heard"}) })
	if e.distrusted != 0 {
		t.Fatal("the shard was distrusted although the log reached back")
	}
}

func replid(t *testing.T, c *redis.Client) string {
	t.Helper()
	var seq, cleared uint64
	var epoch, id string
	if _, err := fmt.Sscan(c.Get(context.Background(), "{test}:seq").Val(), &seq, &epoch, &cleared, &id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestConnectionKilled(t *testing.T) {
	e, _, s, c := listenTo(t, time.Hour)
	if !redistestReal(c) {
		t.Skip("SKIPPED: miniredis has no CLIENT KILL")
	}
	if err := c.Do(context.Background(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		invalidate(t, s, fmt.Sprint("k", i))
	}
	e.eventually(t, "all 50 changes", func() bool { return len(e.applied) == 50 })
	if e.distrusted+e.renewed != 1 { // the first epoch is the one renewal
		t.Fatal("a reset cost more than its own changes")
	}
}

func redistestReal(c *redis.Client) bool {
	return c.Do(context.Background(), "client", "id").Err() == nil
}

// TestTrimmedLog: what the log cannot bridge is distrusted, once.
func TestTrimmedLog(t *testing.T) {
	e, b, s, c := listenTo(t, time.Hour)
	b.chains[0].mu.Lock() // a slow instance
	for i := range 3 {
		invalidate(t, s, fmt.Sprint("k", i))
	}
	c.Del(context.Background(), "{test}:log")
	b.chains[0].applied-- // as if a message before these had been lost
	b.chains[0].mu.Unlock()
	e.eventually(t, "distrust", func() bool { return e.distrusted == 1 })
	invalidate(t, s, "after")
	e.eventually(t, "the next change", func() bool { return slices.Equal(e.applied, []string{"after"}) })
}

func TestLostData(t *testing.T) {
	e, _, s, c := listenTo(t, 20*time.Millisecond)
	c.FlushAll(context.Background())
	e.eventually(t, "a new epoch", func() bool { return e.renewed == 2 })
	invalidate(t, s, "after")
	e.eventually(t, "the next change", func() bool { return slices.Equal(e.applied, []string{"after"}) })
}

func TestGarbageOnTheChannel(t *testing.T) {
	e, _, s, c := listenTo(t, time.Hour)
	for _, junk := range []string{"", "hello", "2 1 1 e i ", "1 x 0 e i ", "1 5 9 e i ", "1 1 0 e i 9:x,", "1 1 0 e i 99999999999:x,"} {
		c.Publish(context.Background(), "{test}:ch", junk)
	}
	invalidate(t, s, "k")
	e.eventually(t, "the change", func() bool { return slices.Equal(e.applied, []string{"k"}) })
	if e.garbage != 7 {
		t.Fatalf("%d messages counted as garbage, want 7", e.garbage)
	}
}

func TestSilentServerProvesNothing(t *testing.T) {
	server := redistest.Start(t)
	store := l2.Open(l2.Config{Client: server.Client(t), Name: "test", Shards: 1, Timeout: 50 * time.Millisecond, LogLen: 100})
	t.Cleanup(store.Close)
	e := &ear{}
	b := Start(store, e, 20*time.Millisecond)
	t.Cleanup(b.Close)
	e.eventually(t, "first proof", func() bool { return !e.proven.IsZero() })
	server.Pause(t)
	paused := time.Now()
	time.Sleep(200 * time.Millisecond)
	e.locked(func() {
		if e.proven.After(paused) {
			t.Error("a silent server proved something")
		}
	})
	server.Resume(t)
	e.eventually(t, "proof again", func() bool { return e.proven.After(paused) })
}

func FuzzParse(f *testing.F) {
	f.Add("1 2 1 0123456789abcdef i 1:a,2:bb,")
	f.Add("1 0 0 e w 1:k,")
	f.Add("1 2 1 e i 2147483647:a,")
	f.Fuzz(func(t *testing.T, payload string) {
		m, err := Parse(payload)
		if err != nil {
			return
		}
		again := fmt.Sprintf("1 %d %d %s %s %s", m.Seq, m.Prev, m.Epoch, m.Op, l2.Body(m.Keys...))
		back, err := Parse(again)
		if err != nil || !slices.Equal(back.Keys, m.Keys) || back.Seq != m.Seq || back.Op != m.Op {
			t.Fatalf("%q read as %+v, written %q, read again as %+v, %v", payload, m, again, back, err)
		}
	})
}
