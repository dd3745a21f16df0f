package audit

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	ms    = time.Millisecond
	bound = 100 * ms
)

// read is a read of key "k" in the tests.
type read struct {
	version      int64
	instance     int
	began, ended time.Duration
	bypass       bool
}

type event struct {
	version  int64
	instance int
	at       time.Duration
}

// The history of each case: versions 1 and 2 visible at 0 and 10 ms; 2 acknowledged to
// instance 0 at 20 ms.
func TestReadRules(t *testing.T) {
	tests := []struct {
		name string
		read read
		want map[Kind]int64
		by   time.Duration
	}{
		{"current", read{2, 1, 500 * ms, 501 * ms, false}, nil, 0},
		{"old at the bound", read{1, 1, 120 * ms, 121 * ms, false}, nil, 0},
		{"old past the bound", read{1, 1, 120*ms + 1, 121 * ms, false}, map[Kind]int64{Stale: 1}, 1},
		{"old, begun in time, ended late", read{1, 1, 30 * ms, 900 * ms, false}, nil, 0},
		{"own write, begun at the stamp", read{1, 0, 20 * ms, 21 * ms, false}, nil, 0},
		{"own write missed", read{1, 0, 23 * ms, 24 * ms, false}, map[Kind]int64{OwnWrite: 1}, 3 * ms},
		{"bypass begun at the stamp", read{1, 1, 20 * ms, 21 * ms, true}, nil, 0},
		{"bypass missed", read{1, 1, 24 * ms, 25 * ms, true}, map[Kind]int64{Bypass: 1}, 4 * ms},
		{"everything missed", read{1, 0, 130 * ms, 131 * ms, true}, map[Kind]int64{Stale: 1, OwnWrite: 1, Bypass: 1}, 10 * ms},
		{"visible, not acknowledged", read{2, 1, 9 * ms, 10 * ms, true}, nil, 0},
		{"not yet visible", read{2, 1, 5 * ms, 8 * ms, false}, map[Kind]int64{Future: 1}, 2 * ms},
		{"never visible", read{3, 1, 50 * ms, 51 * ms, false}, map[Kind]int64{Future: 1}, 0},
		{"absent though it exists", read{0, 1, 500 * ms, 501 * ms, false}, map[Kind]int64{Stale: 1}, 380 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := NewJournal(bound, 2)
			j.Visible("k", 1, 0)
			j.Visible("k", 2, 10*ms)
			j.Acked("k", 2, 0, 20*ms)
			tt.read.record(j)
			r := j.Report()
			if !maps.Equal(r.Broken, tt.want) {
				t.Fatalf("broken: %v, want %v", r.Broken, tt.want)
			}
			if r.Reads != 1 || r.Unjudged != 0 {
				t.Errorf("reads %d, unjudged %d; want 1, 0", r.Reads, r.Unjudged)
			}
			if len(r.Examples) > 0 && r.Examples[0].By != tt.by {
				t.Errorf("off by %v, want %v", r.Examples[0].By, tt.by)
			}
		})
	}
}

// A read of a key that nobody wrote is fine only as "there is none".
func TestReadOfUnknownKey(t *testing.T) {
	j := NewJournal(bound, 1)
	j.Read("none", 0, 0, 1, 2, true)
	if n := j.Report().Violations(); n != 0 {
		t.Errorf("%d violations for an absent key that was never written", n)
	}
	j.Read("none", 1, 0, 3, 4, true)
	if n := j.Report().Broken[Future]; n != 1 {
		t.Errorf("%d violations for a version that never was, want 1", n)
	}
}

