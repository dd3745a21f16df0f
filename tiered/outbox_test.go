package tiered

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newOutbox(limit int) *outbox {
	o := &outbox{window: time.Minute, limit: limit}
	o.renew("e1")
	return o
}

func TestFailedUntilSent(t *testing.T) {
	o := newOutbox(10)
	o.fail([]string{"ka", "kb"})
	if !o.holds("a") || o.holds("c") || o.pending.Load() != 2 {
		t.Fatal("failed keys are not held, or others are")
	}
	op, keys, upTo := o.due()
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"a", "b"}) || op != l2.OpInvalidate {
		t.Fatalf("due: %v, %v", op, keys)
	}
	o.fail([]string{"kb"}) // again, while it is being sent
	o.sent(items(keyItem, keys), upTo)
	if o.holds("a") || !o.holds("b") {
		t.Fatal("what was sent is held, or what failed since is not")
	}
}

func TestTooManyFailuresConcernTheShard(t *testing.T) {
	o := newOutbox(3)
	o.fail([]string{"ka", "kb", "kc", "kd"})
	op, keys, upTo := o.due()
	if op != l2.OpClear || len(keys) > 0 || !o.holds("never seen") || !o.holdsTag([]string{"t"}) || o.pending.Load() != 1 {
		t.Fatalf("due: %v, %v", op, keys)
	}
	o.fail([]string{"ke"})
	o.sent([]string{everything}, upTo)
	if !o.holds("x") {
		t.Fatal("a failure since was struck out")
	}
	_, _, upTo = o.due()
	o.sent([]string{everything}, upTo)
	if o.holds("x") {
		t.Fatal("held after all was sent")
	}
}

func TestDueIsBounded(t *testing.T) {
	o := newOutbox(10 * l2.MaxKeys)
	for i := range 2 * l2.MaxKeys {
		o.fail([]string{fmt.Sprint("k", i)})
	}
	if _, keys, _ := o.due(); len(keys) != l2.MaxKeys {
		t.Fatalf("%d keys due at once, want %d", len(keys), l2.MaxKeys)
	}
}

// TestNewEpoch: what landed within the window is sent again, what landed before
// is not.
func TestNewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(10)
		o.land([]string{"kold"}, "e1")
		time.Sleep(time.Minute + 1)
		o.land([]string{"knew"}, "e1")
		o.renew("e2")
		if op, keys, _ := o.due(); !slices.Equal(keys, []string{"new"}) || op != l2.OpInvalidate {
			t.Fatalf("due: %v, %v", op, keys)
		}
	})
}

// TestTidy: what landed is remembered for the window, and then takes no memory.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(10)
		o.land([]string{"ka", "kb"}, "e1")
		time.Sleep(time.Minute)
		if o.tidy(); len(o.landed) != 2 {
			t.Errorf("%d changes remembered, want 2", len(o.landed))
		}
		time.Sleep(time.Nanosecond)
		if o.tidy(); cap(o.landed) != 0 {
			t.Errorf("room for %d changes remembered after the window", cap(o.landed))
		}
	})
}

// TestHeartbeatsTidy: an instance that changes nothing any more frees what it remembers.
func TestHeartbeatsTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tiers, err := Open(Config[string]{Codec: codec.Msgpack[string](), MaxBytes: 1 << 20, MaxStaleness: time.Second, RecoveryWindow: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer tiers.Close()
		o := &tiers.shards[0].outbox
		o.land([]string{"ka"}, "")
		for range 2 {
			time.Sleep(time.Minute)
			tiers.Prove(0, time.Now(), 0)
		}
		if len(o.landed) != 0 {
			t.Errorf("%d changes remembered after the window", len(o.landed))
		}
	})
}

// TestForgottenLandings: more changes than are remembered make the whole shard
// doubtful, for as long as they would have been remembered.
func TestForgottenLandings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			after time.Duration
			all   bool
		}{{time.Second, true}, {time.Minute + 1, false}} {
			o := newOutbox(2)
			o.land([]string{"ka", "kb", "kc"}, "e1")
			time.Sleep(c.after)
			o.renew("e2")
			if op, _, _ := o.due(); (op == l2.OpClear) != c.all {
				t.Errorf("%v later: %q is due", c.after, op)
			}
		}
	})
}

// TestLandedElsewhere: what Redis acknowledged in an epoch that is not ours may
// be among what was lost.
func TestLandedElsewhere(t *testing.T) {
	o := newOutbox(10)
	if o.land([]string{"ka"}, "e0") || !o.holds("a") {
		t.Fatal("a change of another epoch was taken for landed")
	}
}

// TestKindsAreSentApart: keys, tags and everything are changes of their own kinds.
func TestKindsAreSentApart(t *testing.T) {
	o := newOutbox(10)
	o.fail([]string{"kx", "tx"})
	if !o.holds("x") || !o.holdsTag([]string{"x"}) || o.holdsTag([]string{"y"}) {
		t.Fatal("a failed key or tag is not held, or another is")
	}
	for want := 2; want > 0; want-- {
		op, names, upTo := o.due()
		if !slices.Equal(names, []string{"x"}) || o.pending.Load() != int64(want) {
			t.Fatalf("due: %v, %v", op, names)
		}
		o.sent(items(map[string]byte{l2.OpInvalidate: keyItem, l2.OpTags: tagItem}[op], names), upTo)
	}
	o.land([]string{everything}, "e1")
	o.renew("e2")
	if op, _, _ := o.due(); op != l2.OpClear {
		t.Fatalf("a clear that may be lost is repeated as %q", op)
	}
}

func TestQuantiles(t *testing.T) {
	var l Latency
	for i := range 1000 {
		l.Record(time.Duration(i+1) * time.Microsecond)
	}
	l.Record(-time.Second)
	s := l.Snapshot()
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/8 }
	if s.Count != 1001 || !near(s.P50, 500*time.Microsecond) || !near(s.P99, 990*time.Microsecond) || s.Max != time.Millisecond {
		t.Fatalf("%+v", s)
	}
	for n := uint64(1); n < 1<<40; n = n*3/2 + 1 {
		counts := make([]uint64, 64*8)
		counts[bucket(n)] = 1
		if top := uint64(quantile(counts, 1, 50)); top < n || top > n+n/8 {
			t.Fatalf("%d falls into a bucket up to %d", n, top)
		}
	}
	var huge Latency
	huge.Record(1<<63 - 1)
	if huge.Snapshot().P50 <= 0 {
		t.Fatal("the largest duration has no bucket")
	}
}
