package nearcache

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lookout is a tower whose flights begin with a look.
type lookout struct {
	*tower
	leads        bool
	made, loaded atomic.Int64
}

// look takes a second to answer how many were made, or less if its caller leaves. It
// finds nothing if that is what it is to find; a load then takes a second to bring 100.
func (o *lookout) look(ctx context.Context, bound time.Duration, nothing bool) (int, error) {
	call := o.call(func(context.Context, func(int, bool)) (int, error) {
		o.loaded.Add(1)
		time.Sleep(time.Second)
		return 100, nil
	})
	call.leads = o.leads
	call.look = func(ctx context.Context) (int, bool, error) {
		n := o.made.Add(1)
		select {
		case <-time.After(time.Second):
			return int(n), !nothing, nil
		case <-ctx.Done():
			return 0, false, nil
		}
	}
	v, _, err := o.do(ctx, o.seat("k", bound), call)
	return v, err
}

func TestOneLookForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &lookout{tower: newTower()}
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if v, err := o.look(t.Context(), time.Minute, false); v != 1 || err != nil {
					t.Errorf("found %d, %v", v, err)
				}
			})
		}
		callers.Wait()
		if v, _ := o.look(t.Context(), time.Minute, false); v != 2 {
			t.Errorf("a later caller was answered by look %d", v)
		}
	})
}

// TestLooksOutliveTheirCallers: when who looks leaves, the flight departs with those who
// wait, and with nobody it does not.
func TestLooksOutliveTheirCallers(t *testing.T) {
	for name, crowd := range map[string]int{"crowd": 10, "nobody": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &lookout{tower: newTower()}
				over := errors.New("over")
				ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, over)
				defer cancel()
				var callers sync.WaitGroup
				callers.Go(func() {
					if _, err := o.look(ctx, time.Minute, false); err != over {
						t.Errorf("who left was answered %v", err)
					}
				})
				synctest.Wait()
				began := time.Now()
				for range crowd {
					callers.Go(func() {
						v, err := o.look(t.Context(), time.Minute, false)
						if v != 100 || err != nil || time.Since(began) != 1500*time.Millisecond {
							t.Errorf("found %d, %v after %v", v, err, time.Since(began))
						}
					})
				}
				callers.Wait()
				if looks, loads := o.made.Load(), o.loaded.Load(); looks != 1 || loads != int64(min(crowd, 1)) {
					t.Errorf("%d looks, %d loads", looks, loads)
				}
				if v, err := o.look(t.Context(), time.Minute, false); v != 2 || err != nil {
					t.Errorf("a later caller found %d, %v", v, err)
				}
			})
		})
	}
}

// TestCrowdsDoNotWaitForALook: the sixteenth caller has the flight depart, on the terms of
// the first. Who looks is answered by the look, if that finds something, and nobody else is.
func TestCrowdsDoNotWaitForALook(t *testing.T) {
	for name, c := range map[string]struct {
		joiners     int
		bound       time.Duration // of the last of them
		leads       bool
		nothing     bool // is found by the look
		first, last int  // what the first and the last caller are answered
		after       time.Duration
	}{
		"a crowd":              {15, time.Minute, true, false, 1, 100, 1500 * time.Millisecond},
		"that looked in vain":  {15, time.Minute, true, true, 100, 100, 1500 * time.Millisecond},
		"no crowd":             {14, time.Minute, true, false, 1, 1, time.Second},
		"nobody who can load":  {30, time.Minute, false, false, 1, 1, time.Second},
		"the last accept more": {15, time.Hour, true, false, 1, 1, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &lookout{tower: newTower(), leads: c.leads}
				began := time.Now()
				var callers sync.WaitGroup
				ask := func(bound time.Duration, want int, after time.Duration) {
					callers.Go(func() {
						v, err := o.look(t.Context(), bound, c.nothing)
						if passed := time.Since(began); v != want || err != nil || passed != after {
							t.Errorf("answered %d, %v after %v, want %d after %v", v, err, passed, want, after)
						}
					})
				}
				ask(time.Minute, c.first, max(time.Second, c.after*time.Duration(c.first/100)))
				synctest.Wait()
				for range c.joiners - 1 {
					ask(time.Minute, c.last, c.after)
				}
				time.Sleep(500 * time.Millisecond)
				ask(c.bound, c.last, c.after)
				synctest.Wait()
				callers.Wait()
				if looks, loads := o.made.Load(), o.loaded.Load(); looks != 1 || loads != int64(c.last/100) {
					t.Errorf("%d looks, %d loads", looks, loads)
				}
				if v, _ := o.look(t.Context(), time.Minute, false); v != 2 {
					t.Errorf("a later caller was answered %d", v)
				}
			})
		})
	}
}