// An acknowledgement that is recorded after the reads that it condemns still does.
func TestLateAcknowledgement(t *testing.T) {
	tests := []struct {
		name string
		read read
		want map[Kind]int64
	}{
		{"begun before the stamp", read{1, 0, 19 * ms, 300 * ms, true}, nil},
		{"begun at the stamp", read{1, 0, 20 * ms, 300 * ms, true}, nil},
		{"current", read{2, 0, 300 * ms, 301 * ms, true}, nil},
		{"other instance, within the bound", read{1, 1, 120 * ms, 121 * ms, false}, nil},
		{"other instance, past the bound", read{1, 1, 121 * ms, 122 * ms, false}, map[Kind]int64{Stale: 1}},
		{"own write", read{1, 0, 21 * ms, 22 * ms, false}, map[Kind]int64{OwnWrite: 1}},
		{"bypass", read{1, 1, 21 * ms, 22 * ms, true}, map[Kind]int64{Bypass: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := NewJournal(bound, 2)
			j.Visible("k", 1, 0)
			j.Visible("k", 2, 10*ms)
			tt.read.record(j)
			if n := j.Report().Violations(); n != 0 {
				t.Fatalf("%d violations before the acknowledgement", n)
			}
			j.Acked("k", 2, 0, 20*ms)
			if got := j.Report().Broken; !maps.Equal(got, tt.want) {
				t.Errorf("broken: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLongestStaleness(t *testing.T) {
	j := NewJournal(bound, 2)
	j.Visible("k", 1, 0)
	j.Visible("k", 2, 0)
	j.Visible("k", 3, 0)
	j.Acked("k", 2, 0, 10*ms)
	j.Acked("k", 3, 0, 40*ms)
	for _, step := range []struct {
		read read
		want time.Duration
	}{
		{read{1, 1, 5 * ms, 60 * ms, false}, 0},           // begun before any acknowledgement
		{read{3, 1, 90 * ms, 91 * ms, false}, 0},          // current
		{read{2, 1, 45 * ms, 46 * ms, false}, 5 * ms},     // counts from the acknowledgement of 3
		{read{1, 1, 30 * ms, 31 * ms, false}, 20 * ms},    // counts from that of 2, the first newer one
		{read{2, 1, 50 * ms, 51 * ms, false}, 20 * ms},    // less than before
		{read{1, 1, 300 * ms, 301 * ms, false}, 290 * ms}, // past the bound is measured too
	} {
		step.read.record(j)
		if got := j.Report().Longest; got != step.want {
			t.Errorf("longest after %+v: %v, want %v", step.read, got, step.want)
		}
	}
	if j = NewJournal(bound, 2); true {
		j.Visible("k", 1, 0)
		j.Read("k", 1, 1, 50*ms, 51*ms, false)
		j.Acked("k", 2, 0, 20*ms)
		if got := j.Report().Longest; got != 30*ms {
			t.Errorf("longest with a late acknowledgement: %v, want 30ms", got)
		}
	}
}

func TestConverged(t *testing.T) {
	j := NewJournal(bound, 3)
	if !j.Converged("k", 7, []int64{7, 7, 7}) || j.Report().Violations() != 0 {
		t.Error("equal copies were judged different")
	}
	for _, other := range []int64{6, 8} {
		j := NewJournal(bound, 3)
		if j.Converged("k", 7, []int64{7, other, 7}) {
			t.Errorf("copy %d of version 7 passed", other)
		}
		r := j.Report()
		want := Violation{Kind: Diverged, Key: "k", Instance: 1, Got: other, Wanted: 7}
		if len(r.Examples) != 1 || r.Examples[0] != want || r.Broken[Diverged] != 1 {
			t.Errorf("got %v, want %v", r, want)
		}
	}
}

// The journal agrees with the rules as the package comment states them, on random
// histories that are recorded in random order.
func TestAgainstTheRules(t *testing.T) {
	seen := make(map[Kind]int)
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		visible, acks, reads := randomHistory(rng)
		j := NewJournal(10, 2)
		for _, v := range visible {
			j.Visible("k", v.version, v.at)
		}
		var records []func()
		for _, a := range acks {
			records = append(records, func() { j.Acked("k", a.version, a.instance, a.at) })
		}
		for _, r := range reads {
			records = append(records, func() { r.record(j) })
		}
		rng.Shuffle(len(records), func(a, b int) { records[a], records[b] = records[b], records[a] })
		for _, record := range records {
			record()
		}

		got := j.Report()
		want, longest := byTheRules(10, visible, acks, reads)
		if !slices.Equal(slices.Sorted(maps.Keys(got.Broken)), slices.Sorted(maps.Keys(want))) {
			t.Fatalf("seed %d: broken %v, want %v", seed, got.Broken, want)
		}
		if got.Longest != longest {
			t.Fatalf("seed %d: longest %v, want %v", seed, got.Longest, longest)
		}
		for kind := range want {
			seen[kind]++
		}
	}
	for kind := Stale; kind <= Future; kind++ {
		if n := seen[kind]; n < 100 || n > 2900 {
			t.Errorf("%v: broken in %d of 3000 histories, which tests one side only", kind, n)
		}
	}
}

// randomHistory returns versions whose reads break each rule every now and then.
func randomHistory(rng *rand.Rand) (visible, acks []event, reads []read) {
	var now time.Duration
	for version := range int64(4) {
		now += time.Duration(rng.IntN(8))
		visible = append(visible, event{version: version + 1, at: now})
		acks = append(acks, event{version + 1, rng.IntN(2), now + time.Duration(rng.IntN(12))})
	}
	for range 3 {
		began := time.Duration(rng.IntN(40))
		ended := began + time.Duration(rng.IntN(6))
		version := int64(0)
		for _, v := range visible {
			if v.at <= ended {
				version = v.version
			}
		}
		version = min(4, max(0, version+int64(rng.IntN(8)+1)/4-1))
		reads = append(reads, read{version, rng.IntN(2), began, ended, rng.IntN(4) == 0})
	}
	return visible, acks, reads
}

// byTheRules is the package comment, word by word.
func byTheRules(bound time.Duration, visible, acks []event, reads []read) (broken map[Kind]int64, longest time.Duration) {
	newest := func(events []event, keep func(event) bool) (version int64) {
		for _, e := range events {
			if keep(e) {
				version = max(version, e.version)
			}
		}
		return version
	}
	broken = make(map[Kind]int64)
	for _, r := range reads {
		if r.version < newest(acks, func(a event) bool { return a.at < r.began-bound }) {
			broken[Stale]++
		}
		if r.version < newest(acks, func(a event) bool { return a.at < r.began && a.instance == r.instance }) {
			broken[OwnWrite]++
		}
		if r.bypass && r.version < newest(acks, func(a event) bool { return a.at < r.began }) {
			broken[Bypass]++
		}
		if r.version > newest(visible, func(v event) bool { return v.at <= r.ended }) {
			broken[Future]++
		}
		for _, a := range acks {
			if a.version > r.version {
				longest = max(longest, r.began-a.at)
			}
		}
	}
	return broken, longest
}

// A key that is written and read for hours keeps the window's versions only, and goes on
// being judged by every rule.
func TestMemoryIsBounded(t *testing.T) {
	const every = 10 * ms
	j := NewJournal(bound, 1)
	var now time.Duration
	version := int64(0)
	for now < 5*time.Minute {
		now += every
		version++
		j.Visible("k", version, now)
		j.Acked("k", version, 0, now)
		j.Read("k", version, 0, now+1, now+2, true)
	}
	if r := j.Report(); r.Violations() != 0 || r.Unjudged != 0 {
		t.Fatalf("a clean run was judged %+v", r)
	}
	k := j.stripe("k").keys["k"]
	h := k.instances[0]
	limit := int((bound+memory)/every) + 2
	for name, s := range map[string]staircase{"visible": k.visible, "acked": k.acked, "own": h.acked, "reads": h.reads, "bypasses": h.bypasses} {
		if len(s.points) > limit {
			t.Errorf("%s keeps %d points, want at most %d", name, len(s.points), limit)
		}
	}

	j.Read("k", version+1, 0, now+1, now+2, false)
	j.Read("k", version-20, 0, now+1, now+2, true)
	want := map[Kind]int64{Future: 1, Stale: 1, OwnWrite: 1, Bypass: 1}
	if r := j.Report(); !maps.Equal(r.Broken, want) || r.Unjudged != 0 {
		t.Errorf("after trimming: broken %v, unjudged %d; want %v, 0", r.Broken, r.Unjudged, want)
	}
	j.Read("k", 5, 0, 60*ms, now, false)
	if r := j.Report(); r.Unjudged != 1 || r.Violations() != 4 {
		t.Errorf("a read of minutes: unjudged %d, violations %d; want 1, 4", r.Unjudged, r.Violations())
	}
	j.Read("k", 5, 0, 60*ms, 70*ms, false)
	if r := j.Report(); r.Violations() != 4 {
		t.Errorf("a read recorded minutes late raised a false alarm: %v", r.Examples)
	}
}

// Writers and readers of a coherent source record at once, in whatever order they are
// scheduled: nothing may be reported.
func TestConcurrentUse(t *testing.T) {
	base := time.Now()
	now := func() time.Duration { return time.Since(base) }
	j := NewJournal(0, 2)
	var source sync.Map
	keys := []string{"a", "b", "c"}
	for _, key := range keys {
		j.Visible(key, 1, now())
		source.Store(key, int64(1))
	}
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			for version := int64(2); version < 2000; version++ {
				j.Visible(key, version, now())
				source.Store(key, version)
				j.Acked(key, version, i%2, now())
			}
		})
	}
	const readers, reads = 4, 5000
	for i := range readers {
		wg.Go(func() {
			for n := range reads {
				key := keys[n%len(keys)]
				began := now()
				version, _ := source.Load(key)
				j.Read(key, version.(int64), i%2, began, now(), true)
			}
		})
	}
	wg.Wait()
	r := j.Report()
	if r.Violations() != 0 || r.Longest != 0 || r.Reads != readers*reads {
		t.Errorf("a coherent source was judged %+v", r)
	}
}

func TestExamplesAreLimited(t *testing.T) {
	j := NewJournal(bound, 1)
	for i := range 1000 {
		j.Read("k", int64(i+1), 0, 1, 2, false)
	}
	r := j.Report()
	if len(r.Examples) != examples || r.Broken[Future] != 1000 {
		t.Errorf("%d examples of %d violations, want %d of 1000", len(r.Examples), r.Broken[Future], examples)
	}
}

func TestViolationString(t *testing.T) {
	v := Violation{Kind: OwnWrite, Key: "k", Instance: 1, Got: 3, Wanted: 4, By: 1500 * time.Microsecond}
	const want = `own write: instance 1 answered version 3 of "k", wanted 4, off by 1.5ms`
	if got := v.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Kind(99).String(); got != "kind 99" {
		t.Errorf("unknown kind: %q", got)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	j := NewJournal(bound, 2)
	j.Visible("k", 1, 0)
	now := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += ms
		j.Read("k", 1, 1, now, now+1, false)
	}); n != 0 {
		t.Errorf("%v allocations a read", n)
	}
}

func BenchmarkRead(b *testing.B) {
	j := NewJournal(2*time.Second, 3)
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("product-", i)
		j.Visible(keys[i], 1, 0)
		j.Visible(keys[i], 2, 0)
		j.Acked(keys[i], 2, 0, 1)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, rand.Uint64()))
		zipf := rand.NewZipf(rng, 1.1, 1, uint64(len(keys)-1))
		now := time.Duration(10)
		for pb.Next() {
			now++
			j.Read(keys[zipf.Uint64()], 2, 1, now, now+1, false)
		}
	})
}

func (r read) record(j *Journal) {
	j.Read("k", r.version, r.instance, r.began, r.ended, r.bypass)
}
