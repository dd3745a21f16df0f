package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

func doctorCommand(o *options, t *terminal) *cobra.Command {
	b := bounds{}
	c := &cobra.Command{
		Use: "doctor", Short: "Check a deployment, and say what to do", Args: cobra.NoArgs,
		Long: `Checks the servers, this machine's way to them and, with --name, a cache there. Each
finding says what was seen, why it matters and what to do. A problem puts the promise
or the cache's work at risk, and makes the exit code 1; a warning is about working
worse; a note is how it is, if that is what is wanted.

It only reads. What instances have in their Config Redis does not know: the flags
say so, and their defaults are the library's.`,
		RunE: func(c *cobra.Command, _ []string) error { return doctor(c.Context(), o, t, b) },
	}
	f := c.Flags()
	f.DurationVar(&b.redisTimeout, "redis-timeout", 100*time.Millisecond, "Config.RedisTimeout of instances")
	f.DurationVar(&b.maxStaleness, "max-staleness", 2*time.Second, "Config.MaxStaleness of instances")
	f.DurationVar(&b.recoveryWindow, "recovery-window", time.Minute, "Config.RecoveryWindow of instances")
	return c
}

// diagnosis is the outcome.
type diagnosis struct {
	Place    string    `json:"redis"`
	Cache    string    `json:"cache,omitempty"`
	Shards   int       `json:"shards,omitempty"`
	Alive    int       `json:"instances,omitempty"`
	Servers  []patient `json:"servers"`
	Checks   []string  `json:"checks"`
	Missing  []string  `json:"not_checked,omitempty"`
	Findings []finding `json:"findings"`
}

type patient struct {
	Addr    string  `json:"addr"`
	Version string  `json:"version"`
	P50     float64 `json:"round_trip_p50_ms"`
	Skew    float64 `json:"clock_skew_ms"`
}

func doctor(ctx context.Context, o *options, t *terminal, b bounds) error {
	d, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer d.client.Close()
	x := &exam{deployment: d, given: o.shards, bounds: b}
	if o.name != "" {
		if x.cache, err = o.patientCache(ctx, d); err != nil {
			return err
		}
		defer x.cache.store.Close()
		if x.state, err = x.settled(ctx); err != nil {
			return err
		}
	}
	t.progress("examining %s", d.place())
	defer t.done()
	if err := x.examine(ctx); err != nil {
		return err
	}
	t.done()
	report := x.diagnosis()
	if t.json {
		err = t.object(report)
	} else {
		err = t.print(report.String())
	}
	if err == nil && report.count(problem) > 0 {
		err = errFound
	}
	return err
}

// patientCache finds the cache even where the number of its shards is not what it
// should be: that is a finding.
func (o *options) patientCache(ctx context.Context, d *deployment) (*namespace, error) {
	recorded, err := recordedShards(ctx, d.client, o.name)
	switch {
	case err == nil:
		return d.namespace(o.name, recorded), nil
	case errors.Is(err, errShards):
		return d.namespace(o.name, max(o.shards, 1)), nil
	}
	return findNamespace(ctx, d, o.name, o.shards)
}

// settled surveys the cache, and again after a while if somebody seems to be deaf: who
// has just left is taken for alive, until its key expires.
func (x *exam) settled(ctx context.Context) (*state, error) {
	s, err := x.cache.survey(ctx, true)
	if err != nil || s.deaf() < 0 {
		return s, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(x.maxStaleness):
		return x.cache.survey(ctx, true)
	}
}

// examine gathers the facts of every master.
func (x *exam) examine(ctx context.Context) error {
	var mu sync.Mutex
	return eachMaster(ctx, x.client, func(ctx context.Context, c *redis.Client) error {
		f, err := examine(ctx, c, x.cache)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		x.servers = append(x.servers, f)
		return nil
	})
}

func (x *exam) diagnosis() *diagnosis {
	r := &diagnosis{Place: x.place(), Findings: x.findings()}
	for _, c := range checks {
		r.Checks = append(r.Checks, c.name)
	}
	if x.cache != nil {
		r.Cache, r.Shards, r.Alive = x.cache.name, x.cache.shards, len(x.state.instances)
		if !x.state.whole {
			r.Missing = append(r.Missing, "some keys, since there are too many: instances may be missing")
		}
	} else {
		r.Missing = append(r.Missing, "permissions, shards, records, log, instances: they need --name")
	}
	for _, f := range x.servers {
		version := "version unknown"
		if v := f.info["valkey_version"]; v != "" {
			version = "Valkey " + v
		} else if v := f.info["redis_version"]; v != "" {
			version = "Redis " + v
		}
		p := patient{Addr: f.addr, Version: version, Skew: ms(f.skew)}
		if len(f.trips) > 0 {
			p.P50 = ms(f.trips[len(f.trips)/2])
		}
		r.Servers = append(r.Servers, p)
		if err := f.refused["CONFIG"]; err != nil || f.config == nil {
			r.Missing = append(r.Missing, "settings of "+f.addr+", since it refuses CONFIG GET (a hosted Redis shows them elsewhere)")
		}
	}
	return r
}

func (r *diagnosis) count(severity string) (n int) {
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// String is the report, 80 columns wide.
func (r *diagnosis) String() string {
	var b strings.Builder
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "%s: %s, round trip %s, clock %+.1f ms\n", s.Addr, s.Version, short(time.Duration(s.P50*1e6)), s.Skew)
	}
	if r.Cache != "" {
		fmt.Fprintf(&b, "cache %q: %s, %s\n", r.Cache, count(r.Shards, "shard"), count(r.Alive, "instance"))
	}
	for _, f := range r.Findings {
		where := ""
		if f.Server != "" && len(r.Servers) > 1 {
			where = " on " + f.Server
		}
		fmt.Fprintf(&b, "\n%s: %s%s\n", strings.ToUpper(f.Severity), f.Check, where)
		b.WriteString(wrapped(f.Seen, "  ", 79))
		b.WriteString(wrapped("Why: "+f.Why+".", "  ", 79))
		b.WriteString(wrapped("Do: "+f.Do+".", "  ", 79))
	}
	b.WriteString("\n")
	for _, m := range r.Missing {
		b.WriteString(wrapped("Not checked: "+m+".", "", 79))
	}
	fmt.Fprintf(&b, "%s: %s, %s, %s\n", count(len(r.Checks), "check"),
		count(r.count(problem), "problem"), count(r.count(warning), "warning"), count(r.count(remark), "note"))
	return b.String()
}
