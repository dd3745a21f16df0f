package l2

import (
	"errors"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// tripAfter is how many failures in a row open the breaker.
const tripAfter = 3

// breaker keeps operations from Redis while it is away. It opens after a few
// failures in a row and is closed by a heartbeat alone, which runs anyway: the
// libraries' half-open state would send callers to probe, and each probe of a
// silent server costs its caller the whole budget.
type breaker struct {
	failures atomic.Int32
	changed  func(open bool, cause error)
}

func (b *breaker) open() bool { return b.failures.Load() >= tripAfter }

func (b *breaker) failed(cause error) {
	if b.failures.Add(1) == tripAfter {
		b.changed(true, cause)
	}
}

func (b *breaker) close() {
	if b.failures.Swap(0) >= tripAfter {
		b.changed(false, nil)
	}
}

// report counts the outcome of a pipeline. Errors that are answers (a missing
// key, a wrong type, an unknown script) prove that the server is there. An
// open breaker stays open: late answers of before do not tell of now.
func (b *breaker) report(err error) {
	switch {
	case err != nil && !answered(err):
		b.failed(err)
	case !b.open():
		b.failures.Store(0)
	}
}

// answered reports whether err is the reply of a server that does its work.
func answered(err error) bool {
	_, reply := errors.AsType[redis.Error](err)
	return reply && !refusal(err)
}

// refusal reports whether err is a server's word that it cannot or must not
// serve writes now; whatever it proved before, it does no longer.
func refusal(err error) bool {
	if err == nil {
		return false
	}
	for _, code := range []string{"READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MISCONF", "TRYAGAIN"} {
		if strings.HasPrefix(err.Error(), code) {
			return true
		}
	}
	return false
}
