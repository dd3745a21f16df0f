package l2

import (
	"context"
	"errors"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// Group is the part of many keys that one shard holds. A read fills in the rest.
type Group struct {
	Shard  int
	Keys   []string
	Values [][]byte // what is stored, nil for nothing; read-only

	// The shard's record as read before the values; see [Reply].
	Record Record
	Known  bool
}

// Group sorts keys by their shards.
func (s *Store) Group(keys []string) []Group {
	if len(s.space.shards) == 1 {
		return []Group{{Keys: keys}}
	}
	var groups []Group
	at := make(map[int]int)
	for _, key := range keys {
		shard := s.Shard(key)
		i, ok := at[shard]
		if !ok {
			i = len(groups)
			at[shard] = i
			groups = append(groups, Group{Shard: shard})
		}
		groups[i].Keys = append(groups[i].Keys, key)
	}
	return groups
}

// ReadMany gets the records and values of all groups, those of one server in one
// pipeline. It asks for no leases.
func (s *Store) ReadMany(ctx context.Context, groups []Group) error {
	byLane := make(map[*lane][]*Group, 1)
	for i := range groups {
		l := s.lane(ctx, s.space.shards[groups[i].Shard].record)
		byLane[l] = append(byLane[l], &groups[i])
	}
	errs := make(chan error, len(byLane))
	for l, groups := range byLane {
		if len(byLane) == 1 {
			return s.readMany(ctx, l, groups)
		}
		go func() { errs <- s.readMany(ctx, l, groups) }()
	}
	var err error
	for range byLane {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (s *Store) readMany(ctx context.Context, l *lane, groups []*Group) error {
	var cmds []redis.Cmder
	keys := 0
	for _, g := range groups {
		keys += len(g.Keys)
		k := &s.space.shards[g.Shard]
		cmds = append(cmds, redis.NewStringCmd(ctx, "get", k.record)) // before the values
		for _, part := range parts(g.Keys) {
			cmds = append(cmds, mget(ctx, k.values, part))
		}
	}
	if _, err := s.doOn(ctx, l, keys, noShard, s.follow(cmds)...); err != nil {
		return err
	}
	for _, g := range groups {
		var err error
		if cmds, err = g.take(cmds); err != nil {
			return err
		}
	}
	return nil
}

// take fills in what the first of cmds were answered, and returns the rest of them.
func (g *Group) take(cmds []redis.Cmder) ([]redis.Cmder, error) {
	values := cmds[1 : 1+len(parts(g.Keys))]
	if err := ordered(cmds[0], values...); err != nil {
		return nil, err
	}
	if raw, err := followee(cmds[0]).(*redis.StringCmd).Result(); err == nil {
		g.Record, g.Known = ParseRecord(raw)
	} else if !answered(err) {
		return nil, err
	}
	g.Values = make([][]byte, 0, len(g.Keys))
	for _, cmd := range values {
		found, err := followee(cmd).(*redis.SliceCmd).Result()
		if err != nil {
			return nil, err
		}
		for _, v := range found {
			text, _ := v.(string) // nil is no string
			g.Values = append(g.Values, bytesOf(text))
		}
	}
	return cmds[1+len(values):], nil
}

func mget(ctx context.Context, prefix string, names []string) *redis.SliceCmd {
	args := make([]any, 1, 1+len(names))
	args[0] = "mget"
	for _, name := range names {
		args = append(args, prefix+name)
	}
	return redis.NewSliceCmd(ctx, args...)
}

// parts cuts keys into what one command may have.
func parts(keys []string) (parts [][]string) {
	for len(keys) > MaxKeys {
		parts, keys = append(parts, keys[:MaxKeys]), keys[MaxKeys:]
	}
	return append(parts, keys)
}

// bytesOf is a reply's bytes without a copy; nil if there are none. Nobody writes
// to them.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
