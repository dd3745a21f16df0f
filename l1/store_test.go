package l1

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const second = time.Second

// filled returns a store that holds key "k", stamped 10 in a proven epoch.
func filled(t *testing.T) (*Store[string], *Epoch) {
	t.Helper()
	s, err := New[string](1<<20, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	epoch := NewEpoch("e", 5, 64)
	epoch.Prove(Now())
	s.Put(&Entry[string]{Key: "k", Value: "v", Epoch: epoch, Stamp: 10, Born: Now(),
		Rare: &Rare{Tags: []uint64{7, 8}}}, Life{Expires: Always})
	s.cache.Wait()
	if e, saw := s.Get("k", second); saw != Hit || e.Value != "v" {
		t.Fatal("what was put is not a hit")
	}
	return s, epoch
}

// explained demands that what is said of a look agrees with what it saw.
func explained(t *testing.T, s *Store[string], saw Sight) {
	t.Helper()
	e, held := s.Find("k")
	why := "not held"
	if held {
		why = e.Refusal(s.Hash("k"), Now(), second)
	}
	if taken := saw != Miss && saw != Spent; taken != (why == "") {
		t.Errorf("saw %d, explained by %q", saw, why)
	}
}

// TestSampling: a steady part of all lookups, whatever the period of the keys.
func TestSampling(t *testing.T) {
	const keys = 1024
	seen := make(map[string]int)
	s, err := New[string](1<<20, nil, func(key string, hit bool) {
		if hit {
			t.Error("a hit in an empty store")
		}
		seen[key]++
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 200 {
		for i := range keys {
			s.Get(fmt.Sprint(i), second)
		}
	}
	n := 0
	for _, times := range seen {
		n += times
	}
	if n < 190 || n > 210 || len(seen) < 100 {
		t.Errorf("%d samples of %d keys in %d lookups of %d keys, want about 200 of nearly as many", n, len(seen), 200*keys, keys)
	}
}

// TestDisbelief: each row takes away one thing that a hit needs.
func TestDisbelief(t *testing.T) {
	for name, spoil := range map[string]func(s *Store[string], e *Epoch){
		"stripe floor raised": func(s *Store[string], e *Epoch) { e.Raise(s.Hash("k"), 11) },
		"a tag invalidated":   func(s *Store[string], e *Epoch) { e.RaiseTag(7, 11) },
		"a tag fenced":        func(s *Store[string], e *Epoch) { e.See(10); e.FenceTag(8) },
		"all fenced":          func(s *Store[string], e *Epoch) { e.See(10); e.FenceAll() },
		"shard floor raised":  func(s *Store[string], e *Epoch) { e.RaiseAll(11) },
		"epoch ended":         func(s *Store[string], e *Epoch) { e.End() },
		"proof too old":       func(s *Store[string], e *Epoch) { time.Sleep(second + 1) },
		"proof withdrawn": func(s *Store[string], e *Epoch) {
			time.Sleep(second + 1)
			e.Prove(Now())
			e.Disprove()
		},
		"another key of the same hash": func(s *Store[string], e *Epoch) {
			s.cache.Set(s.Hash("k"), &Entry[string]{Key: "other", Epoch: e, Stamp: 10, until: Always}, 1)
			s.cache.Wait()
		},
		"life over": func(s *Store[string], e *Epoch) {
			s.Put(&Entry[string]{Key: "k", Epoch: e, Stamp: 10, Born: Now()}, Life{Expires: Now()})
			s.cache.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, epoch := filled(t)
				spoil(s, epoch)
				if e, saw := s.Get("k", second); saw != Miss {
					t.Fatalf("hit: %+v", e)
				}
				explained(t, s, Miss)
			})
		})
	}
}

