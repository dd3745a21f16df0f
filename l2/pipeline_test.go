package l2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// gate is a hook that holds pipelines up while it is shut, and notes each.
type gate struct {
	shut    atomic.Bool
	entered chan []redis.Cmder
	pass    chan struct{}
	opened  sync.Once
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if handshake := cmds[0].Name() == "client"; g.shut.Load() && !handshake {
			g.entered <- cmds
			<-g.pass
		}
		return next(ctx, cmds)
	}
}

func (g *gate) open() { g.opened.Do(func() { close(g.pass) }) }

// gated returns a store whose pipelines are held up by the gate.
func gated(t *testing.T) (*Store, *gate, *redis.Client) {
	t.Helper()
	client := redistest.Start(t).Client(t)
	g := &gate{entered: make(chan []redis.Cmder, 100), pass: make(chan struct{})}
	s := Open(Config{Client: client, Name: "test", Shards: 1, Timeout: time.Minute, LogLen: 100})
	s.client.AddHook(g)
	t.Cleanup(s.Close)
	t.Cleanup(g.open)
	if b := s.Heartbeat(t.Context(), make([]Known, 1), minute)[0]; b.Err != nil {
		t.Fatal(b.Err)
	}
	if _, err := s.Invalidate(t.Context(), 0, []string{"k"}); err != nil { // the server knows the script from now on
		t.Fatal(err)
	}
	g.shut.Store(true)
	return s, g, client
}

// occupy has every pipeline held up at the gate.
func occupy(t *testing.T, s *Store, g *gate, callers *sync.WaitGroup) {
	t.Helper()
	for range pipelines {
		callers.Go(func() { _, _ = s.Read(t.Context(), "busy", "", 0) })
		<-g.entered
	}
}

