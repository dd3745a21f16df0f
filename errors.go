package nearcache

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache/tiered"
)

var (
	// ErrMiss: Get found nothing, and the cache has no loader.
	ErrMiss = tiered.ErrMiss

	// ErrNotFound: the source has no such value. Loaders return it, or an error
	// that wraps it; it is remembered for [TTL.Negative], and Get returns it.
	ErrNotFound = tiered.ErrNotFound

	// ErrNotModified: the value that [Item] showed to the loader is still current.
	// Loaders return it, or an error that wraps it; Get never does.
	ErrNotModified = tiered.ErrNotModified

	// ErrClosed: the cache was closed before or during the call.
	ErrClosed = errors.New("nearcache: cache is closed")

	// ErrKey: a key is empty or longer than [Config.MaxKeyBytes], or tags are not as
	// [WithTags] says.
	ErrKey = errors.New("nearcache: unusable key or tag")

	// ErrValue: a value given to Set is larger than [Config.MaxValueBytes].
	ErrValue = errors.New("nearcache: value too large")

	// ErrReentrant: a loader asked, directly or through other loads, for the key
	// that it is loading. Waiting for itself would never end.
	ErrReentrant = errors.New("nearcache: loader asks for the key that it is loading")

	// ErrGoexit: a loader ended its goroutine with runtime.Goexit, as t.FailNow
	// does, instead of returning.
	ErrGoexit = errors.New("nearcache: loader called runtime.Goexit")

	// ErrLoadTimeout: a loader did not return within the load timeout. It also
	// matches context.DeadlineExceeded.
	ErrLoadTimeout error = loadTimeout{}
)

// TierError is the failure of a tier to carry out a change. It unwraps to the
// cause.
type TierError struct {
	Tier string // "L2"
	Op   string // "set", "invalidate", "expire", "invalidate tags", "clear" or "close"
	Err  error
}

func (e *TierError) Error() string { return fmt.Sprintf("nearcache: %s: %s: %v", e.Tier, e.Op, e.Err) }
func (e *TierError) Unwrap() error { return e.Err }

// PanicError is what every caller of a load gets whose loader panicked.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // where, as debug.Stack prints it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("nearcache: loader panicked: %v\n%s", e.Value, e.Stack)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

type loadTimeout struct{}

func (loadTimeout) Error() string { return "nearcache: loader did not return within the load timeout" }
func (loadTimeout) Unwrap() error { return context.DeadlineExceeded }
