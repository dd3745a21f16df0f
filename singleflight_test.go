package nearcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/tiered"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tower is a set of flights over one proven epoch.
type tower struct {
	flights[int]
	loads loads
	epoch *l1.Epoch
}

func newTower() *tower {
	w := &tower{epoch: l1.NewEpoch("e", 1, 64)}
	w.loads.timeout = time.Minute
	w.epoch.Prove(l1.Always)
	return w
}

func (w *tower) get(ctx context.Context, key string, load func(context.Context) (int, error)) (int, error) {
	v, _, err := w.do(ctx, w.seat(key, time.Second), w.call(func(ctx context.Context, _ func(int, bool)) (int, error) {
		return run(ctx, &w.loads, turn{}, load)
	}))
	return v, err
}

func (w *tower) do(ctx context.Context, at seat, c call[int]) (v int, joined bool, err error) {
	p, joined, err := w.flights.do(ctx, at, c)
	if p != nil {
		v = *p
	}
	return v, joined, err
}

func (w *tower) seat(key string, bound time.Duration) seat {
	return seat{key: key, ticket: tiered.NewTicket(w.epoch, 7), bound: bound}
}

func (w *tower) call(what load[int]) call[int] {
	return call[int]{
		load: func() (tiered.Ticket, load[int]) { return tiered.NewTicket(w.epoch, 7), what },
		good: func(*int) bool { return true },
	}
}

// TestStrictReadersDoNotJoin: a flight asks L1 on its first reader's terms, which
// may be too lax for a later one.
func TestStrictReadersDoNotJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		release := make(chan struct{})
		var lax sync.WaitGroup
		lax.Go(func() {
			_, _ = w.get(t.Context(), "k", func(context.Context) (int, error) { <-release; return 1, nil })
		})
		synctest.Wait()
		v, _, err := w.do(t.Context(), w.seat("k", time.Millisecond), w.call(func(context.Context, func(int, bool)) (int, error) { return 2, nil }))
		close(release)
		lax.Wait()
		if v != 2 || err != nil {
			t.Fatalf("joined a flight whose first reader accepts more: %d, %v", v, err)
		}
	})
}

// TestStandIns: an old value is answered to those who join later if it was expired
// softly, and to all when their patience is over; the load goes on without them.
func TestStandIns(t *testing.T) {
	for name, c := range map[string]struct {
		soft        bool
		first, next time.Duration // when the first caller and a later one are answered
	}{
		"expired softly": {true, time.Second, 0},
		"life over":      {false, time.Second, time.Second - time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTower()
				w.patience = time.Second
				var landed atomic.Bool
				began := time.Now()
				get := func() (int, time.Duration) {
					v, _, err := w.do(t.Context(), w.seat("k", time.Second), w.call(func(ctx context.Context, offer func(int, bool)) (int, error) {
						offer(1, c.soft)
						time.Sleep(time.Minute)
						landed.Store(ctx.Err() == nil)
						return 2, nil
					}))
					if err != nil {
						t.Error(err)
					}
					return v, time.Since(began)
				}
				var callers sync.WaitGroup
				callers.Go(func() {
					if v, after := get(); v != 1 || after != c.first {
						t.Errorf("the first caller was answered %d after %v, want 1 after %v", v, after, c.first)
					}
				})
				time.Sleep(time.Millisecond)
				if v, after := get(); v != 1 || after != time.Millisecond+c.next {
					t.Errorf("a later caller was answered %d after %v, want 1 after %v", v, after, time.Millisecond+c.next)
				}
				callers.Wait()
				time.Sleep(2 * time.Minute)
				if !landed.Load() {
					t.Error("the load was cancelled when the callers had their answers")
				}
			})
		})
	}
}

func TestOneLoadForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		var loads atomic.Int64
		var callers sync.WaitGroup
		for range 1000 {
			callers.Go(func() {
				v, err := w.get(t.Context(), "k", func(context.Context) (int, error) {
					time.Sleep(time.Second)
					return int(loads.Add(1)), nil
				})
				if v != 1 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
			})
		}
		callers.Wait()
		if n := loads.Load(); n != 1 {
			t.Fatalf("%d loads for 1000 callers", n)
		}
	})
}

