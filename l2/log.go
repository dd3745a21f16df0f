package l2

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// logLen is how many changes the logs of all shards together keep, about. Keys spread
// evenly, so the log of one of many reaches as far back; but for changes that concern
// every shard, hence the minimum.
const (
	logLen    = 10_000
	minLogLen = 1000
)

// LogLen is the [Config.LogLen] of a namespace of shards: whoever changes something
// trims the log, so all have to trim it to the same length.
func LogLen(shards int) int { return max(logLen/shards, minLogLen) }

// LogPage bounds the entries that one read of a log returns.
const LogPage = 1000

// Log returns the announcements of shard that are newer than after, oldest
// first, and at most [LogPage] of them.
func (s *Store) Log(ctx context.Context, shard int, after uint64) ([]string, error) {
	log := s.space.shards[shard].log
	cmd := s.client.Pipeline().XRangeN(ctx, log, "("+strconv.FormatUint(after, 10)+"-0", "+", LogPage)
	if err := s.do(ctx, log, cmd); err != nil {
		return nil, err
	}
	entries, err := cmd.Result()
	if err != nil {
		return nil, err
	}
	payloads := make([]string, len(entries))
	for i, e := range entries {
		payloads[i], _ = e.Values["m"].(string) // what is no announcement is found out when it is parsed
	}
	return payloads, nil
}

// Subscribe opens a subscription to the channels of all shards.
func (s *Store) Subscribe(ctx context.Context) *redis.PubSub {
	return s.client.Subscribe(ctx, s.Channels()...)
}
