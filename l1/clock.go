package l1

import (
	"math"
	"time"
)

// Instant is a point on this process's monotonic clock, in nanoseconds. The
// coherence protocol compares instants of one process only.
type Instant int64

const (
	// Never is before every instant: the proof of an epoch that has none.
	Never Instant = math.MinInt64 / 2
	// Always is after every instant: the proof of an epoch that needs none,
	// and the expiry of an entry that has none.
	Always Instant = math.MaxInt64 / 2
)

var origin = time.Now()

// Now reads the monotonic clock. It is not a clock that a ticker advances: a
// process that was stopped and resumed would read the time of before and serve
// what has long gone stale.
func Now() Instant { return Instant(time.Since(origin)) }

// At converts a time that was read from time.Now in this process.
func At(t time.Time) Instant { return Instant(t.Sub(origin)) }

// Add returns i moved by d, kept between Never and Always.
func (i Instant) Add(d time.Duration) Instant {
	return min(max(i+Instant(d), Never), Always)
}

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }
