package l2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable says that Redis was not asked, because it failed or overran
// its time repeatedly and has not answered a heartbeat since.
var ErrUnavailable = errors.New("redis is unavailable, not asked")

const (
	// pipelines is how many may be under way to a server at once. A few overlap the server's
	// work with ours; many would only make each of them smaller.
	pipelines = 4
	// pipelined bounds the calls that share one pipeline.
	pipelined = 256
)

// call is one caller's commands on their way through a pipeline.
type call struct {
	ctx  context.Context
	add  func(redis.Pipeliner)
	done chan struct{} // closed when the commands carry their replies
}

// do runs the commands that add queues, all of the slot of a Redis key, together
// with whatever else waits for the same server, and returns when they carry their
// replies or the budget of one operation is over.
// The caller must not look at its commands unless do returned nil.
//
// The wait is bounded here and not at the socket: go-redis by default ignores
// the context there, and dials, retries and timeouts are the user's settings. A
// call that overran is left behind; its pipeline ends by the client's own
// timeouts, and there are only a few of them, so nothing piles up.
func (s *Store) do(ctx context.Context, key string, add func(redis.Pipeliner)) error {
	l := s.lane(ctx, key)
	if l.breaker.open() {
		return ErrUnavailable
	}
	bounded, cancel := context.WithTimeoutCause(ctx, s.timeout, s.overrun)
	defer cancel()
	c := &call{ctx: bounded, add: add, done: make(chan struct{})}
	select {
	case l.calls <- c:
	case <-bounded.Done():
		return l.abandoned(ctx, bounded)
	}
	select {
	case <-c.done:
		return nil
	case <-bounded.Done():
		return l.abandoned(ctx, bounded)
	}
}

// abandoned tells an overrun, which speaks against Redis, from a caller that
// left of its own accord, which does not.
func (l *lane) abandoned(callers, bounded context.Context) error {
	if callers.Err() == nil {
		l.breaker.failed()
	}
	return context.Cause(bounded)
}

// pipeline takes what is waiting, sends it at once and hands out the replies.
// A lone call goes alone and without delay; calls that arrive meanwhile form
// the next batch, so batches grow with load by themselves.
func (s *Store) pipeline(l *lane) {
	for {
		select {
		case <-s.stop:
			return
		case first := <-l.calls:
			s.exec(l, l.waiting(first))
		}
	}
}

func (l *lane) waiting(first *call) []*call {
	batch := append(make([]*call, 0, 8), first)
	for len(batch) < pipelined {
		select {
		case c := <-l.calls:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

func (s *Store) exec(l *lane, batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	pipe := s.client.Pipeline()
	sent := batch[:0]
	for _, c := range batch {
		if c.ctx.Err() != nil {
			continue // nobody waits for it: a change that already failed must not land late
		}
		c.add(pipe)
		sent = append(sent, c)
	}
	if len(sent) == 0 {
		return
	}
	_, err := pipe.Exec(ctx)
	l.breaker.report(err)
	for _, c := range sent {
		close(c.done)
	}
}

func overrun(timeout time.Duration) error {
	return fmt.Errorf("no answer from redis within %v: %w", timeout, context.DeadlineExceeded)
}