// TestCrowdAfterTheLook: who joined before a look has landed, and would have the flight
// depart after, loads nothing.
func TestCrowdAfterTheLook(t *testing.T) {
	o := &lookout{tower: newTower()}
	at, call, v := o.seat("k", time.Minute), o.call(nil), 1
	s := o.shard(at.ticket)
	fl, _, _, _ := o.board(s, at)
	o.board(s, at)
	s.looked("k", fl, &v, nil)
	<-o.depart(t.Context(), s, "k", fl, call)
	if len(s.aloft) != 0 || fl.value != 1 {
		t.Errorf("%d flights departed, the value is %d", len(s.aloft), fl.value)
	}
}

// TestLooksLeadToOneLoad: those who joined a look that finds nothing wait for the load,
// and others join that. It is as new as its beginning: what overtook the look does not
// overtake it, what overtakes the load does.
func TestLooksLeadToOneLoad(t *testing.T) {
	for name, c := range map[string]struct {
		overtaken time.Duration
		looks     int64
	}{
		"during the look": {500 * time.Millisecond, 1},
		"during the load": {1100 * time.Millisecond, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &lookout{tower: newTower()}
				var callers sync.WaitGroup
				crowd := func() {
					for range 10 {
						callers.Go(func() {
							if v, err := o.look(t.Context(), time.Minute, true); v != 100 || err != nil {
								t.Errorf("loaded %d, %v", v, err)
							}
						})
					}
				}
				crowd()
				time.Sleep(c.overtaken)
				o.epoch.Raise(7, 2)
				time.Sleep(1500*time.Millisecond - c.overtaken)
				crowd()
				callers.Wait()
				if looks, loads := o.made.Load(), o.loaded.Load(); looks != c.looks || loads != c.looks {
					t.Errorf("%d looks and %d loads, want %d of each", looks, loads, c.looks)
				}
			})
		})
	}
}

// TestClosedDuringALook: nothing departs any more, and nobody is left behind.
func TestClosedDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &lookout{tower: newTower()}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if _, err := o.look(t.Context(), time.Minute, true); err != ErrClosed {
					t.Errorf("answered %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		o.close()
		callers.Wait()
		if n := o.loaded.Load(); n != 0 {
			t.Errorf("%d loads", n)
		}
	})
}

// TestGoexitInALook, of a codec for example, strands nobody either.
func TestGoexitInALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTower()
		call := w.call(nil)
		call.look = func(context.Context) (int, bool, error) {
			time.Sleep(time.Second)
			runtime.Goexit()
			return 0, true, nil
		}
		var callers sync.WaitGroup
		callers.Go(func() { _, _, _ = w.do(t.Context(), w.seat("k", time.Minute), call) })
		synctest.Wait()
		if _, joined, err := w.do(t.Context(), w.seat("k", time.Minute), call); !joined || err != ErrGoexit {
			t.Errorf("answered %v, want ErrGoexit", err)
		}
		callers.Wait()
	})
}

// TestNobodyJoinsALook that a change overtook, or that was begun for a reader who
// accepts more.
func TestNobodyJoinsALook(t *testing.T) {
	for name, c := range map[string]struct {
		overtake func(*lookout)
		bound    time.Duration
	}{
		"invalidated":     {func(o *lookout) { o.epoch.Raise(7, 2) }, time.Minute},
		"stricter reader": {func(*lookout) {}, time.Millisecond},
		"past L1":         {func(*lookout) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &lookout{tower: newTower()}
				var first sync.WaitGroup
				first.Go(func() { _, _ = o.look(t.Context(), time.Minute, false) })
				synctest.Wait()
				c.overtake(o)
				if v, _ := o.look(t.Context(), c.bound, false); v != 2 {
					t.Errorf("answered by look %d", v)
				}
				first.Wait()
			})
		})
	}
}
