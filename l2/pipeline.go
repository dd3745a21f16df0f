package l2

// Reads and scripts of all callers share a few pipelines, because on a busy client
// the system calls cost more than the commands. What is chosen, and what not:
//
//   - Nothing waits for a clock. A call starts a pipeline if one is free, and calls
//     that come while all are under way are the next batch. A pipeline yields its
//     processor once before it takes its batch: the callers that the last replies
//     woke come round first, or batches shrink to what the scheduler happens to
//     run in between.
//   - The wait is bounded here, not at the socket: go-redis never ends a read
//     because its context was cancelled, and dials, retries and timeouts are the
//     user's settings. A caller that leaves leaves its call behind; at most a few
//     pipelines are stuck with such, each until the client's own timeouts, so
//     nothing piles up.
//   - A call that is alone runs on its caller's goroutine where that cannot break
//     the rule above: its context has no end, and the client keeps to the budget.
//     Passing it to another goroutine and back costs half a round trip on loopback.
//   - A shard's record is read once a batch, before the values. Batches are formed
//     before they are sent, so it is as new as one that each call reads itself.
//   - Calls and the buffers of batches are pooled; commands are not: go-redis keeps
//     more in them than it lets us reset, such as a cluster slot.
//   - go-redis's own AutoPipeline is experimental, and no part of UniversalClient.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable says that Redis was not asked, because it failed or overran
// its time repeatedly and has not answered a heartbeat since.
var ErrUnavailable = errors.New("redis is unavailable, not asked")

// call is one caller's commands on their way through a pipeline.
type call struct {
	cmds   []redis.Cmder
	keys   int           // that they concern
	shard  int           // whose record is read before cmds; noShard: none
	record *sharedRecord // of shard, as its batch read it
	err    error         // the client's timeouts ended it, or its replies are of no use
	done   chan struct{} // is sent to once all of that is there
	fate   atomic.Uint32 // waitedFor until one of the others is decided on
	timer  *time.Timer
}

const noShard = -1

// What becomes of a call. If Redis let it down, its caller or its pipeline holds that
// against Redis, whoever finds out first.
const (
	waitedFor = iota
	replied
	left    // by its caller, of its own accord
	overran // its budget, says its caller
)

// newCall is for the store's pool of calls whose callers saw them done. One that was
// left is not reused: its pipeline may still send to it. The pool is the store's, since
// the timers of a bubble of testing/synctest cannot leave it.
func newCall() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &call{done: make(chan struct{}, 1), timer: timer}
}

// do runs cmds, all of the slot of a Redis key, together with whatever else waits for
// the same server, and returns when they carry their replies or the budget of one
// operation is over. The caller must not look at them unless do returned nil.
func (s *Store) do(ctx context.Context, key string, cmds ...redis.Cmder) error {
	_, err := s.doOn(ctx, s.lane(ctx, key), 1, noShard, cmds...)
	return err
}

// doAfterRecord is do for commands of shard, and reads its record before it runs them.
func (s *Store) doAfterRecord(ctx context.Context, shard int, cmds ...redis.Cmder) (*sharedRecord, error) {
	return s.doOn(ctx, s.lane(ctx, s.space.shards[shard].record), 1, shard, cmds...)
}

