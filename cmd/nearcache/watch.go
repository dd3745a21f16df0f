package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/spf13/cobra"
)

func watchCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print changes of a cache as they are announced", Args: cobra.NoArgs,
		Long: `Prints every change as it is announced, until interrupted: when it arrived, what it
is, its shard, how long it was on its way, and its keys or tags. Changes that concern
every shard (tags, clear) are announced in each.

While it runs this command is an instance that caches nothing: it repairs what it
missed from the log, as instances do, and says so. It counts as one where instances
are counted.`,
		RunE: func(c *cobra.Command, _ []string) error { return watch(c.Context(), o, t) },
	}
}

// seen is one line of a watch: a change, or an event of the watcher itself.
type seen struct {
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"`
	Shard int       `json:"shard"`
	Lag   *float64  `json:"lag_ms,omitempty"` // not known yet if missing
	Keys  []string  `json:"keys,omitempty"`   // or tags
	Event bool      `json:"event,omitempty"`
	Error string    `json:"error,omitempty"`
}

func watch(ctx context.Context, o *options, t *terminal) error {
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan seen, 1<<12)
	say := func(s seen) { // hooks must not wait for a slow terminal for long, nor lose lines
		select {
		case lines <- s:
		case <-ctx.Done():
		}
	}
	cache, err := n.instance(nearcache.Config[[]byte]{Hooks: nearcache.Hooks{
		Announced: func(a nearcache.Announcement) { say(seenChange(a)) },
		Event:     func(e nearcache.Event) { say(seenEvent(e)) },
	}})
	if err != nil {
		return err
	}
	defer cache.Close()
	defer cancel() // before it: Close waits for hooks
	t.note("watching %q on %s, %s; Ctrl-C ends it", n.name, n.place(), count(n.shards, "shard"))
	// From here on nothing is missed: what comes before the subscription is in the log.
	if t.json {
		err = t.object(seen{Time: time.Now(), Kind: "watching", Shard: -1, Event: true})
	} else {
		err = t.print(fmt.Sprintf("%-12s  %-15s  %5s  %8s  %s\n", "TIME", "CHANGE", "SHARD", "LAG", "KEYS"))
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case s := <-lines:
			err = s.show(t)
		}
	}
	return err
}

func seenChange(a nearcache.Announcement) seen {
	s := seen{Time: time.Now(), Kind: a.Kind, Shard: a.Shard, Keys: a.Keys}
	if a.Lag >= 0 {
		lag := ms(a.Lag)
		s.Lag = &lag
	}
	return s
}

func seenEvent(e nearcache.Event) seen {
	s := seen{Time: time.Now(), Kind: e.Kind, Shard: e.Shard, Event: true}
	if e.Err != nil {
		s.Error = e.Err.Error()
	}
	return s
}

func (s seen) show(t *terminal) error {
	if t.json {
		return t.object(s)
	}
	shard, lag := fmt.Sprint(s.Shard), "-"
	if s.Shard < 0 {
		shard = "-"
	}
	if s.Lag != nil {
		lag = short(time.Duration(*s.Lag * 1e6))
	}
	text := strings.Join(quoted(s.Keys), " ")
	if s.Event {
		lag, text = "", "-- "+s.Kind
		s.Kind = "watcher"
		if s.Error != "" {
			text += ": " + s.Error
		}
	}
	line := fmt.Sprintf("%-12s  %-15s  %5s  %8s  %s", s.Time.Format("15:04:05.000"), s.Kind, shard, lag, text)
	return t.print(strings.TrimRight(line, " ") + "\n")
}

// quoted writes keys as they are, but for those that would be mistaken for something else.
func quoted(keys []string) []string {
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = fmt.Sprintf("%q", key)
		if bare := list[i][1 : len(list[i])-1]; bare == key && !strings.Contains(key, " ") {
			list[i] = key
		}
	}
	return list
}
