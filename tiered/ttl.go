package tiered

import (
	"math/rand/v2"
	"time"
)

// TTL is how long entries live; a negative life keeps them out of that tier.
type TTL struct {
	L1, L2, Negative time.Duration
	StaleIfError     time.Duration // after its life, in which a value may stand in for a load that fails
	Idle             time.Duration // ends a life in which nobody asks; 0 or less: does not
}

// l1 returns the life in L1.
func (t TTL) l1(negative bool) time.Duration {
	if negative && t.L1 >= 0 {
		return t.Negative
	}
	return t.L1
}

// lives are the lives of one value, settled once for both tiers.
type lives struct {
	l1, l2 time.Duration // negative: not kept there
}

func (t *Tiers[V]) lives(ttl TTL, negative bool) lives {
	l := lives{l1: t.jittered(ttl.l1(negative)), l2: t.jittered(ttl.L2)}
	if negative {
		l.l2 = min(l.l2, t.jittered(ttl.Negative))
	}
	if t.l2 == nil {
		l.l2 = -1
	}
	return l
}

// inL1 returns the life in L1, which never exceeds what is left of L2's: nobody
// would ask L2 again.
func (l lives) inL1() time.Duration {
	if l.l2 >= 0 {
		return min(l.l1, l.l2)
	}
	return l.l1
}

// expiry returns how long Redis keeps a value that lives for l2.
func (t *Tiers[V]) expiry(l2 time.Duration, ttl TTL, negative bool) time.Duration {
	if !negative {
		l2 += max(ttl.StaleIfError, 0)
	}
	if ttl.Idle > 0 {
		l2 = min(l2, t.slack(ttl.Idle))
	}
	return l2
}

// slack is how long an idle life lasts that is prolonged now. It is prolonged at
// most eight times in its length: a read that only reads costs nothing.
func (t *Tiers[V]) slack(idle time.Duration) time.Duration { return idle + idle/8 }

// jittered shortens a life at random: what a fleet stored at once must not
// expire at once.
func (t *Tiers[V]) jittered(d time.Duration) time.Duration {
	return d - time.Duration(float64(d)*t.cfg.Jitter*rand.Float64())
}