func TestBelief(t *testing.T) {
	for name, keep := range map[string]func(s *Store[string], e *Epoch){
		"floor equal to the stamp": func(s *Store[string], e *Epoch) { e.Raise(s.Hash("k"), 10) },
		"a floor never falls":      func(s *Store[string], e *Epoch) { e.RaiseAll(9); e.RaiseAll(1) },
		"another tag":              func(s *Store[string], e *Epoch) { e.RaiseTag(9, 11) },
		"a tag invalidated before": func(s *Store[string], e *Epoch) { e.RaiseTag(7, 10) },
		"proof renewed":            func(s *Store[string], e *Epoch) { time.Sleep(time.Minute); e.Prove(Now()) },
		"young by itself":          func(s *Store[string], e *Epoch) { e.Disprove() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, epoch := filled(t)
				keep(s, epoch)
				if _, saw := s.Get("k", second); saw != Hit {
					t.Fatal("miss")
				}
				explained(t, s, Hit)
			})
		})
	}
}

// TestSights: what becomes of an entry as time passes.
func TestSights(t *testing.T) {
	for name, c := range map[string]struct {
		rare  *Rare
		first Sight
	}{
		"common":   {nil, Plain},
		"idle":     {&Rare{More: &Rarer{Idle: time.Hour, Validator: "v"}}, Plain},
		"tagged":   {&Rare{Tags: []uint64{7}}, Hit},
		"failure":  {&Rare{More: &Rarer{Err: errors.New("down")}}, Hit},
		"stand-in": {&Rare{Stale: true}, Hit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, epoch := filled(t)
				now := Now()
				e := &Entry[string]{Key: "k", Epoch: epoch, Stamp: 10, Rare: c.rare}
				life := Life{Expires: now.Add(2 * second), Keep: 1000}
				want := []Sight{c.first, c.first, Spent, Miss}
				if e.Rarer().Err == nil && (c.rare == nil || !c.rare.Stale) {
					life.Attend = now.Add(second)
					want[1] = Due
				}
				s.Put(e, life)
				s.cache.Wait()
				for _, want := range want {
					if _, saw := s.Get("k", second); saw != want {
						t.Errorf("%v later: saw %d, want %d", Now().Sub(now), saw, want)
					}
					if _, saw := s.Peek("k", second); saw != want {
						t.Errorf("%v later: peeked %d, want %d", Now().Sub(now), saw, want)
					}
					explained(t, s, want)
					time.Sleep(second)
				}
			})
		})
	}
}

// TestLife: an entry tells what it was put with, whatever it has of Rare, and again when
// a copy of it is put for another life.
func TestLife(t *testing.T) {
	s, epoch := filled(t)
	now := Now()
	lives := []Life{
		{Expires: now + 10}, {Expires: now + 10, Attend: now + 5}, {Expires: now + 10, Keep: 3}, {Expires: now + 10, Cost: 4},
		{Expires: now + 20, Attend: now + 5, Keep: 3, Cost: 4}, {Expires: now + 10, Attend: now + 10},
	}
	for name, rare := range map[string]*Rare{
		"common": nil, "empty": {}, "tagged": {Tags: []uint64{7}}, "validated": {More: &Rarer{Validator: "v"}}, "soft": {Soft: true},
	} {
		e := &Entry[string]{Key: "k", Epoch: epoch, Rare: rare}
		for _, l := range append(lives, lives...) {
			next := *e
			e = &next
			s.Put(e, l)
			if l.Attend == 0 {
				l.Attend = l.Expires
			}
			if got := e.Life(); got != l {
				t.Errorf("%s: put with %+v, has %+v", name, l, got)
			}
		}
	}
}

// TestEntriesAreSmall: most need 56 bytes beside their value, also those that may outlive
// their life.
func TestEntriesAreSmall(t *testing.T) {
	if n := unsafe.Sizeof(Entry[[200]byte]{}); n != 256 {
		t.Errorf("an entry of 200 bytes takes %d", n)
	}
	s, epoch := filled(t)
	const n = 1000
	entries := make([]Entry[int], n)
	allocated := testing.AllocsPerRun(1, func() {
		for i := range entries {
			entries[i] = Entry[int]{Key: "k", Epoch: epoch}
			expires := Now().Add(time.Hour)
			entries[i].settle(Life{Expires: expires, Attend: expires.Add(-second), Keep: 1000, Cost: uint32(i % 3)}, s.usual.of)
		}
	})
	if allocated > n/10 {
		t.Errorf("%.0f allocations for %d entries of three kinds", allocated, n)
	}
}

