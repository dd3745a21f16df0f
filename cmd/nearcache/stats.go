package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statsCommand(o *options, t *terminal) *cobra.Command {
	var every time.Duration
	var times int
	c := &cobra.Command{
		Use: "stats", Short: "Show what Redis knows of a cache, live", Args: cobra.NoArgs,
		Long: `Shows what Redis knows of a cache, again and again until interrupted: the instances
alive, and of each shard its newest change, changes a second, connections that
listen, the length of its log and how long an outage that makes up for.

Hits, misses and latencies are not there: instances keep them to themselves and put
nothing of them into Redis. Cache.Stats has them in each process; metrics bring them
together.

Instances are counted by the keys that their heartbeats write, which takes a look at
all keys, within bounds: once at the start, then every tenth time.`,
		RunE: func(c *cobra.Command, _ []string) error { return stats(c.Context(), o, t, every, times) },
	}
	c.Flags().DurationVar(&every, "every", time.Second, "time between two looks, at least 100ms")
	c.Flags().IntVar(&times, "times", 0, "how often to look; 0: until interrupted")
	return c
}

// census is one look.
type census struct {
	Time      time.Time     `json:"time"`
	Instances int           `json:"instances"`
	AtLeast   bool          `json:"instances_at_least,omitempty"` // too many keys to look at all
	Shards    []shardCensus `json:"shards"`
}

type shardCensus struct {
	Shard     int      `json:"shard"`
	Server    string   `json:"server,omitempty"`
	Seq       uint64   `json:"seq"`
	Epoch     string   `json:"epoch"`
	Age       float64  `json:"age_ms"` // since the newest change
	Rate      float64  `json:"changes_per_second"`
	Listeners int64    `json:"listeners"`
	Log       int64    `json:"log_length"`
	Covers    *float64 `json:"log_covers_s,omitempty"` // at this rate; missing: forever
}

func stats(ctx context.Context, o *options, t *terminal, every time.Duration, times int) error {
	if every < 100*time.Millisecond {
		return fmt.Errorf("--every is %v, must be at least 100ms", every)
	}
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	last, err := n.survey(ctx, true)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 1; ; i++ {
		looked := time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s, err := n.survey(ctx, i%10 == 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w%s", err, advice(n.deployment, err))
		}
		if i%10 != 0 {
			s.instances, s.whole = last.instances, last.whole
		}
		if err := n.census(ctx, last, s, time.Since(looked)).show(t, n); err != nil {
			return err
		}
		if last = s; i == times {
			return nil
		}
	}
}

// census compares two surveys.
func (n *namespace) census(ctx context.Context, before, now *state, apart time.Duration) *census {
	c := &census{Time: time.Now(), Instances: len(now.instances), AtLeast: !now.whole}
	clock, err := n.clock(ctx, "")
	if err != nil {
		clock = c.Time
	}
	for i := range now.shards {
		s, was := &now.shards[i], &before.shards[i]
		added := s.Log.Added - was.Log.Added
		if added < 0 {
			added = s.Log.Added // the log began anew
		}
		s.Rate = float64(added) / apart.Seconds()
		one := shardCensus{Shard: i, Server: s.Server, Seq: s.Record.Seq, Epoch: s.Record.Epoch, Rate: s.Rate,
			Listeners: now.listeners[i], Log: s.Log.Length}
		if s.Record.Seq > 0 {
			one.Age = ms(time.Duration(clock.UnixMicro()-int64(s.Record.Seq)) * time.Microsecond)
		}
		if covers := s.covers(n.shards).Seconds(); covers < 1e8 {
			one.Covers = &covers
		}
		c.Shards = append(c.Shards, one)
	}
	return c
}

// busiest is how many shards fit on a screen.
const busiest = 16

func (c *census) show(t *terminal, n *namespace) error {
	if t.json {
		return t.object(c)
	}
	var b strings.Builder
	if isTerminal(t.out) {
		b.WriteString("\x1b[H\x1b[2J") // home, and clear
	}
	alive := count(c.Instances, "instance")
	if c.AtLeast {
		alive = "at least " + alive
	}
	var rate float64
	for _, s := range c.Shards {
		rate += s.Rate
	}
	fmt.Fprintf(&b, "%s  %q on %s\n%s, %s, %.1f changes/s\n\n", c.Time.Format("15:04:05"), n.name, n.place(),
		alive, count(n.shards, "shard"), rate)
	fmt.Fprintf(&b, "%5s  %11s  %9s  %9s  %7s  %9s  %s\n", "SHARD", "LAST CHANGE", "CHANGES/s", "LISTENERS", "LOG", "COVERS", "SERVER")
	rows := slices.Clone(c.Shards)
	if len(rows) > busiest {
		slices.SortStableFunc(rows, func(a, b shardCensus) int { return int(b.Rate*1000) - int(a.Rate*1000) })
		rows = rows[:busiest]
	}
	for _, s := range rows {
		covers, age := "-", "never"
		if s.Covers != nil {
			covers = short(time.Duration(*s.Covers * 1e9))
		}
		if s.Seq > 0 {
			age = short(time.Duration(s.Age * 1e6))
		}
		row := fmt.Sprintf("%5d  %11s  %9.1f  %9d  %7d  %9s  %s", s.Shard, age, s.Rate, s.Listeners, s.Log, covers, s.Server)
		b.WriteString(strings.TrimRight(row, " ") + "\n")
	}
	if len(c.Shards) > busiest {
		fmt.Fprintf(&b, "and %d more, less busy; --json has all\n", len(c.Shards)-busiest)
	}
	return t.print(b.String())
}
