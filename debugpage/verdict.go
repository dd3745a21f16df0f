package debugpage

import (
	"fmt"
	"time"
)

// verdict is the answer at a glance.
type verdict struct {
	Level          string // "good", "warn", "bad" or "idle"
	Headline, Text string
}

// Symbol says the level to those who do not see colours.
func (v verdict) Symbol() string {
	return map[string]string{"good": "✓", "warn": "!", "bad": "✕"}[v.Level]
}

func (w *watched) verdict(now time.Time) verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.judge(now)
}

// judge looks at the last statistics. The caller holds w.mu.
func (w *watched) judge(now time.Time) verdict {
	s := w.stats
	bound := span(s.MaxStaleness)
	switch {
	case w.cache == nil:
		return verdict{"idle", "Nothing to see yet", "No cache was given to the page under this name."}
	case now.Sub(w.looked) > 5*sampleEvery:
		return verdict{"idle", "Not looked at for " + span(now.Sub(w.looked)), "The page was closed, or its process does not run."}
	case w.refuses:
		return verdict{"bad", "Redis is not used", "Another instance has another number of shards. Give all the same Config.Shards, then restart this one."}
	case s.MaxStaleness == 0:
		return verdict{"good", "In this process only", "There is no Redis: L1 and the loader answer, and other instances are told nothing."}
	case s.RedisAway > 0:
		return w.absence(now, bound)
	case s.ProofAge < 0:
		return verdict{"warn", "Not proven current", fmt.Sprintf("L1 serves only what is younger than %s, until a heartbeat is answered.", bound)}
	case s.ProofAge > s.MaxStaleness:
		return verdict{"bad", "Not proven current for " + span(s.ProofAge), fmt.Sprintf("Heartbeats are not answered: L1 serves only what is younger than %s.", bound)}
	case !w.deaf.IsZero():
		return verdict{"warn", "The subscription is lost since " + span(now.Sub(w.deaf)), "Heartbeats and the log bring what it misses: L1 was proven current " + span(s.ProofAge) + " ago."}
	case s.Pending > 0:
		return verdict{"warn", fmt.Sprintf("Changes wait for Redis: %d", s.Pending), "They have taken effect here, and are sent until they land."}
	}
	return verdict{"good", "Current: proven " + span(s.ProofAge) + " ago", fmt.Sprintf("What was changed more than %s ago is not served any more. %s", bound, w.lately(now))}
}

func (w *watched) absence(now time.Time, bound string) verdict {
	v := verdict{Level: "bad", Headline: "Redis does not answer"}
	var since time.Time
	for _, at := range w.away {
		if since.IsZero() || at.Before(since) {
			since = at
		}
	}
	if !since.IsZero() {
		v.Headline += " since " + span(now.Sub(since))
	}
	switch proof := w.stats.ProofAge; {
	case proof >= 0 && proof <= w.stats.MaxStaleness:
		v.Text = fmt.Sprintf("L1 was proven current %s ago, and answers until that is %s.", span(proof), bound)
	default:
		v.Text = fmt.Sprintf("Reads go to the loader, once for all who ask; L1 serves only what is younger than %s.", bound)
	}
	return v
}

// lately tells of the last trouble.
func (w *watched) lately(now time.Time) string {
	for i := len(w.events) - 1; i >= 0; i-- {
		e := w.events[i]
		if m := markOf(e.kind); m != 0 && !kinds[m.first()].good {
			return "Last trouble " + span(now.Sub(e.at)) + " ago: " + kinds[m.first()].label + "."
		}
	}
	if !w.hooked.Load() {
		return "Events are not seen: the page's hooks are not attached."
	}
	return "No trouble seen."
}