func (s *Store) doOn(ctx context.Context, l *lane, keys, shard int, cmds ...redis.Cmder) (*sharedRecord, error) {
	if l.breaker.open() {
		return nil, ErrUnavailable
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c := s.calls.Get().(*call)
	c.cmds, c.keys, c.shard = append(c.cmds, cmds...), keys, shard
	if shard != noShard {
		s.follow(c.cmds)
	}
	if err := s.run(ctx, l, c); err != nil {
		return nil, err
	}
	record := c.record
	clear(c.cmds)
	c.cmds, c.record = c.cmds[:0], nil
	c.fate.Store(waitedFor)
	s.calls.Put(c)
	return record, nil
}

func (s *Store) run(ctx context.Context, l *lane, c *call) error {
	if ctx.Done() == nil && s.punctual && l.queue.enterAlone() {
		defer l.queue.leaveAlone()
		return s.runAlone(l, c)
	}
	start, err := l.queue.push(c)
	if err != nil {
		return err
	}
	if start {
		go s.pipeline(l)
	}
	c.timer.Reset(s.timeout)
	select {
	case <-c.done:
		c.timer.Stop()
		return c.err
	case <-c.timer.C:
		if c.fate.CompareAndSwap(waitedFor, overran) {
			l.breaker.failed(s.overrun)
		}
		return s.overrun
	case <-ctx.Done():
		c.fate.CompareAndSwap(waitedFor, left)
		return context.Cause(ctx)
	}
}

// runAlone runs one call on its caller's goroutine.
func (s *Store) runAlone(l *lane, c *call) error {
	b := s.batch()
	defer s.batches.Put(b)
	b.calls = append(b.calls, c)
	s.exec(l, b)
	<-c.done
	return c.err
}

// pipeline sends what waits at once and hands out the replies, until nothing waits.
func (s *Store) pipeline(l *lane) {
	b := s.batch()
	defer s.batches.Put(b)
	for {
		runtime.Gosched()
		var start bool
		if b.calls, start = l.queue.take(b.calls); len(b.calls) == 0 {
			return
		}
		if start {
			go s.pipeline(l)
		}
		s.exec(l, b)
		l.queue.returned()
	}
}

// batch is what one pipeline sends, with the buffers that the next one reuses.
type batch struct {
	calls   []*call
	cmds    []redis.Cmder
	records map[int]*sharedRecord // by shard
	pipe    redis.Pipeliner
}

// sharedRecord is a shard's record as one batch read it.
type sharedRecord struct {
	cmd    *redis.StringCmd
	sent   redis.Cmder // cmd, as it was followed
	Record Record
	Known  bool // it can be read
	err    error
}

func (s *Store) batch() *batch {
	if b, ok := s.batches.Get().(*batch); ok {
		return b
	}
	return &batch{records: make(map[int]*sharedRecord), pipe: s.client.Pipeline()}
}

// exec sends the calls of b that are still waited for, and hands out the replies.
func (s *Store) exec(l *lane, b *batch) {
	sent := b.calls[:0]
	for _, c := range b.calls {
		if c.fate.Load() != waitedFor {
			continue // a change that already failed must not land late
		}
		if c.shard != noShard {
			c.record = s.recordIn(b, c.shard)
		}
		b.cmds = append(b.cmds, c.cmds...)
		sent = append(sent, c)
	}
	if len(sent) > 0 {
		s.send(l, b, sent)
	}
	clear(b.calls)
	clear(b.cmds)
	clear(b.records)
	b.calls, b.cmds = b.calls[:0], b.cmds[:0]
}

func (s *Store) send(l *lane, b *batch, sent []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	s.atMostOnce(b.cmds)
	_ = b.pipe.BatchProcess(ctx, b.cmds...) // only queues them
	_, err := b.pipe.Exec(ctx)
	for _, r := range b.records {
		r.parse()
	}
	for _, c := range sent {
		if c.fate.Swap(replied) != overran {
			l.breaker.report(err)
		}
		switch {
		case timedOut(c.cmds[len(c.cmds)-1].Err()):
			c.err = s.overrun
		case c.record != nil:
			c.err = ordered(c.record.sent, c.cmds...)
		}
		c.done <- struct{}{}
	}
}

func timedOut(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// recordIn returns the record that b reads of shard, before all that is added later.
func (s *Store) recordIn(b *batch, shard int) *sharedRecord {
	r := b.records[shard]
	if r == nil {
		r = &sharedRecord{cmd: redis.NewStringCmd(context.Background(), "get", s.space.shards[shard].record)}
		r.sent = s.follow([]redis.Cmder{r.cmd})[0]
		b.records[shard] = r
		b.cmds = append(b.cmds, r.sent)
	}
	return r
}

func (r *sharedRecord) parse() {
	raw, err := r.cmd.Result()
	if err == nil {
		r.Record, r.Known = ParseRecord(raw)
	} else if !answered(err) {
		r.err = err
	}
}

func overrun(timeout time.Duration) error {
	return fmt.Errorf("no answer from redis within %v: %w", timeout, context.DeadlineExceeded)
}
