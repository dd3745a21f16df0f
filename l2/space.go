package l2

import (
	"fmt"
	"hash/crc32"
)

// MaxShards bounds the shards of a namespace.
const MaxShards = 1024

// space names the Redis keys of a namespace. All keys of a shard begin with
// the same hash tag, so they share one Redis Cluster slot.
type space struct {
	name   string
	shards []shardKeys
}

type shardKeys struct {
	values   string // prefix of {ns}:v:KEY
	markers  string // prefix of {ns}:t:TAG
	record   string // {ns}:seq
	log      string // {ns}:log
	channel  string // {ns}:ch
	instance string // {ns}:i:INSTANCE
}

func newSpace(name, instance string, shards int) space {
	s := space{name: name, shards: make([]shardKeys, shards)}
	for i := range s.shards {
		tag := "{" + name + "}"
		if shards > 1 {
			tag = fmt.Sprintf("{%s:%02d}", name, i)
		}
		s.shards[i] = shardKeys{
			values:   tag + ":v:",
			markers:  tag + ":t:",
			record:   tag + ":seq",
			log:      tag + ":log",
			channel:  tag + ":ch",
			instance: tag + ":i:" + instance,
		}
	}
	return s
}

// agreed is the key that records the number of shards.
func (s space) agreed() string { return "{" + s.name + "}:shards" }

// shard maps a key to its shard by CRC-32 (IEEE), which every language's
// standard library has: other writers must find the same shard.
func (s space) shard(key string) int {
	if len(s.shards) == 1 {
		return 0
	}
	return int(crc32.ChecksumIEEE([]byte(key)) % uint32(len(s.shards)))
}
