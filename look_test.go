package nearcache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/tiered"
)

// lookout is looks over one proven epoch.
type lookout struct {
	looks[int]
	epoch *l1.Epoch
	made  atomic.Int64
}

func newLookout() *lookout {
	o := &lookout{epoch: l1.NewEpoch("e", 1, 64)}
	o.epoch.Prove(l1.Always)
	return o
}

// look takes a second to answer how many were made, or less if its caller leaves.
func (o *lookout) look(ctx context.Context, bound time.Duration) (int, tiered.Found) {
	q := tiered.Query[int]{Key: "k", Bound: bound, Ticket: tiered.NewTicket(o.epoch, 7)}
	a, found := o.do(ctx, q, func(ctx context.Context, _ tiered.Query[int]) (tiered.Answer[int], tiered.Found) {
		n := o.made.Add(1)
		select {
		case <-time.After(time.Second):
			return tiered.Answer[int]{Value: int(n)}, tiered.Value
		case <-ctx.Done():
			return tiered.Answer[int]{}, tiered.Abandoned
		}
	})
	return a.Value, found
}

func TestOneLookForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newLookout()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if v, found := o.look(t.Context(), time.Minute); v != 1 || found != tiered.Value {
					t.Errorf("found %d, %v", v, found)
				}
			})
		}
		callers.Wait()
		if v, _ := o.look(t.Context(), time.Minute); v != 2 {
			t.Errorf("a later caller was answered by look %d", v)
		}
	})
}

// TestLooksOutliveTheirCallers: when who looks leaves, one of those who wait looks.
func TestLooksOutliveTheirCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newLookout()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("over"))
		defer cancel()
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, found := o.look(ctx, time.Minute); found != tiered.Abandoned {
				t.Errorf("who left found %v", found)
			}
		})
		synctest.Wait()
		for range 10 {
			callers.Go(func() {
				if v, found := o.look(t.Context(), time.Minute); v != 2 || found != tiered.Value {
					t.Errorf("found %d, %v", v, found)
				}
			})
		}
		callers.Wait()
		if n := o.made.Load(); n != 2 {
			t.Errorf("%d looks, want 2", n)
		}
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
				o := newLookout()
				var first sync.WaitGroup
				first.Go(func() { o.look(t.Context(), time.Minute) })
				synctest.Wait()
				c.overtake(o)
				if v, _ := o.look(t.Context(), c.bound); v != 2 {
					t.Errorf("answered by look %d", v)
				}
				first.Wait()
			})
		})
	}
}
