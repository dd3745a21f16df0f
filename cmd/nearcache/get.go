package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/nearcache/nearcache"
	"github.com/spf13/cobra"
)

func getCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "get KEY", Short: "Print the value that Redis has of a key", Args: cobra.ExactArgs(1),
		Long: `Prints the value that Redis has of a key: MessagePack and JSON as JSON, bytes and
strings as they are. It is read and nothing else: nobody loads it, and no instance
notices. With exit code 1 there is none that readers would take; what there is
instead is said.

Values compressed with codec/s2 are decompressed. Sealed ones stay sealed: only
instances have the keys.`,
		RunE: func(c *cobra.Command, args []string) error { return get(c.Context(), o, t, args[0]) },
	}
}

func get(ctx context.Context, o *options, t *terminal, key string) error {
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	s, err := n.look(ctx, key)
	if err != nil {
		return err
	}
	if t.json {
		err = t.object(s)
	} else {
		err = s.show(t)
	}
	if err == nil && (s.Refused != "" || s.Holds == "not found") {
		err = errFound
	}
	return err
}

// show prints the value, and beside it what is to be known of it.
func (s *stored) show(t *terminal) error {
	switch {
	case s.Refused != "":
		t.note("%q: %s; readers do not take it: %s", s.Key, s.Holds, s.Refused)
	case s.Holds == "not found":
		t.note("%q: remembered as not existing, for another %.0f s", s.Key, s.Left/1000)
	}
	if s.Unreadable != "" {
		t.note("%q: %s", s.Key, s.Unreadable)
	}
	if s.Value == nil {
		if len(s.Base64) > 0 && isTerminal(t.out) {
			return t.print(string(s.Base64) + "\n")
		}
		return t.print(string(s.Base64))
	}
	var b bytes.Buffer
	if err := json.Indent(&b, s.Value, "", "  "); err != nil || !isTerminal(t.out) {
		return t.print(string(s.Value) + "\n")
	}
	return t.print(b.String() + "\n")
}

func explainCommand(o *options, t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "explain KEY", Short: "Tell where a key stands, and what a reader would do", Args: cobra.ExactArgs(1),
		Long: `Tells what Redis has of a key, and what Cache.Explain says of it on an instance that
has just begun: its L1 is empty, so the verdict is about Redis. What a running
instance holds in its L1 only that instance can tell: call Cache.Explain there.

For a moment this command is an instance: its heartbeats write a key that expires
within seconds. Sealed values are judged by their headers alone.`,
		RunE: func(c *cobra.Command, args []string) error { return explain(c.Context(), o, t, args[0]) },
	}
}

// opaque takes the payloads of any codec for what they are: bytes.
type opaque byte

func (o opaque) ID() byte                                    { return byte(o) }
func (o opaque) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (o opaque) Decode(data []byte) ([]byte, error)          { return bytes.Clone(data), nil }

// asIs is a Compressor that leaves what another one made as it is.
type asIs byte

func (a asIs) ID() byte                                          { return byte(a) }
func (a asIs) Compress(dst, src []byte) []byte                   { return append(dst, src...) }
func (a asIs) Decompress(dst, src []byte, _ int) ([]byte, error) { return append(dst, src...), nil }

// instance opens a cache on the namespace that loads nothing.
func (n *namespace) instance(cfg nearcache.Config[[]byte]) (*nearcache.Cache[[]byte], error) {
	cfg.Name, cfg.Redis, cfg.Shards, cfg.RedisTimeout = n.name, n.client, n.shards, patience
	cfg.MaxBytes, cfg.MaxKeyBytes, cfg.Logger = 1<<20, 1<<16, slog.New(slog.DiscardHandler)
	return nearcache.New(cfg)
}

func explain(ctx context.Context, o *options, t *terminal, key string) error {
	n, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	s, err := n.look(ctx, key)
	if err != nil {
		return err
	}
	cache, err := n.instance(nearcache.Config[[]byte]{Codec: opaque(s.codecID), Compressor: asIs(s.packer)})
	if err != nil {
		return err
	}
	defer cache.Close()
	x, err := cache.Explain(ctx, key)
	if err != nil {
		return err
	}
	s.Value, s.Base64 = nil, nil
	if t.json {
		return t.object(struct {
			Redis    *stored               `json:"redis"`
			Instance nearcache.Explanation `json:"instance"`
		}{s, x})
	}
	note := ""
	if s.Sealed {
		note = "\n" + wrapped("The value is sealed, and this command has no keys: an instance that has takes it "+
			"by the rules under \"Redis\".", "", 79)
	}
	return t.print(fmt.Sprintf("%s\nA new instance sees:\n%s%s", s, x, note))
}