// TestUsualTermsAreBounded, and those of entries that came before are not disturbed.
func TestUsualTermsAreBounded(t *testing.T) {
	var u usual
	first := u.of(terms{keep: 1})
	for i := range uint32(3 * mostUsual) {
		if r := u.of(terms{keep: i + 1}); r.keep != i+1 || len(u.by) > mostUsual {
			t.Fatalf("terms %d: %+v, %d kept", i, r.terms, len(u.by))
		}
	}
	if first.keep != 1 || u.of(terms{}) != nil {
		t.Errorf("%+v, %+v", first.terms, u.of(terms{}))
	}
}

// TestHeapWithinLimit: a full store needs what it was given, with 5 % to spare, sketch
// and all.
func TestHeapWithinLimit(t *testing.T) {
	for _, c := range []struct{ limit, size int }{{17 << 20, 16}, {32 << 20, 16}, {28 << 20, 200}, {32 << 20, 200}, {32 << 20, 2000}, {48 << 20, 4000}} {
		limit, size := int64(c.limit), c.size
		before := heapInUse()
		s, err := New[[]byte](limit, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		epoch := NewEpoch("e", 1, 64)
		for i := range 2 * c.limit / (overhead + size) {
			s.Put(&Entry[[]byte]{Key: fmt.Sprint("product:", i), Value: make([]byte, size), Epoch: epoch, Stamp: 1}, Life{Expires: Always})
			if i%1000 == 0 {
				s.cache.Wait() // or it would drop most of them
			}
		}
		s.cache.Wait()
		grown, held := heapInUse()-before, s.Bytes()
		t.Logf("values of %d bytes: %d MiB of heap, %d MiB by the store's account, limit %d", size, grown>>20, held>>20, limit>>20)
		if held < limit/10*8 || grown > limit/100*105 {
			t.Errorf("values of %d bytes: %d bytes of heap, %d by the store's account, limit %d", size, grown, held, limit)
		}
		s.Close()
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestStripesAreRoundedUp: every hash finds a stripe, and each stripe is one of its own.
func TestStripesAreRoundedUp(t *testing.T) {
	e := NewEpoch("e", 1, 65)
	for hash := range uint64(128) {
		e.Raise(hash, Stamp(hash+2))
	}
	for hash := range uint64(128) {
		if floor := e.Floor(hash); floor != Stamp(hash+2) {
			t.Fatalf("the floor of stripe %d is %d", hash, floor)
		}
	}
}

// TestSweep: the memory of an expired entry is freed in bounded time.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, epoch := filled(t)
		s.Put(&Entry[string]{Key: "brief", Epoch: epoch, Stamp: 10}, Life{Expires: Now().Add(second)})
		s.cache.Wait()
		held := s.Bytes()
		time.Sleep(second + sweepInterval)
		s.cache.Wait()
		if now := s.Bytes(); now >= held {
			t.Fatalf("%d bytes held, %d after the sweep", held, now)
		}
	})
}

func TestReclaim(t *testing.T) {
	s, _ := filled(t)
	s.Reclaim("k", 10)
	if _, saw := s.Get("k", second); saw != Hit {
		t.Fatal("an entry as new as the change was freed")
	}
	s.Reclaim("k", 11)
	s.cache.Wait()
	if b := s.Bytes(); b != 0 {
		t.Fatalf("%d bytes held, want 0", b)
	}
}

// TestFence: an own change comes after all that was seen, and before the next
// number that Redis mints.
func TestFence(t *testing.T) {
	e := NewEpoch("e", StampOf(7), 64)
	before := e.Seen()
	first := e.Fence(1)
	if first <= before || first >= StampOf(8) {
		t.Fatalf("fence at %d, want between %d and %d", first, before, StampOf(8))
	}
	if e.Floor(2) > before {
		t.Fatal("the fence of one stripe lifted another's floor")
	}
	if second := e.Fence(1); second <= first {
		t.Fatalf("second fence at %d, the first at %d", second, first)
	}
	if e.Seen() != e.Floor(1) {
		t.Fatalf("fenced at %d, seen %d", e.Floor(1), e.Seen())
	}
}

