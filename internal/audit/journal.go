// Package audit judges what caches answered against the history of the source
// that they cache.
//
// The source holds versions 1, 2, 3, ... of every key. A [Journal] is told when a
// version may first be seen at the source, when its invalidation was acknowledged, and
// what every read answered; it reports the reads that a coherent cache could not have
// given. All times are readings of one monotonic clock, as the duration since a base
// that the caller chooses.
//
// # The rules
//
// A(t) is the newest version whose acknowledgement is stamped before t. A read that
// began at c, ended at r and answered version v obeys
//
//	Stale     v >= A(c-bound)
//	OwnWrite  v >= the newest version that the answering instance itself had
//	          acknowledged before c
//	Bypass    v >= A(c), if the read bypassed L1
//	Future    v was visible at the source at r at the latest
//
// and after quiet every copy equals the source (Diverged).
//
// # No false alarms, no blind spots
//
// An event and its record are two moments, and a goroutine can be descheduled between
// them. What keeps the verdict right:
//
//   - Visible is recorded before the commit starts, so before any reader can meet the
//     version. A read of a version that the journal does not know is therefore a
//     violation at once, without waiting for a late record. The price is that a value
//     read between the record and the commit would pass, which nothing outside the
//     source can tell apart.
//
//   - An acknowledgement is stamped after Invalidate returned, a read's beginning is
//     stamped before Get is called. Both stamps only narrow what is demanded of a read,
//     so a pause next to either can hide a violation as long as the pause, and invents
//     none.
//
//   - An acknowledgement may be recorded after reads that began later than its stamp
//     were judged:
//
//     writer: Invalidate returns, stamp t=10, descheduled
//     reader: begins c=11, answers the old version, is judged: nothing to object
//     writer: records the acknowledgement of t=10
//
//     Waiting for it would mean holding back every read. Instead each key remembers how
//     late a read of each version began, and Acked judges those reads after the fact.
//     Read looks for acknowledgements, Acked looks for reads, both under the key's lock,
//     so every pair meets exactly once, whatever the order of recording.
//
//   - Stamps that are equal have no order; they are taken as "not before".
package audit

import (
	"hash/maphash"
	"sync"
	"time"
)

// memory is how far back, beyond the bound, a key's history reaches. A read is judged
// fully if it took less than this.
const memory = 30 * time.Second

// stripes is the number of locks that the keys are spread over; a power of two.
const stripes = 256

// Journal is the history of a set of keys and the judge of the reads of them. It is
// safe for concurrent use; keys are spread over striped locks.
//
// Memory: a key costs about 0.2 kB plus 0.2 kB an instance, and 16 bytes for each
// version that was written or read within the bound plus 30 s of the key's newest;
// older history is dropped as new arrives, except for the one version that was current
// when the window begins. Keys are never dropped.
type Journal struct {
	bound     time.Duration
	instances int
	seed      maphash.Seed
	stripes   [stripes]stripe
	findings  findings
}

type stripe struct {
	mu       sync.Mutex
	keys     map[string]*keyHistory
	reads    int64
	unjudged int64
	longest  time.Duration
	_        [88]byte // two cache lines a stripe, so that neighbours do not share one
}

// keyHistory is what the journal knows of one key.
type keyHistory struct {
	visible   staircase // when -> newest version visible at the source
	acked     staircase // when -> newest version acknowledged, A(t)
	instances []instanceHistory
}

// instanceHistory is what one instance did with one key. reads and bypasses answer
// "how late did a read begin that answered less than version v": all that an
// acknowledgement that is recorded late has to know about the reads before it.
type instanceHistory struct {
	acked    staircase // when -> newest version acknowledged to this instance
	reads    staircase // version -> latest beginning of a read of it or an older one
	bypasses staircase // the same, of reads that bypassed L1
}

// NewJournal returns an empty journal for instances numbered from 0 to instances-1,
// whose reads may lag acknowledgements by bound.
func NewJournal(bound time.Duration, instances int) *Journal {
	j := &Journal{bound: bound, instances: instances, seed: maphash.MakeSeed()}
	for i := range j.stripes {
		j.stripes[i].keys = make(map[string]*keyHistory)
	}
	return j
}

// Visible records that readers of the source may see version of key from at on. Call it
// before the commit starts; if the commit then fails, nothing has to be undone. Of
// several records of one version the earliest counts.
func (j *Journal) Visible(key string, version int64, at time.Duration) {
	s := j.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.history(key, j.instances)
	k.visible.add(int64(at), version)
	k.visible.trim(int64(at - j.bound - memory))
}

// Acked records that the invalidation of version of key returned nil to instance at
// time at, taken after it returned. It may be recorded late and out of order. It panics
// if there is no such instance.
func (j *Journal) Acked(key string, version int64, instance int, at time.Duration) {
	s := j.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.history(key, j.instances)
	horizon := int64(at - j.bound - memory)
	k.acked.add(int64(at), version)
	k.acked.trim(horizon)
	own := &k.instances[instance].acked
	own.add(int64(at), version)
	own.trim(horizon)
	for i := range k.instances {
		j.judgeEarlierReads(s, k, judged{key: key, instance: i}, version, at, i == instance)
	}
}

