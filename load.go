package nearcache

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// loads runs the application's loader and keeps its misbehaviour from the
// flight that called it.
type loads struct {
	timeout time.Duration
	running sync.WaitGroup // loaders, also those that nobody waits for any more
}

// run returns the loader's outcome, or the end of its time. The loader has a
// goroutine of its own: a Goexit on the flight's would strand every waiter, and
// a loader that ignores its context would hold them.
func run[V any](ctx context.Context, l *loads, key string, load func(context.Context, string) (V, error)) (V, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, ErrLoadTimeout)
	defer cancel()
	type outcome struct {
		value V
		err   error
	}
	out := make(chan outcome, 1)
	l.running.Go(func() {
		o := outcome{err: ErrGoexit} // stays if load neither returns nor panics
		defer func() {
			if p := recover(); p != nil {
				o.err = &PanicError{Value: p, Stack: debug.Stack()}
			}
			out <- o
		}()
		o.value, o.err = load(ctx, key)
	})
	select {
	case o := <-out:
		return o.value, o.err
	case <-ctx.Done():
		var zero V
		return zero, context.Cause(ctx)
	}
}
