package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// scratch returns a namespace that nobody else uses, for instances of this process.
func (d *deployment) scratch(what string, shards int) *namespace {
	if shards == 0 {
		shards = 1
		if d.kind == clustered {
			shards = 64
		}
	}
	return d.namespace("nearcache-"+what+"-"+strings.ToLower(rand.Text()[:8]), shards)
}

// sweep removes a scratch namespace whose instances are closed. What their heartbeats
// wrote expires by itself, within MaxStaleness.
func (n *namespace) sweep(keys []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also after an interrupt
	defer cancel()
	tags := n.tags()
	names := []string{shardsKey(n.name)}
	for _, tag := range tags {
		names = append(names, tag+":seq", tag+":log")
	}
	for _, key := range keys {
		names = append(names, tags[n.store.Shard(key)]+":v:"+key)
	}
	for some := range slices.Chunk(names, 500) {
		_, err := n.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range some {
				p.Unlink(ctx, name) // one by one: those of a cluster lie in many slots
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("removing the scratch cache %q: %w; its keys begin with {%s", n.name, err, n.name)
		}
	}
	return nil
}

// keysOf returns n names.
func keysOf(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	return keys
}

// within reports flags out of bounds.
func within[T int | time.Duration](flag string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("--%s is %v, must be %v to %v", flag, v, low, high)
	}
	return nil
}

// unnamed refuses --name where it would be mistaken for the cache that is tried.
func (o *options) unnamed(command string) error {
	if o.name != "" {
		return errors.New(command + " uses a scratch cache of its own, never yours: leave --name out")
	}
	return nil
}
