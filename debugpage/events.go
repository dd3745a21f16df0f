package debugpage

import (
	"errors"
	"io"
	"math/bits"
	"os"
	"syscall"
	"time"

	"github.com/nearcache/nearcache"
)

const maxEvents = 100

// kinds are those of nearcache.Event, in the order in which a label of several in one
// second names them.
var kinds = []struct {
	name, label, text string
	good              bool
}{
	{"disagreement", "disagreement", "Another instance has another number of shards: Redis is not used any more.", false},
	{"epoch", "data lost", "Redis lost data or was replaced: L1 is given up, and own changes are sent again.", false},
	{"breaker open", "Redis away", "Redis does not answer: reads go past it.", false},
	{"subscription lost", "subscription lost", "The subscription is lost: it subscribes again.", false},
	{"distrust", "distrust", "The log does not reach back to what was missed: L1 is given up.", false},
	{"gap", "gap", "An announcement is missing, and is looked for in the log.", false},
	{"tracking lost", "tracking lost", "Tracking is lost: L1 is given up once it is back.", false},
	{"fault", "fault", "Something in Redis, or said by a loader, could not be used.", false},
	{"breaker closed", "Redis answers", "Redis answers again.", true},
	{"subscribed", "subscribed", "Announcements arrive; what was missed is read from the log.", true},
}

// marks are kinds of events, one bit each, by their place in kinds.
type marks uint16

func markOf(kind string) marks {
	for i, k := range kinds {
		if k.name == kind {
			return 1 << i
		}
	}
	return 0 // a newer library's
}

// first is the place in kinds of the gravest one; m is not 0.
func (m marks) first() int { return bits.TrailingZeros16(uint16(m)) }

// event is one of the list, or several of one kind within a second: what goes wrong once
// goes wrong often, for each shard and each read.
type event struct {
	at           time.Time
	kind, server string
	n            int
	err          error // of the last
}

// happened is told of an event.
func (w *watched) happened(e nearcache.Event) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks |= markOf(e.Kind)
	w.list(event{at: now, kind: e.Kind, server: e.Server, n: 1, err: e.Err})
	switch e.Kind {
	case "breaker open":
		if _, known := w.away[e.Server]; !known && len(w.away) < maxEvents {
			w.away[e.Server] = now
		}
	case "breaker closed":
		delete(w.away, e.Server)
	case "subscription lost":
		w.deaf = now
	case "subscribed":
		w.deaf = time.Time{}
	case "disagreement":
		w.refuses = true
	}
}

// list enters an event, and drops the oldest where there are too many.
func (w *watched) list(e event) {
	for i := len(w.events) - 1; i >= 0 && e.at.Sub(w.events[i].at) < time.Second; i-- {
		if old := &w.events[i]; old.kind == e.kind && old.server == e.server {
			old.n, old.err = old.n+1, e.err
			return
		}
	}
	if len(w.events) == maxEvents {
		copy(w.events, w.events[1:])
		w.events = w.events[:maxEvents-1]
	}
	w.events = append(w.events, e)
}

// cause is what may be said of an error. Its text may contain keys: Redis repeats the
// arguments of what it refuses.
func cause(err error, keys bool) string {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return ""
	case keys:
		return shorten(err.Error(), 300)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "not shown: it may contain keys"
}
