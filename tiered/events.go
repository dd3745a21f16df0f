package tiered

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/l1"
)

// Event is something that happened to a cache and that an operator should know.
type Event struct {
	Kind   string // one of those below
	Shard  int    // -1: none in particular
	Server string // address, where one is concerned and its address is known
	Err    error  // the cause, if there is one
}

// What may happen.
const (
	EventGap           = "gap"
	EventDistrust      = "distrust"
	EventEpoch         = "epoch"
	EventDeaf          = "subscription lost"
	EventSubscribed    = "subscribed"
	EventBreakerOpen   = "breaker open"
	EventBreakerClosed = "breaker closed"
	EventFault         = "fault"
	EventDisagreement  = "disagreement"
	EventTrackingLost  = "tracking lost"
)

// said is what the log says of an event.
var said = map[string]struct {
	level slog.Level
	text  string
}{
	EventGap:           {slog.LevelInfo, "an announcement is missing and is looked for in the log"},
	EventDistrust:      {slog.LevelWarn, "the log does not reach back to what was missed: this shard of L1 is not believed"},
	EventEpoch:         {slog.LevelWarn, "Redis lost data or was replaced: L1 is not believed"},
	EventDeaf:          {slog.LevelWarn, "the subscription is lost: subscribing again"},
	EventSubscribed:    {slog.LevelInfo, "subscribed again"},
	EventBreakerOpen:   {slog.LevelWarn, "Redis does not answer: reads go past it"},
	EventBreakerClosed: {slog.LevelInfo, "Redis answers again"},
	EventFault:         {slog.LevelWarn, "something cannot be believed, and is loaded anew or not kept"},
	EventDisagreement:  {slog.LevelError, "Redis is not used any more"},
	EventTrackingLost:  {slog.LevelWarn, "tracking is lost: L1 is not believed once it is back"},
}

// reporter tells the hook of every event, and the log of the first of a kind, and then
// of one in ten seconds: what goes wrong once goes wrong often.
type reporter struct {
	cache string
	log   *slog.Logger
	hook  func(Event)

	faults atomic.Uint64

	mu    sync.Mutex
	lines map[string]*line
}

// line is what was logged of one subject.
type line struct {
	last     l1.Instant
	withheld int
}

const logEvery = 10 * time.Second

func (r *reporter) report(e Event) { r.reportAs(e.Kind, e) }

// reportAs counts the event's line with those that have the same subject.
func (r *reporter) reportAs(subject string, e Event) {
	if r.hook != nil {
		r.hook(e)
	}
	withheld, ok := r.mayLog(subject)
	if !ok {
		return
	}
	s := said[e.Kind]
	attrs := []slog.Attr{slog.String("cache", r.cache), slog.String("event", e.Kind)}
	if e.Shard >= 0 {
		attrs = append(attrs, slog.Int("shard", e.Shard))
	}
	if e.Server != "" {
		attrs = append(attrs, slog.String("server", e.Server))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if withheld > 0 {
		attrs = append(attrs, slog.Int("withheld", withheld))
	}
	r.log.LogAttrs(context.Background(), s.level, "nearcache: "+s.text, attrs...)
}

// mayLog also returns how many lines of the subject were withheld since the last.
func (r *reporter) mayLog(subject string) (withheld int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, now := r.lines[subject], l1.Now()
	if l == nil {
		l = &line{last: now.Add(-logEvery)}
		if r.lines == nil {
			r.lines = make(map[string]*line)
		}
		r.lines[subject] = l
	}
	if now.Sub(l.last) < logEvery {
		l.withheld++
		return 0, false
	}
	withheld, l.last, l.withheld = l.withheld, now, 0
	return withheld, true
}

// fault tells of what Redis holds or sends, or a loader says, that cannot be used.
func (r *reporter) fault(what string, err error) {
	r.faults.Add(1)
	r.reportAs(what, Event{Kind: EventFault, Shard: -1, Err: fmt.Errorf("%s: %w", what, err)})
}
