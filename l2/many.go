package l2

import (
	"context"
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

// ReadMany gets the records and values of all groups in one pipeline a node. It asks
// for no leases.
func (s *Store) ReadMany(ctx context.Context, groups []Group) error {
	records := make([]*redis.StringCmd, len(groups))
	var values []*redis.SliceCmd
	err := s.do(ctx, func(p redis.Pipeliner) {
		for i, g := range groups {
			k := &s.space.shards[g.Shard]
			records[i] = p.Get(ctx, k.record)
			for _, part := range parts(g.Keys) {
				names := make([]string, len(part))
				for j, key := range part {
					names[j] = k.values + key
				}
				values = append(values, p.MGet(ctx, names...))
			}
		}
	})
	if err != nil {
		return err
	}
	for i := range groups {
		g := &groups[i]
		if raw, err := records[i].Result(); err == nil {
			g.Record, g.Known = parseRecord(raw)
		} else if !answered(err) {
			return err
		}
		g.Values = make([][]byte, 0, len(g.Keys))
		for range parts(g.Keys) {
			found, err := values[0].Result()
			if err != nil {
				return err
			}
			for _, v := range found {
				s, _ := v.(string) // nil is no string
				g.Values = append(g.Values, bytesOf(s))
			}
			values = values[1:]
		}
	}
	return nil
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
