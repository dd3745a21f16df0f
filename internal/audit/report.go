package audit

import (
	"fmt"
	"sync"
	"time"
)

// Kind is the rule that a violation breaks; the package comment states the rules.
type Kind int

// The kinds of violation.
const (
	Stale    Kind = iota // older than the bound allows
	OwnWrite             // older than the answering instance's own write
	Bypass               // old though the read bypassed L1
	Future               // newer than the source
	Diverged             // not the source's version after quiet
	kinds
)

// String returns the rule's name in lower case.
func (k Kind) String() string {
	if k < 0 || k >= kinds {
		return fmt.Sprintf("kind %d", int(k))
	}
	return [kinds]string{"stale", "own write", "bypass", "future", "diverged"}[k]
}

// Violation is an answer that broke a rule.
type Violation struct {
	Kind     Kind
	Key      string
	Instance int           // that answered
	Got      int64         // the version that it answered
	Wanted   int64         // the oldest version that the rule allowed; for Future the newest
	By       time.Duration // how long before or after it the answer would have been right; 0 for Diverged and for versions that never were visible
	Began    time.Duration // when the read began; 0 for Diverged
}

// String returns the violation as one line.
func (v Violation) String() string {
	s := fmt.Sprintf("%v: instance %d answered version %d of %q, wanted %d", v.Kind, v.Instance, v.Got, v.Key, v.Wanted)
	if v.By > 0 {
		s += fmt.Sprintf(", off by %v", v.By.Round(time.Microsecond))
	}
	return s
}

// Report is the verdict of a journal so far.
type Report struct {
	Reads    int64          // judged by Read
	Unjudged int64          // of these, reads that took so long that a rule could not be applied to them
	Longest  time.Duration  // longest staleness: from the acknowledgement of a newer version to the beginning of a read; 0 if none was stale
	Broken   map[Kind]int64 // number of violations by kind, without the kinds that have none
	Examples []Violation    // the first violations of each kind, at most 4
}

// Violations returns the number of violations of all kinds.
func (r Report) Violations() int64 {
	var n int64
	for _, count := range r.Broken {
		n += count
	}
	return n
}

// Report returns the verdict on what was recorded so far.
func (j *Journal) Report() Report {
	r := j.findings.report()
	for i := range j.stripes {
		s := &j.stripes[i]
		s.mu.Lock()
		r.Reads += s.reads
		r.Unjudged += s.unjudged
		r.Longest = max(r.Longest, s.longest)
		s.mu.Unlock()
	}
	return r
}

// examples is how many violations of a kind are kept in full. A broken cache breaks
// rules millions of times; the first ones tell why.
const examples = 4

// findings collects violations.
type findings struct {
	mu       sync.Mutex
	broken   [kinds]int64
	examples [kinds][]Violation
}

func (f *findings) record(v Violation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[v.Kind]++
	if len(f.examples[v.Kind]) < examples {
		f.examples[v.Kind] = append(f.examples[v.Kind], v)
	}
}

func (f *findings) report() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := Report{Broken: make(map[Kind]int64)}
	for kind, n := range f.broken {
		if n > 0 {
			r.Broken[Kind(kind)] = n
			r.Examples = append(r.Examples, f.examples[kind]...)
		}
	}
	return r
}
