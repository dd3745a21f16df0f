package l2

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Record is the state of a shard as Redis keeps it.
type Record struct {
	Seq     uint64        // newest sequence number minted
	Epoch   string        // the life of the shard's data that Seq belongs to
	Cleared uint64        // values born below it were cleared away
	Tagged  uint64        // newest invalidation of any tag
	Life    time.Duration // of markers: no value that names a tag may live longer
}

// ParseRecord reads a record as it is kept in Redis; ok is false for anything else.
func ParseRecord(raw string) (r Record, ok bool) {
	f := strings.Split(raw, " ")
	if len(f) != 6 || f[1] == "" {
		return Record{}, false
	}
	r.Epoch, ok = f[1], true
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 63)
		ok = ok && err == nil
		return n
	}
	r.Seq, r.Cleared, r.Tagged = number(f[0]), number(f[2]), number(f[5])
	r.Life = time.Duration(min(number(f[4]), uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
	if !ok || r.Seq == 0 {
		return Record{}, false
	}
	return r, true
}
