package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nearcache/nearcache/l2"
	"github.com/spf13/cobra"
)

func invalidateCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "invalidate KEY...", Short: "Take values away from every instance", Args: cobra.MinimumNArgs(1),
		Long: `Deletes values from Redis and has every instance drop them, as Cache.Invalidate does.
Once it has succeeded the promise of docs/coherence.md holds. If it fails, call it
again until it succeeds: nobody else repeats it.`,
		RunE: func(c *cobra.Command, args []string) error {
			return changeKeys(c.Context(), o, t, "invalidated", args, (*l2.Store).Invalidate)
		},
	}
}

func expireCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "expire KEY...", Short: "End the lives of values, which may stand in until loaded again", Args: cobra.MinimumNArgs(1),
		Long: `Ends the lives of values everywhere, as Cache.Expire does: they are loaded again when
asked for, and stand in until that is done.`,
		RunE: func(c *cobra.Command, args []string) error {
			return changeKeys(c.Context(), o, t, "expired", args, (*l2.Store).Expire)
		},
	}
}

func tagCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "tag TAG...", Short: "Invalidate whatever names one of the tags", Args: cobra.RangeArgs(1, l2.MaxKeys),
		Long: `Takes away every value that names one of the tags, as Cache.InvalidateTags does. It
costs one script for each shard, however many values there are.`,
		RunE: func(c *cobra.Command, args []string) error {
			return changeShards(c.Context(), o, t, "tags invalidated", args, func(ctx context.Context, s *l2.Store, shard int) (l2.Record, error) {
				return s.InvalidateTags(ctx, shard, args)
			})
		},
	}
}

func clearCommand(o *options, t *terminal) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "clear", Short: "Invalidate everything that the cache holds", Args: cobra.NoArgs,
		Long: `Has no instance believe anything that was cached before now, as Cache.Clear does.
Every read that follows is a load: mind what is behind the cache. On a terminal it
asks first; elsewhere it wants --yes.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				if err := confirm(t, o.name); err != nil {
					return err
				}
			}
			return changeShards(c.Context(), o, t, "cleared", nil, func(ctx context.Context, s *l2.Store, shard int) (l2.Record, error) {
				return s.Clear(ctx, shard)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// confirm asks whoever sits at the terminal to type the cache's name.
func confirm(t *terminal, name string) error {
	if !isTerminal(t.in) {
		return errors.New("clear empties the whole cache: --yes says that this is meant")
	}
	t.note("This empties the cache %q on every instance. Type its name to go on:", name)
	line, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != name {
		return errors.New("not confirmed, nothing was changed")
	}
	return nil
}

// changed is what a change comes to.
type changed struct {
	Change string         `json:"change"`
	Names  []string       `json:"names,omitempty"` // keys or tags
	Seq    map[int]uint64 `json:"seq"`             // by shard
}

func changeKeys(ctx context.Context, o *options, t *terminal, what string, keys []string,
	change func(*l2.Store, context.Context, int, []string) (l2.Record, error)) error {
	for _, key := range keys {
		if key == "" || len(key) > 1<<16 {
			return fmt.Errorf("a key of %d bytes, must be 1 to %d", len(key), 1<<16)
		}
	}
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	done := changed{Change: what, Names: keys, Seq: map[int]uint64{}}
	for _, g := range n.store.Group(keys) {
		for at := 0; at < len(g.Keys); at += l2.MaxKeys {
			r, err := change(n.store, ctx, g.Shard, g.Keys[at:min(at+l2.MaxKeys, len(g.Keys))])
			if err != nil {
				return fmt.Errorf("shard %d: %w%s\n  try: the same again; until it succeeds, instances may serve old values%s",
					g.Shard, err, partly(len(done.Seq)), advice(n.deployment, err))
			}
			done.Seq[g.Shard] = r.Seq
		}
	}
	return done.show(t, count(len(keys), "key"))
}

// partly says how much was done before an error.
func partly(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s done)", count(n, "shard"))
}

// changeShards makes a change that concerns every shard.
func changeShards(ctx context.Context, o *options, t *terminal, what string, names []string,
	change func(context.Context, *l2.Store, int) (l2.Record, error)) error {
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	done := changed{Change: what, Names: names, Seq: map[int]uint64{}}
	var mu sync.Mutex
	var errs []error
	var changing sync.WaitGroup
	for shard := range n.shards {
		changing.Go(func() {
			r, err := change(ctx, n.store, shard)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("shard %d: %w", shard, err))
				return
			}
			done.Seq[shard] = r.Seq
		})
	}
	changing.Wait()
	if len(errs) > 0 {
		return fmt.Errorf("%w%s\n  try: the same again; until it succeeds, instances may serve old values", errs[0], partly(len(done.Seq)))
	}
	subject := "everything"
	if len(names) > 0 {
		subject = count(len(names), "tag")
	}
	return done.show(t, subject)
}

func (c changed) show(t *terminal, subject string) error {
	if t.json {
		return t.object(c)
	}
	if len(c.Seq) > 1 {
		return t.print(fmt.Sprintf("%s: %s, announced in %s\n", c.Change, subject, count(len(c.Seq), "shard")))
	}
	for shard, seq := range c.Seq {
		return t.print(fmt.Sprintf("%s: %s, announced in shard %d as %d\n", c.Change, subject, shard, seq))
	}
	return nil
}
