package l2

import (
	"errors"
	"sync"
)

const (
	// pipelines is how many may be under way at once. A few overlap the server's
	// work with ours; many would only make each of them smaller.
	pipelines = 4
	// pipelined bounds the keys of the calls that share one pipeline. A call of more
	// goes by itself: its callers have it in parts, to decode one while the other comes.
	pipelined = 256
	// lone is how many calls may be under way for others to go without a pipeline too.
	// Two callers who take turns on one connection wait for each other; must be below
	// pipelines, or calls that wait could be stranded.
	lone = 2
)

var errClosed = errors.New("the store is closed")

// queue holds the calls that wait for a pipeline, and counts those under way. No
// call is stranded: whoever adds one starts a pipeline, unless one is about to take
// calls anyway or all are under way and take calls when they return.
type queue struct {
	mu      sync.Mutex
	calls   []*call
	running int // pipelines, and calls that run alone
	due     int // pipelines about to take calls
	closed  bool
	ended   sync.WaitGroup // all that run; added to under mu, so not once closed
}

// push adds a call; start tells the caller to start a pipeline.
func (q *queue) push(c *call) (start bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, errClosed
	}
	q.calls = append(q.calls, c)
	return q.start(), nil
}

// start counts a pipeline in if one is needed and free.
func (q *queue) start() bool {
	if len(q.calls) == 0 || q.due > 0 || q.running == pipelines {
		return false
	}
	q.due++
	q.begin()
	return true
}

func (q *queue) begin() {
	q.running++
	q.ended.Add(1)
}

func (q *queue) end() {
	q.running--
	q.ended.Done()
}

// returned tells that a pipeline has handed out its replies.
func (q *queue) returned() {
	q.mu.Lock()
	q.due++
	q.mu.Unlock()
}

// take moves what waits to batch. If that is nothing, the pipeline has ended.
// start tells the caller to start another one for the rest.
func (q *queue) take(batch []*call) (_ []*call, start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due--
	n := q.fitting()
	if n == 0 {
		q.end()
		return batch, false
	}
	batch = append(batch, q.calls[:n]...)
	rest := copy(q.calls, q.calls[n:])
	clear(q.calls[rest:])
	q.calls = q.calls[:rest]
	return batch, q.start()
}

// fitting returns how many of the calls that wait are the next batch.
func (q *queue) fitting() (n int) {
	for keys := 0; n < len(q.calls); n++ {
		if keys += max(q.calls[n].keys, 1); keys > pipelined && n > 0 {
			break
		}
	}
	return n
}

// enterAlone counts a call in that runs without a pipeline, if nothing waits and little
// is under way; leaveAlone counts it out.
func (q *queue) enterAlone() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running >= lone || len(q.calls) > 0 || q.closed {
		return false
	}
	q.begin()
	return true
}

func (q *queue) leaveAlone() {
	q.mu.Lock()
	q.end()
	q.mu.Unlock()
}

// close lets no more calls in, and waits for those inside.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ended.Wait()
}
