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

// Heartbeat sends one heartbeat for every shard, in one pipeline per server, and
// returns one answer for each; known has one element a shard. Each is a write:
// a demoted or isolated master answers reads happily. It bypasses the breakers,
// and closes that of a server when all its shards answer. It returns within the
// budget, with the answers of those servers that gave any.
func (s *Store) Heartbeat(ctx context.Context, known []Known, life time.Duration) []Beat {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, s.overrun)
	defer cancel()
	answers := make(chan answer, len(known)) // what comes too late hinders nobody
	s.running.Go(func() {
		for l, shards := range s.byLane(ctx) {
			s.running.Go(func() { s.heartbeat(ctx, l, shards, known, life, answers) })
		}
	})
	beats := make([]Beat, len(known))
	for i := range beats {
		beats[i].Err = s.overrun
	}
	for range known {
		select {
		case a := <-answers:
			beats[a.shard] = a.Beat
		case <-ctx.Done():
			return beats
		}
	}
	return beats
}

// answer is the answer to a heartbeat of a shard.
type answer struct {
	shard int
	Beat
}

// heartbeat sends those of the shards of one lane.
func (s *Store) heartbeat(ctx context.Context, l *lane, shards []int, known []Known, life time.Duration, answers chan<- answer) {
	beats, unknown := s.beat(ctx, shards, known, life, func(p redis.Pipeliner, keys []string, args []any) *redis.Cmd {
		return p.EvalSha(ctx, beatScript.Hash(), keys, args...)
	})
	if unknown {
		beats, _ = s.beat(ctx, shards, known, life, func(p redis.Pipeliner, keys []string, args []any) *redis.Cmd {
			return beatScript.Eval(ctx, p, keys, args...)
		})
	}
	alive := true
	for i, b := range beats {
		answers <- answer{shards[i], b}
		alive = alive && b.Err == nil
	}
	if alive {
		l.breaker.close()
	} else {
		s.suspect(ctx)
	}
}

func (s *Store) beat(ctx context.Context, shards []int, known []Known, life time.Duration,
	queue func(redis.Pipeliner, []string, []any) *redis.Cmd) (beats []Beat, unknown bool) {
	pipe := s.client.Pipeline() // makes the commands
	cmds, sent := make([]*redis.Cmd, len(shards)), make([]redis.Cmder, len(shards))
	for i, shard := range shards {
		k, epoch := s.space.shards[shard], known[shard].Epoch
		if epoch == "" {
			epoch = "-"
		}
		cmds[i] = queue(pipe, []string{k.record, k.log, k.instance},
			[]any{nonce(), k.channel, s.logLen, epoch, known[shard].Seq, life.Milliseconds()})
		sent[i] = cmds[i]
	}
	s.atMostOnce(sent)
	pipe = s.client.Pipeline()
	_ = pipe.BatchProcess(ctx, sent...)
	_, _ = pipe.Exec(ctx) // each command carries its own error
	beats = make([]Beat, len(cmds))
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
	b.Record, ok = ParseRecord(f[0])
	b.Clock, err = strconv.ParseInt(f[1], 10, 64)
	if !ok || err != nil {
		b.Err = fmt.Errorf("heartbeat script answered %q, want record and clock", f)
	}
	return b
}
