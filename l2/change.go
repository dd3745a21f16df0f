package l2

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Ops of a change, as they appear in announcements.
const (
	OpInvalidate = "i"
	OpSet        = "s"
	OpExpire     = "x"
	OpTags       = "t"
	OpClear      = "c"
	OpEpoch      = "e" // an epoch has begun
	OpWake       = "w" // a lease has ended; not a change, carries no number
)

// MaxKeys bounds the keys of one change: Redis serves nobody else meanwhile.
const MaxKeys = 512

// Invalidate deletes the values of keys, all of one shard and at most
// [MaxKeys], and announces it; both or neither. It returns the record as of
// the change.
func (s *Store) Invalidate(ctx context.Context, shard int, keys []string) (Record, error) {
	r, _, err := s.change(ctx, shard, OpInvalidate, keys)
	return r, err
}

// Expire marks the values of keys as past their lives and leaves them where they
// are; otherwise it is like Invalidate.
func (s *Store) Expire(ctx context.Context, shard int, keys []string) (Record, error) {
	r, _, err := s.change(ctx, shard, OpExpire, keys)
	return r, err
}

// InvalidateTags writes the markers of tags in shard, at most [MaxKeys] of them, and
// announces it: values there that name one of the tags and were born before it are not
// to be believed.
func (s *Store) InvalidateTags(ctx context.Context, shard int, tags []string) (Record, error) {
	r, _, err := s.change(ctx, shard, OpTags, tags)
	return r, err
}

// Clear announces that nothing born before now is to be believed in shard.
func (s *Store) Clear(ctx context.Context, shard int) (Record, error) {
	r, _, err := s.change(ctx, shard, OpClear, nil)
	return r, err
}

// Value is one value of a set.
type Value struct {
	Envelope []byte
	Life     time.Duration
}

// Set writes the values of keys, all of one shard and at most [MaxKeys], and
// announces it; all or none. A set that reaches Redis after deadline (the server's
// clock, in microseconds), or in another epoch than the one that the envelopes were
// made for, only deletes the values: its caller was told of a failure, and may have
// been overtaken by others. kept is false then.
func (s *Store) Set(ctx context.Context, shard int, keys []string, values []Value, epoch string, deadline int64) (r Record, kept bool, err error) {
	more := make([]any, 2, 2+2*len(values))
	more[0], more[1] = epoch, deadline
	for _, v := range values {
		more = append(more, v.Envelope, v.Life.Milliseconds())
	}
	r, op, err := s.change(ctx, shard, OpSet, keys, more...)
	return r, op == OpSet, err
}

func (s *Store) change(ctx context.Context, shard int, op string, keys []string, more ...any) (Record, string, error) {
	k := &s.space.shards[shard]
	names, prefix := make([]string, 2, 2+len(keys)), k.values
	if op == OpTags {
		prefix = k.markers
	}
	names[0], names[1] = k.record, k.log
	for _, key := range keys {
		names = append(names, prefix+key)
	}
	args := append([]any{nonce(), k.channel, s.logLen, op, Body(keys...)}, more...)
	cmd, err := s.eval(ctx, changeScript, names, args...)
	if err != nil {
		return Record{}, "", err
	}
	f, err := strs(cmd, 2)
	if err != nil {
		return Record{}, "", err
	}
	r, ok := ParseRecord(f[0])
	if !ok {
		return Record{}, "", fmt.Errorf("change script answered %q, want record and op", f)
	}
	return r, f[1], nil
}

// Body writes keys as netstrings ("5:hello,"): binary-safe, and readable in
// redis-cli.
func Body(keys ...string) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(strconv.Itoa(len(k)))
		b.WriteByte(':')
		b.WriteString(k)
		b.WriteByte(',')
	}
	return b.String()
}

// strs returns the n strings that a script replied.
func strs(cmd *redis.Cmd, n int) ([]string, error) {
	f, err := cmd.StringSlice()
	if err == nil && len(f) != n {
		err = fmt.Errorf("script answered %d fields, want %d", len(f), n)
	}
	return f, err
}
