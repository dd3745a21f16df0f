// Package measure lets contenders take turns and compares what their turns cost.
//
// A machine's speed drifts by more than the differences that matter. So a round
// gives each contender one short turn, in an order drawn anew, and contenders are
// compared within a round: the ratio holds although both sides of it drift.
package measure

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Lane is one contender's part of a scenario. Either Run or Clock is set.
type Lane struct {
	Name string

	// Prepare makes the lane ready for a turn, off the clock. Default nil: nothing
	// to do.
	Prepare func() error

	// Run performs the operations from to until-1. With several callers it is
	// called by all of them at once, each with its part.
	Run func(from, until int) error

	// Clock performs one operation and returns how long it took; the turn's figure
	// is the median of Most operations.
	Clock func(i int) (time.Duration, error)

	// Most is the largest number of operations that a turn may have. Default 0: any
	// number; required with Clock.
	Most int

	count int // operations of a turn
	next  int // number of the next operation
}

// Scenario is one question put to several contenders.
type Scenario struct {
	Name     string // path of the benchmark, such as "l1-hit/serial"
	Title    string
	Baseline string // name of the lane whose figure is 1
	Callers  int    // goroutines that share a turn; default 1
	Lanes    []Lane
}

// Settings are those of a run.
type Settings struct {
	Rounds   int
	Turn     time.Duration                  // about what one contender's turn takes
	Progress func(done, all int, on string) // called before each turn
}

// Series is what the turns of one lane measured in one unit, by round.
type Series struct {
	Scenario, Lane, Unit string
	Count                int // operations of a turn
	Values               []float64
}

// Units of a series.
const (
	Nanoseconds = "ns/op"
	Bytes       = "B/op"
	Allocations = "allocs/op"
	EntryBytes  = "B/entry"
)

// Run measures s.
func Run(s Scenario, settings Settings) ([]Series, error) {
	turns := settings.Rounds + 1 // calibration comes first
	all, done := turns*len(s.Lanes), 0
	step := func(lane *Lane) {
		settings.Progress(done, all, lane.Name)
		done++
	}
	for i := range s.Lanes {
		step(&s.Lanes[i])
		if err := s.calibrate(&s.Lanes[i], settings.Turn); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Name, s.Lanes[i].Name, err)
		}
	}
	times, bytes, allocations := s.series(Nanoseconds), s.series(Bytes), s.series(Allocations)
	for range settings.Rounds {
		for _, i := range rand.Perm(len(s.Lanes)) {
			step(&s.Lanes[i])
			f, err := s.turn(&s.Lanes[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", s.Name, s.Lanes[i].Name, err)
			}
			times[i].Values = append(times[i].Values, f.nanoseconds)
			bytes[i].Values = append(bytes[i].Values, f.bytes)
			allocations[i].Values = append(allocations[i].Values, f.allocations)
		}
	}
	for i := range times {
		times[i].Count = s.Lanes[i].count
	}
	if s.Lanes[0].Clock != nil {
		return times, nil // what is allocated while an operation waits is not its own
	}
	return slices.Concat(times, bytes, allocations), nil
}

func (s *Scenario) series(unit string) []Series {
	out := make([]Series, len(s.Lanes))
	for i, lane := range s.Lanes {
		out[i] = Series{Scenario: s.Name, Lane: lane.Name, Unit: unit}
	}
	return out
}

// calibrate finds how many operations make a turn of the wanted length.
func (s *Scenario) calibrate(lane *Lane, turn time.Duration) error {
	if lane.Clock != nil {
		lane.count = lane.Most
		_, err := s.turn(lane)
		return err
	}
	for lane.count = max(s.Callers, 1); ; {
		lane.count = lane.limited(lane.count)
		f, err := s.turn(lane)
		if err != nil {
			return err
		}
		count := lane.limited(int(float64(lane.count) * min(float64(turn)/max(float64(f.elapsed), 1), 10)))
		if f.elapsed >= turn/2 || count <= lane.count {
			lane.count = max(count, s.Callers, 1)
			return nil
		}
		lane.count = count
	}
}

func (l *Lane) limited(count int) int {
	if l.Most > 0 {
		return min(count, l.Most)
	}
	return count
}

// figures are those of one turn.
type figures struct {
	elapsed                         time.Duration
	nanoseconds, bytes, allocations float64 // an operation
}

func (s *Scenario) turn(lane *Lane) (f figures, err error) {
	if lane.Prepare != nil {
		if err := lane.Prepare(); err != nil {
			return f, fmt.Errorf("preparing a turn: %w", err)
		}
	}
	runtime.GC() // nobody pays for another's garbage
	if lane.Clock != nil {
		return lane.clock()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	err = lane.share(max(s.Callers, 1))
	f.elapsed = time.Since(began)
	runtime.ReadMemStats(&after)
	n := float64(lane.count)
	f.nanoseconds = float64(f.elapsed) / n
	f.bytes = float64(after.TotalAlloc-before.TotalAlloc) / n
	f.allocations = float64(after.Mallocs-before.Mallocs) / n
	return f, err
}

// share divides a turn among callers.
func (l *Lane) share(callers int) error {
	first := l.next
	l.next += l.count
	if callers == 1 {
		return l.Run(first, first+l.count)
	}
	errs := make([]error, callers)
	var running sync.WaitGroup
	for c := range callers {
		running.Go(func() { errs[c] = l.Run(first+c*l.count/callers, first+(c+1)*l.count/callers) })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Lane) clock() (f figures, err error) {
	took := make([]float64, l.count)
	for i := range took {
		d, err := l.Clock(l.next)
		if err != nil {
			return f, err
		}
		l.next++
		took[i] = float64(d)
	}
	f.nanoseconds = Summarize(took).Median
	return f, nil
}