// waiting blocks until n calls wait for a pipeline.
func waiting(s *Store, n int) {
	for {
		s.lanes.main.queue.mu.Lock()
		got := len(s.lanes.main.queue.calls)
		s.lanes.main.queue.mu.Unlock()
		if got == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestWhatWaitsGoesTogether: in one pipeline up to its bound, with one read of the
// record before all values; each caller gets its own value.
func TestWhatWaitsGoesTogether(t *testing.T) {
	const n = pipelined + 44
	s, g, client := gated(t)
	for i := range n {
		client.Set(t.Context(), fmt.Sprintf("{test}:v:%d", i), i, 0)
	}
	var callers sync.WaitGroup
	defer callers.Wait()
	defer g.open()
	occupy(t, s, g, &callers)
	for i := range n {
		callers.Go(func() {
			r, err := s.Read(t.Context(), fmt.Sprint(i), "", 0)
			if err != nil || !r.Known || r.Record.Seq == 0 || string(r.Data) != fmt.Sprint(i) {
				t.Errorf("reader %d: %+v, %v", i, r, err)
			}
		})
	}
	waiting(s, n)
	g.open()
	for _, calls := range []int{pipelined, n - pipelined} {
		cmds := <-g.entered
		if len(cmds) != 1+calls {
			t.Fatalf("a pipeline of %d commands, want %d reads and one of the record", len(cmds), calls)
		}
		for i, cmd := range cmds {
			if record := strings.HasSuffix(fmt.Sprint(cmd.Args()[1]), ":seq"); record != (i == 0) {
				t.Fatalf("command %d is %v; the record is to be read first, and once", i, cmd.Args())
			}
		}
	}
}

// TestQueueStartsWhatIsNeeded: one pipeline for all that comes before it takes its
// calls, another for what comes later or is left, and never more than there may be.
func TestQueueStartsWhatIsNeeded(t *testing.T) {
	var q queue
	push := func(n int, want bool) {
		t.Helper()
		for i := range n {
			if start, err := q.push(new(call)); err != nil || start != (want && i == 0) {
				t.Fatalf("call %d of %d starts a pipeline: %v, %v; %d run", i, n, start, err, q.running)
			}
		}
	}
	take := func(want int, more bool) {
		t.Helper()
		if batch, start := q.take(nil); len(batch) != want || start != more {
			t.Fatalf("took %d calls, another pipeline starts: %v; want %d, %v", len(batch), start, want, more)
		}
	}
	push(pipelined+3, true)
	take(pipelined, true)
	take(3, false)
	for range pipelines - 2 {
		push(2, true)
		take(2, false)
	}
	push(3, false)
	for range pipelines {
		q.returned()
	}
	push(1, false)
	take(4, false)
	q.returned()
	if q.enterAlone() {
		t.Fatal("a call runs alone beside pipelines")
	}
	for range pipelines {
		take(0, false)
	}
	if !q.enterAlone() {
		t.Fatal("a call does not run alone though nothing else does")
	}
	push(1, true)
	take(1, false)
}

// TestLargeCallsGoApart: what asks for many keys keeps others neither out nor waiting for
// its reply.
func TestLargeCallsGoApart(t *testing.T) {
	for _, c := range []struct{ keys, batches []int }{
		{[]int{512, 512, 1}, []int{1, 1, 1}},
		{[]int{1, 2, 253, 1}, []int{3, 1}},
		{[]int{1, 256}, []int{1, 1}},
	} {
		var q queue
		for _, keys := range c.keys {
			if _, err := q.push(&call{keys: keys}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range c.batches {
			if batch, _ := q.take(nil); len(batch) != want {
				t.Errorf("calls of %v keys: a batch of %d, want %v", c.keys, len(batch), c.batches)
			}
		}
	}
}

// TestEveryShardHasItsRecord: a batch reads the record of each shard that it
// concerns before the values of it.
func TestEveryShardHasItsRecord(t *testing.T) {
	s, _, _ := open(t, 8)
	var seqs [8]atomic.Uint64
	for i := range seqs {
		for range i {
			if _, err := s.Clear(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		r, err := s.Clear(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		seqs[i].Store(r.Seq)
	}
	var callers sync.WaitGroup
	for i := range 500 {
		callers.Go(func() {
			key := fmt.Sprint(i)
			r, err := s.Read(t.Context(), key, "", 0)
			if want := seqs[s.Shard(key)].Load(); err != nil || r.Record.Seq != want {
				t.Errorf("record of key %s: %+v, %v; want seq %d", key, r.Record, err, want)
			}
		})
	}
	callers.Wait()
}

// TestOneCallerLeaves: it leaves at once, its change is not sent any more, and the
// others of its batch get their answers.
func TestOneCallerLeaves(t *testing.T) {
	s, g, client := gated(t)
	client.Set(t.Context(), "{test}:v:kept", "v", 0)
	var callers, stayers sync.WaitGroup
	defer callers.Wait()
	defer g.open()
	occupy(t, s, g, &callers)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	callers.Go(func() { waiting(s, 21); cancel(gone) })
	for range 20 {
		stayers.Go(func() {
			if r, err := s.Read(t.Context(), "kept", "", 0); err != nil || string(r.Data) != "v" {
				t.Errorf("a reader beside it: %+v, %v", r, err)
			}
		})
	}
	waiting(s, 20)
	if _, err := s.Invalidate(ctx, 0, []string{"kept"}); !errors.Is(err, gone) {
		t.Errorf("Invalidate: %v, want the cause of its context's end", err)
	}
	g.open()
	stayers.Wait()
	callers.Wait()
	s.Close()
	if client.Exists(t.Context(), "{test}:v:kept").Val() == 0 {
		t.Error("the change landed after its caller had left")
	}
	if s.lanes.main.breaker.failures.Load() != 0 {
		t.Error("a caller that left of its own accord was held against Redis")
	}
}

// TestEndedContext: a caller that is gone before it comes queues nothing.
func TestEndedContext(t *testing.T) {
	s, g, _ := gated(t)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer g.open()
	occupy(t, s, g, &callers)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Invalidate(ctx, 0, []string{"k"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Invalidate: %v, want its context's end", err)
	}
	s.lanes.main.queue.mu.Lock()
	defer s.lanes.main.queue.mu.Unlock()
	if n := len(s.lanes.main.queue.calls); n != 0 {
		t.Fatalf("%d calls wait, want none", n)
	}
}

// TestLoneCallerLeaves: a call that nothing else waits with is not run where its
// context's end would go unheard.
func TestLoneCallerLeaves(t *testing.T) {
	s, g, _ := gated(t)
	defer g.open()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-g.entered; cancel() }()
	if _, err := s.Read(ctx, "k", "", 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("Read: %v, want its context's end", err)
	}
}

// TestBudget: whatever holds Redis or its client up, and whether their contexts
// end or not, callers leave when the budget is over, with at most a few pipelines
// stuck. No client in it has timeouts of its own that could help.
func TestBudget(t *testing.T) {
	forever := redis.Options{ReadTimeout: -1, WriteTimeout: -1, PoolTimeout: time.Hour, DialTimeout: time.Hour, MaxRetries: -1}
	for name, client := range map[string]func(t *testing.T, server *redistest.Server) redis.UniversalClient{
		"silent server": func(t *testing.T, server *redistest.Server) redis.UniversalClient {
			o := forever
			o.Addr = server.Addr()
			server.Pause(t)
			return redis.NewClient(&o)
		},
		"silent server behind a client without options": func(t *testing.T, server *redistest.Server) redis.UniversalClient {
			server.Pause(t)
			return redis.NewRing(&redis.RingOptions{
				Addrs: map[string]string{"a": server.Addr()}, HeartbeatFrequency: time.Hour,
				ReadTimeout: -1, WriteTimeout: -1, PoolTimeout: time.Hour, DialTimeout: time.Hour, MaxRetries: -1,
			})
		},
		"dial that hangs": func(t *testing.T, _ *redistest.Server) redis.UniversalClient {
			o, end := forever, make(chan struct{})
			t.Cleanup(func() { close(end) })
			o.Dialer = func(context.Context, string, string) (net.Conn, error) {
				<-end
				return nil, net.ErrClosed
			}
			return redis.NewClient(&o)
		},
		"pool that is exhausted": func(t *testing.T, server *redistest.Server) redis.UniversalClient {
			o := forever
			o.Addr, o.PoolSize, o.PipelinePoolSize = server.Addr(), 1, -1
			c := redis.NewClient(&o)
			held := c.Conn()
			t.Cleanup(func() { held.Close() })
			if err := held.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.StartProcess(t)
			c := client(t, server)
			t.Cleanup(func() { c.Close() })
			s := Open(Config{Client: c, Name: "test", Shards: 1, Timeout: 30 * time.Millisecond, LogLen: 100})
			t.Cleanup(s.Close)
			t.Cleanup(func() { server.Resume(t) })
			for _, ctx := range []context.Context{context.Background(), t.Context()} {
				s.lanes.main.breaker.close()
				var callers sync.WaitGroup
				for range 50 {
					callers.Go(func() {
						_, err := s.Read(ctx, "k", "", 0)
						if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
							t.Errorf("Read: %v, want an overrun", err)
						}
					})
				}
				callers.Wait()
				if !s.Away() {
					t.Error("nothing was held against Redis")
				}
				s.lanes.main.queue.mu.Lock()
				if s.lanes.main.queue.running > pipelines {
					t.Errorf("%d pipelines are stuck, want at most %d", s.lanes.main.queue.running, pipelines)
				}
				s.lanes.main.queue.mu.Unlock()
			}
		})
	}
}

// TestTheUsersClientStaysAsItIs: only the store's copy is made punctual.
func TestTheUsersClientStaysAsItIs(t *testing.T) {
	user := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer user.Close()
	if c := punctual(user, time.Second); !c.Options().ContextTimeoutEnabled || c.Options().ReadTimeout != time.Second {
		t.Errorf("the copy's options: %+v", c.Options())
	}
	if o := user.Options(); o.ContextTimeoutEnabled || o.ReadTimeout == time.Second {
		t.Errorf("the user's options were changed: %+v", o)
	}
}

// TestClose: what waits is answered, what comes later is refused.
func TestClose(t *testing.T) {
	s, g, _ := gated(t)
	var callers sync.WaitGroup
	occupy(t, s, g, &callers)
	callers.Go(func() {
		if _, err := s.Read(t.Context(), "k", "", 0); err != nil {
			t.Errorf("a read before Close: %v", err)
		}
	})
	waiting(s, 1)
	callers.Go(s.Close)
	g.open()
	callers.Wait()
	for _, ctx := range []context.Context{context.Background(), t.Context()} {
		if _, err := s.Read(ctx, "k", "", 0); !errors.Is(err, errClosed) {
			t.Errorf("a read after Close: %v", err)
		}
	}
}
