package l2

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// State is what a read found at a key.
type State int

const (
	// Absent: nothing, and no lease was asked for.
	Absent State = iota
	// Leased: nothing, and the lease that was asked for is ours now.
	Leased
	// Held: another load's lease.
	Held
	// Present: bytes that are neither; an envelope, if nobody meddled.
	Present
	// Foreign: something that is no string at all.
	Foreign
)

// Reply is the outcome of a read.
type Reply struct {
	State  State
	Data   []byte // Present: what is stored; read-only
	Holder string // Held: the token of the lease
	Wrote  bool   // the server would have taken a lease: it is no master of before

	// Record is the shard's record as read before the value: the value reflects
	// every change up to Record.Seq. Known is false if Redis holds no record that
	// can be read; a heartbeat then begins an epoch.
	Record Record
	Known  bool
}

// Read gets the value of key, or a lease to load it if token is not empty, in
// one round trip. The record is read first, so that the value is at least as
// new as the record says. A server that is out of memory grants no leases: its
// values are read all the same.
func (s *Store) Read(ctx context.Context, key, token string, lease time.Duration) (Reply, error) {
	shard := s.Shard(key)
	name := s.space.shards[shard].values + key
	var value *redis.StringCmd
	if token == "" {
		value = redis.NewStringCmd(ctx, "get", name)
	} else {
		value = redis.NewStringCmd(ctx, "set", name, "L"+token, "nx", "get", "px", lease.Milliseconds())
	}
	record, err := s.doAfterRecord(ctx, shard, value)
	if err != nil {
		return Reply{}, err
	}
	if err := value.Err(); token != "" && err != nil && strings.HasPrefix(err.Error(), "OOM") {
		return s.Read(ctx, key, "", 0)
	}
	r, err := reply(record, value, token != "")
	r.Wrote = token != "" && err == nil
	if r.State == Held && r.Holder == token {
		r.State = Leased // a client that retries may have asked twice: waiting for itself would take the whole lease
	}
	return r, err
}

func reply(record *sharedRecord, value *redis.StringCmd, leased bool) (r Reply, err error) {
	if record.err != nil {
		return r, record.err
	}
	r.Record, r.Known = record.Record, record.Known
	data, err := value.Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		if leased {
			r.State = Leased
		}
	case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
		r.State = Foreign
	case err != nil:
		return r, err
	default:
		r.State, r.Data = Present, data
		if token, ok := Lease(data); ok {
			r.State, r.Data, r.Holder = Held, nil, token
		}
	}
	return r, nil
}

// Left returns how long Redis will keep what it has at key: negative if there is nothing,
// or if it is kept forever.
func (s *Store) Left(ctx context.Context, key string) (time.Duration, error) {
	cmd := redis.NewDurationCmd(ctx, time.Millisecond, "pttl", s.valueKey(key))
	if err := s.do(ctx, s.valueKey(key), cmd); err != nil {
		return 0, err
	}
	return cmd.Result()
}

// tokenLen is the length of a token.
const tokenLen = 16

// Lease tells a lease from an envelope: 'L' or, once somebody waits, 'W', and the
// token.
func Lease(data []byte) (string, bool) {
	if len(data) != 1+tokenLen || data[0] != 'L' && data[0] != 'W' {
		return "", false
	}
	return string(data[1:]), true
}

// Drop removes what a read found and nobody can believe, and takes the lease
// in its place if token is not empty. It reports false, and does nothing, if
// something else is there by now.
func (s *Store) Drop(ctx context.Context, key string, bad Reply, token string, lease time.Duration) (bool, error) {
	length, head := len(bad.Data), bad.Data[:min(len(bad.Data), 64)]
	if bad.State == Foreign {
		length = -1
	}
	return succeeded(s.eval(ctx, dropScript, []string{s.valueKey(key)}, length, head, token, lease.Milliseconds()))
}

func (s *Store) valueKey(key string) string {
	return s.space.shards[s.Shard(key)].values + key
}

func succeeded(cmd *redis.Cmd, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := cmd.Int()
	return n == 1, err
}