// TestSucceed: what the epochs before had invalidated can still be told, for a while.
func TestSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, third := NewEpoch("1", StampOf(1), 64), NewEpoch("2", StampOf(20), 64), NewEpoch("3", StampOf(30), 64)
		first.Raise(3, StampOf(10))
		first.RaiseTag(5, StampOf(11))
		second.Succeed(first, Now().Add(time.Minute))
		first.RaiseAll(StampOf(15))
		if p := second.Before(); p != first || p.LastFloor(3) != StampOf(10) || !first.Ended() || first.Floor(4) != ended {
			t.Fatalf("before it: %+v", p)
		}
		second.Raise(4, StampOf(25))
		third.Succeed(second, Now().Add(time.Minute))
		p := third.Before()
		if p != second || p.LastFloor(3) != StampOf(20) || p.LastFloor(4) != StampOf(25) || p.TagsBelieve(StampOf(10), []uint64{5}) {
			t.Fatalf("last floors %d and %d", p.LastFloor(3).Seq(), p.LastFloor(4).Seq())
		}
		if second.Before() != nil {
			t.Fatal("epochs long gone stay in memory")
		}
		time.Sleep(time.Minute)
		if third.Before() != nil {
			t.Fatal("the epoch before is still of use")
		}
	})
}

func TestHitAllocatesNothing(t *testing.T) {
	s, _ := filled(t)
	if n := testing.AllocsPerRun(1000, func() { s.Get("k", time.Hour) }); n != 0 {
		t.Fatalf("a hit allocates %v times", n)
	}
}

// TestCloseUnderUse: Ristretto itself panics when it is closed beside a Get or Set.
func TestCloseUnderUse(t *testing.T) {
	for range 20 {
		s, err := New[int](1<<20, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		epoch := NewEpoch("", 0, 64)
		var users sync.WaitGroup
		for i := range 8 {
			users.Go(func() {
				for n := range 2000 {
					key := fmt.Sprint(i, n%50)
					s.Put(&Entry[int]{Key: key, Epoch: epoch, Born: Now()}, Life{Expires: Always})
					s.Get(key, second)
					s.Reclaim(key, 1)
				}
			})
		}
		users.Go(s.Close)
		users.Go(s.Close)
		users.Wait()
		if _, saw := s.Get("0 0", second); saw != Miss {
			t.Fatal("hit after Close")
		}
	}
}

func TestByteBound(t *testing.T) {
	s, err := New[[]byte](1<<20, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	epoch := NewEpoch("", 0, 64)
	for i := range 5000 {
		s.Put(&Entry[[]byte]{Key: fmt.Sprint(i), Value: make([]byte, 1000), Epoch: epoch}, Life{Expires: Always})
	}
	s.cache.Wait()
	if b := s.Bytes(); b > 1<<20 || b < 1<<19 {
		t.Fatalf("%d bytes held of 1 MiB", b)
	}
}

func TestSizeOf(t *testing.T) {
	type node struct {
		Name string
		Next *node
	}
	loop := &node{}
	loop.Next = loop
	for _, c := range []struct {
		name     string
		v        any
		min, max int
	}{
		{"nil", nil, 0, 0},
		{"int64", int64(1), 8, 8},
		{"string", "12345", 21, 21},
		{"bytes", make([]byte, 100), 124, 124},
		{"strings", []string{"abc", "de"}, 24 + 32 + 5, 24 + 32 + 5},
		{"pointer", &node{Name: "abc"}, 8 + 24 + 3, 8 + 24 + 3},
		{"map", map[int64]int64{1: 1, 2: 2}, 8 + 32, 8 + 64},
		{"cycle", loop, 24, 24 * maxVisits},
	} {
		if n := SizeOf(c.v); n < c.min || n > c.max {
			t.Errorf("%s: %d bytes, want %d to %d", c.name, n, c.min, c.max)
		}
	}
	if n := sizer[any]()(nil); n != 16 {
		t.Errorf("nil interface: %d bytes, want 16", n)
	}
}