// Read judges a read of key that instance answered with version: it began at began,
// just before the cache was asked, and ended at ended, just after it answered. Version
// 0 stands for "there is none yet". It panics if there is no such instance.
func (j *Journal) Read(key string, version int64, instance int, began, ended time.Duration, bypassL1 bool) {
	s := j.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.history(key, j.instances)
	s.reads++

	who := judged{key: key, instance: instance, version: version, began: began}
	if version < k.acked.highest() {
		j.judgeAge(s, k, who, bypassL1)
	}
	if version > 0 {
		j.judgeFuture(s, k, who, ended)
	}

	h := &k.instances[instance]
	h.reads.add(version, int64(began))
	h.reads.trimBelow(int64(began - memory))
	if bypassL1 {
		h.bypasses.add(version, int64(began))
		h.bypasses.trimBelow(int64(began - memory))
	}
}

// Converged judges the copies of key that the instances answered, in their order, after
// quiet: no write for longer than the bound. Each has to be the version that the source
// holds. It reports whether all are.
func (j *Journal) Converged(key string, source int64, copies []int64) bool {
	equal := true
	for i, version := range copies {
		if version != source {
			equal = false
			j.findings.record(Violation{Kind: Diverged, Key: key, Instance: i, Got: version, Wanted: source})
		}
	}
	return equal
}

// judged is the read that a verdict is about.
type judged struct {
	key      string
	instance int
	version  int64
	began    time.Duration
}

// judgeAge applies the rules on old versions to a read, with what is acknowledged so
// far.
func (j *Journal) judgeAge(s *stripe, k *keyHistory, read judged, bypassL1 bool) {
	own := &k.instances[read.instance].acked
	known := j.judgeOld(Stale, &k.acked, read, j.bound)
	known = j.judgeOld(OwnWrite, own, read, 0) && known
	if bypassL1 {
		known = j.judgeOld(Bypass, &k.acked, read, 0) && known
	}
	if !known {
		s.unjudged++
	}
	if superseded, ok := k.acked.firstAbove(read.version); ok {
		s.longest = max(s.longest, read.began-time.Duration(superseded))
	}
}

// judgeOld checks that the read answered at least what acked held, allowance before it
// began. It reports false if the history no longer reaches back that far.
func (j *Journal) judgeOld(kind Kind, acked *staircase, read judged, allowance time.Duration) bool {
	deadline := int64(read.began - allowance)
	current, ok := acked.before(deadline)
	if !ok {
		return !acked.trimmed
	}
	if read.version < current.y {
		superseded, _ := acked.firstAbove(read.version)
		j.findings.record(read.violation(kind, current.y, time.Duration(deadline-superseded)))
	}
	return true
}

// judgeFuture checks that the source held the read's version when the read ended.
func (j *Journal) judgeFuture(s *stripe, k *keyHistory, read judged, ended time.Duration) {
	newest, ok := k.visible.before(int64(ended) + 1)
	switch {
	case !ok && k.visible.trimmed:
		s.unjudged++
	case read.version > newest.y:
		var early time.Duration
		if at, ok := k.visible.firstAbove(read.version - 1); ok {
			early = time.Duration(at) - ended
		}
		j.findings.record(read.violation(Future, newest.y, early))
	}
}

// judgeEarlierReads applies the rules on old versions to the reads of an instance that
// were judged before this acknowledgement was recorded though they began after it. Of
// those that answered less than version, the last to begin breaks every rule that any of
// them breaks, by the most; one violation a rule stands for them all.
func (j *Journal) judgeEarlierReads(s *stripe, k *keyHistory, read judged, version int64, at time.Duration, own bool) {
	h := &k.instances[read.instance]
	if last, ok := h.reads.before(version); ok && last.y > int64(at) {
		read.version, read.began = last.x, time.Duration(last.y)
		age := read.began - at
		s.longest = max(s.longest, age)
		if age > j.bound {
			j.findings.record(read.violation(Stale, version, age-j.bound))
		}
		if own {
			j.findings.record(read.violation(OwnWrite, version, age))
		}
	}
	if last, ok := h.bypasses.before(version); ok && last.y > int64(at) {
		read.version, read.began = last.x, time.Duration(last.y)
		j.findings.record(read.violation(Bypass, version, read.began-at))
	}
}

func (r judged) violation(kind Kind, wanted int64, by time.Duration) Violation {
	return Violation{Kind: kind, Key: r.key, Instance: r.instance, Got: r.version, Wanted: wanted, By: by, Began: r.began}
}

func (j *Journal) stripe(key string) *stripe {
	return &j.stripes[maphash.String(j.seed, key)&(stripes-1)]
}

func (s *stripe) history(key string, instances int) *keyHistory {
	k := s.keys[key]
	if k == nil {
		k = &keyHistory{instances: make([]instanceHistory, instances)}
		s.keys[key] = k
	}
	return k
}
