package l2

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Unreadable stands for a marker that is no sequence number: newer than any value.
const Unreadable = math.MaxUint64

// Markers returns the sequence number of the newest invalidation of each tag in
// shard, 0 for a tag that has none, or whose marker was older than any value.
func (s *Store) Markers(ctx context.Context, shard int, tags []string) ([]uint64, error) {
	k := &s.space.shards[shard]
	cmd := mget(ctx, k.markers, tags)
	if err := s.do(ctx, k.record, cmd); err != nil {
		return nil, err
	}
	found, err := cmd.Result()
	if err != nil {
		return nil, err
	}
	seqs := make([]uint64, len(tags))
	for i, v := range found {
		if text, ok := v.(string); ok {
			if seqs[i], err = strconv.ParseUint(text, 10, 63); err != nil {
				seqs[i] = Unreadable
			}
		}
	}
	return seqs, nil
}

// Prolong lets markers of tags in shard be kept for life from now on, and returns the
// record as of then.
func (s *Store) Prolong(ctx context.Context, shard int, life time.Duration) (Record, error) {
	cmd, err := s.eval(ctx, lifeScript, []string{s.space.shards[shard].record}, life.Milliseconds())
	if err != nil {
		return Record{}, err
	}
	f, err := strs(cmd, 1)
	if err != nil {
		return Record{}, err
	}
	r, ok := ParseRecord(f[0])
	if !ok {
		return Record{}, fmt.Errorf("life script answered %q, want a record", f)
	}
	return r, nil
}