// TestNobodyJoinsWhatIsOvertaken: each row makes a flight that is under way unfit for a later caller.
func TestNobodyJoinsWhatIsOvertaken(t *testing.T) {
	for name, overtake := range map[string]func(e *l1.Epoch){
		"key invalidated":   func(e *l1.Epoch) { e.Raise(7, 2) },
		"shard distrusted":  func(e *l1.Epoch) { e.RaiseAll(2) },
		"epoch ended":       func(e *l1.Epoch) { e.End() },
		"proof lost, older": func(e *l1.Epoch) { e.Disprove(); time.Sleep(time.Second + 1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTower()
				release := make(chan struct{})
				var early sync.WaitGroup
				early.Go(func() {
					v, err := w.get(t.Context(), "k", func(context.Context) (int, error) { <-release; return 1, nil })
					if v != 1 || err != nil {
						t.Errorf("who asked before the change got %d, %v", v, err)
					}
				})
				synctest.Wait()
				overtake(w.epoch)
				if v, err := w.get(t.Context(), "k", func(context.Context) (int, error) { return 2, nil }); v != 2 || err != nil {
					t.Errorf("who asked after the change got %d, %v", v, err)
				}
				close(release)
				early.Wait()
			})
		})
	}
}

func TestCallersLeaveAtTheirOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		type trace struct{}
		first, cancel := context.WithCancel(context.WithValue(t.Context(), trace{}, "kept"))
		slow := func(ctx context.Context) (int, error) {
			if ctx.Value(trace{}) != "kept" {
				t.Error("the load lost its caller's values")
			}
			select {
			case <-time.After(10 * time.Second):
				return 1, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := w.get(first, "k", slow); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled caller got %v", err)
			}
		})
		synctest.Wait()
		callers.Go(func() {
			if v, err := w.get(t.Context(), "k", slow); v != 1 || err != nil {
				t.Errorf("patient caller got %d, %v", v, err)
			}
		})
		synctest.Wait()
		began := time.Now()
		cancel()
		brief, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := w.get(brief, "k", slow); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("brief caller got %v after %v", err, time.Since(began))
		}
		callers.Wait()
	})
}

func TestLoadEndsWithItsLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan struct{})
		_, _ = w.get(ctx, "k", func(ctx context.Context) (int, error) { <-ctx.Done(); close(ended); return 0, ctx.Err() })
		<-ended
		// A later caller must not be handed the cancelled load.
		if v, err := w.get(t.Context(), "k", func(context.Context) (int, error) { return 2, nil }); v != 2 || err != nil {
			t.Fatalf("got %d, %v", v, err)
		}
	})
}

func TestLoadersThatDoNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		for name, c := range map[string]struct {
			load func(context.Context) (int, error)
			want error
		}{
			"panic":  {func(context.Context) (int, error) { panic(fmt.Errorf("wrapped: %w", io.EOF)) }, io.EOF},
			"goexit": {func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }, ErrGoexit},
			"deaf":   {func(context.Context) (int, error) { time.Sleep(time.Hour); return 0, nil }, ErrLoadTimeout},
			"error":  {func(context.Context) (int, error) { return 0, io.ErrUnexpectedEOF }, io.ErrUnexpectedEOF},
		} {
			var callers sync.WaitGroup
			for range 10 {
				callers.Go(func() {
					if _, err := w.get(t.Context(), name, c.load); !errors.Is(err, c.want) {
						t.Errorf("%s: got %v, want %v", name, err, c.want)
					}
				})
			}
			callers.Wait()
		}
		w.loads.running.Wait()
	})
}

func TestReentrantLoadIsRefused(t *testing.T) {
	w := newTower()
	_, err := w.get(t.Context(), "a", func(ctx context.Context) (int, error) {
		return w.get(ctx, "b", func(ctx context.Context) (int, error) {
			return w.get(ctx, "a", func(context.Context) (int, error) { return 1, nil })
		})
	})
	if !errors.Is(err, ErrReentrant) {
		t.Fatalf("got %v, want ErrReentrant", err)
	}
}
