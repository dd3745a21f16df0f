package l2

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Known is what an instance knows of a shard when it asks for a heartbeat.
type Known struct {
	Epoch string // empty if none
	Seq   uint64 // newest sequence number seen in it
}

// Beat is a shard's answer to a heartbeat.
type Beat struct {
	Record Record
	Clock  int64 // the server's clock, in microseconds
	Err    error // this shard's server did not answer, or refused to write
}

// Refused reports whether the server answered that it cannot or must not serve
// writes: what it proved before ends at once.
func (b Beat) Refused() bool { return refusal(b.Err) }

// Heartbeat sends one heartbeat for every shard, in one pipeline per node, and
// returns one answer for each; known has one element a shard. Each is a write:
// a demoted or isolated master answers reads happily. It bypasses the breaker,
// and closes it when all shards answer. It returns within the budget.
func (s *Store) Heartbeat(ctx context.Context, known []Known, life time.Duration) []Beat {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, s.overrun)
	defer cancel()
	answers := make(chan []Beat, 1)
	s.running.Go(func() { answers <- s.heartbeat(ctx, known, life) })
	select {
	case beats := <-answers:
		return beats
	case <-ctx.Done():
		beats := make([]Beat, len(known))
		for i := range beats {
			beats[i].Err = context.Cause(ctx)
		}
		return beats
	}
}

func (s *Store) heartbeat(ctx context.Context, known []Known, life time.Duration) []Beat {
	beats, unknown := s.beat(ctx, known, life, func(p redis.Pipeliner, keys []string, args []any) *redis.Cmd {
		return p.EvalSha(ctx, beatScript.Hash(), keys, args...)
	})
	if unknown {
		beats, _ = s.beat(ctx, known, life, func(p redis.Pipeliner, keys []string, args []any) *redis.Cmd {
			return beatScript.Eval(ctx, p, keys, args...)
		})
	}
	for _, b := range beats {
		if b.Err != nil {
			return beats
		}
	}
	s.breaker.close()
	return beats
}

func (s *Store) beat(ctx context.Context, known []Known, life time.Duration,
	queue func(redis.Pipeliner, []string, []any) *redis.Cmd) (beats []Beat, unknown bool) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, len(known))
	for i, k := range s.space.shards {
		epoch := known[i].Epoch
		if epoch == "" {
			epoch = "-"
		}
		cmds[i] = queue(pipe, []string{k.record, k.log, k.instance},
			[]any{nonce(), k.channel, s.logLen, epoch, known[i].Seq, life.Milliseconds()})
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	beats = make([]Beat, len(known))
	for i, cmd := range cmds {
		beats[i] = beatOf(cmd)
		unknown = unknown || unknownScript(beats[i].Err)
	}
	return beats, unknown
}

func beatOf(cmd *redis.Cmd) (b Beat) {
	f, err := strs(cmd, 2)
	if err != nil {
		b.Err = err
		return b
	}
	var ok bool
	b.Record, ok = parseRecord(f[0])
	b.Clock, err = strconv.ParseInt(f[1], 10, 64)
	if !ok || err != nil {
		b.Err = fmt.Errorf("heartbeat script answered %q, want record and clock", f)
	}
	return b
}
