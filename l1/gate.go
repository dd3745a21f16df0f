package l1

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// gate counts readers in and out, so that Close can wait for those inside
// without a lock on the way of a hit. The counts are striped by goroutine, so
// that cores do not pass a cache line to and fro, and the count of entries
// doubles as the statistics of lookups.
type gate struct {
	closed  atomic.Bool
	_       [63]byte
	stripes [64]gateStripe
}

type gateStripe struct {
	in, out atomic.Uint64
	_       [112]byte // two cache lines: the adjacent one is prefetched too
}

// enter lets a reader in, who must leave the stripe it is given. It counts
// before it looks whether the gate is shut, and shut does the reverse, so one
// of the two always sees the other.
func (g *gate) enter() (*gateStripe, bool) {
	s := &g.stripes[goroutineStripe()]
	s.in.Add(1)
	if g.closed.Load() {
		s.out.Add(1)
		return nil, false
	}
	return s, true
}

// leave reports true once in 1,024 times: the Fibonacci multiple of the count is spread
// evenly and has no period that a loop over keys could fall in with.
func (g *gate) leave(s *gateStripe) (sampled bool) {
	return s.out.Add(1)*0x9E3779B97F4A7C15>>54 == 0
}

// shut turns later readers away and returns when those inside have left.
func (g *gate) shut() {
	g.closed.Store(true)
	for i := range g.stripes {
		s := &g.stripes[i]
		// out is read first: equal counts then mean that everybody who had
		// entered by the second load had left by the first.
		for out := s.out.Load(); out != s.in.Load(); out = s.out.Load() {
			runtime.Gosched()
		}
	}
}

func (g *gate) entered() (n uint64) {
	for i := range g.stripes {
		n += g.stripes[i].in.Load()
	}
	return n
}

// goroutineStripe spreads goroutines over stripes by the address of their
// stacks, which differ by at least 2 KiB. Go tells nobody which processor runs
// them; sync.Pool knows, at several times the price.
func goroutineStripe() uintptr {
	var here byte
	return uintptr(uint64(uintptr(unsafe.Pointer(&here))) >> 11 * 0x9E3779B97F4A7C15 >> 58)
}
